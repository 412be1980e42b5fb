//! The traps, by their letters.

use std::os::fd::AsFd;

use mqtap::doctor::{self, Finding, Id, Severity, Wanted};
use mqtap::{MultiQueue, Offloads, OpenOptions, TapDevice};
use mqtap_test_support::{TestResult, eventually, ip};
use rustix::fs::OFlags;

use super::raw;
use super::support::*;

pub(crate) fn trap_a_flags_of_a_tap_in_use_that_the_kernel_keeps() -> TestResult {
    let _first = raw::open(b"trapa0", raw::TAP | raw::MULTI_QUEUE)?;
    // The kernel says that all is well.
    let _second = raw::open(b"trapa0", QUEUE)?;
    let finding = only(&look("trapa0"), Id::FlagsKept);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding.summary.contains("without a virtio-net header and with packet information"),
        "{finding:?}"
    );
    assert!(finding.cause.contains(&format!("(pid {})", std::process::id())), "{finding:?}");

    let _other = raw::open(b"trapa1", QUEUE)?;
    has_none(&look("trapa1"), Id::FlagsKept);
    let plain = Wanted { vnet_header: Some(false), ..Wanted::default() };
    let finding = only(&look_for("trapa1", plain), Id::FlagsKept);
    assert!(finding.summary.contains("with a virtio-net header"), "{finding:?}");
    Ok(())
}

pub(crate) fn trap_b_a_header_lost_to_whoever_opened_the_tap_last() -> TestResult {
    ip("tuntap add dev trapb0 mode tap multi_queue vnet_hdr user 0")?;
    has_none(&look("trapb0"), Id::VnetHeaderLost);
    drop(raw::open(b"trapb0", raw::TAP | raw::MULTI_QUEUE | raw::NO_PI)?);
    eventually("the queue is closed", || sample("trapb0").tap.open_queues() == 0)?;
    let finding = only(&look("trapb0"), Id::VnetHeaderLost);
    assert!(
        finding.advice.as_ref().is_some_and(|advice| advice.contains("`mqtap doctor trapb0 --vnet-hdr on`"))
    );
    let wanted = Wanted { vnet_header: Some(true), ..Wanted::default() };
    let finding = only(&look_for("trapb0", wanted), Id::VnetHeaderLost);
    assert!(finding.commands[1].contains("--vnet-hdr"), "{finding:?}");
    let plain = Wanted { vnet_header: Some(false), ..Wanted::default() };
    has_none(&look_for("trapb0", plain), Id::VnetHeaderLost);
    Ok(())
}

pub(crate) fn trap_c_offloads_that_a_former_user_left() -> TestResult {
    let first = TapDevice::open(&OpenOptions { persist: Some(true), ..options("trapc0", 1) })?;
    first.set_offloads(first.supported_offloads())?;
    has_none(&look("trapc0"), Id::StaleOffloads);
    drop(first);
    eventually("the queue is closed", || sample("trapc0").tap.open_queues() == 0)?;
    let finding = only(&look("trapc0"), Id::StaleOffloads);
    assert_eq!(finding.severity, Severity::Warning);

    // Somebody comes without a header, and would read super-frames.
    let _second = raw::open(b"trapc0", raw::TAP | raw::MULTI_QUEUE | raw::NO_PI)?;
    let finding = only(&look("trapc0"), Id::StaleOffloads);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.cause.contains("super-frames"), "{finding:?}");
    has_none(&mend("trapc0", &finding), Id::StaleOffloads);
    assert_eq!(sample("trapc0").tap.offloads, Some(Offloads::NONE));
    Ok(())
}

pub(crate) fn trap_c_a_header_size_that_makes_no_sense() -> TestResult {
    let queue = raw::open(b"trapc1", QUEUE)?;
    for size in [10, 12, 20] {
        raw::set_vnet_header_size(&queue, size);
        has_none(&look("trapc1"), Id::HeaderSize);
    }
    for (size, severity) in [(24, Severity::Info), (11, Severity::Error), (1 << 30, Severity::Error)] {
        raw::set_vnet_header_size(&queue, size);
        assert_eq!(only(&look("trapc1"), Id::HeaderSize).severity, severity, "{size}");
    }
    Ok(())
}

pub(crate) fn trap_d_a_tap_left_over_and_how_to_be_rid_of_it() -> TestResult {
    ip("tuntap add dev trapd0 mode tap multi_queue vnet_hdr user 0")?;
    // What people type, and what it says.
    let error = ip("tuntap del dev trapd0 mode tap").unwrap_err().to_string();
    assert!(error.contains("Invalid argument"), "{error}");
    assert!(ip("tuntap del dev trapd-none mode tap").is_ok(), "and a name that is not there is fine");
    let finding = only(&look("trapd0"), Id::Leftover);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(finding.advice.as_deref(), Some("if it should be gone: `mqtap delete trapd0`"));
    assert!(finding.cause.contains("Invalid argument"), "{finding:?}");
    ip("link set trapd0 up")?;
    has_none(&look("trapd0"), Id::Leftover);
    Ok(())
}

pub(crate) fn trap_e_txqueuelen_0_drops_every_frame() -> TestResult {
    let tap = TapDevice::open(&options("trape0", 1))?;
    ip("link set trape0 txqueuelen 0")?;
    address("trape0")?;
    let before = sample("trape0");
    send(5, b"lost")?;
    let findings = doctor::examine(Some(&before), &sample("trape0"), &Wanted::default());
    assert!(tap.queues()[0].read(&mut [0; 2048]).is_err());
    let finding = only(&findings, Id::RingLengthZero);
    assert_eq!((finding.severity, findings[0].severity), (Severity::Error, Severity::Error));
    assert_eq!(only(&findings, Id::QueueNotRead).severity, Severity::Error, "and the drops are seen");
    has_none(&mend("trape0", &finding), Id::RingLengthZero);
    send(1, b"kept")?;
    assert!(tap.queues()[0].read(&mut [0; 2048]).is_ok());
    Ok(())
}

pub(crate) fn trap_f_a_classic_filter_that_keeps_queues_detached() -> TestResult {
    let tap = TapDevice::open(&options("trapf0", 2))?;
    tap.attach_first(1)?;
    has_none(&look("trapf0"), Id::ClassicFilter);
    raw::attach_classic_filter(tap.queues()[0].as_fd());
    tap.attach_first(2).unwrap_err();
    let finding = only(&look("trapf0"), Id::ClassicFilter);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.cause.contains("1 detached queue cannot be attached"), "{finding:?}");
    Ok(())
}

pub(crate) fn trap_g_a_persistent_tap_that_belongs_to_nobody() -> TestResult {
    ip("tuntap add dev trapg0 mode tap multi_queue vnet_hdr")?;
    let finding = only(&look("trapg0"), Id::NoOwner);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding.commands[1].contains("mqtap create trapg0 --multi-queue --vnet-hdr --owner USER"),
        "{finding:?}"
    );
    for owned in ["user 7", "group 7"] {
        ip("link del trapg0")?;
        ip(&format!("tuntap add dev trapg0 mode tap multi_queue vnet_hdr {owned}"))?;
        has_none(&look("trapg0"), Id::NoOwner);
    }
    Ok(())
}

/// As QEMU makes it: it goes with the last queue, and until then anybody may open another one.
pub(crate) fn trap_g_a_tap_in_use_that_belongs_to_nobody() -> TestResult {
    let tap = TapDevice::open(&options("trapg1", 2))?;
    let finding = only(&look("trapg1"), Id::NoOwner);
    assert!(finding.cause.contains("another queue of it"), "{finding:?}");
    assert!(finding.commands[0].starts_with("mqtap create trapg1 --multi-queue"), "{finding:?}");
    tap.set_owner(0)?;
    has_none(&look("trapg1"), Id::NoOwner);
    let single = OpenOptions { multi_queue: MultiQueue::Auto, ..options("trapg2", 1) };
    let _single = TapDevice::open(&single)?;
    has_none(&look("trapg2"), Id::NoOwner);
    Ok(())
}

pub(crate) fn trap_h_a_process_has_a_namesake_of_another_namespace() -> TestResult {
    ip("tuntap add dev traph0 mode tap multi_queue vnet_hdr user 0")?;
    let queue = opened_elsewhere(b"traph0");
    let process = Process::idle(&queue);
    drop(queue);
    // The process is in this namespace, and what it has open is not.
    let finding = only(&look("traph0"), Id::Namesake);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.summary.contains(&format!("sleep (pid {})", process.0.id())), "{finding:?}");
    mend("traph0", &finding);
    eventually("the process is gone", || !ids(&look("traph0")).contains(&"namesake"))
}

pub(crate) fn trap_h_a_tap_that_moved_here_is_told() -> TestResult {
    let tap = TapDevice::open(&options("traph1", 1))?;
    let (send, receive) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let there = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        send.send(nix::unistd::gettid().as_raw()).unwrap();
        wait.recv().unwrap();
        look("traph1")
    });
    ip(&format!("link set traph1 netns {}", receive.recv()?))?;
    go.send(())?;
    let finding = only(&there.join().unwrap(), Id::OpenedElsewhere);
    assert_eq!(finding.severity, Severity::Info);
    drop(tap);
    Ok(())
}

pub(crate) fn trap_i_frames_cut_off_by_small_buffers() -> TestResult {
    let read_with = |buffer: usize| -> Result<Vec<Finding>, Box<dyn std::error::Error + Send + Sync>> {
        let queue = raw::open(b"trapi0", QUEUE)?;
        let flags = rustix::fs::fcntl_getfl(&queue)?;
        rustix::fs::fcntl_setfl(&queue, flags - OFlags::NONBLOCK)?;
        let _reader = Process::with(&queue, &format!("dd bs={buffer}"));
        // This process reads a lot besides.
        drop(queue);
        eventually("nobody else has it", || sample("trapi0").tap.holders.len() == 1)?;
        address("trapi0")?;
        let before = sample("trapi0");
        let all = before.tap.link.counters.sent_frames + 200;
        send(200, &[7; 1000])?;
        eventually("the frames are read", || sample("trapi0").tap.link.counters.sent_frames >= all)?;
        let findings = || doctor::examine(Some(&before), &sample("trapi0"), &Wanted::default());
        // A read counts when it ends, a frame before.
        let cut_off = buffer < 1000;
        eventually("the reads have ended", || {
            !cut_off || findings().iter().any(|finding| finding.id == Id::ShortReads)
        })?;
        Ok(findings())
    };
    let finding = only(&read_with(512)?, Id::ShortReads);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.cause.contains("dd (pid "), "{finding:?}");
    eventually("the reader and its tap are gone", || ip("link show trapi0").is_err())?;
    has_none(&read_with(2048)?, Id::ShortReads);
    Ok(())
}
