//! Taps that stay, on the running kernel. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used)]

use std::os::fd::AsFd as _;
use std::time::Instant;

use mqtap::create::{CreateOptions, Created, Error, create, delete};
use mqtap::netdev::Qdisc;
use mqtap::{InterfaceName, Link, Links, NameRequest, Namespace, OpenOptions, TapDevice, device};
use mqtap_test_support::{Elsewhere, TestResult, all_users_exist, eventually, ip, patience};
use rustix::io::Errno;

/// But for a queue that a process which another test has just started keeps until it is what it is to be.
fn settled(mut link: Link) -> Link {
    link.tun.iter_mut().for_each(|tun| tun.attached_queues = 0);
    link
}

fn options(name: &str) -> CreateOptions {
    CreateOptions::new(name.parse().unwrap())
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn find(text: &str) -> Option<Link> {
    Links::open().unwrap().find(name(text)).unwrap()
}

/// The names of all interfaces here.
fn interfaces() -> Vec<String> {
    Links::open().unwrap().list().unwrap().into_iter().map(|link| link.name.to_string()).collect()
}

fn a_tap_is_made_as_asked_and_stays() -> TestResult {
    ip("link add br0 mtu 9000 type bridge")?;
    let made = create(&CreateOptions {
        owner: Some(0),
        group: Some(0),
        vnet_header: true,
        multi_queue: true,
        mac: Some("02:00:00:00:00:42".parse()?),
        up: true,
        bridge: Some(name("br0")),
        ..options("tap0")
    })?;
    assert!(made.new);
    eventually("its queue is closed", || find("tap0").unwrap().tun.unwrap().queues() == 0)?;
    let link = find("tap0").unwrap();
    let tun = link.tun.unwrap();
    assert_eq!(settled(made.link), settled(link.clone()));
    assert!(tun.tap && tun.persistent && tun.multi_queue && tun.vnet_header && !tun.packet_information);
    assert_eq!((tun.owner, tun.group), (Some(0), Some(0)));
    assert_eq!(link.mac.unwrap().to_string(), "02:00:00:00:00:42");
    assert_eq!((link.up, link.carrier, link.mtu), (true, false, 9000), "the MTU is the bridge's");
    assert_eq!(link.master, find("br0").map(|bridge| bridge.index));
    assert_eq!(find("br0").unwrap().mtu, 9000);
    // And it can be used.
    let tap = TapDevice::open(&OpenOptions { name: "tap0".parse()?, queues: 4, ..OpenOptions::default() })?;
    assert_eq!(tap.queue_count(), 4);
    Ok(())
}

fn owner_and_group_go_by_value() -> TestResult {
    // The number zero would also be read at the address zero.
    let made = create(&CreateOptions { owner: Some(0), ..options("tap0") })?;
    assert_eq!(made.link.tun.map(|tun| (tun.owner, tun.group)), Some((Some(0), None)));
    if rustix::process::geteuid().is_root() && all_users_exist() {
        let made = create(&CreateOptions { owner: Some(1234), group: Some(5678), ..options("tap1") })?;
        assert_eq!(made.link.tun.map(|tun| (tun.owner, tun.group)), Some((Some(1234), Some(5678))));
        return Ok(());
    }
    // Others than our own user are not mapped here.
    let error = create(&CreateOptions { owner: Some(1234), ..options("tap1") }).unwrap_err();
    assert!(error.to_string().contains("EINVAL") && error.to_string().contains("no mapping"), "{error}");
    assert_eq!(find("tap1"), None);
    Ok(())
}

fn trap_g_a_tap_with_an_owner_is_not_for_others() -> TestResult {
    if !all_users_exist() {
        // Only our own user is mapped, so there is nobody else to own anything.
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        eprintln!("SKIPPED: trap G needs root, since it takes two users");
        return Ok(());
    }
    create(&CreateOptions { owner: Some(4321), multi_queue: true, ..options("tap0") })?;
    create(&CreateOptions { group: Some(4321), multi_queue: true, ..options("tap1") })?;
    create(&CreateOptions { multi_queue: true, ..options("tap2") })?;
    let without_capabilities = |tap: &str| {
        let open = OpenOptions { name: tap.parse().unwrap(), queues: 1, ..OpenOptions::default() };
        let stranger = move || {
            let none = rustix::thread::CapabilitySet::empty();
            let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
            rustix::thread::set_capabilities(None, sets).unwrap();
            TapDevice::open(&open).map(drop)
        };
        std::thread::scope(|scope| scope.spawn(stranger).join()).unwrap()
    };
    let error = without_capabilities("tap0").unwrap_err();
    assert!(matches!(error, device::Error::OwnerPermission { owner: Some(4321), .. }), "{error}");
    let error = without_capabilities("tap1").unwrap_err();
    assert!(matches!(error, device::Error::OwnerPermission { group: Some(4321), .. }), "{error}");
    // The trap.
    without_capabilities("tap2")?;
    Ok(())
}

fn trap_h_a_tap_is_made_and_deleted_in_its_namespace() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    elsewhere.run(|| ip("link add br0 type bridge"))?;
    let there = Some(Namespace::Path(elsewhere.path()));
    let wanted = CreateOptions {
        namespace: there.clone(),
        bridge: Some(name("br0")),
        multi_queue: true,
        up: true,
        ..options("tap0")
    };
    assert!(create(&wanted)?.new);
    assert_eq!(find("tap0"), None);
    assert!(elsewhere.run(|| find("tap0")).unwrap().master.is_some());
    assert!(!create(&CreateOptions { if_not_exists: true, ..wanted })?.new);
    delete(name("tap0"), there.as_ref())?;
    assert_eq!(elsewhere.run(|| find("tap0")), None);
    let nowhere = Some(Namespace::Name("mqtap-no-such-namespace".to_owned()));
    let error = create(&CreateOptions { namespace: nowhere, ..options("tap0") }).unwrap_err();
    assert!(error.to_string().contains("ENOENT") && error.to_string().contains("ip netns"), "{error}");
    Ok(())
}

fn the_kernel_numbers_a_pattern() -> TestResult {
    for number in 0..3 {
        let made = create(&options("vm%d"))?;
        assert_eq!((made.link.name, made.new), (name(&format!("vm{number}")), true));
    }
    // It would be another one each time, which nobody can mean by that.
    let before = interfaces();
    for (asked, piece) in [
        ("vm%d".parse()?, "what the pattern vm%d stands for is new each time"),
        (NameRequest::KernelChoice, "a tap that the kernel names is new each time"),
    ] {
        let error = create(&CreateOptions { if_not_exists: true, ..CreateOptions::new(asked) }).unwrap_err();
        assert!(matches!(error, Error::NewEachTime(name) if name == asked), "{error}");
        assert!(error.to_string().contains(piece), "{error}");
    }
    assert_eq!(interfaces(), before);
    Ok(())
}

fn the_qdisc_is_noqueue_before_it_is_up_unless_mq_is_asked_for() -> TestResult {
    let qdisc = |tap: &str| find(tap).unwrap().qdisc.unwrap();
    create(&CreateOptions { multi_queue: true, ..options("tap0") })?;
    create(&options("tap1"))?;
    create(&CreateOptions { multi_queue: true, qdisc: Some(Qdisc::Mq), ..options("tap2") })?;
    assert_eq!((&*qdisc("tap0"), &*qdisc("tap1"), &*qdisc("tap2")), ("noqueue", "noqueue", "noop"));
    for tap in ["tap0", "tap1", "tap2"] {
        ip(&format!("link set {tap} up"))?;
    }
    assert_eq!((&*qdisc("tap0"), &*qdisc("tap1"), &*qdisc("tap2")), ("noqueue", "noqueue", "mq"));
    let error = create(&CreateOptions { qdisc: Some(Qdisc::Mq), ..options("tap3") }).unwrap_err();
    assert!(matches!(error, Error::MqNeedsMultiQueue), "{error}");
    Ok(())
}

fn a_failure_leaves_nothing() -> TestResult {
    ip("link add br0 mtu 1280 type bridge")?;
    let before = interfaces();
    let bridged =
        || CreateOptions { bridge: Some(name("br0")), up: true, multi_queue: true, ..options("tap0") };
    let wrong: [(CreateOptions, &[&str]); 5] = [
        (CreateOptions { mtu: Some(70_000), ..bridged() }, &["set the MTU", "EINVAL"]),
        (CreateOptions { mtu: Some(67), ..bridged() }, &["set the MTU", "EINVAL"]),
        (
            CreateOptions { mac: Some("01:00:00:00:00:01".parse()?), ..bridged() },
            &["01:00:00:00:00:01", "that of a group"],
        ),
        (CreateOptions { bridge: Some(name("br1")), ..bridged() }, &["there is no br1", "ip link add br1"]),
        (CreateOptions { bridge: Some(name("lo")), ..bridged() }, &["lo is not a bridge"]),
    ];
    for (options, pieces) in wrong {
        let error = create(&options).unwrap_err().to_string();
        assert!(pieces.iter().all(|piece| error.contains(piece)), "{pieces:?} is missing in: {error}");
        eventually("nothing is left", || interfaces() == before)?;
    }
    assert_eq!(find("br0").unwrap().mtu, 1280);
    Ok(())
}

/// Root may do anything but what a container's list of devices forbids.
fn who_may_not_open_dev_net_tun_is_told_who_may() -> TestResult {
    for (errno, piece, other) in [
        (Errno::ACCESS, "run this as root", "DeviceAllow="),
        (Errno::PERM, "DeviceAllow=/dev/net/tun", "run this as root"),
    ] {
        let error = Error::from(device::Error::TunPermission { errno }).to_string();
        assert!(error.contains(piece) && !error.contains(other) && !error.contains("fds="), "{error}");
        let explained = mqtap::doctor::explain(&error);
        assert!(explained.iter().any(|explanation| explanation.id == "dev-net-tun"), "{error}");
    }
    Ok(())
}

fn what_exists_is_refused() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    ip("link add br0 type bridge")?;
    create(&options("tap0"))?;
    let error = |name: &str| create(&options(name)).unwrap_err().to_string();
    assert!(
        error("tap0").contains("exists") && error("tap0").contains("mqtap delete tap0"),
        "{}",
        error("tap0")
    );
    assert!(error("tun0").contains("tun0 is a tun"), "{}", error("tun0"));
    assert!(error("br0").contains("not a tap but a bridge"), "{}", error("br0"));
    assert!(error("lo").contains("lo is not a tap;"), "{}", error("lo"));
    Ok(())
}

fn a_bridge_with_an_address_or_a_card_keeps_its_own() -> TestResult {
    let mac = |text: &str| find(text).unwrap().mac;
    // One with a card, whose address is the highest but those that begin with fe.
    ip("link add br0 type bridge")?;
    ip("link add card0 address fc:ff:ff:ff:ff:ff type veth peer name card1")?;
    ip("link set card0 master br0")?;
    // One that was given an address, higher than any tap's.
    ip("link add br1 address fe:ff:ff:ff:ff:ff type bridge")?;
    // One of taps only.
    ip("link add br2 type bridge")?;
    let before = (mac("br0"), mac("br1"));
    assert_eq!(before.0, mac("card0"));
    for bridge in ["br0", "br1", "br2"] {
        let mut lowest = None;
        for number in 0..4 {
            let tap = CreateOptions { bridge: Some(name(bridge)), ..options(&format!("{bridge}-{number}")) };
            let made = create(&tap)?.link;
            assert_eq!(made.mac.unwrap().octets()[0], 0xfe);
            assert!(!made.up, "it was not asked for");
            lowest = lowest.into_iter().chain(made.mac).min_by_key(|mac| mac.octets());
        }
        if bridge == "br2" {
            assert_eq!(mac(bridge), lowest, "as docs/taps.md warns");
        }
    }
    assert_eq!((mac("br0"), mac("br1")), before);
    Ok(())
}

fn if_not_exists_takes_what_is_as_asked_for() -> TestResult {
    ip("link add br0 type bridge")?;
    let wanted = CreateOptions {
        owner: Some(0),
        vnet_header: true,
        multi_queue: true,
        mac: Some("02:00:00:00:00:42".parse()?),
        mtu: Some(1400),
        up: true,
        bridge: Some(name("br0")),
        qdisc: Some(Qdisc::Noqueue),
        if_not_exists: true,
        ..options("tap0")
    };
    let made = create(&wanted)?;
    let Created { link, new, bridge, .. } = create(&wanted)?;
    assert_eq!((settled(link), new, bridge), (settled(made.link), false, Some(name("br0"))));
    Ok(())
}

fn if_not_exists_names_what_differs() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link add br1 type bridge")?;
    create(&CreateOptions { owner: Some(0), bridge: Some(name("br0")), ..options("tap0") })?;
    let same = || CreateOptions { owner: Some(0), if_not_exists: true, ..options("tap0") };
    create(&same())?;
    let cases: [(CreateOptions, &str); 10] = [
        (CreateOptions { owner: None, ..same() }, "owner is root (0), not anybody"),
        (CreateOptions { group: Some(0), ..same() }, "group is anybody, not root (0)"),
        (CreateOptions { multi_queue: true, ..same() }, "multi_queue is off, not on"),
        (CreateOptions { vnet_header: true, ..same() }, "vnet_hdr is off, not on"),
        (CreateOptions { mac: Some("02:00:00:00:00:43".parse()?), ..same() }, "not 02:00:00:00:00:43"),
        (CreateOptions { mtu: Some(1400), ..same() }, "mtu is 1500, not 1400"),
        (CreateOptions { up: true, ..same() }, "state is down, not up"),
        (CreateOptions { bridge: Some(name("br1")), ..same() }, "bridge is br0, not br1"),
        (CreateOptions { multi_queue: true, qdisc: Some(Qdisc::Mq), ..same() }, "qdisc is noqueue, not mq"),
        (
            CreateOptions { mtu: Some(1400), up: true, ..same() },
            "as asked for: mtu is 1500, not 1400, state is down, not up; change it",
        ),
    ];
    let before = find("tap0").map(settled);
    for (options, piece) in cases {
        let error = create(&options).unwrap_err();
        assert!(matches!(error, Error::Different { .. }), "{error}");
        assert!(error.to_string().contains(piece), "`{piece}` is missing in: {error}");
    }
    assert_eq!(find("tap0").map(settled), before);
    // A tap that somebody has open and that goes away with him is not one that stays.
    let _held = TapDevice::open(&OpenOptions { name: "tap1".parse()?, ..OpenOptions::default() })?;
    let error = create(&CreateOptions { if_not_exists: true, ..options("tap1") }).unwrap_err();
    assert!(error.to_string().contains("persist is off, not on"), "{error}");
    // Packet information is never asked for.
    ip("tuntap add dev tap2 mode tap pi")?;
    let error = create(&CreateOptions { if_not_exists: true, ..options("tap2") }).unwrap_err();
    assert!(error.to_string().contains("pi is on, not off"), "{error}");
    Ok(())
}

fn of_many_who_make_the_same_tap_one_does() -> TestResult {
    let namespace = std::fs::File::open("/proc/thread-self/ns/net")?;
    let deadline = Instant::now() + patience();
    let one = || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None).unwrap();
        let wanted = CreateOptions {
            owner: Some(0),
            multi_queue: true,
            up: true,
            if_not_exists: true,
            ..options("tap0")
        };
        // The one that makes it may wait for its CPU for longer than the others wait for it.
        loop {
            match create(&wanted) {
                Err(Error::Different { .. }) if Instant::now() < deadline => {}
                done => return done.map(|created| created.new),
            }
        }
    };
    let new = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<Vec<_>, _>>()
    })?;
    assert_eq!(new.iter().filter(|new| **new).count(), 1, "{new:?}");
    Ok(())
}

fn any_tap_is_deleted_without_a_word_about_its_kind() -> TestResult {
    create(&options("tap0"))?;
    create(&CreateOptions { multi_queue: true, vnet_header: true, ..options("tap1") })?;
    ip("tuntap add dev tap2 mode tap multi_queue pi")?;
    let held = TapDevice::open(&OpenOptions { name: "tap3".parse()?, queues: 2, ..OpenOptions::default() })?;
    for tap in ["tap0", "tap1", "tap2", "tap3"] {
        let deleted = delete(name(tap), None)?;
        assert_eq!((deleted.link.name, find(tap)), (name(tap), None));
        // Other tests have taps of these names open.
        let ours = deleted.holders.iter().filter(|holder| holder.pid == std::process::id()).count();
        assert_eq!(ours, if tap == "tap3" { 2 } else { 0 }, "{tap}: {:?}", deleted.holders);
    }
    assert!(held.queues()[0].is_attached().is_err());
    Ok(())
}

fn trap_d_deleting_what_is_not_there_is_an_error_and_makes_nothing() -> TestResult {
    let before = interfaces();
    let error = delete(name("tap0"), None).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(interfaces(), before);
    Ok(())
}

fn what_is_not_a_tap_is_not_deleted() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    ip("link add br0 type bridge")?;
    ip("link add v0 type veth peer name v1")?;
    ip("link add link v0 name macvtap0 type macvtap")?;
    for (interface, piece) in [
        ("tun0", "tun0 is a tun"),
        ("br0", "not a tap but a bridge"),
        ("macvtap0", "not a tap but a macvtap"),
        ("lo", "is not a tap"),
    ] {
        let error = delete(name(interface), None).unwrap_err().to_string();
        assert!(error.contains(piece), "{error}");
        // Nobody is told to delete what may be in use for something else, or to give to a tap that is not made another name.
        assert_eq!(error.contains("ip link del"), ["tun0", "macvtap0"].contains(&interface), "{error}");
        assert!(!error.contains("another name"), "{error}");
        assert!(find(interface).is_some());
    }
    Ok(())
}

mqtap_test_support::tests!(
    a_tap_is_made_as_asked_and_stays,
    owner_and_group_go_by_value,
    trap_g_a_tap_with_an_owner_is_not_for_others,
    trap_h_a_tap_is_made_and_deleted_in_its_namespace,
    the_kernel_numbers_a_pattern,
    the_qdisc_is_noqueue_before_it_is_up_unless_mq_is_asked_for,
    a_failure_leaves_nothing,
    who_may_not_open_dev_net_tun_is_told_who_may,
    what_exists_is_refused,
    a_bridge_with_an_address_or_a_card_keeps_its_own,
    if_not_exists_takes_what_is_as_asked_for,
    if_not_exists_names_what_differs,
    of_many_who_make_the_same_tap_one_does,
    any_tap_is_deleted_without_a_word_about_its_kind,
    trap_d_deleting_what_is_not_there_is_an_error_and_makes_nothing,
    what_is_not_a_tap_is_not_deleted,
);
