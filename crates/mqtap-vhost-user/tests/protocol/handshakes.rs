//! The orders of messages that frontends were seen to send.

use std::os::fd::AsFd;

use mqtap_vhost_user::message::Request::*;

use crate::device::RING_PACKED;
use crate::frontend::*;

/// What QEMU says for each pair before the guest's driver is there.
fn qemu_initialises(frontend: &Frontend, pair: u32) {
    frontend.ask_number(GetFeatures);
    let offered = frontend.ask_number(GetProtocolFeatures);
    // Also for the second pair, after SET_OWNER: QEMU warns about CONFIG.
    assert_eq!(offered, OFFERED);
    frontend.tell(SetProtocolFeatures, &longs(&[offered]), &[]);
    if pair == 0 {
        assert_eq!(frontend.ask_number(GetQueueNum), 8, "virtqueues");
    }
    assert_eq!(frontend.ask_number(GetMaxMemSlots), 509);
    if pair == 0 {
        frontend.tell(SetOwner, &[], &[]);
    }
    frontend.ask_number(GetFeatures);
    for ring in [2 * pair, 2 * pair + 1] {
        let number = longs(&[ring.into()]);
        frontend.tell(SetVringCall, &number, &[event().as_fd()]);
        frontend.tell(SetVringErr, &number, &[event().as_fd()]);
    }
}

fn set_status(frontend: &Frontend, add: u64) {
    let status = frontend.ask_number(GetStatus);
    frontend.tell(SetStatus, &longs(&[status | add]), &[]);
}

fn qemu_7_2_starts(frontend: &Frontend, guest: &Guest, pair: u32) {
    for ring in [2 * pair, 2 * pair + 1] {
        frontend.tell(SetVringEnable, &words(&[ring, 1]), &[]);
    }
    frontend.tell(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]);
    // Once for each pair, with an acknowledgement that must be good.
    assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0);
    for ring in [2 * pair, 2 * pair + 1] {
        let number = longs(&[ring.into()]);
        frontend.tell(SetVringNum, &words(&[ring, 256]), &[]);
        frontend.tell(SetVringBase, &words(&[ring, 0]), &[]);
        frontend.tell(SetVringAddr, &Frontend::addresses(ring, None), &[]);
        frontend.tell(SetVringKick, &number, &[event().as_fd()]);
        frontend.tell(SetVringCall, &number, &[event().as_fd()]);
    }
    if pair == 1 {
        set_status(frontend, 1 | 2 | 4);
    }
}

#[test]
fn qemu_7_2() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    (0..2).for_each(|pair| qemu_initialises(&frontend, pair));
    // On setting and resetting features, before features and memory.
    for ring in 0..4 {
        frontend.tell(SetVringEnable, &words(&[ring, u32::from(ring < 2)]), &[]);
    }
    frontend.barrier();
    assert_eq!(serving.calls(), ["enable 0", "enable 1"]);

    (0..2).for_each(|pair| qemu_7_2_starts(&frontend, &guest, pair));
    frontend.barrier();
    let start = |ring| format!("start {ring} size=256 base=0x0 kick=fd call=fd error=fd enabled");
    let call = |ring| format!("call {ring} fd");
    let mut expected = vec!["features 0x100000000".into(), "memory 1 regions".into()];
    expected.extend([start(0), call(0), start(1), call(1)]);
    expected.extend(["enable 2".into(), "enable 3".into(), start(2), call(2), start(3), call(3)]);
    expected.push("status 7".into());
    assert_eq!(serving.calls(), expected);

    // The driver takes one pair, then both: every ring is named each time.
    for pairs in [1, 2] {
        for ring in 0..4 {
            frontend.tell(SetVringEnable, &words(&[ring, u32::from(ring < 2 * pairs)]), &[]);
        }
    }
    frontend.barrier();
    assert_eq!(serving.calls(), ["disable 2", "disable 3", "enable 2", "enable 3"]);

    // The status comes before the bases are asked for.
    frontend.tell(SetStatus, &longs(&[0]), &[]);
    frontend.barrier();
    assert_eq!(serving.calls(), ["stop 0", "stop 1", "stop 2", "stop 3", "status 0"]);
    for ring in 0..4 {
        assert_eq!(frontend.get_base(ring), 5);
    }
    frontend.tell(ResetOwner, &[], &[]);
    assert_eq!(serving.calls(), [""; 0]);

    // The guest comes up again, with its memory where it was.
    (0..2).for_each(|pair| qemu_7_2_starts(&frontend, &guest, pair));
    frontend.barrier();
    let calls = serving.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("start")).count(), 4, "{calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("memory")), "nothing was mapped again: {calls:?}");

    // A region goes, said once for each pair.
    (0..4).for_each(|ring| assert_eq!(frontend.get_base(ring), 5));
    assert_eq!(frontend.remove_region(Guest::region()), 0);
    assert_eq!(frontend.remove_region(Guest::region()), 0);
    drop(frontend);
    serving.assert_serves();
}

fn qemu_11_starts(frontend: &Frontend, guest: Option<&Guest>, pair: u32) {
    for ring in [2 * pair, 2 * pair + 1] {
        assert_eq!(frontend.ack(SetVringEnable, &words(&[ring, 1]), &[]), 0);
    }
    frontend.tell(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]);
    if let Some(guest) = guest.filter(|_| pair == 0) {
        assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0);
    }
    for ring in [2 * pair, 2 * pair + 1] {
        let number = longs(&[ring.into()]);
        let kick = event();
        frontend.tell(SetVringNum, &words(&[ring, 1024]), &[]);
        frontend.tell(SetVringBase, &words(&[ring, 0]), &[]);
        frontend.tell(SetVringAddr, &Frontend::addresses(ring, None), &[]);
        assert_eq!(frontend.ack(SetVringKick, &number, &[kick.as_fd()]), 0);
        rustix::io::write(&kick, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(frontend.ack(SetVringCall, &number, &[event().as_fd()]), 0);
    }
    if pair == 1 {
        set_status(frontend, 1 | 2 | 4);
    }
}

#[test]
fn qemu_11() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    (0..2).for_each(|pair| qemu_initialises(&frontend, pair));
    for ring in 0..4 {
        assert_eq!(frontend.ack(SetVringEnable, &words(&[ring, u32::from(ring < 2)]), &[]), 0);
    }
    (0..2).for_each(|pair| qemu_11_starts(&frontend, Some(&guest), pair));
    frontend.barrier();
    let calls = serving.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("start")).count(), 4, "{calls:?}");

    // Stop: the bases first, then the status, then the device.
    (0..4).for_each(|ring| assert_eq!(frontend.get_base(ring), 5));
    frontend.tell(SetStatus, &longs(&[0]), &[]);
    frontend.tell(ResetDevice, &[], &[]);
    assert_eq!(frontend.ask_number(GetStatus), 0);
    assert_eq!(
        serving.calls(),
        [
            "stop 0",
            "stop 1",
            "stop 2",
            "stop 3",
            "status 0",
            "reset",
            "enable 0",
            "enable 1",
            "memory 1 regions"
        ]
    );
    // The same memory slots are not announced again.
    (0..2).for_each(|pair| qemu_11_starts(&frontend, None, pair));
    frontend.barrier();
    let calls = serving.calls();
    // The error descriptors were given once, long before the reset.
    for ring in 0..4 {
        let start = format!("start {ring} size=1024 base=0x0 kick=fd call=fd error=fd enabled");
        assert!(calls.contains(&start), "{calls:?}");
    }
    drop(frontend);
    serving.assert_serves();
}

/// Cloud Hypervisor, crosvm, libkrun and others say SET_OWNER first.
#[test]
fn frontends_that_own_first_are_offered_the_configuration() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.tell(SetOwner, &[], &[]);
    frontend.ask_number(GetFeatures);
    assert_eq!(frontend.ask_number(GetProtocolFeatures), OFFERED | CONFIG);
    assert_eq!(frontend.ask_number(GetProtocolFeatures), OFFERED | CONFIG);
    frontend.tell(SetProtocolFeatures, &longs(&[OFFERED | CONFIG]), &[]);

    let config = |offset: u32, size: u32, flags: u32, byte: u8| {
        let mut body = words(&[offset, size, flags]);
        body.resize(12 + size as usize, byte);
        body
    };
    let reply = frontend.ask(GetConfig, &config(2, 20, 0, 0xff), &[]);
    assert_eq!(reply[..12], words(&[2, 20, 0]));
    // Beyond what the device has there are zeros.
    assert_eq!(reply[12..], [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // An error has no payload at all.
    assert_eq!(frontend.ask(GetConfig, &config(200, 100, 0, 0), &[]), b"");
    assert_eq!(frontend.ask(GetConfig, &[1, 2, 3], &[]), b"");
    for flags in [0, 1] {
        assert_eq!(frontend.ack(SetConfig, &config(0, 6, flags, 7), &[]), 1, "read-only");
        assert_eq!(frontend.ack(SetConfig, &config(2, 1, flags, 3), &[]), 0, "what it is already");
    }
}

/// DPDK's virtio-user: one index for packed rings, no protocol feature it does not know.
#[test]
fn dpdk_packed() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    frontend.tell(SetOwner, &[], &[]);
    frontend.ask_number(GetFeatures);
    frontend.ask_number(GetProtocolFeatures);
    frontend.tell(SetProtocolFeatures, &longs(&[1 << 0 | REPLY_ACK | 1 << 16]), &[]);
    assert_eq!(frontend.ask_number(GetQueueNum), 8);
    frontend.tell(SetVringCall, &longs(&[0]), &[event().as_fd()]);
    let features = VERSION_1 | RING_PACKED | PROTOCOL_FEATURES;
    assert_eq!(frontend.ack(SetFeatures, &longs(&[features]), &[]), 0);
    frontend.share(&guest);
    // 100 is no power of two, which a packed ring need not have.
    frontend.tell(SetVringNum, &words(&[0, 100]), &[]);
    frontend.tell(SetVringBase, &words(&[0, 0x8000]), &[]);
    frontend.tell(SetVringAddr, &Frontend::addresses(0, None), &[]);
    frontend.tell(SetVringKick, &longs(&[0]), &[event().as_fd()]);
    assert_eq!(frontend.get_base(0), 0x8000_8000);
    let calls = serving.calls();
    let start = "start 0 size=100 base=0x80008000 kick=fd call=fd error=none enabled";
    assert!(calls.iter().any(|call| call == start), "{calls:?}");
}

/// A frontend from before protocol features: no bit 30, so all rings are enabled.
#[test]
fn without_protocol_features_every_ring_is_enabled() {
    let serving = Serving::start();
    let frontend = serving.connect();
    let guest = Guest::new();
    frontend.tell(SetOwner, &[], &[]);
    frontend.tell(SetFeatures, &longs(&[VERSION_1]), &[]);
    frontend.share(&guest);
    frontend.start_ring(2, 7);
    let calls = serving.calls();
    assert_eq!(
        calls[2..9],
        ["features 0x100000000", "enable 2", "enable 3", "enable 4", "enable 5", "enable 6", "enable 7"]
    );
    assert_eq!(
        calls[9..],
        ["memory 1 regions", "start 2 size=256 base=0x7 kick=fd call=fd error=none enabled"]
    );
    // Nobody negotiated acknowledgements; the bit alone asks for nothing.
    frontend.message(SetVringEnable.code(), 9, &words(&[2, 0]), &[]);
    assert_eq!(frontend.get_base(2), 12);
}

#[test]
fn network_requests() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    serving.calls();
    let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0];
    assert_eq!(frontend.ack(SendRarp, &mac, &[]), 0);
    assert_eq!(frontend.ack(SendRarp, &[1, 0, 0x5e, 0, 0, 1, 0, 0], &[]), 1, "a group");
    assert_eq!(frontend.ack(SendRarp, &[0; 8], &[]), 1);
    assert_eq!(frontend.ack(NetSetMtu, &longs(&[9000]), &[]), 0);
    for mtu in [0, 67, 0x1_0000, u64::MAX] {
        assert_eq!(frontend.ack(NetSetMtu, &longs(&[mtu]), &[]), 1, "{mtu}");
    }
    assert_eq!(frontend.ack(SetStatus, &longs(&[0x100]), &[]), 1);
    assert_eq!(frontend.ack(SetStatus, &longs(&[0x0f]), &[]), 0);
    assert_eq!(frontend.ask_number(GetStatus), 0x0f);
    assert_eq!(frontend.ack(SetVringEndian, &words(&[0, 0]), &[]), 0);
    assert_eq!(frontend.ack(SetVringEndian, &words(&[0, 1]), &[]), 1);
    assert_eq!(serving.calls(), ["announce 52:54:00:12:34:56", "mtu 9000", "status 15"]);

    // The device can refuse, too.
    serving.record.fail("mtu");
    assert_eq!(frontend.ack(NetSetMtu, &longs(&[1500]), &[]), 1);
    serving.record.fail("announce");
    assert_eq!(frontend.ack(SendRarp, &mac, &[]), 1);
    assert_eq!(frontend.ack(NetSetMtu, &longs(&[1500]), &[]), 0);
}

#[test]
fn features_are_those_offered() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    serving.calls();
    // MAC and the control queue are between driver and frontend; a frontend may pass them on.
    let own = VERSION_1 | PROTOCOL_FEATURES | 1 << 5 | 1 << 17 | 1 << 15;
    assert_eq!(frontend.ack(SetFeatures, &longs(&[own]), &[]), 0);
    assert_eq!(serving.calls(), ["features 0x100008000"]);
    // IOMMU: not offered, and not harmless.
    assert_eq!(frontend.ack(SetFeatures, &longs(&[own | 1 << 33]), &[]), 1);
    assert_eq!(frontend.ack(SetProtocolFeatures, &longs(&[OFFERED | 1 << 5]), &[]), 1);
    assert_eq!(serving.calls(), [""; 0]);

    // The device refuses; the same again is tried again.
    serving.record.fail("features");
    let other = longs(&[VERSION_1 | PROTOCOL_FEATURES]);
    assert_eq!(frontend.ack(SetFeatures, &other, &[]), 1);
    assert_eq!(frontend.ack(SetFeatures, &other, &[]), 0);
    assert_eq!(frontend.ack(SetFeatures, &other, &[]), 0);
    assert_eq!(serving.calls(), ["features 0x100000000", "features 0x100000000"]);
}
