//! The traps of the kernel's tap interface, each on the running kernel, and races with other users of a device.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod raw;

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, IntoRawFd as _};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering};

use mqtap::device::Error;
use mqtap::fd::{InheritError, inherit};
use mqtap::vnet_header::InvalidHeader;
use mqtap::{
    Capabilities, InterfaceName, Links, MultiQueue, NameRequest, Namespace, Offloads, OpenOptions, TapDevice,
    VnetHeader, VnetHeaderMode, VnetHeaderSize, link, queue,
};
use mqtap_test_support::{Elsewhere, TestResult, cannot_run, eventually, ip};
use rustix::io::{Errno, FdFlags};
use rustix::thread::{CapabilitySet, CapabilitySets};

fn named(name: &str, queues: u16) -> OpenOptions {
    OpenOptions { name: name.parse().unwrap(), queues, ..OpenOptions::default() }
}

fn find(text: &str) -> Option<link::Link> {
    Links::open().unwrap().find(text.parse().unwrap()).unwrap()
}

fn counts(tap: &TapDevice) -> (u32, u32) {
    let tun = tap.link().unwrap().tun.unwrap();
    (tun.attached_queues, tun.detached_queues)
}

/// Closes the queues and waits until the kernel knows: another test that starts `ip` may have copies for a moment.
fn close(tap: TapDevice) -> TestResult {
    let name = tap.name();
    drop(tap);
    let queues = || find(name.as_str()).and_then(|link| link.tun).map_or(0, |tun| tun.queues());
    eventually("the queues are closed", || queues() == 0)
}

/// Frames of one UDP flow each leave through the device, to a neighbour that needs no ARP.
fn send_flows(device: &str, flows: u16, payload: &[u8]) -> TestResult {
    ip(&format!("address replace 10.8.0.1/24 dev {device}"))?;
    ip(&format!("link set {device} up"))?;
    ip(&format!("neighbour replace 10.8.0.2 lladdr 02:00:00:00:00:02 dev {device}"))?;
    for _ in 0..flows {
        std::net::UdpSocket::bind("10.8.0.1:0")?.send_to(payload, "10.8.0.2:9")?;
    }
    Ok(())
}

/// The frames of [`send_flows`] that wait in a queue, without what the kernel sends on its own.
fn udp_frames(queue: &mqtap::TapQueue, header: usize) -> Vec<Vec<u8>> {
    let mut buffer = [0; 4096];
    let mut frames = Vec::new();
    while let Ok(length) = queue.read(&mut buffer) {
        let frame = &buffer[header..length];
        if frame.len() > 42 && frame[12..14] == [8, 0] && frame[23] == 17 && frame[30..34] == [10, 8, 0, 2] {
            frames.push(frame.to_vec());
        }
    }
    frames
}

/// Whether the UDP checksum of an IPv4 frame is right, rather than left for an offload to make.
fn checksum_is_complete(frame: &[u8]) -> bool {
    let udp = &frame[34..];
    let pseudo = frame[26..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let words =
        udp.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum = pseudo.chain(words).sum::<u32>() + 17 + udp.len() as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

/// A descriptor's copy that is as an exec would leave it, under a number that no other test uses.
fn as_inherited(fd: impl AsFd) -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(600);
    let fd = rustix::io::fcntl_dupfd_cloexec(fd, NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    rustix::io::fcntl_setfd(&fd, FdFlags::empty()).unwrap();
    fd.into_raw_fd()
}

/// Runs `act` in a thread without CAP_NET_ADMIN.
fn unprivileged<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let powerless = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        act()
    };
    std::thread::scope(|scope| scope.spawn(powerless).join()).unwrap()
}

fn trap_a_packet_information_of_a_device_in_use_is_seen() -> TestResult {
    let _other = raw::open(b"tap0", raw::TAP | raw::MULTI_QUEUE | raw::VNET_HDR)?;
    let error = TapDevice::open(&named("tap0", 1)).unwrap_err();
    assert!(matches!(error, Error::FlagKept { state: "on", .. }), "{error}");
    assert!(error.to_string().contains("packet information"), "{error}");
    Ok(())
}

fn trap_a_if_available_takes_what_a_device_in_use_has() -> TestResult {
    let _other = raw::open(b"tap0", raw::TAP | raw::MULTI_QUEUE | raw::NO_PI)?;
    let tap = TapDevice::open(&named("tap0", 2))?;
    assert!(!tap.has_vnet_header());
    let required = OpenOptions { vnet_header: VnetHeaderMode::Require, ..named("tap0", 2) };
    assert!(matches!(TapDevice::open(&required), Err(Error::FlagKept { state: "off", .. })));
    Ok(())
}

fn trap_b_packet_information_of_an_idle_device_is_turned_off() -> TestResult {
    ip("tuntap add dev tap0 mode tap pi multi_queue")?;
    let tap = TapDevice::open(&named("tap0", 2))?;
    assert!(!tap.link()?.tun.unwrap().packet_information);
    Ok(())
}

fn trap_c_offloads_left_over_are_cleared_also_without_a_header() -> TestResult {
    let first = TapDevice::open(&OpenOptions { persist: Some(true), ..named("tap0", 2) })?;
    first.set_offloads(Offloads::CSUM | Offloads::TSO4)?;
    send_flows("tap0", 1, b"checksum, please")?;
    let frames: Vec<_> = first.queues().iter().flat_map(|queue| udp_frames(queue, 10)).collect();
    assert!(!checksum_is_complete(&frames[0]), "with the offload on, the kernel leaves it to us");
    close(first)?;
    let plain = OpenOptions { vnet_header: VnetHeaderMode::Off, ..named("tap0", 2) };
    let second = TapDevice::open(&plain)?;
    send_flows("tap0", 1, b"checksum, please")?;
    let frames: Vec<_> = second.queues().iter().flat_map(|queue| udp_frames(queue, 0)).collect();
    assert!(checksum_is_complete(&frames[0]));
    Ok(())
}

fn trap_c_a_steering_program_left_over_is_taken_off() -> TestResult {
    let first = TapDevice::open(&OpenOptions { persist: Some(true), ..named("tap0", 2) })?;
    match raw::steer_to_queue_1(first.queues()[0].as_fd()) {
        Err(Errno::PERM) => return cannot_run("this user may load no BPF program, which needs root"),
        result => result?,
    }
    let frames = |tap: &TapDevice| -> Vec<usize> {
        tap.queues().iter().map(|queue| udp_frames(queue, 10).len()).collect()
    };
    send_flows("tap0", 32, b"where to")?;
    assert_eq!(frames(&first), [0, 32], "the program does what it says");
    close(first)?;
    let second = TapDevice::open(&named("tap0", 2))?;
    send_flows("tap0", 32, b"where to")?;
    assert!(frames(&second)[0] > 0, "the kernel chooses queues again");
    Ok(())
}

fn trap_c_a_parked_queue_of_somebody_is_no_say_in_the_settings() -> TestResult {
    // A program that keeps the device with a detached queue, while those that use it come and go.
    let keeper = TapDevice::open(&OpenOptions { multi_queue: MultiQueue::Always, ..named("tap0", 1) })?;
    keeper.set_offloads(Offloads::CSUM | Offloads::TSO4)?;
    keeper.set_carrier(false)?;
    keeper.attach_first(0)?;
    let tap = TapDevice::open(&named("tap0", 2))?;
    send_flows("tap0", 1, b"checksum, please")?;
    assert!(tap.link()?.carrier);
    let frames: Vec<_> = tap.queues().iter().flat_map(|queue| udp_frames(queue, 10)).collect();
    assert!(checksum_is_complete(&frames[0]));
    // Now it is used, and who comes without carrier has no say.
    let later = TapDevice::open(&OpenOptions { carrier: false, ..named("tap0", 1) })?;
    assert!(later.link()?.carrier);
    Ok(())
}

fn trap_carrier_is_in_force_at_once() -> TestResult {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(8)) {
        eprintln!(
            "NOT TESTED: Linux {release} brings the carrier into force when it pleases; 6.8 on request"
        );
        return Ok(());
    }
    let tap = TapDevice::open(&OpenOptions { carrier: false, ..named("tap0", 1) })?;
    send_flows("tap0", 1, b"lost")?;
    for round in 0..50 {
        tap.set_carrier(true)?;
        // Not `send_flows`: what `ip` asks the kernel would bring it into force.
        std::net::UdpSocket::bind("10.8.0.1:0")?.send_to(b"at once", "10.8.0.2:9")?;
        assert_eq!(udp_frames(&tap.queues()[0], 10).len(), 1, "{round}");
        tap.set_carrier(false)?;
        assert!(!tap.link()?.carrier);
    }
    Ok(())
}

fn trap_e_rings_keep_their_length_with_noqueue() -> TestResult {
    // A txqueuelen of 0, by which people ask for noqueue, would make rings without room, and every frame lost.
    let tap = TapDevice::open(&named("tap0", 2))?;
    tap.set_up(true)?;
    let text = ip("link show tap0")?;
    assert!(text.contains("qlen 1000") && text.contains("noqueue"), "{text}");
    Ok(())
}

fn trap_f_a_classic_filter_that_keeps_a_queue_detached_is_named() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    tap.queues()[1].detach()?;
    raw::attach_classic_filter(tap.queues()[0].as_fd());
    let error = tap.queues()[1].attach().unwrap_err();
    assert!(matches!(error, queue::Error::NotAttached { queue: 1, .. }), "{error}");
    assert!(error.to_string().contains("TUNATTACHFILTER"), "{error}");
    Ok(())
}

fn trap_g_an_owner_keeps_others_out() -> TestResult {
    let uid_is_mapped = !std::fs::read_to_string("/proc/self/uid_map")?.trim_end().ends_with(" 1");
    let tap = TapDevice::open(&OpenOptions { persist: Some(true), ..named("tap0", 2) })?;
    if uid_is_mapped {
        tap.set_owner(4711)?;
        close(tap)?;
        let error = unprivileged(|| TapDevice::open(&named("tap0", 1))).unwrap_err();
        assert!(matches!(error, Error::OwnerPermission { owner: Some(4711), group: None, .. }), "{error}");
        assert!(error.to_string().contains("EPERM") && error.to_string().contains("user 4711"), "{error}");
    } else {
        let error = tap.set_owner(4711).unwrap_err();
        assert!(error.to_string().contains("no mapping in this user namespace"), "{error}");
    }
    Ok(())
}

fn making_a_device_without_privilege_says_what_it_needs() -> TestResult {
    let error = unprivileged(|| TapDevice::open(&named("tap0", 1))).unwrap_err();
    assert!(matches!(error, Error::CreatePermission { .. }), "{error}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    // What an administrator is to make is what was asked for.
    let (plain, several) = (OpenOptions::default(), OpenOptions { queues: 4, ..OpenOptions::default() });
    let no_header = OpenOptions { vnet_header: VnetHeaderMode::Off, ..plain.clone() };
    for (name, options, end) in [
        ("tap0", plain.clone(), "it for this user: `sudo mqtap create tap0 --vnet-hdr --owner $USER`"),
        ("tap0", no_header, "it for this user: `sudo mqtap create tap0 --owner $USER`"),
        (
            "vm%d",
            several.clone(),
            "`sudo mqtap create vm0 --multi-queue --vnet-hdr --owner $USER`; ask for it by that name then (ifname=vm0)",
        ),
        (
            "",
            several,
            "`sudo mqtap create tap0 --multi-queue --vnet-hdr --owner $USER`; ask for it by that name then (ifname=tap0)",
        ),
    ] {
        let name = if name.is_empty() { NameRequest::KernelChoice } else { name.parse()? };
        let error =
            unprivileged(|| TapDevice::open(&OpenOptions { name, ..options })).unwrap_err().to_string();
        assert!(error.ends_with(end), "{error}");
    }
    let (name, namespace) = ("tap0".parse()?, Some(Namespace::Name("blue".to_owned())));
    let error =
        Error::CreatePermission { name, multi_queue: true, vnet_header: false, namespace }.to_string();
    assert!(error.ends_with("`sudo mqtap create tap0 --multi-queue --netns blue --owner $USER`"), "{error}");
    Ok(())
}

fn the_owner_needs_no_privilege() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { persist: Some(true), owner: Some(0), ..named("tap0", 4) })?;
    close(tap)?;
    unprivileged(|| {
        let tap = TapDevice::open(&named("tap0", 4))?;
        tap.attach_first(2)?;
        assert_eq!(counts(&tap), (2, 2));
        let error = tap.set_up(true).unwrap_err();
        assert!(
            error.to_string().contains("EPERM") && error.to_string().contains("CAP_NET_ADMIN"),
            "{error}"
        );
        Ok(())
    })
}

fn trap_h_a_namesake_in_another_namespace_is_another_device() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let here = TapDevice::open(&named("tap0", 2))?;
    let there = TapDevice::open(&OpenOptions {
        namespace: Some(Namespace::Path(elsewhere.path())),
        ..named("tap0", 2)
    })?;
    let (a, b) = (as_inherited(&here.queues()[0]), as_inherited(&there.queues()[0]));
    let error = TapDevice::adopt(&[a, b]).unwrap_err();
    assert!(matches!(error, Error::OtherDevice { .. }), "{error}");
    there.set_mtu(4000)?;
    let adopted = TapDevice::adopt(&[b])?;
    assert_eq!(adopted.link()?.mtu, 4000, "its link is that of the device's namespace");
    Ok(())
}

fn namespaces_that_cannot_be_entered_are_named() -> TestResult {
    let cases = [
        (Namespace::Name("mqtap-no-such-namespace".to_owned()), "ENOENT"),
        (Namespace::Name("../../proc/self/ns/net".to_owned()), "EINVAL"),
        (Namespace::Name("..".to_owned()), "EINVAL"),
        (Namespace::Path("/proc/self/ns/uts".into()), "no network namespace"),
        (Namespace::Path("/proc/self/comm".into()), "EINVAL"),
    ];
    for (namespace, expected) in cases {
        let options = OpenOptions { namespace: Some(namespace.clone()), ..named("tap0", 1) };
        let error = TapDevice::open(&options).unwrap_err();
        assert!(matches!(error, Error::Namespace { .. }), "{error}");
        let path = namespace.path().display().to_string();
        assert!(error.to_string().contains(expected) && error.to_string().contains(&path), "{error}");
    }
    assert_eq!(find("tap0"), None);
    // A thread has a directory in /proc as a process has, and here a namespace of its own.
    let own = Namespace::Pid(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    let tap = TapDevice::open(&OpenOptions { namespace: Some(own), ..named("tap0", 1) })?;
    assert_eq!(find("tap0"), Some(tap.link()?));
    Ok(())
}

fn trap_i_what_a_buffer_has_no_room_for_is_lost() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 1))?;
    send_flows("tap0", 1, &[7; 500])?;
    let mut short = [0; 64];
    // The frames that the kernel sends on its own are longer as well.
    assert_eq!(tap.queues()[0].read(&mut short)?, 64);
    Ok(())
}

fn trap_index_the_last_queue_moves_into_a_hole() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { keep_mq_qdisc: true, ..named("tap0", 4) })?;
    tap.queues()[1].detach()?;
    send_flows("tap0", 64, b"to whom")?;
    let read: Vec<_> = tap.queues().iter().map(|queue| udp_frames(queue, 10).len()).collect();
    assert!(read[1] == 0 && read.iter().sum::<usize>() == 64, "{read:?}");
    // The kernel's queue 1 is now our queue 3, which only tc can tell: its classes count bytes of the kernel's numbers. The
    // frames are of equal length.
    let text = String::from_utf8(
        std::process::Command::new("tc").args(["-s", "qdisc", "show", "dev", "tap0"]).output()?.stdout,
    )?;
    let mut sent = [0; 4];
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2) {
        let number = |line: &str, word: &str| -> Option<usize> {
            line.split_whitespace()
                .skip_while(|&part| part != word)
                .nth(1)?
                .trim_start_matches(':')
                .parse()
                .ok()
        };
        if let Some(index @ 1..=4) = number(pair[0], "parent") {
            let packets = pair[1].split_whitespace().nth(3).and_then(|count| count.parse().ok());
            sent[index - 1] = packets.unwrap_or(0);
        }
    }
    // Numbers as printed are in decimal up to 9; what the kernel sends on its own is counted too.
    assert_eq!(sent[3], 0, "the kernel has no queue 3: {text}");
    assert!(sent[1] >= read[3] && read[3] > 0, "{sent:?} {read:?} {text}");
    // Attached again it would be the last; the prefix rule mends that.
    tap.attach_first(4)?;
    assert_eq!(counts(&tap), (4, 0));
    Ok(())
}

fn trap_ebadfd_a_namesake_made_later_is_not_our_device() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    ip("link del tap0")?;
    ip("tuntap add dev tap0 mode tap vnet_hdr multi_queue")?;
    assert!(matches!(tap.queues()[0].detach(), Err(queue::Error::DeviceGone { .. })));
    assert!(matches!(tap.queues()[0].interface_name(), Err(queue::Error::DeviceGone { .. })));
    assert!(matches!(tap.set_offloads(Offloads::NONE), Err(Error::DeviceGone { .. })));
    assert!(matches!(tap.link(), Err(link::Error::NotFound(_))));
    assert!(matches!(tap.set_up(true), Err(link::Error::NotFound(_))));
    let error = tap.queues()[0].write(&[0; 70]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::BADFD.raw_os_error()));
    assert!(!find("tap0").unwrap().up);
    Ok(())
}

fn a_renamed_device_is_still_ours() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    ip("link set tap0 name blue0")?;
    assert_eq!(tap.queues()[1].interface_name()?.as_str(), "blue0");
    assert_eq!(tap.link()?.name.as_str(), "blue0");
    tap.set_mtu(2000)?;
    tap.attach_first(1)?;
    Ok(())
}

fn trap_sndbuf_queues_attached_later_get_the_limit_too() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { start_detached: true, ..named("tap0", 3) })?;
    assert_eq!(raw::send_buffer(tap.queues()[0].as_fd()), i32::MAX, "nobody asked for a limit");
    tap.queues()[0].attach()?;
    tap.set_send_buffer(1 << 20)?;
    tap.attach_first(3)?;
    let limits: Vec<_> = tap.queues().iter().map(|queue| raw::send_buffer(queue.as_fd())).collect();
    assert_eq!(limits, [1 << 20; 3]);
    let error = tap.set_send_buffer(0).unwrap_err();
    assert!(error.to_string().contains("TUNSETSNDBUF") && error.to_string().contains("EINVAL"), "{error}");
    Ok(())
}

fn names_are_refused_where_the_kernel_refuses_them() -> TestResult {
    let texts = [
        "voil\u{e0}",
        "a b",
        "a/b",
        "a:b",
        "..",
        ".",
        "a\u{b}b",
        "\u{fc}ber",
        "a\"b'",
        "a\u{3000}b",
        "-",
        "a,b",
    ];
    for text in texts {
        let kernel = raw::open(text.as_bytes(), raw::TAP | raw::NO_PI).map(drop);
        assert_eq!(text.parse::<InterfaceName>().is_ok(), kernel.is_ok(), "{text:?}: {kernel:?}");
    }
    Ok(())
}

fn headers_are_refused_only_where_the_kernel_refuses_them() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 1))?;
    tap.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    tap.set_up(true)?;
    // A TCP segment of IPv4.
    let mut frame = [0; 12 + 14 + 20 + 20 + 100];
    frame[12 + 12..][..2].copy_from_slice(&[8, 0]);
    frame[12 + 14..][..12].copy_from_slice(&[0x45, 0, 0, 140, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame[12 + 34 + 12] = 0x50;
    let length = frame.len() - 12;
    let mut random = std::fs::File::open("/dev/urandom")?;
    let (mut refused, mut passed) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = [0; 8];
        random.read_exact(&mut bytes)?;
        let near = |byte: u8| u16::from(byte) * 3 / 4;
        let header = VnetHeader {
            flags: bytes[0] & 1,
            gso_type: bytes[1] & 0x87,
            hdr_len: near(bytes[2]),
            gso_size: u16::from(bytes[3] & 3) * 30,
            csum_start: near(bytes[4]),
            csum_offset: near(bytes[5]) / 2,
            num_buffers: 0,
        };
        header.write_to(&mut frame, VnetHeaderSize::Modern12).unwrap();
        let written = tap.queues()[0].write(&frame);
        match header.check(length) {
            // The kernel compares with the bytes behind the first 10 of its header, of which this one has 12.
            Err(InvalidHeader::HeaderLength { hdr_len, .. }) if usize::from(hdr_len) <= length + 2 => {}
            Err(error) => {
                refused += 1;
                let kernel = written.map_err(|error| error.kind());
                assert_eq!(kernel, Err(ErrorKind::InvalidInput), "{header:?}: {error}");
            }
            Ok(()) => passed += u32::from(written.is_ok()),
        }
    }
    assert!(refused > 300 && passed > 100, "{refused} refused, {passed} passed: the test sees both");
    Ok(())
}

fn adoption_refuses_what_is_no_tap_of_ours() -> TestResult {
    let pi = as_inherited(raw::open(b"tap0", raw::TAP | raw::VNET_HDR)?);
    let tun = as_inherited(raw::open(b"tun0", raw::TUN | raw::NO_PI)?);
    let null = as_inherited(std::fs::File::open("/dev/null")?);
    for (number, expected) in [(pi, "packet information"), (tun, "is a tun"), (null, "not a tap queue")] {
        let error = TapDevice::adopt(&[number]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let tap = TapDevice::open(&named("tap1", 1))?;
    let ours = tap.queues()[0].as_fd().as_raw_fd();
    let error = TapDevice::adopt(&[ours]).unwrap_err();
    assert!(error.to_string().contains("belongs to another part"), "{error}");
    assert!(tap.queues()[0].is_attached()?);
    let gone = as_inherited(&tap.queues()[0]);
    ip("link del tap1")?;
    assert!(matches!(TapDevice::adopt(&[gone]), Err(Error::NoDevice(number)) if number == gone));
    Ok(())
}

fn a_failed_adoption_changes_nothing() -> TestResult {
    let fd = raw::open(b"tap0", raw::TAP | raw::NO_PI | raw::VNET_HDR | raw::MULTI_QUEUE)?;
    let (other, number) =
        (raw::open(b"tap1", raw::TAP | raw::NO_PI | raw::VNET_HDR | raw::MULTI_QUEUE)?, as_inherited(&fd));
    rustix::fs::fcntl_setfl(&fd, rustix::fs::OFlags::empty())?;
    assert!(TapDevice::adopt(&[number, as_inherited(other)]).is_err());
    assert!(!rustix::fs::fcntl_getfl(&fd)?.contains(rustix::fs::OFlags::NONBLOCK), "still as it was");
    let adopted = TapDevice::adopt(&[number])?;
    let flags = rustix::io::fcntl_getfd(&adopted.queues()[0])?;
    assert!(flags.contains(FdFlags::CLOEXEC));
    assert!(
        rustix::fs::fcntl_getfl(&fd)?.contains(rustix::fs::OFlags::NONBLOCK),
        "whoever shares it sees this"
    );
    Ok(())
}

fn adopting_queues_of_a_device_others_use_leaves_its_settings() -> TestResult {
    let theirs = TapDevice::open(&named("tap0", 2))?;
    theirs.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    let flags = raw::TAP | raw::NO_PI | raw::VNET_HDR | raw::MULTI_QUEUE;
    let adopted = TapDevice::adopt(&[as_inherited(raw::open(b"tap0", flags)?)])?;
    assert!(adopted.supported_offloads().contains(Offloads::CSUM));
    theirs.set_up(true)?;
    assert!(
        adopted.queues()[0].write(&[0; 12 + 13]).is_err(),
        "with a header of 10 bytes this would be a frame"
    );
    Ok(())
}

fn inheriting_takes_a_number_once() -> TestResult {
    let (mut reader, writer) = std::io::pipe()?;
    assert_eq!(inherit(writer.as_raw_fd()).unwrap_err(), InheritError::CloseOnExec(writer.as_raw_fd()));
    let number = as_inherited(&writer);
    drop(writer);
    let mut inherited = std::fs::File::from(inherit(number)?);
    inherited.write_all(b"good")?;
    assert!(rustix::io::fcntl_getfd(&inherited)?.contains(FdFlags::CLOEXEC));
    assert_eq!(inherit(number).unwrap_err(), InheritError::Taken(number));
    drop(inherited);
    assert_eq!(inherit(number).unwrap_err(), InheritError::Taken(number), "also once it is closed");
    assert_eq!(inherit(1).unwrap_err(), InheritError::Standard(1));
    assert_eq!(inherit(-1).unwrap_err(), InheritError::Negative(-1));
    assert_eq!(inherit(598).unwrap_err(), InheritError::NotOpen(598));
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "good");
    Ok(())
}

fn threads_in_this_namespace<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let start = |i| {
            let (barrier, act) = (&barrier, &act);
            scope.spawn(move || {
                barrier.wait();
                act(i)
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn race_of_exclusive_openers_has_at_most_one_winner() -> TestResult {
    for round in 0..20 {
        let name = format!("race{round}");
        if round % 2 == 0 {
            ip(&format!("tuntap add dev {name} mode tap vnet_hdr multi_queue"))?;
        }
        let results = threads_in_this_namespace(3, |_| {
            TapDevice::open(&OpenOptions { exclusive: true, ..named(&name, 3) })
        });
        let winners: Vec<_> = results.iter().flatten().collect();
        assert!(winners.len() <= 1, "{winners:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, Error::InUse { .. } | Error::Changed(_)), "{error}");
        }
    }
    Ok(())
}

fn race_of_different_openers_is_explained() -> TestResult {
    // Who comes second by a hair finds a device that was not there when he looked.
    for round in 0..30 {
        let name = format!("race{round}");
        let results = threads_in_this_namespace(2, |i| TapDevice::open(&named(&name, 1 + i as u16)));
        assert!(results.iter().any(Result::is_ok), "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, Error::SingleQueue { .. } | Error::Busy { .. }), "{error}");
        }
    }
    Ok(())
}

fn race_of_openers_shares_one_device() -> TestResult {
    for round in 0..10 {
        let name = format!("race{round}");
        let results = threads_in_this_namespace(3, |_| TapDevice::open(&named(&name, 3)));
        let devices = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert!(devices.iter().all(|device| device.interface_index() == devices[0].interface_index()));
        assert_eq!(counts(&devices[0]), (9, 0));
    }
    Ok(())
}

fn race_of_attach_and_detach_ends_in_order() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 4))?;
    let results = threads_in_this_namespace(4, |i| -> Result<(), queue::Error> {
        for _ in 0..200 {
            // Two threads on each queue, which want opposite things.
            let queue = &tap.queues()[i / 2];
            if i % 2 == 0 { queue.attach()? } else { queue.detach()? }
        }
        Ok(())
    });
    results.into_iter().collect::<Result<(), _>>()?;
    tap.attach_first(4)?;
    assert_eq!(counts(&tap), (4, 0));
    Ok(())
}

fn race_with_deletion_leaves_no_device_behind() -> TestResult {
    // While one opens, another deletes: it either works out, or fails with nothing left.
    for _ in 0..20 {
        let results = threads_in_this_namespace(2, |i| {
            if i == 0 {
                return Some(TapDevice::open(&named("tap0", 8)));
            }
            let links = Links::open().unwrap();
            for _ in 0..20 {
                if let Ok(Some(link)) = links.find("tap0".parse().unwrap()) {
                    let _ = links.delete(link.index);
                }
            }
            None
        });
        let opened = results.into_iter().flatten().next().unwrap();
        if let Ok(tap) = opened {
            match tap.link() {
                Ok(link) => assert_eq!(link.tun.unwrap().queues(), 8, "all of them are of this device"),
                // Deleted when it was complete: with the first queue, all are gone.
                Err(error) => {
                    assert!(matches!(error, link::Error::NotFound(_)), "{error}");
                    assert!(tap.queues().iter().all(|queue| queue.interface_name().is_err()));
                }
            }
        }
        eventually("nothing is left", || find("tap0").is_none())?;
    }
    Ok(())
}

fn offloads_of_the_kernel_are_known_without_a_device() -> TestResult {
    let offloads = Capabilities::probe_offloads()?;
    let tap = TapDevice::open(&OpenOptions { multi_queue: MultiQueue::Always, ..named("tap0", 1) })?;
    assert_eq!(offloads, tap.supported_offloads());
    Ok(())
}

fn the_device_remembers_its_persistence() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 1))?;
    for persistent in [true, false] {
        tap.set_persist(persistent)?;
        assert_eq!((tap.is_persistent(), tap.link()?.tun.unwrap().persistent), (persistent, persistent));
    }
    Ok(())
}

mqtap_test_support::tests!(
    trap_a_packet_information_of_a_device_in_use_is_seen,
    trap_a_if_available_takes_what_a_device_in_use_has,
    trap_b_packet_information_of_an_idle_device_is_turned_off,
    trap_c_offloads_left_over_are_cleared_also_without_a_header,
    trap_c_a_steering_program_left_over_is_taken_off,
    trap_c_a_parked_queue_of_somebody_is_no_say_in_the_settings,
    trap_carrier_is_in_force_at_once,
    trap_e_rings_keep_their_length_with_noqueue,
    trap_f_a_classic_filter_that_keeps_a_queue_detached_is_named,
    trap_g_an_owner_keeps_others_out,
    making_a_device_without_privilege_says_what_it_needs,
    the_owner_needs_no_privilege,
    trap_h_a_namesake_in_another_namespace_is_another_device,
    namespaces_that_cannot_be_entered_are_named,
    trap_i_what_a_buffer_has_no_room_for_is_lost,
    trap_index_the_last_queue_moves_into_a_hole,
    trap_ebadfd_a_namesake_made_later_is_not_our_device,
    a_renamed_device_is_still_ours,
    trap_sndbuf_queues_attached_later_get_the_limit_too,
    names_are_refused_where_the_kernel_refuses_them,
    headers_are_refused_only_where_the_kernel_refuses_them,
    adoption_refuses_what_is_no_tap_of_ours,
    a_failed_adoption_changes_nothing,
    adopting_queues_of_a_device_others_use_leaves_its_settings,
    inheriting_takes_a_number_once,
    race_of_exclusive_openers_has_at_most_one_winner,
    race_of_different_openers_is_explained,
    race_of_openers_shares_one_device,
    race_of_attach_and_detach_ends_in_order,
    race_with_deletion_leaves_no_device_behind,
    offloads_of_the_kernel_are_known_without_a_device,
    the_device_remembers_its_persistence,
);
