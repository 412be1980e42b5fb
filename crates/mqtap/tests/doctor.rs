//! Every trap of the kernel's tap interface, set on purpose and found; and what is typed against it, typed. Each test has a
//! network namespace of its own, and names of its own: holders are looked for on the whole machine.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod raw;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use mqtap::doctor::{self, Finding, Host, Id, Sample, Severity, Wanted};
use mqtap::features::Features;
use mqtap::{MultiQueue, Offloads, OpenOptions, TapDevice, VnetHeaderMode, VnetHeaderSize};
use mqtap_test_support::{TestResult, eventually, ip};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

const QUEUE: u16 = raw::TAP | raw::MULTI_QUEUE | raw::NO_PI | raw::VNET_HDR;

fn sample(name: &str) -> Sample {
    doctor::sample(name.parse().unwrap(), None).unwrap()
}

/// What is found at one look, by what somebody wants.
fn look_for(name: &str, wanted: Wanted) -> Vec<Finding> {
    doctor::examine(None, &sample(name), &wanted)
}

fn look(name: &str) -> Vec<Finding> {
    look_for(name, Wanted::default())
}

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id.as_str()).collect()
}

/// The one finding with this id.
#[track_caller]
fn only(findings: &[Finding], id: Id) -> Finding {
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(found.len(), 1, "{id} in {:?}", ids(findings));
    found[0].clone()
}

#[track_caller]
fn has_none(findings: &[Finding], id: Id) {
    assert!(findings.iter().all(|finding| finding.id != id), "{id} in {findings:?}");
}

/// Types what a finding says, and looks again.
#[track_caller]
fn mend(name: &str, finding: &Finding) -> Vec<Finding> {
    assert!(!finding.commands.is_empty(), "{finding:?}");
    for command in &finding.commands {
        let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    look(name)
}

fn options(name: &str, queues: u16) -> OpenOptions {
    let name = name.parse().unwrap();
    OpenOptions { name, queues, multi_queue: MultiQueue::Always, ..OpenOptions::default() }
}

/// Brings it up, with a neighbour that needs no ARP, and no frames but those that a test sends.
fn address(name: &str) -> TestResult {
    ip(&format!("link set {name} addrgenmode none"))?;
    ip(&format!("address add 10.8.2.1/24 dev {name}"))?;
    ip(&format!("link set {name} up"))?;
    ip(&format!("neighbour replace 10.8.2.2 lladdr 02:00:00:00:00:02 dev {name}"))?;
    Ok(())
}

fn send(frames: usize, payload: &[u8]) -> TestResult {
    let socket = std::net::UdpSocket::bind("10.8.2.1:0")?;
    for _ in 0..frames {
        socket.send_to(payload, "10.8.2.2:9")?;
    }
    Ok(())
}

/// A process that has `fd` as its standard input, until it is dropped.
struct Process(Child);

impl Process {
    fn with(fd: impl AsFd, command: &str) -> Self {
        let input = Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let child = Command::new(program).args(words).stdin(input).stdout(Stdio::null()).spawn().unwrap();
        let process = Self(child);
        // Until exec it is a copy of this process, with all its descriptors.
        let command = || std::fs::read_to_string(format!("/proc/{}/comm", process.0.id())).unwrap();
        eventually("the process runs", || command().trim_end() == program).unwrap();
        process
    }

    fn idle(fd: impl AsFd) -> Self {
        Self::with(fd, "sleep 1000")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_healthy_tap_has_no_findings() -> TestResult {
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

fn an_idle_tap_that_is_prepared_well_has_no_findings() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    ip("tuntap add dev well1 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set well1 master br0")?;
    mqtap::Links::open()?.set_noqueue(sample("well1").tap.link.index)?;
    ip("link set well1 up")?;
    assert_eq!(look("well1"), []);
    Ok(())
}

fn trap_a_flags_of_a_tap_in_use_that_the_kernel_keeps() -> TestResult {
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

fn trap_b_a_header_lost_to_whoever_opened_the_tap_last() -> TestResult {
    ip("tuntap add dev trapb0 mode tap multi_queue vnet_hdr user 0")?;
    has_none(&look("trapb0"), Id::VnetHeaderLost);
    drop(raw::open(b"trapb0", raw::TAP | raw::MULTI_QUEUE | raw::NO_PI)?);
    let finding = only(&look("trapb0"), Id::VnetHeaderLost);
    assert!(finding.commands[0].contains("--vnet-hdr"), "{finding:?}");
    let plain = Wanted { vnet_header: Some(false), ..Wanted::default() };
    has_none(&look_for("trapb0", plain), Id::VnetHeaderLost);
    Ok(())
}

fn trap_c_offloads_that_a_former_user_left() -> TestResult {
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

fn trap_c_a_header_size_that_makes_no_sense() -> TestResult {
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

fn trap_d_a_tap_left_over_and_how_to_be_rid_of_it() -> TestResult {
    ip("tuntap add dev trapd0 mode tap multi_queue vnet_hdr user 0")?;
    // What people type, and what it says.
    let error = ip("tuntap del dev trapd0 mode tap").unwrap_err().to_string();
    assert!(error.contains("Invalid argument"), "{error}");
    assert!(ip("tuntap del dev trapd-none mode tap").is_ok(), "and a name that is not there is fine");
    let finding = only(&look("trapd0"), Id::Leftover);
    assert_eq!(
        (finding.severity, finding.commands.as_slice()),
        (Severity::Info, &["mqtap delete trapd0".to_owned()][..])
    );
    assert!(finding.cause.contains("Invalid argument"), "{finding:?}");
    ip("link set trapd0 up")?;
    has_none(&look("trapd0"), Id::Leftover);
    Ok(())
}

fn trap_e_txqueuelen_0_drops_every_frame() -> TestResult {
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

fn trap_f_a_classic_filter_that_keeps_queues_detached() -> TestResult {
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

fn trap_g_a_persistent_tap_that_belongs_to_nobody() -> TestResult {
    ip("tuntap add dev trapg0 mode tap multi_queue vnet_hdr")?;
    let finding = only(&look("trapg0"), Id::NoOwner);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding.commands[0].contains("mqtap create trapg0 --multi-queue --vnet-hdr --owner USER"),
        "{finding:?}"
    );
    for owned in ["user 7", "group 7"] {
        ip("link del trapg0")?;
        ip(&format!("tuntap add dev trapg0 mode tap multi_queue vnet_hdr {owned}"))?;
        has_none(&look("trapg0"), Id::NoOwner);
    }
    Ok(())
}

/// A queue that was opened in a network namespace of its own.
fn opened_elsewhere(name: &'static [u8]) -> OwnedFd {
    let open = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        raw::open(name, QUEUE).unwrap()
    };
    std::thread::spawn(open).join().unwrap()
}

fn trap_h_a_process_has_a_namesake_of_another_namespace() -> TestResult {
    ip("tuntap add dev traph0 mode tap multi_queue vnet_hdr user 0")?;
    let queue = opened_elsewhere(b"traph0");
    let process = Process::idle(&queue);
    drop(queue);
    // The process is in this namespace, and what it has open is not.
    let finding = only(&look("traph0"), Id::Namesake);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.summary.contains(&format!("sleep (pid {})", process.0.id())), "{finding:?}");
    has_none(&mend("traph0", &finding), Id::Namesake);
    Ok(())
}

fn trap_h_a_tap_that_moved_here_is_told() -> TestResult {
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

fn trap_i_frames_cut_off_by_small_buffers() -> TestResult {
    let read_with = |buffer: usize| -> Result<Vec<Finding>, Box<dyn std::error::Error + Send + Sync>> {
        let queue = raw::open(b"trapi0", QUEUE)?;
        let flags = rustix::fs::fcntl_getfl(&queue)?;
        rustix::fs::fcntl_setfl(&queue, flags - OFlags::NONBLOCK)?;
        let _reader = Process::with(&queue, &format!("dd bs={buffer}"));
        // This process reads a lot besides.
        drop(queue);
        address("trapi0")?;
        let before = sample("trapi0");
        let all = before.tap.link.counters.sent_frames + 200;
        send(200, &[7; 1000])?;
        eventually("the frames are read", || sample("trapi0").tap.link.counters.sent_frames >= all)?;
        Ok(doctor::examine(Some(&before), &sample("trapi0"), &Wanted::default()))
    };
    let finding = only(&read_with(512)?, Id::ShortReads);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.cause.contains("dd (pid "), "{finding:?}");
    eventually("the reader and its tap are gone", || ip("link show trapi0").is_err())?;
    has_none(&read_with(2048)?, Id::ShortReads);
    Ok(())
}

fn a_queue_that_nobody_reads_is_named() -> TestResult {
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

fn a_carrier_without_a_reader_is_found_and_taken() -> TestResult {
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

fn slow_descriptors_are_found() -> TestResult {
    let queue = raw::open(b"slow0", QUEUE)?;
    has_none(&look("slow0"), Id::BlockingDescriptor);
    let flags = rustix::fs::fcntl_getfl(&queue)?;
    rustix::fs::fcntl_setfl(&queue, flags - OFlags::NONBLOCK)?;
    assert_eq!(only(&look("slow0"), Id::BlockingDescriptor).severity, Severity::Warning);

    let tap = TapDevice::open(&options("slow1", 1))?;
    has_none(&look("slow1"), Id::SendBuffer);
    tap.set_send_buffer(1 << 20)?;
    let finding = only(&look("slow1"), Id::SendBuffer);
    assert!(finding.summary.contains("1048576 bytes"), "{finding:?}");
    Ok(())
}

fn several_processes_on_one_tap_are_named() -> TestResult {
    let (first, second) = (raw::open(b"both0", QUEUE)?, raw::open(b"both0", QUEUE)?);
    let child = Process::idle(&second);
    // A queue that was passed on is one queue.
    has_none(&look("both0"), Id::SeveralProcesses);
    drop(second);
    let finding = only(&look("both0"), Id::SeveralProcesses);
    assert!(finding.summary.contains(&format!("sleep (pid {})", child.0.id())), "{finding:?}");
    drop(first);
    Ok(())
}

fn a_stopped_holder_is_found_and_woken() -> TestResult {
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

fn mismatched_queue_counts_are_found_before_they_fail() -> TestResult {
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

fn the_memory_of_mq_is_found_and_given_back() -> TestResult {
    ip("tuntap add dev mem0 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set mem0 up")?;
    let finding = only(&look("mem0"), Id::QdiscMemory);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(mend("mem0", &finding), []);
    Ok(())
}

fn a_bridge_that_does_not_fit_is_found() -> TestResult {
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

fn a_tap_in_use_that_is_down_is_found() -> TestResult {
    let tap = TapDevice::open(&options("down0", 2))?;
    let finding = only(&look("down0"), Id::InterfaceDown);
    assert_eq!(finding.severity, Severity::Error);
    tap.attach_first(0)?;
    assert_eq!(only(&look("down0"), Id::InterfaceDown).severity, Severity::Warning, "no guest yet");
    has_none(&mend("down0", &finding), Id::InterfaceDown);
    Ok(())
}

fn a_tun_is_no_tap() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    let findings = look("tun0");
    assert_eq!(ids(&findings), ["not-a-tap"]);
    Ok(())
}

/// The kernel shows nobody which program steers a tap, so that all that can be found is a program which nobody holds.
fn trap_c_a_steering_program_left_behind_is_suspected() -> TestResult {
    let queue = raw::open(b"trapc2", QUEUE)?;
    if let Err(Errno::PERM) = raw::steer_to_queue_1(&queue) {
        eprintln!("NOT TESTED: this user may load no BPF program, which needs root");
        return Ok(());
    }
    let findings = doctor::examine_host(&Host::look()?);
    if findings.iter().all(|finding| finding.id != Id::SteeringProgram) {
        eprintln!("NOT TESTED: this user may not list BPF programs, which needs root");
        return Ok(());
    }
    assert_eq!(only(&findings, Id::SteeringProgram).severity, Severity::Info);
    Ok(())
}

fn a_host_says_what_it_has() -> TestResult {
    let before = mqtap::Links::open()?.list()?;
    let host = Host::look()?;
    let device = host.features().device.as_ref().unwrap();
    assert_eq!(device.offloads, mqtap::Capabilities::probe_offloads()?);
    assert!(device.queues && device.carrier, "{device:?}");
    assert_eq!(device.header_sizes[..3], [10, 12, 20]);
    assert!(host.features().may_create);
    has_none(&doctor::examine_host(&host), Id::TunMissing);
    assert_eq!(mqtap::Links::open()?.list()?, before, "what was tried was tried elsewhere");
    Ok(())
}

fn without_privilege_a_tap_is_tried_in_a_namespace_of_ones_own() -> TestResult {
    let probe = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        Features::probe().unwrap()
    };
    let features = std::thread::scope(|scope| scope.spawn(probe).join()).unwrap();
    assert!(!features.may_create);
    match features.device {
        Ok(device) => assert_eq!(device.offloads, mqtap::Capabilities::probe_offloads()?),
        Err(errno) => {
            eprintln!("NOT TESTED: user namespaces are forbidden here: {errno}");
            assert!(std::env::var_os("CI").is_none(), "{errno}");
        }
    }
    Ok(())
}

fn a_name_that_is_not_there_is_looked_for() -> TestResult {
    ip("tuntap add dev there0 mode tap")?;
    let finding = doctor::missing("their0".parse()?, None);
    assert_eq!((finding.id, finding.severity), (Id::NoSuchInterface, Severity::Error));
    assert_eq!(finding.advice.as_deref(), Some("the taps here are there0"));
    Ok(())
}

fn a_doctor_changes_nothing() -> TestResult {
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
    assert_eq!(sample("same0").tap, before.tap);
    Ok(())
}

mqtap_test_support::tests!(
    a_healthy_tap_has_no_findings,
    an_idle_tap_that_is_prepared_well_has_no_findings,
    trap_a_flags_of_a_tap_in_use_that_the_kernel_keeps,
    trap_b_a_header_lost_to_whoever_opened_the_tap_last,
    trap_c_offloads_that_a_former_user_left,
    trap_c_a_header_size_that_makes_no_sense,
    trap_d_a_tap_left_over_and_how_to_be_rid_of_it,
    trap_e_txqueuelen_0_drops_every_frame,
    trap_f_a_classic_filter_that_keeps_queues_detached,
    trap_g_a_persistent_tap_that_belongs_to_nobody,
    trap_h_a_process_has_a_namesake_of_another_namespace,
    trap_h_a_tap_that_moved_here_is_told,
    trap_i_frames_cut_off_by_small_buffers,
    a_queue_that_nobody_reads_is_named,
    a_carrier_without_a_reader_is_found_and_taken,
    slow_descriptors_are_found,
    several_processes_on_one_tap_are_named,
    a_stopped_holder_is_found_and_woken,
    mismatched_queue_counts_are_found_before_they_fail,
    the_memory_of_mq_is_found_and_given_back,
    a_bridge_that_does_not_fit_is_found,
    a_tap_in_use_that_is_down_is_found,
    a_tun_is_no_tap,
    trap_c_a_steering_program_left_behind_is_suspected,
    a_host_says_what_it_has,
    without_privilege_a_tap_is_tried_in_a_namespace_of_ones_own,
    a_name_that_is_not_there_is_looked_for,
    a_doctor_changes_nothing,
);
