//! Frontends that break the rules. After each of them the same server serves a good one.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mqtap_vhost_user::message::Request::{self, *};

use crate::frontend::*;

/// Streams that cannot be read on: the server closes the connection.
pub(crate) fn break_streams(serving: &Serving) {
    let event = event();
    let good = || header(GetFeatures.code(), 1, 0);
    let mut cut_body = header(SetFeatures.code(), 1, 8);
    cut_body.extend([0; 7]);
    let streams: [(&str, Vec<u8>); 9] = [
        ("no version", header(1, 0, 0)),
        ("another version", header(1, 2, 0)),
        ("zeros", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("text", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("too large", header(5, 1, 4097)),
        ("far too large", header(5, 1, u32::MAX as usize)),
        ("half a header", good()[..7].to_vec()),
        ("body cut short", cut_body),
    ];
    for (name, bytes) in streams {
        for fds in [vec![], vec![event.as_fd(); 3]] {
            let frontend = serving.connect();
            frontend.send(&bytes, &fds).unwrap();
            frontend.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(frontend.reply(), None, "{name}");
        }
    }
}

/// Requests with bodies, descriptors and codes that do not fit; the session survives them all.
pub(crate) fn misuse_requests(serving: &Serving) {
    let event = event();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    let known = Request::ALL.iter().map(|request| request.code());
    for code in known.chain([0, 46, 1000, u32::MAX]) {
        for size in [0, 1, 7, 8, 9, 12, 16, 39, 40, 41, 300, 4096] {
            for byte in [0, 0xff] {
                for fds in [0, 1, 2, 33] {
                    let fds: Vec<BorrowedFd<'_>> = vec![event.as_fd(); fds];
                    frontend.message(code, 1, &vec![byte; size], &fds);
                }
            }
            // The kernel limits the descriptors that may be under way.
            drain(&frontend);
        }
    }
    // Undo what was no mistake: other features, rings without end.
    frontend.tell(ResetDevice, &[], &[]);
    frontend.barrier();
}

/// Reads the replies there are to whatever was sent, up to that of a last question.
fn drain(frontend: &Frontend) {
    frontend.tell(GetMaxMemSlots, &[], &[]);
    frontend.tell(GetQueueNum, &[], &[]);
    let mut last = (0, Vec::new());
    loop {
        let reply = frontend.reply().expect("the session goes on");
        if reply.0 == GetQueueNum.code() && last.0 == GetMaxMemSlots.code() {
            return;
        }
        last = reply;
    }
}

#[test]
fn a_broken_stream_ends_only_its_session() {
    let serving = Serving::start();
    break_streams(&serving);
    serving.assert_serves();
}

#[test]
fn whatever_is_asked_the_session_goes_on() {
    let serving = Serving::start();
    misuse_requests(&serving);
    serving.assert_serves();
}

/// Every request that fails says so if asked, and exactly once.
#[test]
fn one_answer_for_each_question() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    for request in Request::ALL {
        // A body no request has.
        frontend.message(request.code(), 9, &[0xff; 3], &[]);
        let (code, body) = frontend.reply().expect("an answer");
        assert_eq!(code, request.code());
        assert!(matches!(body.len(), 0 | 8), "{request}: {body:?}");
        frontend.barrier();
    }
    // Codes nobody knows: no, when asked; silence, when not.
    for code in [0, 46, u32::MAX] {
        frontend.message(code, 9, &[0; 20], &[]);
        assert_eq!(frontend.reply(), Some((code, 1_u64.to_ne_bytes().to_vec())));
        frontend.message(code, 1, &[0; 20], &[]);
        frontend.barrier();
    }
    // A reply to nothing is not answered, whatever it says.
    for request in [GetFeatures, SetFeatures, GetVringBase] {
        frontend.message(request.code(), 1 | 1 << 2 | 1 << 3, &[0; 8], &[]);
        frontend.barrier();
    }
    // What was not offered: refused, in the way its frontend can understand.
    assert_eq!(frontend.ack(SetBackendReqFd, &[], &[event().as_fd()]), 1);
    assert_eq!(frontend.ack(SetInflightFd, &[0; 24], &[event().as_fd()]), 1);
    assert_eq!(frontend.ask(GetInflightFd, &[0; 24], &[]), b"");
    assert_eq!(frontend.ask(IotlbMsg, &[0; 32], &[]), 1_u64.to_ne_bytes());
    assert_eq!(frontend.ask(SetDeviceStateFd, &[0; 8], &[event().as_fd()]), 0x101_u64.to_ne_bytes());
}

#[test]
fn more_descriptors_than_a_message_may_have() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    frontend.negotiate(OFFERED);
    let event = event();
    for count in [33, 253] {
        let fds = vec![guest.ram.fd(); count];
        let mut table = words(&[1, 0]);
        table.extend(longs(&Guest::region()));
        assert_eq!(frontend.ack(SetMemTable, &table, &fds), 1, "{count}");
        assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &vec![event.as_fd(); count]), 1, "{count}");
        // Where none belong, none are missed.
        assert_eq!(frontend.ack(SetVringEnable, &words(&[0, 1]), &vec![event.as_fd(); count]), 0, "{count}");
    }
    drop(frontend);
    serving.assert_serves();
}

/// Bytes come as the socket likes, descriptors with the first of them.
#[test]
fn a_message_in_pieces() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    frontend.negotiate(OFFERED);
    serving.calls();
    let mut message = header(SetMemTable.code(), 9, 40);
    message.extend(words(&[1, 0]));
    message.extend(longs(&Guest::region()));
    frontend.send(&message[..1], &[guest.ram.fd()]).unwrap();
    for byte in &message[1..] {
        frontend.send(&[*byte], &[]).unwrap();
    }
    assert_eq!(frontend.reply(), Some((SetMemTable.code(), vec![0; 8])));

    // And two messages at once, as replies are not waited for.
    let mut both = header(GetStatus.code(), 1, 0);
    both.extend(header(GetQueueNum.code(), 1, 0));
    frontend.send(&both, &[]).unwrap();
    assert_eq!(frontend.reply(), Some((GetStatus.code(), vec![0; 8])));
    assert_eq!(frontend.reply(), Some((GetQueueNum.code(), longs(&[8]))));
    assert_eq!(serving.calls(), ["memory 1 regions"]);
}

#[test]
fn a_frontend_that_stalls_does_not_keep_the_server_from_stopping() {
    let mut cut = header(SetFeatures.code(), 1, 8);
    cut.push(0);
    for stalled_after in [0, 5, 12, 13] {
        let serving = Serving::start();
        let frontend = serving.connect();
        frontend.send(&cut[..stalled_after.max(1)], &[]).unwrap();
        // Give it the time to be in the middle; if it is not, the test only tests less.
        std::thread::sleep(Duration::from_millis(20));
        serving.finish();
    }
}

#[test]
fn a_frontend_that_reads_nothing_does_not_keep_the_server_from_stopping() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.stream.set_nonblocking(true).unwrap();
    let mut stream = &frontend.stream;
    // Until neither side can write: the server is stuck in a reply.
    let request = header(GetFeatures.code(), 1, 0);
    let mut refused = 0;
    while refused < 10 {
        match stream.write(&request) {
            Ok(sent) => {
                // A part of a message only when the buffer is full, and then it stays so.
                refused = if sent == request.len() { 0 } else { 10 };
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    serving.finish();
}

#[test]
fn a_frontend_that_hears_no_more_ends_its_session() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    frontend.stream.shutdown(Shutdown::Read).unwrap();
    // The reply cannot be written. The request may fail as well, when the server was quick.
    let _ = frontend.send(&header(GetFeatures.code(), 1, 0), &[]);
    serving.assert_serves();
}

#[test]
fn a_frontend_that_is_gone_with_everything_running() {
    let serving = Serving::start();
    for _ in 0..20 {
        let frontend = serving.connect();
        let guest = Guest::new();
        frontend.negotiate(OFFERED);
        frontend.share(&guest);
        for ring in 0..4 {
            frontend.start_ring(ring, 0);
        }
        // Unread replies make the close a reset.
        frontend.tell(GetFeatures, &[], &[]);
        drop(frontend);
    }
    serving.assert_serves();
}
