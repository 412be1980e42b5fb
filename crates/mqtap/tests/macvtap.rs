//! macvtaps on the running kernel, each on a pair of interfaces in a network namespace of its own.
//!
//! They have device nodes, which only root can make; elsewhere these tests say that they did not run.

#![allow(clippy::unwrap_used)]

use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use mqtap::device::Error;
use mqtap::doctor::{self, Id, Wanted};
use mqtap::inspect::Kind;
use mqtap::netdev::{self, Netdev, OpenMode};
use mqtap::{
    InterfaceName, Link, Links, Offloads, OpenOptions, TapDevice, TapQueue, VnetHeaderMode, VnetHeaderSize,
    queue,
};
use mqtap_test_support::devices::{macvtap, macvtap_node, macvtap_number, node, private};
use mqtap_test_support::{Elsewhere, Scripts, TestResult, eventually, ip};
use rustix::io::FdFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

fn named(queues: u16) -> OpenOptions {
    OpenOptions { name: "macvtap0".parse().unwrap(), queues, ..OpenOptions::default() }
}

/// `macvtap0` on top of `v0`, whose other end is `v1`. False where there can be none.
fn stage() -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let possible = private()?;
    if possible {
        macvtap("macvtap0", "v0", "v1")?;
    }
    Ok(possible)
}

fn find(name: &str) -> Option<Link> {
    Links::open().unwrap().find(name.parse().unwrap()).unwrap()
}

/// Flows to the macvtap, from the other end of the pair that it stands on.
fn send_flows(flows: u16) -> TestResult {
    let mac = find("macvtap0").unwrap().mac.unwrap();
    ip("address replace 10.8.0.1/24 dev v1")?;
    ip(&format!("neighbour replace 10.8.0.2 lladdr {mac} dev v1"))?;
    for _ in 0..flows {
        std::net::UdpSocket::bind("10.8.0.1:0")?.send_to(b"to the guest", "10.8.0.2:9")?;
    }
    Ok(())
}

/// How many frames of [`send_flows`] wait in a queue, each behind a header of this length.
fn flows_in(queue: &TapQueue, header: usize) -> usize {
    let mut buffer = [0; 4096];
    let mut count = 0;
    while let Ok(length) = queue.read(&mut buffer) {
        let frame = &buffer[header..length];
        count += usize::from(frame.len() > 42 && frame[12..14] == [8, 0] && frame[30..34] == [10, 8, 0, 2]);
    }
    count
}

/// Frames of [`send_flows`] in each queue, once all have come.
fn spread(
    tap: &TapDevice,
    header: usize,
    flows: usize,
) -> Result<Vec<usize>, Box<dyn std::error::Error + Send + Sync>> {
    let mut counts = vec![0; tap.queues().len()];
    eventually("all flows have come", || {
        for (count, queue) in counts.iter_mut().zip(tap.queues()) {
            *count += flows_in(queue, header);
        }
        counts.iter().sum::<usize>() >= flows
    })?;
    Ok(counts)
}

fn queues_are_opened_by_the_name_of_the_interface() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(4))?;
    assert_eq!((tap.kind(), tap.queue_count(), tap.name().as_str()), (Kind::Macvtap, 4, "macvtap0"));
    assert!(tap.has_vnet_header() && tap.is_persistent() && tap.is_multi_queue());
    assert_eq!(tap.interface_index(), find("macvtap0").unwrap().index);
    for queue in tap.queues() {
        assert_eq!(queue.interface_name()?.as_str(), "macvtap0");
        assert!(queue.is_attached()? && queue.can_detach());
        assert_eq!(queue.send_buffer_limit()?, None);
    }
    send_flows(64)?;
    let counts = spread(&tap, 10, 64)?;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    drop(tap);
    assert!(find("macvtap0").is_some(), "it stays");
    Ok(())
}

fn what_is_written_leaves_by_the_interface_below() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(2))?;
    ip("address add 10.8.0.1/24 dev v1")?;
    let (own, host) = (find("macvtap0").unwrap().mac.unwrap(), find("v1").unwrap().mac.unwrap());
    // Who has 10.8.0.1? The host answers to the macvtap.
    let mut frame = vec![0; 10];
    frame.extend([0xff; 6]);
    frame.extend(own.octets());
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(own.octets());
    frame.extend([10, 8, 0, 2, 0, 0, 0, 0, 0, 0, 10, 8, 0, 1]);
    let mut answer = None;
    eventually("the host answers", || {
        // Again and again: a link that has just come up may lose what comes first.
        assert_eq!(tap.queues()[1].write(&frame).unwrap(), frame.len());
        let mut buffer = [0; 2048];
        for queue in tap.queues() {
            while let Ok(length) = queue.read(&mut buffer) {
                let frame = &buffer[10..length];
                if frame[..6] == own.octets() && frame[12..14] == [8, 6] {
                    answer = Some(frame[6..12].to_vec());
                }
            }
        }
        answer.is_some()
    })?;
    assert_eq!(answer.as_deref(), Some(&host.octets()[..]));
    Ok(())
}

fn header_sizes_are_set_on_each_queue() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(4))?;
    for size in [VnetHeaderSize::Modern12, VnetHeaderSize::Legacy10, VnetHeaderSize::Hash20] {
        tap.set_vnet_header_size(size)?;
        send_flows(64)?;
        // A queue with another size would have the frames at another place.
        let counts = spread(&tap, size.len(), 64)?;
        assert!(counts.iter().all(|count| *count > 0), "{size:?}: {counts:?}");
    }
    Ok(())
}

fn a_header_is_left_out_if_nobody_wants_it() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&OpenOptions { vnet_header: VnetHeaderMode::Off, ..named(2) })?;
    assert!(!tap.has_vnet_header() && tap.supported_offloads().is_empty());
    send_flows(16)?;
    spread(&tap, 0, 16)?;
    Ok(())
}

fn trap_c_flags_and_offloads_of_former_users_are_not_kept() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let first = TapDevice::open(&named(1))?;
    let all = first.set_offloads(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6)?;
    assert!(all.contains(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6), "{all}");
    drop(first);
    let second = TapDevice::open(&named(1))?;
    send_flows(1)?;
    let mut buffer = [0; 2048];
    let mut header = None;
    eventually("the frame has come", || {
        while let Ok(length) = second.queues()[0].read(&mut buffer) {
            if buffer[22..24] == [8, 0] && length > 52 {
                header = Some(buffer[0]);
            }
        }
        header.is_some()
    })?;
    assert_eq!(header, Some(0), "no checksum is left to us");
    Ok(())
}

fn attach_and_detach_work_by_tunsetqueue() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(4))?;
    for active in [1, 3, 2, 4, 1] {
        tap.attach_first(active)?;
        for (queue, index) in tap.queues().iter().zip(0..) {
            assert_eq!(queue.is_attached()?, index < active);
            flows_in(queue, 10);
        }
        send_flows(64)?;
        let counts = spread(&tap, 10, 64)?;
        let used = counts.iter().map(|count| *count > 0).collect::<Vec<_>>();
        let expected: Vec<bool> = (0..4).map(|index| index < active).collect();
        assert_eq!(used, expected, "{active} attached: {counts:?}");
    }
    // Twice the same is nothing.
    tap.queues()[3].detach()?;
    tap.queues()[0].attach()?;
    // One queue alone can be detached as well.
    drop(tap);
    let tap = TapDevice::open(&named(1))?;
    tap.queues()[0].detach()?;
    assert!(!tap.queues()[0].is_attached()?);
    Ok(())
}

fn what_waits_in_a_queue_goes_when_it_is_detached() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(1))?;
    send_flows(20)?;
    tap.queues()[0].detach()?;
    tap.queues()[0].attach()?;
    assert_eq!(flows_in(&tap.queues()[0], 10), 0, "the kernel keeps them");
    // And a device that is opened detached has none from the moment between.
    drop(tap);
    let tap = TapDevice::open(&OpenOptions { start_detached: true, ..named(4) })?;
    send_flows(20)?;
    tap.attach_first(4)?;
    assert!(tap.queues().iter().all(|queue| flows_in(queue, 10) == 0));
    Ok(())
}

fn there_are_256_queues_and_not_more() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let all = TapDevice::open(&named(256))?;
    let error = TapDevice::open(&named(1)).unwrap_err();
    assert!(matches!(error, Error::TooManyQueues { queue: 0, .. }), "{error}");
    drop(all);
    // A process that another test has just started keeps our descriptors until it is what it is to be.
    eventually("the queues are free again", || TapDevice::open(&named(1)).is_ok())
}

fn the_end_is_noticed() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&named(2))?;
    let end = tap.watch_end()?.unwrap();
    assert!(!end.is_gone());
    ip("link set macvtap0 mtu 1400")?;
    assert!(!end.is_gone(), "a change is not the end");
    ip("link del macvtap0")?;
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(end.as_fd(), rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience))?, 1);
    assert!(end.is_gone());
    let error = tap.queues()[1].detach().unwrap_err();
    assert!(matches!(error, queue::Error::DeviceGone { .. }), "{error}");
    assert!(error.to_string().contains("ENOLINK"), "{error}");
    assert!(matches!(tap.set_offloads(Offloads::NONE), Err(Error::DeviceGone { .. })));
    // A tap tells by itself.
    let tap = TapDevice::open(&OpenOptions::default())?;
    assert!(tap.watch_end()?.is_none());
    Ok(())
}

/// Runs the command that an error shows.
fn follow(error: &Error) -> TestResult {
    let text = error.to_string();
    let command = text.split('`').nth(1).ok_or_else(|| format!("no command in: {text}"))?;
    let output = Command::new("sh").args(["-c", command]).output()?;
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {output:?}").into()) }
}

fn a_missing_node_is_an_error_with_the_remedy() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    std::fs::remove_file(macvtap_node("macvtap0")?)?;
    let error = TapDevice::open(&named(2)).unwrap_err();
    assert!(matches!(error, Error::NodeMissing { number: Some(_), .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("macvtap0: it is a macvtap") && text.contains("--device /dev/tap"), "{text}");
    follow(&error)?;
    TapDevice::open(&named(2))?;
    Ok(())
}

fn a_doctor_sees_what_is_wrong_with_a_macvtap() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let look = || {
        let sample = doctor::sample("macvtap0".parse().unwrap(), None).unwrap();
        doctor::examine(None, &sample, &Wanted::default())
    };
    let ids = || look().into_iter().map(|finding| finding.id).collect::<Vec<_>>();
    assert_eq!(ids(), []);
    std::fs::remove_file(macvtap_node("macvtap0")?)?;
    let findings = look();
    assert_eq!((findings.len(), findings[0].id), (1, Id::DeviceNode), "{findings:?}");
    let output = Command::new("sh").args(["-c", &findings[0].commands[0]]).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ids(), []);
    TapDevice::open(&named(2))?;
    ip("link set v1 down")?;
    eventually("the carrier is gone", || ids() == [Id::LowerDown])?;
    assert!(look()[0].summary.ends_with("v0, which has no carrier"), "{:?}", look());
    ip("link set v1 up")?;
    ip("link set v0 down")?;
    assert_eq!(look()[0].commands, ["ip link set dev v0 up"]);
    ip(look()[0].commands[0].trim_start_matches("ip "))?;
    eventually("all is well again", || ids().is_empty())
}

fn a_node_of_another_interface_is_not_opened() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    macvtap("other", "v2", "v3")?;
    std::fs::remove_file(macvtap_node("macvtap0")?)?;
    node(&macvtap_node("macvtap0")?, macvtap_number("other")?)?;
    let error = TapDevice::open(&named(2)).unwrap_err();
    assert!(matches!(error, Error::NodeOfAnother { number: Some(_), .. }), "{error}");
    // A node with the name of the interface stands beside it.
    follow(&error)?;
    assert!(std::fs::exists("/dev/macvtap0")?);
    let tap = TapDevice::open(&named(2))?;
    assert_eq!(tap.queues()[1].interface_name()?.as_str(), "macvtap0");
    Ok(())
}

fn a_node_that_may_not_be_opened_is_an_error_with_the_remedy() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    ip("link add link v0 name macvtap1 type macvtap mode bridge")?;
    let path = macvtap_node("macvtap0")?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
    let powerless = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        TapDevice::open(&named(1)).unwrap_err()
    };
    let error = std::thread::scope(|scope| scope.spawn(powerless).join()).unwrap();
    assert!(matches!(error, Error::NodePermission { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("EACCES") && text.contains("SUBSYSTEM==\"macvtap\""), "{text}");
    // No capability is needed by whoever may open it.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let powerless = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        TapDevice::open(&named(4)).map(|tap| tap.attach_first(2))
    };
    std::thread::scope(|scope| scope.spawn(powerless).join()).unwrap()??;
    Ok(())
}

/// The sysfs that is mounted is that of this test and does not tell of an interface elsewhere; a queue does.
fn netns_is_where_the_interface_is_looked_for() -> TestResult {
    if !private()? {
        return Ok(());
    }
    let elsewhere = Elsewhere::new()?;
    let (path, number) = elsewhere.run(|| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        private()?;
        macvtap("macvtap0", "v0", "v1")?;
        Ok((macvtap_node("macvtap0")?, macvtap_number("macvtap0")?))
    })?;
    let open = |text: &str| {
        let text = format!("tap,id=a,ifname=macvtap0,queues=2,netns={}{text}", elsewhere.path().display());
        Netdev::open(&text.parse().unwrap())
    };
    let missing = open("").unwrap_err().to_string();
    assert!(missing.contains("does not exist") && missing.contains("$(tr"), "{missing}");
    node(&path, (1, 3))?;
    let other = open("").unwrap_err().to_string();
    assert!(other.contains("is not its device node") && other.contains("$(tr"), "{other}");
    node(std::path::Path::new("/dev/macvtap0"), number)?;
    let scripts = Scripts::new()?;
    let netdev = open(&format!(",script={}", scripts.script("up", "ip link show $1 >$dir/shown")?))?;
    assert_eq!(netdev.device().queue_count(), 2);
    assert_eq!(netdev.device().link()?.kind.as_deref(), Some("macvtap"), "it is looked up there");
    assert!(scripts.written("shown")?.contains("macvtap0"), "and so does the script");
    let end = netdev.device().watch_end()?.unwrap();
    elsewhere.run(|| ip("link del macvtap0"))?;
    eventually("its end is seen", || end.is_gone())
}

fn options_that_make_no_sense_are_errors() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    ip("link add br0 type bridge")?;
    for (option, why) in [
        ("carrier=on", "the carrier of the interface that it stands on"),
        ("carrier=off", "the carrier of the interface that it stands on"),
        ("qdisc=mq", "keeps what it has"),
        ("exclusive=on", "does not tell who has queues"),
        ("persist=on", "it stays until it is deleted"),
        ("persist=off", "it stays until it is deleted"),
        ("user=root", "the permissions of its device node"),
        ("group=root", "the permissions of its device node"),
        ("br=br0", "the network of the interface that it stands on"),
    ] {
        let options = format!("tap,id=a,ifname=macvtap0,queues=2,{option}").parse()?;
        let error = Netdev::open(&options).unwrap_err();
        let is_that = matches!(&error, netdev::Error::Device { source: Error::MacvtapOption { .. }, .. });
        assert!(is_that, "{option}: {error}");
        let (text, name) = (error.to_string(), option.split('=').next().unwrap());
        assert!(
            text.contains(name) && text.contains("macvtap0, which is a macvtap") && text.contains(why),
            "{text}"
        );
    }
    // These make sense: it exists, and must be so.
    let mac = find("macvtap0").unwrap().mac.unwrap();
    let open = |text: String| Netdev::open(&format!("tap,id=a,ifname=macvtap0,{text}").parse().unwrap());
    open(format!("mac={mac},mtu=1500,sndbuf=1M,vnet_hdr=on,carrier=guest"))?;
    let error = open("mac=02:00:00:00:00:01,mtu=1400".to_owned()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("mac is {mac}, not 02:00:00:00:00:01, mtu is 1500, not 1400")),
        "{error}"
    );
    // `mqtap delete` does not.
    assert!(error.ends_with("or delete it with `ip link del macvtap0`"), "{error}");
    Ok(())
}

fn a_send_buffer_is_set_on_each_queue() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let tap = TapDevice::open(&OpenOptions { send_buffer: Some(1 << 16), ..named(3) })?;
    for queue in tap.queues() {
        assert_eq!(queue.send_buffer_limit()?, Some(1 << 16));
    }
    Ok(())
}

/// A descriptor's copy that is as an exec would leave it, under a number that no other test uses.
fn as_inherited(queue: &TapQueue) -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(600);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let fd = rustix::io::fcntl_dupfd_cloexec(queue.as_fd(), number).unwrap();
    assert_eq!(fd.as_raw_fd(), number);
    rustix::io::fcntl_setfd(&fd, FdFlags::empty()).unwrap();
    fd.into_raw_fd()
}

fn open_queues_are_adopted() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    let first = TapDevice::open(&named(3))?;
    first.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    first.queues()[1].detach()?;
    let fds: Vec<i32> = first.queues().iter().map(|queue| as_inherited(queue)).collect();
    drop(first);
    let tap = TapDevice::adopt(&fds)?;
    assert_eq!((tap.kind(), tap.queue_count()), (Kind::Macvtap, 3));
    let attached: Vec<bool> = tap.queues().iter().map(|queue| queue.is_attached().unwrap()).collect();
    assert_eq!(attached, [true, false, true], "found out, and left so");
    tap.attach_first(3)?;
    send_flows(64)?;
    let counts = spread(&tap, 10, 64)?;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    // As a netdev, detached for a guest to come.
    let fds: Vec<String> = tap.queues().iter().map(|queue| as_inherited(queue).to_string()).collect();
    drop(tap);
    let options = format!("tap,id=a,fds={}", fds.join(":")).parse()?;
    let netdev = Netdev::open_with(&options, OpenMode::Detached)?;
    assert!(netdev.device().queues().iter().all(|queue| !queue.is_attached().unwrap()));
    Ok(())
}

fn adopted_queues_are_of_one_interface_that_is_here() -> TestResult {
    if !stage()? {
        return Ok(());
    }
    macvtap("other", "v2", "v3")?;
    let one = TapDevice::open(&named(1))?;
    let name: InterfaceName = "other".parse()?;
    let other = TapDevice::open(&OpenOptions { name: mqtap::NameRequest::Exact(name), ..named(1) })?;
    let tap = TapDevice::open(&OpenOptions { queues: 2, ..OpenOptions::default() })?;
    let pass = |device: &TapDevice| as_inherited(&device.queues()[0]);
    let error = TapDevice::adopt(&[pass(&one), pass(&other)]).unwrap_err();
    assert!(matches!(error, Error::OtherDevice { .. }), "{error}");
    let error = TapDevice::adopt(&[pass(&one), pass(&tap)]).unwrap_err();
    assert!(matches!(error, Error::OtherDevice { .. }), "{error}");
    let (fd, elsewhere) = (pass(&one), Elsewhere::new()?);
    let error = elsewhere.run(|| TapDevice::adopt(&[fd]).unwrap_err());
    assert!(matches!(error, Error::NotHere { .. }), "{error}");
    let gone = pass(&one);
    ip("link del macvtap0")?;
    let error = TapDevice::adopt(&[gone]).unwrap_err();
    assert!(matches!(error, Error::NoDevice(_)) && error.to_string().contains("ENOLINK"), "{error}");
    Ok(())
}

mqtap_test_support::tests!(
    queues_are_opened_by_the_name_of_the_interface,
    what_is_written_leaves_by_the_interface_below,
    header_sizes_are_set_on_each_queue,
    a_header_is_left_out_if_nobody_wants_it,
    trap_c_flags_and_offloads_of_former_users_are_not_kept,
    attach_and_detach_work_by_tunsetqueue,
    what_waits_in_a_queue_goes_when_it_is_detached,
    there_are_256_queues_and_not_more,
    the_end_is_noticed,
    a_missing_node_is_an_error_with_the_remedy,
    a_doctor_sees_what_is_wrong_with_a_macvtap,
    a_node_of_another_interface_is_not_opened,
    a_node_that_may_not_be_opened_is_an_error_with_the_remedy,
    netns_is_where_the_interface_is_looked_for,
    options_that_make_no_sense_are_errors,
    a_send_buffer_is_set_on_each_queue,
    open_queues_are_adopted,
    adopted_queues_are_of_one_interface_that_is_here,
);
