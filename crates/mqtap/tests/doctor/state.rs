//! Taps that are well, and what else can be wrong with one.

use std::os::fd::AsFd;

use mqtap::doctor::{self, Id, Sample, Severity, Wanted};
use mqtap::{Offloads, OpenOptions, TapDevice, VnetHeaderMode, VnetHeaderSize};
use mqtap_test_support::{TestResult, eventually, ip};
use rustix::fs::OFlags;

use super::raw;
use super::support::*;

pub(crate) fn a_healthy_tap_has_no_findings() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { owner: Some(0), persist: Some(true), ..options("well0", 4) })?;
    tap.set_offloads(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6)?;
    address("well0")?;
    let before = sample("well0");
    send(8, b"read at once")?;
    for queue in tap.queues() {
        while queue.read(&mut [0; 2048]).is_ok() {}
    }
    let wanted = Wanted { queues: Some(4), vnet_header: Some(true) };
    let findings = doctor::examine(Some(&before), &sample("well0"), &wanted);
    assert_eq!(findings, []);
    Ok(())
}

pub(crate) fn an_idle_tap_that_is_prepared_well_has_no_findings() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    ip("tuntap add dev well1 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set well1 master br0")?;
    mqtap::Links::open()?.set_noqueue(sample("well1").tap.link.index)?;
    ip("link set well1 up")?;
    assert_eq!(look("well1"), []);
    Ok(())
}

pub(crate) fn a_queue_that_nobody_reads_is_named() -> TestResult {
    let tap = TapDevice::open(&options("unread0", 2))?;
    address("unread0")?;
    let unread = |before: &Sample| doctor::examine(Some(before), &sample("unread0"), &Wanted::default());
    let before = sample("unread0");
    has_none(&unread(&before), Id::QueueNotRead);
    send(3, b"waits")?;
    // What came between two looks may be read any moment.
    has_none(&unread(&before), Id::QueueNotRead);
    let before = sample("unread0");
    let finding = only(&unread(&before), Id::QueueNotRead);
    assert_eq!(finding.severity, Severity::Warning);
    // More than the ring has places, and the frames of one flow go to one queue.
    send(1100, b"full")?;
    let finding = only(&unread(&before), Id::QueueNotRead);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.cause.contains("of 1000 frames each"), "{finding:?}");
    for queue in tap.queues() {
        while queue.read(&mut [0; 2048]).is_ok() {}
    }
    has_none(&unread(&sample("unread0")), Id::QueueNotRead);
    Ok(())
}

pub(crate) fn a_carrier_without_a_reader_is_found_and_taken() -> TestResult {
    let tap = TapDevice::open(&options("nobody0", 2))?;
    address("nobody0")?;
    tap.attach_first(0)?;
    let before = sample("nobody0");
    let finding = only(&look("nobody0"), Id::CarrierWithoutReader);
    assert_eq!(finding.severity, Severity::Warning);
    send(4, b"to nobody")?;
    let findings = doctor::examine(Some(&before), &sample("nobody0"), &Wanted::default());
    let finding = only(&findings, Id::CarrierWithoutReader);
    assert_eq!(finding.severity, Severity::Error, "{finding:?}");
    has_none(&mend("nobody0", &finding), Id::CarrierWithoutReader);
    tap.attach_first(2)?;
    let finding = only(&look("nobody0"), Id::ReaderWithoutCarrier);
    has_none(&mend("nobody0", &finding), Id::ReaderWithoutCarrier);
    Ok(())
}

pub(crate) fn slow_descriptors_are_found() -> TestResult {
    let queue = raw::open(b"slow0", QUEUE)?;
    has_none(&look("slow0"), Id::BlockingDescriptor);
    let flags = rustix::fs::fcntl_getfl(&queue)?;
    rustix::fs::fcntl_setfl(&queue, flags - OFlags::NONBLOCK)?;
    // A test that looks at the host has an io_uring for a moment, and it is this process that has it.
    eventually("it is found", || {
        let findings = look("slow0");
        let found: Vec<_> = findings.iter().filter(|finding| finding.id == Id::BlockingDescriptor).collect();
        matches!(found[..], [finding] if finding.severity == Severity::Warning)
    })?;

    let tap = TapDevice::open(&options("slow1", 1))?;
    has_none(&look("slow1"), Id::SendBuffer);
    tap.set_send_buffer(1 << 20)?;
    let finding = only(&look("slow1"), Id::SendBuffer);
    assert!(finding.summary.contains("1048576 bytes"), "{finding:?}");
    Ok(())
}

pub(crate) fn several_processes_on_one_tap_are_named() -> TestResult {
    let (first, second) = (raw::open(b"both0", QUEUE)?, raw::open(b"both0", QUEUE)?);
    let child = Process::idle(&second);
    // A queue that was passed on is one queue.
    has_none(&look("both0"), Id::SeveralProcesses);
    drop(second);
    // A program that another test starts is a copy of this process for a moment, with both.
    eventually("they are found", || ids(&look("both0")).contains(&"several-processes"))?;
    let finding = only(&look("both0"), Id::SeveralProcesses);
    assert!(finding.summary.contains(&format!("sleep (pid {})", child.0.id())), "{finding:?}");
    drop(first);
    Ok(())
}

pub(crate) fn a_stopped_holder_is_found_and_woken() -> TestResult {
    let queue = raw::open(b"asleep0", QUEUE)?;
    let child = Process::idle(&queue);
    drop(queue);
    let pid = rustix::process::Pid::from_child(&child.0);
    has_none(&look("asleep0"), Id::HolderStopped);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    eventually("it is stopped", || ids(&look("asleep0")).contains(&"holder-stopped"))?;
    let finding = only(&look("asleep0"), Id::HolderStopped);
    mend("asleep0", &finding);
    eventually("it goes on", || !ids(&look("asleep0")).contains(&"holder-stopped"))
}

pub(crate) fn mismatched_queue_counts_are_found_before_they_fail() -> TestResult {
    ip("tuntap add dev count0 mode tap user 0")?;
    ip("tuntap add dev count1 mode tap multi_queue vnet_hdr user 0")?;
    let wanted = |queues| Wanted { queues: Some(queues), ..Wanted::default() };
    assert_eq!(only(&look("count0"), Id::SingleQueue).severity, Severity::Info);
    assert_eq!(only(&look_for("count0", wanted(4)), Id::SingleQueue).severity, Severity::Error);
    has_none(&look_for("count0", wanted(1)), Id::SingleQueue);
    // As QEMU with queues=1 would.
    raw::open(b"count1", QUEUE & !raw::MULTI_QUEUE).unwrap_err();
    assert_eq!(only(&look_for("count1", wanted(1)), Id::NotSingleQueue).severity, Severity::Error);
    let _tap = TapDevice::open(&options("count1", 3))?;
    has_none(&look_for("count1", wanted(253)), Id::TooManyQueues);
    assert_eq!(only(&look_for("count1", wanted(254)), Id::TooManyQueues).severity, Severity::Error);
    Ok(())
}

pub(crate) fn the_memory_of_mq_is_found_and_given_back() -> TestResult {
    ip("tuntap add dev mem0 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set mem0 up")?;
    let finding = only(&look("mem0"), Id::QdiscMemory);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(mend("mem0", &finding), []);
    Ok(())
}

pub(crate) fn a_bridge_that_does_not_fit_is_found() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 1400")?;
    ip("tuntap add dev port0 mode tap user 0 vnet_hdr multi_queue")?;
    ip("link set port0 master br0 up")?;
    ip("link set br0 mtu 1400")?;
    let findings = look("port0");
    let finding = only(&findings, Id::BridgeMtu);
    assert!(finding.summary.contains("MTU 1500, its bridge br0 has 1400"), "{finding:?}");
    has_none(&mend("port0", &finding), Id::BridgeMtu);
    has_none(&mend("port0", &only(&findings, Id::BridgeDown)), Id::BridgeDown);
    Ok(())
}

pub(crate) fn a_tap_in_use_that_is_down_is_found() -> TestResult {
    let tap = TapDevice::open(&options("down0", 2))?;
    let finding = only(&look("down0"), Id::InterfaceDown);
    assert_eq!(finding.severity, Severity::Error);
    tap.attach_first(0)?;
    assert_eq!(only(&look("down0"), Id::InterfaceDown).severity, Severity::Warning, "no guest yet");
    has_none(&mend("down0", &finding), Id::InterfaceDown);
    Ok(())
}

pub(crate) fn a_tun_is_no_tap() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    let findings = look("tun0");
    assert_eq!(ids(&findings), ["not-a-tap"]);
    Ok(())
}

pub(crate) fn what_is_something_else_is_no_tap() -> TestResult {
    ip("link add br0 type bridge")?;
    let finding = |name: &str, kind| doctor::not_a_tap(name.parse().unwrap(), kind, None);
    let bridge = finding("br0", Some("bridge"));
    assert_eq!(
        (bridge.id, bridge.severity, bridge.interface),
        (Id::NotATap, Severity::Error, "br0".parse().ok())
    );
    assert_eq!(bridge.summary, "br0 is not a tap but of kind bridge");
    assert_eq!(
        bridge.advice.as_deref(),
        Some("there is no tap at all here; a tap can be made a port of the bridge")
    );
    let typed = "mqtap create NAME --multi-queue --vnet-hdr --owner USER --bridge br0 --up";
    assert_eq!(bridge.commands, [typed]);
    let card = finding("lo", None);
    assert_eq!(card.summary, "lo is not a tap but a network card or the loopback");
    assert!(!card.commands[0].contains("--bridge"), "{card:?}");
    Ok(())
}

pub(crate) fn a_doctor_changes_nothing() -> TestResult {
    let tap = TapDevice::open(&OpenOptions {
        vnet_header: VnetHeaderMode::Require,
        send_buffer: Some(100_000),
        ..options("same0", 3)
    })?;
    tap.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    tap.set_offloads(Offloads::CSUM)?;
    tap.attach_first(2)?;
    raw::attach_classic_filter(tap.queues()[0].as_fd());
    let (link, before) = (tap.link()?, sample("same0"));
    for _ in 0..5 {
        let _findings = doctor::examine(Some(&before), &sample("same0"), &Wanted::default());
    }
    assert_eq!(tap.link()?, link);
    // Other tests start programs, which are copies of this process for a moment.
    let essence = |sample: &Sample| {
        let mut tap = sample.tap.clone();
        tap.holders.retain(|holder| holder.pid == std::process::id());
        // And those that look at the host try io_uring.
        tap.holders.iter_mut().for_each(|holder| holder.io_uring = false);
        tap
    };
    assert_eq!(essence(&sample("same0")), essence(&before));
    Ok(())
}
