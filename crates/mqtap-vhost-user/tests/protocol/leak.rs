//! No descriptor is kept, whatever frontends send.

use std::os::fd::AsFd;

use mqtap_vhost_user::message::Request::*;

use crate::alone::is_alone;
use crate::frontend::*;
use crate::hostile::{break_streams, misuse_requests};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_hundred_hostile_sessions_leave_no_descriptor() {
    if !is_alone("leak::a_hundred_hostile_sessions_leave_no_descriptor") {
        return;
    }
    let serving = Serving::start();
    let guest = Guest::new();
    serving.assert_serves();
    // The next session begins when everything of the one before is gone.
    let settled = |serving: &Serving| {
        let frontend = serving.connect();
        frontend.barrier();
        open_descriptors()
    };
    let before = settled(&serving);
    for round in 0..100 {
        let frontend = serving.connect();
        frontend.negotiate(OFFERED);
        frontend.share(&guest);
        for ring in 0..8 {
            frontend.start_ring(ring, 0);
            frontend.tell(SetVringErr, &longs(&[ring.into()]), &[event().as_fd()]);
        }
        let events: Vec<_> = (0..40).map(|_| event()).collect();
        let many: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        for request in
            [SetVringKick, SetMemTable, SetLogFd, AddMemReg, RemMemReg, SetBackendReqFd, GetFeatures]
        {
            frontend.tell(request, &longs(&[0; 5]), &many[..round % 40]);
        }
        // Descriptors in front of half a message.
        frontend.send(&header(SetVringKick.code(), 1, 8)[..round % 12 + 1], &many[..round % 40]).unwrap();
    }
    break_streams(&serving);
    misuse_requests(&serving);
    assert_eq!(settled(&serving), before);
}
