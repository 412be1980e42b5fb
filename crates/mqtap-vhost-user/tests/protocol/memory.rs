//! Guest memory and the dirty log.

use std::os::fd::{AsFd, BorrowedFd};

use mqtap_vhost_user::message::Request::*;
use mqtap_virtio::memory::SharedMemory;

use crate::frontend::*;

fn ready() -> (Serving, Frontend, Guest) {
    let serving = Serving::start();
    let (frontend, guest) = (serving.connect(), Guest::new());
    frontend.negotiate(OFFERED);
    frontend.share(&guest);
    frontend.start_ring(0, 0);
    serving.calls();
    (serving, frontend, guest)
}

fn table(regions: &[[u64; 4]]) -> Vec<u8> {
    let mut body = words(&[regions.len() as u32, 0]);
    regions.iter().for_each(|region| body.extend(longs(region)));
    body
}

const HOTPLUGGED: [u64; 4] = [0x1_0000_0000, 0x10_0000, 0x7e00_0000_0000, 0];

#[test]
fn memory_grows_and_shrinks_under_a_running_ring() {
    let (serving, frontend, guest) = ready();
    let more = SharedMemory::create(0x10_0000).unwrap();
    let both = table(&[Guest::region(), HOTPLUGGED]);
    assert_eq!(frontend.ack(SetMemTable, &both, &[guest.ram.fd(), more.fd()]), 0);
    assert_eq!(frontend.ack(SetMemTable, &table(&[Guest::region()]), &[guest.ram.fd()]), 0);
    assert_eq!(frontend.add_region(HOTPLUGGED, more.fd()), 0);
    assert_eq!(frontend.remove_region(HOTPLUGGED), 0);
    let expected = ["memory 2 regions", "memory 1 regions", "memory 2 regions", "memory 1 regions"];
    assert_eq!(serving.calls(), expected, "and the ring was left alone");
}

#[test]
fn a_ring_waits_while_its_memory_is_exchanged() {
    let (serving, frontend, guest) = ready();
    assert_eq!(frontend.remove_region(Guest::region()), 0);
    assert_eq!(serving.calls(), ["stop 0", "memory none"]);
    assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0);
    let start = "start 0 size=256 base=0x5 kick=fd call=fd error=none enabled";
    assert_eq!(serving.calls(), ["memory 1 regions", start], "where it got to, with what it had");

    // The same user addresses at other guest addresses: not the ring the device has.
    let moved = [0x8000_0000, Guest::SIZE, Guest::USER, 0];
    assert_eq!(frontend.ack(SetMemTable, &table(&[moved]), &[guest.ram.fd()]), 0);
    let start = "start 0 size=256 base=0xa kick=fd call=fd error=none enabled";
    assert_eq!(serving.calls(), ["stop 0", "memory 1 regions", start]);

    // A ring that waits can be asked where it is, and then it does not start by itself.
    assert_eq!(frontend.remove_region(moved), 0);
    assert_eq!(frontend.get_base(0), 15);
    assert_eq!(frontend.add_region(moved, guest.ram.fd()), 0);
    assert_eq!(serving.calls(), ["stop 0", "memory none", "memory 1 regions"]);
}

#[test]
fn a_table_that_is_refused_changes_nothing() {
    let (serving, frontend, guest) = ready();
    let ram = || guest.ram.fd();
    let null = std::fs::File::open("/dev/null").unwrap();
    let read_only = {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(Guest::SIZE).unwrap();
        std::fs::File::open(file.path()).unwrap()
    };
    let [at, size, user, _] = Guest::region();
    type Case<'a> = (&'a str, Vec<u8>, Vec<BorrowedFd<'a>>);
    let event = event();
    let cases: [Case<'_>; 11] = [
        (
            "overlapping",
            table(&[[at, size, user, 0], [at + 0x1000, size, user + size, 0]]),
            vec![ram(), ram()],
        ),
        ("empty", table(&[[at, 0, user, 0]]), vec![ram()]),
        ("wrapping in guest addresses", table(&[[u64::MAX - 0xfff, size, user, 0]]), vec![ram()]),
        ("wrapping in user addresses", table(&[[at, size, u64::MAX - 0xfff, 0]]), vec![ram()]),
        ("beyond the file", table(&[[at, size, user, 0x1000]]), vec![ram()]),
        ("offset wraps", table(&[[at, size, user, u64::MAX]]), vec![ram()]),
        ("fewer descriptors", table(&[Guest::region(), HOTPLUGGED]), vec![ram()]),
        ("more descriptors", table(&[Guest::region()]), vec![ram(), ram()]),
        ("not memory", table(&[Guest::region()]), vec![event.as_fd()]),
        ("read-only", table(&[Guest::region()]), vec![read_only.as_fd()]),
        ("cut short", table(&[Guest::region()])[..39].to_vec(), vec![ram()]),
    ];
    for (name, body, fds) in &cases {
        assert_eq!(frontend.ack(SetMemTable, body, fds), 1, "{name}");
        assert_eq!(serving.calls(), [""; 0], "{name}");
    }
    // A character device has no size that could be compared; the kernel refuses to map this one.
    assert_eq!(frontend.ack(SetMemTable, &table(&[Guest::region()]), &[null.as_fd()]), 1);
    assert_eq!(frontend.add_region([at + 0x1000, size, user + size, 0], ram()), 1, "overlapping");
    assert_eq!(frontend.remove_region([at, size, user + 1, 0]), 1, "never there");
    assert_eq!(frontend.get_base(0), 5, "the ring ran all the time");
}

#[test]
fn memory_the_device_refuses() {
    let (serving, frontend, guest) = ready();
    serving.record.fail("memory");
    assert_eq!(frontend.remove_region(Guest::region()), 1);
    // It stopped for that, and goes on in the memory there still is.
    let start = "start 0 size=256 base=0x5 kick=fd call=fd error=none enabled";
    assert_eq!(serving.calls(), ["stop 0", "memory none", start]);
    assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0, "there already");
    assert_eq!(serving.calls(), [""; 0]);
}

/// A device that has lost its memory by a reset and does not take it back has none.
#[test]
fn memory_the_device_refuses_after_a_reset() {
    let (serving, frontend, guest) = ready();
    serving.record.fail("memory");
    assert_eq!(frontend.ack(ResetDevice, &[], &[]), 1);
    assert_eq!(serving.calls(), ["reset", "enable 0", "enable 1", "memory 1 regions"]);
    frontend.tell(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]);
    frontend.start_ring(0, 0);
    assert!(!serving.calls().iter().any(|call| call.starts_with("start")));
    // It is missing, so it is not there already.
    assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0);
    assert_eq!(serving.calls().len(), 2, "memory and a start");
}

/// The same when it does not get as far, because its first pair cannot be enabled.
#[test]
fn memory_is_forgotten_when_a_reset_stops_halfway() {
    let (serving, frontend, guest) = ready();
    serving.record.fail("enable");
    assert_eq!(frontend.ack(ResetDevice, &[], &[]), 1);
    serving.calls();
    frontend.tell(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]);
    frontend.start_ring(0, 0);
    assert!(!serving.calls().iter().any(|call| call.starts_with("start")));
    assert_eq!(frontend.add_region(Guest::region(), guest.ram.fd()), 0);
    assert!(serving.calls().iter().any(|call| call.starts_with("start")));
}

#[test]
fn a_descriptor_with_rem_mem_reg_is_closed() {
    let (serving, frontend, guest) = ready();
    let mut body = longs(&[0]);
    body.extend(longs(&Guest::region()));
    assert_eq!(frontend.ack(RemMemReg, &body, &[guest.ram.fd()]), 0);
    assert_eq!(serving.calls(), ["stop 0", "memory none"]);
}

fn log_needed() -> u64 {
    (Guest::ADDRESS + Guest::SIZE).div_ceil(8 * 4096)
}

/// The whole of a migration, with the ring running.
#[test]
fn migration() {
    let (serving, frontend, _guest) = ready();
    let log = SharedMemory::create(0x10_0000).unwrap();
    let describe = longs(&[log_needed(), 0x1000]);
    // A reply although nobody asked for one: QEMU waits for it, rust-vmm wants its request back.
    assert_eq!(frontend.ask(SetLogBase, &describe, &[log.fd()]), describe);
    assert_eq!(frontend.ack(SetLogFd, &[], &[event().as_fd()]), 0);
    assert_eq!(serving.calls(), [""; 0], "not before LOG_ALL");

    let features = VERSION_1 | PROTOCOL_FEATURES;
    assert_eq!(frontend.ack(SetFeatures, &longs(&[features | LOG_ALL]), &[]), 0);
    assert_eq!(frontend.ack(SetVringAddr, &Frontend::addresses(0, Some(0x4000_8000)), &[]), 0);
    assert_eq!(frontend.ack(SetVringAddr, &Frontend::addresses(0, Some(0x4000_8000)), &[]), 0);
    assert_eq!(
        serving.calls(),
        ["memory 1 regions logged", "log 0 Some(GuestAddress(1073774592))"],
        "the ring is not stopped for it"
    );
    // Memory is plugged in meanwhile, after the log was made larger.
    let large = SharedMemory::create(0x10_0000).unwrap();
    frontend.ask(SetLogBase, &longs(&[0x10_0000, 0]), &[large.fd()]);
    let more = SharedMemory::create(0x10_0000).unwrap();
    assert_eq!(frontend.add_region(HOTPLUGGED, more.fd()), 0);
    assert_eq!(serving.calls(), ["memory 1 regions logged", "memory 2 regions logged"]);

    // It is called off.
    assert_eq!(frontend.ack(SetFeatures, &longs(&[features]), &[]), 0);
    assert_eq!(frontend.ack(SetVringAddr, &Frontend::addresses(0, None), &[]), 0);
    assert_eq!(serving.calls(), ["memory 2 regions", "log 0 None"]);
    assert_eq!(frontend.get_base(0), 5);
}

#[test]
fn logs_that_cannot_be_used() {
    let (serving, frontend, _guest) = ready();
    let log = SharedMemory::create(0x10_0000).unwrap();
    let needed = log_needed();
    let no = 1_u64.to_ne_bytes();
    for (size, offset) in
        [(needed - 1, 0), (0, 0), (needed, 0x10_0000), (u64::MAX, 0x1000), (needed, u64::MAX)]
    {
        assert_eq!(
            frontend.ask(SetLogBase, &longs(&[size, offset]), &[log.fd()]),
            no,
            "{size:#x}+{offset:#x}"
        );
    }
    assert_eq!(frontend.ask(SetLogBase, &longs(&[needed, 0]), &[]), no);
    assert_eq!(frontend.ask(SetLogBase, &longs(&[needed]), &[log.fd()]), no);
    assert_eq!(frontend.ask(SetLogBase, &longs(&[needed, 0]), &[event().as_fd()]), no);
    // Logging without a log logs nothing, and is no reason to stop.
    assert_eq!(frontend.ack(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES | LOG_ALL]), &[]), 0);
    assert_eq!(serving.calls(), ["memory 1 regions"]);
    // With one it does at once; unless the device refuses, when the old state remains.
    serving.record.fail("memory");
    assert_eq!(frontend.ask(SetLogBase, &longs(&[needed, 0]), &[log.fd()]), no);
    let more = SharedMemory::create(0x10_0000).unwrap();
    assert_eq!(frontend.add_region(HOTPLUGGED, more.fd()), 0);
    assert_eq!(frontend.remove_region(HOTPLUGGED), 0);
    assert_eq!(serving.calls(), ["memory 1 regions logged", "memory 2 regions", "memory 1 regions"]);
    assert_eq!(frontend.ask(SetLogBase, &longs(&[needed, 0]), &[log.fd()]).len(), 16);
    assert_eq!(serving.calls(), ["memory 1 regions logged"]);
    // The same for switching it off.
    for ack in [1, 0] {
        if ack == 1 {
            serving.record.fail("memory");
        }
        assert_eq!(frontend.ack(SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]), ack);
        assert_eq!(serving.calls(), ["memory 1 regions"]);
    }
}

/// Without LOG_SHMFD the log is an address in the frontend, which is of no use, and there is no reply.
#[test]
fn a_log_that_is_not_shared() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(REPLY_ACK);
    frontend.tell(SetLogBase, &longs(&[0x1234]), &[]);
    assert_eq!(frontend.ack(SetLogBase, &longs(&[0x1234]), &[]), 1);
    frontend.barrier();
}
