//! What is seen of a tap from outside. Each test has a network namespace of its own, and names of its own: names of holders
//! are looked for on the whole machine.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod raw;

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};

use mqtap::inspect::{self, Error, Holder, Kind, NamespaceId, Tap};
use mqtap::{MultiQueue, Namespace, Offloads, OpenOptions, TapDevice, VnetHeaderSize};
use mqtap_test_support::{TestResult, cannot_run, eventually, ip};
use rustix::fs::OFlags;

const QUEUE: u16 = raw::TAP | raw::MULTI_QUEUE | raw::NO_PI | raw::VNET_HDR;

fn find(name: &str) -> Tap {
    inspect::find(name.parse().unwrap(), None).unwrap()
}

fn multi_queue(name: &str, queues: u16) -> OpenOptions {
    let name = name.parse().unwrap();
    OpenOptions { name, queues, multi_queue: MultiQueue::Always, ..OpenOptions::default() }
}

/// Those of the holders that are these processes. Other tests start programs, which are copies of this process for a moment.
fn held_by(tap: &Tap, pids: &[u32]) -> Vec<Holder> {
    tap.holders.iter().filter(|holder| pids.contains(&holder.pid)).cloned().collect()
}

fn held_here(tap: &Tap) -> Vec<Holder> {
    held_by(tap, &[std::process::id()])
}

/// A process that inherits `fd` and does nothing with it, until it is dropped.
struct Idle(Child);

impl Idle {
    fn with(fd: impl AsFd) -> Self {
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).unwrap();
        let idle = Self(child);
        // Until exec it is a copy of this process, with all descriptors.
        let arguments = || std::fs::read_to_string(format!("/proc/{}/cmdline", idle.0.id())).unwrap();
        eventually("the process runs", || arguments() == "sleep\x001000\0").unwrap();
        idle
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn an_idle_tap_shows_what_it_was_made_with() -> TestResult {
    ip("tuntap add dev look0 mode tap multi_queue vnet_hdr user 7 group 8")?;
    let tap = find("look0");
    assert_eq!((tap.kind, tap.open_queues(), tap.holders.len()), (Kind::Tap, 0, 0));
    assert_eq!(tap.namespace, NamespaceId::current());
    assert_eq!(tap.offloads, Some(Offloads::NONE));
    assert_eq!(tap.vnet_header_size(), None, "nobody holds it, and only a queue tells");
    let tun = tap.link.tun.unwrap();
    assert_eq!((tun.owner, tun.group, tun.persistent), (Some(7), Some(8), true));
    assert_eq!((tap.link.transmit_queues, tap.link.operational_state), (256, "DOWN"));
    Ok(())
}

fn a_holder_is_known_by_its_descriptor_and_its_queue() -> TestResult {
    let tap = TapDevice::open(&multi_queue("look1", 2))?;
    tap.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    tap.set_send_buffer(100_000)?;
    tap.attach_first(1)?;
    let found = find("look1");
    let [first, second] = &held_here(&found)[..] else { panic!("{found:?}") };
    let fds: Vec<i32> = tap.queues().iter().map(|queue| queue.as_fd().as_raw_fd()).collect();
    assert_eq!([first.fd, second.fd], fds[..]);
    assert_eq!((first.pid, first.blocking, first.same_as), (std::process::id(), false, None));
    assert!(!first.arguments.is_empty());
    let (first, second) = (first.queue.unwrap(), second.queue.unwrap());
    assert_eq!((first.attached, second.attached), (true, false));
    assert_eq!((first.vnet_header_size, found.vnet_header_size()), (Some(12), Some(12)));
    assert_eq!(first.send_buffer, Some(100_000));
    assert_eq!((first.device_namespace, first.opened_in), (found.namespace, found.namespace));
    assert_eq!((found.open_queues(), found.unseen_queues()), (2, 0));
    Ok(())
}

fn a_blocking_descriptor_is_told_from_others() -> TestResult {
    let queue = raw::open(b"look2", QUEUE)?;
    assert!(!held_here(&find("look2"))[0].blocking);
    let flags = rustix::fs::fcntl_getfl(&queue)?;
    rustix::fs::fcntl_setfl(&queue, flags - OFlags::NONBLOCK)?;
    assert!(held_here(&find("look2"))[0].blocking);
    Ok(())
}

fn a_queue_that_two_processes_share_is_one_queue() -> TestResult {
    let queue = raw::open(b"look3", QUEUE)?;
    let child = Idle::with(&queue);
    let found = find("look3");
    let holders = held_by(&found, &[std::process::id(), child.0.id()]);
    assert_eq!((holders.len(), found.open_queues(), found.unseen_queues()), (2, 1, 0));
    let child = holders.iter().find(|holder| holder.pid == child.0.id()).unwrap();
    assert_eq!((child.command.as_str(), child.arguments.join(" ").as_str()), ("sleep", "sleep 1000"));
    let copies = found.holders.iter().filter(|holder| holder.same_as.is_some()).count();
    assert_eq!(copies, found.holders.len() - 1);
    Ok(())
}

fn a_stopped_process_is_told() -> TestResult {
    let queue = raw::open(b"look4", QUEUE)?;
    let child = Idle::with(&queue);
    drop(queue);
    let pid = rustix::process::Pid::from_child(&child.0);
    let child = [child.0.id()];
    assert!(!held_by(&find("look4"), &child)[0].stopped);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
    eventually("it is stopped", || held_by(&find("look4"), &child)[0].stopped)
}

/// Opens a queue in a network namespace of its own, and says where that is.
fn opened_elsewhere(name: &'static [u8]) -> (OwnedFd, NamespaceId) {
    let open = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        (raw::open(name, QUEUE).unwrap(), NamespaceId::current().unwrap())
    };
    std::thread::spawn(open).join().unwrap()
}

fn a_namesake_in_another_namespace_is_no_holder() -> TestResult {
    ip("tuntap add dev look5 mode tap multi_queue vnet_hdr")?;
    let (_queue, elsewhere) = opened_elsewhere(b"look5");
    let found = find("look5");
    assert_eq!(found.holders, []);
    assert_eq!(found.namesakes[0].queue.unwrap().device_namespace, Some(elsewhere));
    Ok(())
}

fn a_device_that_moved_is_found_where_it_is() -> TestResult {
    let tap = TapDevice::open(&multi_queue("look6", 1))?;
    let (send, receive) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let there = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        send.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = wait.recv();
    });
    let thread = receive.recv()?;
    ip(&format!("link set look6 netns {thread}"))?;
    assert!(matches!(inspect::find(tap.name(), None), Err(Error::NotFound(_))));
    let namespace = Namespace::Path(format!("/proc/self/task/{thread}/ns/net").into());
    let found = inspect::find(tap.name(), Some(&namespace))?;
    let queue = held_here(&found)[0].queue.unwrap();
    assert_eq!((queue.opened_in, queue.device_namespace), (NamespaceId::current(), found.namespace));
    drop(done);
    there.join().unwrap();
    Ok(())
}

fn offloads_show_in_the_features_of_the_interface() -> TestResult {
    let tap = TapDevice::open(&multi_queue("look7", 1))?;
    for wanted in [Offloads::NONE, Offloads::CSUM, Offloads::CSUM | Offloads::TSO4 | Offloads::TSO_ECN] {
        assert_eq!(tap.set_offloads(wanted)?, wanted);
        assert_eq!(find("look7").offloads, Some(wanted));
    }
    let all = tap.set_offloads(tap.supported_offloads())?;
    assert_eq!(find("look7").offloads, Some(all - Offloads::UFO));
    Ok(())
}

fn frames_are_counted_by_queue_under_mq() -> TestResult {
    ip("tuntap add dev look8 mode tap multi_queue vnet_hdr")?;
    let queues = [raw::open(b"look8", QUEUE)?, raw::open(b"look8", QUEUE)?];
    ip("address add 10.8.1.1/24 dev look8")?;
    ip("link set look8 up")?;
    ip("neighbour replace 10.8.1.2 lladdr 02:00:00:00:00:02 dev look8")?;
    for _ in 0..32 {
        std::net::UdpSocket::bind("10.8.1.1:0")?.send_to(b"counted", "10.8.1.2:9")?;
    }
    let found = find("look8");
    assert_eq!(found.link.qdisc.as_deref(), Some("mq"));
    assert_eq!(found.queue_counters.iter().map(|one| one.queue).collect::<Vec<_>>(), [0, 1]);
    let frames: u64 = found.queue_counters.iter().map(|one| one.frames).sum();
    assert!(frames >= 32, "{frames}");
    assert!(found.queue_counters.iter().all(|one| one.frames > 0), "{:?}", found.queue_counters);
    assert!(held_here(&found).iter().all(|holder| holder.queue.unwrap().has_frames));
    drop(queues);
    Ok(())
}

fn a_port_of_a_bridge_tells_its_bridge() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add dev look9 mode tap")?;
    ip("link set look9 master br0 alias kept-for-web")?;
    let tap = find("look9");
    let bridge = tap.master.unwrap();
    assert_eq!((bridge.name.as_str(), bridge.kind.as_deref()), ("br0", Some("bridge")));
    assert_eq!(tap.link.alias.as_deref(), Some("kept-for-web"));
    Ok(())
}

fn taps_are_listed_and_nothing_else() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add dev tun0 mode tun")?;
    ip("tuntap add dev look10 mode tap")?;
    ip("link add v0 type veth peer name v1")?;
    ip("link add link v0 name mv0 type macvtap mode bridge")?;
    let taps = inspect::list(None)?;
    let found: Vec<(&str, Kind)> = taps.iter().map(|tap| (tap.link.name.as_str(), tap.kind)).collect();
    assert_eq!(found, [("look10", Kind::Tap), ("mv0", Kind::Macvtap)]);
    assert_eq!(taps[1].parent.as_ref().unwrap().name.as_str(), "v0");
    assert_eq!(find("tun0").kind, Kind::Tun);
    let error = inspect::find("br0".parse()?, None).unwrap_err();
    assert_eq!(error.to_string(), "br0 is no tap but of kind bridge");
    Ok(())
}

fn who_holds_a_macvtap_is_found_by_its_device_node() -> TestResult {
    ip("link add v0 type veth peer name v1")?;
    ip("link add link v0 name mv0 type macvtap mode bridge")?;
    let path = format!("/dev/tap{}", find("mv0").link.index);
    let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(&path) else {
        return cannot_run(&format!("{path} cannot be opened, which needs root and devtmpfs"));
    };
    let found = find("mv0");
    assert_eq!((held_here(&found).len(), held_here(&found)[0].fd), (1, file.as_raw_fd()));
    assert_eq!(found.open_queues(), 1);
    Ok(())
}

fn looking_changes_nothing() -> TestResult {
    let tap = TapDevice::open(&multi_queue("look11", 3))?;
    tap.set_offloads(Offloads::CSUM)?;
    tap.attach_first(2)?;
    let before = tap.link()?;
    let first = find("look11");
    assert_eq!(held_here(&first), held_here(&find("look11")));
    assert_eq!(tap.link()?, before);
    Ok(())
}

mqtap_test_support::tests!(
    an_idle_tap_shows_what_it_was_made_with,
    a_holder_is_known_by_its_descriptor_and_its_queue,
    a_blocking_descriptor_is_told_from_others,
    a_queue_that_two_processes_share_is_one_queue,
    a_stopped_process_is_told,
    a_namesake_in_another_namespace_is_no_holder,
    a_device_that_moved_is_found_where_it_is,
    offloads_show_in_the_features_of_the_interface,
    frames_are_counted_by_queue_under_mq,
    a_port_of_a_bridge_tells_its_bridge,
    taps_are_listed_and_nothing_else,
    who_holds_a_macvtap_is_found_by_its_device_node,
    looking_changes_nothing,
);
