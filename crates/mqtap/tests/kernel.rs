//! Taps of the running kernel. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use mqtap::device::Error;
use mqtap::{
    Capabilities, InterfaceName, Links, MacAddress, MultiQueue, Namespace, Offloads, OpenOptions, TapDevice,
    VnetHeaderMode, VnetHeaderSize, link, queue,
};
use mqtap_test_support::{Elsewhere, TestResult, eventually, ip};
use rustix::io::FdFlags;

fn named(name: &str, queues: u16) -> OpenOptions {
    OpenOptions { name: name.parse().unwrap(), queues, ..OpenOptions::default() }
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn find(text: &str) -> Option<link::Link> {
    Links::open().unwrap().find(name(text)).unwrap()
}

fn counts(tap: &TapDevice) -> (u32, u32) {
    let tun = tap.link().unwrap().tun.unwrap();
    (tun.attached_queues, tun.detached_queues)
}

fn one_call_opens_every_queue_and_the_device_goes_with_them() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 4))?;
    assert_eq!((tap.queue_count(), tap.name(), counts(&tap)), (4, name("tap0"), (4, 0)));
    assert!(tap.is_multi_queue() && tap.has_vnet_header() && !tap.is_persistent());
    assert!(tap.queues().iter().zip(0..).all(|(queue, index)| queue.index() == index));
    drop(tap);
    gone("tap0")
}

/// Closes the queues and waits for the kernel to know.
fn close(tap: TapDevice) -> TestResult {
    let name = tap.name();
    drop(tap);
    let queues = || find(name.as_str()).and_then(|link| link.tun).map_or(0, |tun| tun.queues());
    eventually("the queues are closed", || queues() == 0)
}

/// The last queue is closed, though another test that starts `ip` may have copies of our descriptors for a moment.
fn gone(text: &str) -> TestResult {
    eventually("the device is gone", || find(text).is_none())
}

fn the_name_the_kernel_chose_is_used_for_all_queues() -> TestResult {
    let chosen = TapDevice::open(&OpenOptions { queues: 3, ..OpenOptions::default() })?;
    assert_eq!((chosen.name(), counts(&chosen)), (name("tap0"), (3, 0)));
    let numbered = TapDevice::open(&named("vm%d", 2))?;
    assert_eq!((numbered.name(), counts(&numbered)), (name("vm0"), (2, 0)));
    for queue in numbered.queues() {
        assert_eq!(queue.interface_name()?, name("vm0"));
    }
    Ok(())
}

fn queue_counts_are_1_to_256() -> TestResult {
    for wrong in [0, 257] {
        assert!(matches!(TapDevice::open(&named("tap0", wrong)), Err(Error::QueueCount(_))), "{wrong}");
        assert_eq!(find("tap0"), None, "refused before anything is opened");
    }
    let tap = TapDevice::open(&named("tap0", 256))?;
    assert_eq!(counts(&tap), (256, 0));
    // The kernel's own limit, counted over all who have queues.
    let error = TapDevice::open(&named("tap0", 1)).unwrap_err();
    assert!(matches!(error, Error::TooManyQueues { queue: 0, .. }), "{error}");
    assert!(error.to_string().contains("E2BIG"), "{error}");
    tap.attach_first(0)?;
    assert_eq!(counts(&tap), (0, 256));
    Ok(())
}

fn one_queue_works_on_a_device_made_with_or_without_multi_queue() -> TestResult {
    ip("tuntap add dev single mode tap vnet_hdr")?;
    ip("tuntap add dev multi mode tap vnet_hdr multi_queue")?;
    let single = TapDevice::open(&named("single", 1))?;
    assert!(!single.is_multi_queue() && single.is_persistent());
    let multi = TapDevice::open(&named("multi", 1))?;
    assert!(multi.is_multi_queue());
    Ok(())
}

fn several_queues_of_a_single_queue_device_are_refused_with_the_remedy() -> TestResult {
    ip("tuntap add dev single mode tap")?;
    let error = TapDevice::open(&named("single", 2)).unwrap_err();
    assert!(matches!(error, Error::SingleQueue { queues: 2, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("mqtap doctor single --queues 2") && text.contains("queues=1"), "{text}");
    Ok(())
}

fn what_is_not_a_tap_is_refused_by_name() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    ip("link add v0 type veth peer name v1")?;
    for wrong in ["lo", "tun0", "v0"] {
        let error = TapDevice::open(&named(wrong, 1)).unwrap_err();
        assert!(matches!(error, Error::NotATap(_)), "{wrong}: {error}");
    }
    Ok(())
}

fn a_busy_single_queue_device_says_who_has_it() -> TestResult {
    let _tap = TapDevice::open(&named("tap0", 1))?;
    let error = TapDevice::open(&named("tap0", 1)).unwrap_err();
    let Error::Busy { holders, .. } = &error else { panic!("{error}") };
    assert!(holders.iter().any(|holder| holder.pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("EBUSY") && error.to_string().contains("pid"), "{error}");
    Ok(())
}

fn exclusive_refuses_a_device_in_use_and_takes_an_idle_one() -> TestResult {
    ip("tuntap add dev tap0 mode tap vnet_hdr multi_queue")?;
    let exclusive = OpenOptions { exclusive: true, ..named("tap0", 2) };
    let first = TapDevice::open(&exclusive)?;
    let error = TapDevice::open(&exclusive).unwrap_err();
    assert!(matches!(error, Error::InUse { queues: 2, .. }), "{error}");
    close(first)?;
    TapDevice::open(&exclusive)?;
    Ok(())
}

fn trap_a_flags_that_the_kernel_silently_kept_are_an_error() -> TestResult {
    let _first = TapDevice::open(&named("tap0", 2))?;
    let other = OpenOptions { vnet_header: VnetHeaderMode::Off, ..named("tap0", 2) };
    let error = TapDevice::open(&other).unwrap_err();
    assert!(matches!(error, Error::FlagKept { state: "on", .. }), "{error}");
    assert!(error.to_string().contains("IFF_VNET_HDR"), "{error}");
    eventually("the queue that was opened in vain is gone", || counts(&_first) == (2, 0))
}

fn trap_b_and_c_a_persistent_device_is_set_to_known_values() -> TestResult {
    ip("tuntap add dev tap0 mode tap multi_queue")?;
    let first = TapDevice::open(&named("tap0", 2))?;
    assert!(first.has_vnet_header(), "the first attach decides, whatever it was made with");
    first.set_offloads(Offloads::CSUM | Offloads::TSO4)?;
    first.set_vnet_header_size(VnetHeaderSize::Tunnel24)?;
    close(first)?;
    let second = TapDevice::open(&named("tap0", 2))?;
    // With 10 bytes of header a frame of 14 bytes makes 24; a header of 24 would refuse it as too short.
    second.set_up(true)?;
    let frame = [0; 10 + 14];
    assert_eq!(second.queues()[0].write(&frame)?, frame.len());
    let features = std::process::Command::new("ethtool").args(["-k", "tap0"]).output();
    if let Ok(output) = features {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("tcp-segmentation-offload: off"), "{text}");
    }
    Ok(())
}

fn trap_h_the_namespace_is_that_of_opening() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let namespace = Some(Namespace::Path(elsewhere.path()));
    let tap = TapDevice::open(&OpenOptions { namespace, ..named("tap0", 2) })?;
    assert_eq!(find("tap0"), None);
    assert_eq!(counts(&tap), (2, 0), "its link is looked up there as well");
    tap.set_mtu(4000)?;
    assert_eq!(elsewhere.run(|| find("tap0")).map(|link| link.mtu), Some(4000));
    Ok(())
}

fn attach_and_detach_are_idempotent() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { start_detached: true, ..named("tap0", 4) })?;
    assert_eq!(counts(&tap), (0, 4));
    let queue = &tap.queues()[2];
    for _ in 0..2 {
        queue.attach()?;
        assert!(queue.is_attached()?);
        assert_eq!(counts(&tap), (1, 3));
    }
    for _ in 0..2 {
        queue.detach()?;
        assert!(!queue.is_attached()?);
    }
    tap.attach_first(3)?;
    assert_eq!(counts(&tap), (3, 1));
    tap.attach_first(1)?;
    assert_eq!(counts(&tap), (1, 3));
    assert!(tap.queues()[0].is_attached()?);
    Ok(())
}

fn the_queue_of_a_single_queue_device_stays_attached() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 1))?;
    let queue = &tap.queues()[0];
    assert!(!queue.can_detach());
    queue.detach()?;
    queue.attach()?;
    assert!(queue.is_attached()?);
    let growing = TapDevice::open(&OpenOptions { multi_queue: MultiQueue::Always, ..named("tap1", 1) })?;
    assert!(growing.queues()[0].can_detach());
    Ok(())
}

/// An ARP request that the kernel sends out of every tap that has an address and a route.
fn provoke_frames(device: &str, number: u8) {
    ip(&format!("address add 10.9.{number}.1/24 dev {device}")).unwrap();
    ip(&format!("link set {device} up")).unwrap();
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    for host in 2..66 {
        let _ = socket.send_to(b"who are you", (format!("10.9.{number}.{host}"), 9));
    }
}

fn drain(tap: &TapDevice) -> Vec<usize> {
    let mut buffer = [0; 2048];
    tap.queues().iter().map(|queue| std::iter::from_fn(|| queue.read(&mut buffer).ok()).count()).collect()
}

fn a_detached_queue_gets_no_frame() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 4))?;
    tap.attach_first(2)?;
    provoke_frames("tap0", 1);
    let frames = drain(&tap);
    assert!(frames[0] + frames[1] > 10, "{frames:?}");
    assert_eq!(&frames[2..], [0, 0]);
    Ok(())
}

fn a_detached_queue_can_still_be_written_to() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { start_detached: true, ..named("tap0", 2) })?;
    tap.set_up(true)?;
    assert_eq!(tap.queues()[1].write(&[0; 10 + 60])?, 70);
    Ok(())
}

fn a_deleted_device_is_reported_as_such() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    ip("link del tap0")?;
    let error = tap.queues()[1].attach().unwrap_err();
    assert!(matches!(error, queue::Error::DeviceGone { queue: 1, .. }), "{error}");
    assert!(error.to_string().contains("EBADFD") && error.to_string().contains("tap0"), "{error}");
    let error = tap.set_carrier(true).unwrap_err();
    assert!(matches!(error, Error::DeviceGone { .. }), "{error}");
    assert!(tap.queues()[0].read(&mut [0; 64]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock));
    Ok(())
}

fn carrier_needs_an_attached_queue() -> TestResult {
    let tap = TapDevice::open(&OpenOptions { start_detached: true, carrier: false, ..named("tap0", 2) })?;
    tap.set_up(true)?;
    assert!(!tap.link()?.carrier);
    let error = tap.set_carrier(true).unwrap_err();
    assert!(error.to_string().contains("EPERM") && error.to_string().contains("attached queue"), "{error}");
    tap.queues()[0].attach()?;
    tap.set_carrier(true)?;
    assert!(tap.link()?.carrier);
    Ok(())
}

fn offloads_go_down_the_ladder_to_what_the_kernel_takes() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 1))?;
    let supported = tap.supported_offloads();
    assert!(supported.contains(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6), "{supported}");
    // USO4 alone is refused by the kernel; the set that is accepted is one that it takes.
    let accepted = tap.set_offloads(Offloads::CSUM | Offloads::TSO4 | Offloads::USO4)?;
    assert_eq!(accepted, Offloads::CSUM | Offloads::TSO4);
    assert_eq!(tap.set_offloads(Offloads::TSO4)?, Offloads::NONE, "nothing without CSUM");
    let plain = supported - (Offloads::UDP_TUNNEL_GSO | Offloads::UDP_TUNNEL_GSO_CSUM);
    assert_eq!(tap.set_offloads(supported)?, plain, "a header of 10 bytes has no room for tunnels");
    tap.set_vnet_header_size(VnetHeaderSize::Tunnel24)?;
    assert_eq!(tap.set_offloads(supported)?, supported);
    let plain = TapDevice::open(&OpenOptions { vnet_header: VnetHeaderMode::Off, ..named("tap1", 1) })?;
    assert!(!plain.has_vnet_header());
    assert!(matches!(plain.set_offloads(Offloads::CSUM), Err(Error::OffloadsWithoutHeader { .. })));
    assert_eq!(plain.supported_offloads(), Offloads::NONE);
    Ok(())
}

fn joining_a_device_in_use_leaves_its_offloads_alone() -> TestResult {
    let first = TapDevice::open(&named("tap0", 1).into_multi())?;
    first.set_offloads(Offloads::CSUM | Offloads::TSO4)?;
    first.set_vnet_header_size(VnetHeaderSize::Modern12)?;
    let second = TapDevice::open(&named("tap0", 1).into_multi())?;
    assert_eq!(second.supported_offloads(), first.supported_offloads());
    let text = std::fs::read_to_string("/sys/class/net/tap0/tun_flags").unwrap_or_default();
    assert!(!text.is_empty() || find("tap0").is_some());
    // A header of 12 bytes still: 12 + 13 bytes are too short for a frame, with 10 they would be long enough.
    first.set_up(true)?;
    assert!(second.queues()[0].write(&[0; 12 + 13]).is_err());
    Ok(())
}

trait IntoMulti {
    fn into_multi(self) -> Self;
}

impl IntoMulti for OpenOptions {
    fn into_multi(self) -> Self {
        OpenOptions { multi_queue: MultiQueue::Always, ..self }
    }
}

fn owner_and_group_go_by_value() -> TestResult {
    let tap = TapDevice::open(&OpenOptions {
        owner: Some(0),
        group: Some(0),
        persist: Some(true),
        ..named("tap0", 2)
    })?;
    let tun = tap.link()?.tun.unwrap();
    assert_eq!((tun.owner, tun.group, tun.persistent), (Some(0), Some(0), true));
    close(tap)?;
    assert!(find("tap0").is_some(), "persistent");
    let tap = TapDevice::open(&OpenOptions { persist: Some(false), ..named("tap0", 2) })?;
    drop(tap);
    gone("tap0")
}

fn link_settings_go_over_netlink() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    let mac = MacAddress::new([2, 0, 0, 1, 2, 3]);
    tap.set_mac(mac)?;
    tap.set_mtu(9000)?;
    tap.set_up(true)?;
    let link = tap.link()?;
    assert_eq!((link.mac, link.mtu, link.up, link.carrier), (Some(mac), 9000, true, true));
    assert_eq!((link.name, link.index), (tap.name(), tap.interface_index()));
    let error = tap.set_mtu(70_000).unwrap_err();
    assert!(error.to_string().contains("EINVAL"), "{error}");
    tap.set_up(false)?;
    assert!(!tap.link()?.up);
    let links = Links::open()?;
    links.delete(tap.interface_index())?;
    assert!(matches!(tap.link(), Err(link::Error::NotFound(_))));
    Ok(())
}

fn a_new_multiqueue_device_has_noqueue_unless_mq_is_kept() -> TestResult {
    let plain = TapDevice::open(&named("tap0", 4))?;
    plain.set_up(true)?;
    assert!(ip("link show tap0")?.contains("qdisc noqueue"), "{}", ip("link show tap0")?);
    let kept = TapDevice::open(&OpenOptions { keep_mq_qdisc: true, ..named("tap1", 4) })?;
    kept.set_up(true)?;
    assert!(ip("link show tap1")?.contains("qdisc mq"), "{}", ip("link show tap1")?);
    Ok(())
}

/// Numbers that stand for descriptors inherited from a parent: no two tests get the same, as each is taken once.
fn as_inherited(fds: Vec<OwnedFd>) -> Vec<i32> {
    static NEXT: AtomicI32 = AtomicI32::new(500);
    let number = |fd: OwnedFd| {
        let least = NEXT.fetch_add(1, Ordering::Relaxed);
        let fd = rustix::io::fcntl_dupfd_cloexec(&fd, least).unwrap();
        // What came through an exec cannot be close-on-exec.
        rustix::io::fcntl_setfd(&fd, FdFlags::empty()).unwrap();
        fd.into_raw_fd()
    };
    fds.into_iter().map(number).collect()
}

fn copies(tap: &TapDevice) -> Vec<OwnedFd> {
    tap.queues().iter().map(|queue| queue.as_fd().try_clone_to_owned().unwrap()).collect()
}

fn good_queues_are_adopted() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 3))?;
    let numbers = as_inherited(copies(&tap));
    drop(tap);
    let adopted = TapDevice::adopt(&numbers)?;
    assert_eq!((adopted.name(), adopted.queue_count(), counts(&adopted)), (name("tap0"), 3, (3, 0)));
    assert!(adopted.supported_offloads().contains(Offloads::CSUM));
    let again = TapDevice::adopt(&numbers).unwrap_err();
    assert!(again.to_string().contains("taken already"), "{again}");
    drop(adopted);
    // They were ours, and closed with the device.
    gone("tap0")
}

fn a_failed_adoption_takes_nothing() -> TestResult {
    let tap = TapDevice::open(&named("tap0", 2))?;
    let other = TapDevice::open(&named("tap1", 2))?;
    let plain = TapDevice::open(&named("tap2", 1))?;
    let a = as_inherited(copies(&tap));
    let b = as_inherited(copies(&other));
    let single = as_inherited(copies(&plain))[0];
    let file = as_inherited(vec![std::fs::File::open("/dev/null")?.into()])[0];
    let unbound = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let unbound = as_inherited(vec![unbound.into()])[0];
    let twin = as_inherited(copies(&tap))[0];
    let closed = 499;
    let cases: [(&[i32], &str); 10] = [
        (&[a[0], b[0]], "different devices"),
        (&[a[0], a[0]], "given twice"),
        (&[a[0], file], "not a tap queue"),
        (&[a[0], unbound], "TUNSETIFF was not done"),
        (&[single, a[0]], "without multi_queue"),
        (&[a[0], closed], "is not open"),
        (&[0, a[0]], "standard input"),
        (&[-1], "no file descriptor"),
        (&[], "1 to 256"),
        (&[a[0], twin], "same queue"),
    ];
    for (numbers, expected) in cases {
        let error = TapDevice::adopt(numbers).unwrap_err();
        assert!(error.to_string().contains(expected), "{numbers:?}: {error}");
    }
    // All of them are still open, untaken and good.
    TapDevice::adopt(&a)?;
    TapDevice::adopt(&b)?;
    TapDevice::adopt(&[single])?;
    Ok(())
}

fn a_failure_midway_leaves_no_trace() -> TestResult {
    // 255 queues are taken by somebody; of the next two, the second is one too many.
    ip("tuntap add dev tap0 mode tap vnet_hdr multi_queue")?;
    let most = TapDevice::open(&named("tap0", 255))?;
    let error = TapDevice::open(&OpenOptions { owner: Some(1), ..named("tap0", 2) }).unwrap_err();
    assert!(matches!(error, Error::TooManyQueues { queue: 1, .. }), "{error}");
    eventually("only the first 255 are left", || counts(&most) == (255, 0))?;
    assert_eq!(most.link()?.tun.unwrap().owner, None);
    Ok(())
}

fn the_kernels_features_are_known_without_a_device() -> TestResult {
    let capabilities = Capabilities::probe()?;
    assert!(capabilities.multi_queue() && capabilities.vnet_header());
    assert!(capabilities.flags() & 0x0100 != 0);
    Ok(())
}

mqtap_test_support::tests!(
    one_call_opens_every_queue_and_the_device_goes_with_them,
    the_name_the_kernel_chose_is_used_for_all_queues,
    queue_counts_are_1_to_256,
    one_queue_works_on_a_device_made_with_or_without_multi_queue,
    several_queues_of_a_single_queue_device_are_refused_with_the_remedy,
    what_is_not_a_tap_is_refused_by_name,
    a_busy_single_queue_device_says_who_has_it,
    exclusive_refuses_a_device_in_use_and_takes_an_idle_one,
    trap_a_flags_that_the_kernel_silently_kept_are_an_error,
    trap_b_and_c_a_persistent_device_is_set_to_known_values,
    trap_h_the_namespace_is_that_of_opening,
    attach_and_detach_are_idempotent,
    the_queue_of_a_single_queue_device_stays_attached,
    a_detached_queue_gets_no_frame,
    a_detached_queue_can_still_be_written_to,
    a_deleted_device_is_reported_as_such,
    carrier_needs_an_attached_queue,
    offloads_go_down_the_ladder_to_what_the_kernel_takes,
    joining_a_device_in_use_leaves_its_offloads_alone,
    owner_and_group_go_by_value,
    link_settings_go_over_netlink,
    a_new_multiqueue_device_has_noqueue_unless_mq_is_kept,
    good_queues_are_adopted,
    a_failed_adoption_takes_nothing,
    a_failure_midway_leaves_no_trace,
    the_kernels_features_are_known_without_a_device,
);
