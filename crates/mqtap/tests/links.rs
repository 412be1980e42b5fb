//! Interfaces over rtnetlink. Each test has a network namespace of its own.

#![allow(clippy::unwrap_used)]

use mqtap::{InterfaceName, Link, Links};
use mqtap_test_support::{TestResult, ip};
use rustix::io::Errno;

fn find(name: &str) -> Link {
    let name: InterfaceName = name.parse().unwrap();
    Links::open().unwrap().find(name).unwrap().unwrap()
}

fn every_interface_is_listed_with_its_kind() -> TestResult {
    ip("link add v0 type veth peer name v1")?;
    ip("link add br0 type bridge")?;
    ip("tuntap add dev tap0 mode tap multi_queue")?;
    ip("tuntap add dev tun0 mode tun")?;
    let links = Links::open()?;
    let mut found: Vec<(String, Option<String>)> =
        links.list()?.into_iter().map(|link| (link.name.to_string(), link.kind)).collect();
    found.sort();
    let kind = |name: &str, kind: &str| (name.to_owned(), Some(kind.to_owned()));
    assert!(found.contains(&("lo".to_owned(), None)), "{found:?}");
    for expected in [kind("br0", "bridge"), kind("tap0", "tun"), kind("tun0", "tun"), kind("v0", "veth")] {
        assert!(found.contains(&expected), "{expected:?} is missing in {found:?}");
    }
    assert_eq!((find("tap0").tun.unwrap().tap, find("tun0").tun.unwrap().tap), (true, false));
    Ok(())
}

fn a_list_that_takes_several_datagrams_is_whole() -> TestResult {
    for number in 0..60 {
        ip(&format!("tuntap add dev tap{number} mode tap multi_queue"))?;
    }
    let names: std::collections::BTreeSet<String> =
        Links::open()?.list()?.into_iter().map(|link| link.name.to_string()).collect();
    assert!((0..60).all(|number| names.contains(&format!("tap{number}"))), "{names:?}");
    Ok(())
}

fn a_macvtap_tells_what_it_stands_on() -> TestResult {
    ip("link add v0 type veth peer name v1")?;
    ip("link add link v0 name macvtap0 type macvtap mode bridge")?;
    let macvtap = find("macvtap0");
    assert_eq!((macvtap.kind.as_deref(), macvtap.parent), (Some("macvtap"), Some(find("v0").index)));
    assert_eq!(macvtap.tun, None);
    Ok(())
}

fn a_bridge_is_joined_and_left() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add dev tap0 mode tap")?;
    let (links, bridge, tap) = (Links::open()?, find("br0"), find("tap0"));
    links.set_master(tap.index, Some(bridge.index))?;
    assert_eq!(links.get(tap.index)?.master, Some(bridge.index));
    links.set_master(tap.index, None)?;
    assert_eq!(links.get(tap.index)?.master, None);
    let loopback = find("lo").index;
    let refused = links.set_master(tap.index, Some(loopback)).unwrap_err();
    assert!(matches!(refused, mqtap::link::Error::Refused { errno: Errno::OPNOTSUPP, .. }), "{refused}");
    Ok(())
}

fn qdisc_and_ring_length_are_told() -> TestResult {
    ip("tuntap add dev tap0 mode tap")?;
    ip("link set tap0 txqueuelen 64")?;
    let tap = find("tap0");
    assert_eq!((tap.qdisc.as_deref(), tap.transmit_queue_length), (Some("noop"), 64));
    Links::open()?.set_noqueue(tap.index)?;
    assert_eq!(find("tap0").qdisc.as_deref(), Some("noqueue"));
    Ok(())
}

mqtap_test_support::tests!(
    every_interface_is_listed_with_its_kind,
    a_list_that_takes_several_datagrams_is_whole,
    a_macvtap_tells_what_it_stands_on,
    a_bridge_is_joined_and_left,
    qdisc_and_ring_length_are_told,
);
