//! The life of a ring.

use std::os::fd::AsFd;

use mqtap_vhost_user::message::Request::*;
use mqtap_virtio::memory::SharedMemory;

use crate::device::RING_PACKED;
use crate::frontend::*;

fn ready() -> (Serving, Frontend, Guest) {
    let serving = Serving::start();
    let (frontend, guest) = (serving.connect(), Guest::new());
    frontend.negotiate(OFFERED);
    frontend.share(&guest);
    frontend.barrier();
    serving.calls();
    (serving, frontend, guest)
}

const NO_FD: u64 = 1 << 8;

#[test]
fn without_descriptors_both_sides_poll() {
    let (serving, frontend, _guest) = ready();
    frontend.tell(SetVringNum, &words(&[1, 256]), &[]);
    frontend.tell(SetVringAddr, &Frontend::addresses(1, None), &[]);
    for request in [SetVringCall, SetVringErr, SetVringKick] {
        assert_eq!(frontend.ack(request, &longs(&[1 | NO_FD]), &[]), 0);
    }
    assert_eq!(serving.calls(), ["start 1 size=256 base=0x0 kick=none call=none error=none enabled"]);
}

#[test]
fn descriptors_of_a_running_ring_are_exchanged() {
    let (serving, frontend, _guest) = ready();
    frontend.start_ring(0, 3);
    serving.calls();
    for (request, name) in [(SetVringKick, "kick"), (SetVringCall, "call"), (SetVringErr, "error")] {
        assert_eq!(frontend.ack(request, &longs(&[0]), &[event().as_fd()]), 0);
        assert_eq!(frontend.ack(request, &longs(&[NO_FD]), &[]), 0);
        assert_eq!(serving.calls(), [format!("{name} 0 fd"), format!("{name} 0 none")]);
        serving.record.fail(name);
        assert_eq!(frontend.ack(request, &longs(&[0]), &[event().as_fd()]), 1);
        serving.calls();
    }
    assert_eq!(frontend.get_base(0), 8);
}

/// Whatever is missing when the kick comes, the ring starts when it is there.
#[test]
fn a_kick_that_comes_early_is_kept() {
    let serving = Serving::start();
    let (frontend, guest) = (serving.connect(), Guest::new());
    let parts: [&dyn Fn(); 4] = [
        &|| frontend.tell(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]),
        &|| frontend.tell(SetVringNum, &words(&[0, 256]), &[]),
        &|| frontend.tell(SetVringAddr, &Frontend::addresses(0, None), &[]),
        &|| frontend.share(&guest),
    ];
    frontend.tell(SetProtocolFeatures, &longs(&[OFFERED]), &[]);
    for last in 0..parts.len() {
        assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &[event().as_fd()]), 0);
        for (_, say) in parts.iter().enumerate().filter(|(part, _)| *part != last) {
            say();
        }
        frontend.barrier();
        let started = |calls: Vec<String>| calls.iter().any(|call| call.starts_with("start"));
        assert!(!started(serving.calls()), "without part {last}");
        parts[last]();
        frontend.barrier();
        assert!(started(serving.calls()), "with part {last}");
        // Forget all of it.
        assert_eq!(frontend.ack(ResetDevice, &[], &[]), 0);
        frontend.tell(SetMemTable, &words(&[0, 0]), &[]);
        frontend.barrier();
        serving.calls();
    }
}

#[test]
fn a_stopped_ring_needs_a_new_kick() {
    let (serving, frontend, guest) = ready();
    frontend.start_ring(0, 0);
    assert_eq!(frontend.get_base(0), 5);
    assert_eq!(frontend.get_base(0), 5, "asked again");
    serving.calls();
    // What would start a ring that waits.
    frontend.tell(SetVringAddr, &Frontend::addresses(0, None), &[]);
    frontend.share(&guest);
    frontend.barrier();
    assert!(!serving.calls().iter().any(|call| call.starts_with("start")));
    frontend.tell(SetVringKick, &longs(&[0]), &[event().as_fd()]);
    frontend.barrier();
    assert_eq!(serving.calls(), ["start 0 size=256 base=0x5 kick=fd call=fd error=none enabled"]);
    // Even one that came early is for nothing once the ring was asked to stop.
    frontend.tell(SetVringKick, &longs(&[3]), &[event().as_fd()]);
    assert_eq!(frontend.get_base(3), 0);
    frontend.tell(SetVringNum, &words(&[3, 256]), &[]);
    frontend.tell(SetVringAddr, &Frontend::addresses(3, None), &[]);
    frontend.barrier();
    assert_eq!(serving.calls(), [""; 0]);
}

#[test]
fn enabled_is_tracked_in_every_state() {
    let (serving, frontend, _guest) = ready();
    frontend.tell(SetVringEnable, &words(&[0, 0]), &[]);
    frontend.tell(SetVringEnable, &words(&[2, 1]), &[]);
    frontend.start_ring(0, 0);
    frontend.start_ring(2, 0);
    let start = |ring, rest| format!("start {ring} size=256 base=0x0 kick=fd call=fd error=none{rest}");
    assert_eq!(serving.calls(), ["disable 0".into(), "enable 2".into(), start(0, ""), start(2, " enabled")]);
    serving.record.fail("disable");
    assert_eq!(frontend.ack(SetVringEnable, &words(&[2, 0]), &[]), 1);
    // It is enabled still, so this is not a repetition.
    assert_eq!(frontend.ack(SetVringEnable, &words(&[2, 0]), &[]), 0);
    assert_eq!(serving.calls(), ["disable 2", "disable 2"]);
}

#[test]
fn a_running_ring_stays_as_it_is() {
    let (serving, frontend, _guest) = ready();
    frontend.start_ring(0, 0);
    serving.calls();
    assert_eq!(frontend.ack(SetVringNum, &words(&[0, 512]), &[]), 1);
    assert_eq!(frontend.ack(SetVringNum, &words(&[0, 256]), &[]), 0);
    assert_eq!(frontend.ack(SetVringBase, &words(&[0, 0]), &[]), 1);
    let mut elsewhere = Frontend::addresses(1, None);
    elsewhere[..4].fill(0);
    assert_eq!(frontend.ack(SetVringAddr, &elsewhere, &[]), 1);
    assert_eq!(frontend.ack(SetVringAddr, &Frontend::addresses(0, None), &[]), 0);
    let packed = longs(&[VERSION_1 | PROTOCOL_FEATURES | RING_PACKED]);
    assert_eq!(frontend.ack(SetFeatures, &packed, &[]), 1);
    assert_eq!(serving.calls(), [""; 0]);
}

#[test]
fn sizes_and_bases_a_ring_cannot_have() {
    let (_serving, frontend, _guest) = ready();
    for size in [0, 3, 255, 1025, 2048, 0x1_0000, u32::MAX] {
        assert_eq!(frontend.ack(SetVringNum, &words(&[0, size]), &[]), 1, "{size}");
    }
    for size in [1, 2, 1024] {
        assert_eq!(frontend.ack(SetVringNum, &words(&[0, size]), &[]), 0, "{size}");
    }
    assert_eq!(frontend.ack(SetVringBase, &words(&[0, 0xffff]), &[]), 0);
    assert_eq!(frontend.ack(SetVringBase, &words(&[0, 0x1_0000]), &[]), 1);
    assert_eq!(frontend.get_base(0), 0xffff);
}

#[test]
fn rings_there_are_not() {
    let (serving, frontend, _guest) = ready();
    for ring in [8, 9, 255, 256, u32::MAX] {
        assert_eq!(frontend.ack(SetVringNum, &words(&[ring, 256]), &[]), 1);
        assert_eq!(frontend.ack(SetVringBase, &words(&[ring, 0]), &[]), 1);
        assert_eq!(frontend.ack(SetVringAddr, &Frontend::addresses(ring, None), &[]), 1);
        assert_eq!(frontend.ack(SetVringEnable, &words(&[ring, 1]), &[]), 1);
        // It has a reply, which has no base.
        assert_eq!(frontend.ask(GetVringBase, &words(&[ring, 0]), &[]), b"");
    }
    for ring in [8, 255] {
        for request in [SetVringKick, SetVringCall, SetVringErr] {
            assert_eq!(frontend.ack(request, &longs(&[ring]), &[event().as_fd()]), 1);
        }
    }
    assert_eq!(serving.calls(), [""; 0]);
}

/// Kick, call and error have 8 bits for the ring; what a device has beyond is out of reach.
#[test]
fn at_most_256_rings() {
    let serving = Serving::with_rings(512);
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    assert_eq!(frontend.ask_number(GetQueueNum), 256);
    assert_eq!(frontend.ack(SetVringEnable, &words(&[255, 1]), &[]), 0);
    assert_eq!(frontend.ack(SetVringEnable, &words(&[256, 1]), &[]), 1);
}

#[test]
fn descriptors_that_cannot_notify() {
    let (serving, frontend, guest) = ready();
    let null = std::fs::File::open("/dev/null").unwrap();
    let file = tempfile::tempfile().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    for request in [SetVringKick, SetVringCall, SetVringErr] {
        for fd in [null.as_fd(), file.as_fd(), guest.ram.fd(), frontend.stream.as_fd()] {
            assert_eq!(frontend.ack(request, &longs(&[0]), &[fd]), 1, "{request}: {fd:?}");
        }
        assert_eq!(frontend.ack(request, &longs(&[0]), &[]), 1, "{request}: none");
        let two = [event(), event()];
        assert_eq!(
            frontend.ack(request, &longs(&[0]), &[two[0].as_fd(), two[1].as_fd()]),
            1,
            "{request}: two"
        );
    }
    assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &[reader.as_fd()]), 0);
    assert_eq!(frontend.ack(SetVringCall, &longs(&[0]), &[writer.as_fd()]), 0);
    assert_eq!(serving.calls(), [""; 0]);
}

#[test]
fn a_ring_the_device_cannot_start() {
    let (serving, frontend, _guest) = ready();
    serving.record.fail("start");
    frontend.tell(SetVringNum, &words(&[0, 256]), &[]);
    frontend.tell(SetVringAddr, &Frontend::addresses(0, None), &[]);
    assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &[event().as_fd()]), 1);
    assert_eq!(frontend.get_base(0), 0);
    assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &[event().as_fd()]), 0);
    // And one it cannot stop properly: there is no base to tell, and the ring is stopped all the same.
    serving.record.fail("stop");
    assert_eq!(frontend.ask(GetVringBase, &words(&[0, 0]), &[]), b"");
    assert_eq!(frontend.get_base(0), 0);
}

#[test]
fn addresses_outside_of_memory() {
    let (serving, frontend, _guest) = ready();
    frontend.tell(SetVringNum, &words(&[0, 256]), &[]);
    let mut nowhere = words(&[0, 0]);
    nowhere.extend(longs(&[0x1000, 0x2000, 0x3000, 0]));
    assert_eq!(frontend.ack(SetVringAddr, &nowhere, &[]), 0, "memory may come later");
    assert_eq!(frontend.ack(SetVringKick, &longs(&[0]), &[event().as_fd()]), 1);
    assert_eq!(serving.calls(), [""; 0]);
    // It does come, and the ring starts.
    let low = SharedMemory::create(0x1_0000).unwrap();
    assert_eq!(frontend.add_region([0x10_0000, 0x1_0000, 0, 0], low.fd()), 0);
    let calls = serving.calls();
    assert_eq!(calls[0], "memory 2 regions");
    assert!(calls[1].starts_with("start 0 "), "{calls:?}");
}
