//! `br=`.

use mqtap::netdev::{self, Netdev, OpenMode};
use mqtap_test_support::{TestResult, eventually, ip, own_directory};

use crate::{details, interfaces, list, open, parse, passed_queues, refused, says};

/// The value after a word in the output of `ip`.
fn after(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|other| *other != word).nth(1).map(str::to_owned)
}

fn mac(name: &str) -> String {
    after(&details(name), "link/ether").unwrap()
}

pub(crate) fn br_takes_a_new_interface_and_gives_it_the_mtu() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 9000 up")?;
    for mode in [OpenMode::Attached, OpenMode::Detached] {
        let netdev = Netdev::open_with(&parse("tap,id=a,ifname=tap%d,queues=2,br=br0"), mode)?;
        let shown = details(netdev.device().name().as_str());
        assert_eq!(after(&shown, "master").as_deref(), Some("br0"), "{shown}");
        assert_eq!(after(&shown, "mtu").as_deref(), Some("9000"), "{shown}");
        assert!(shown.contains(",UP"), "{shown}");
    }
    Ok(())
}

/// A bridge without an address of its own takes the lowest of its ports'.
pub(crate) fn br_leaves_the_address_of_the_bridge_alone() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link add v0 address fc:ff:ff:ff:ff:ff type veth peer name v1")?;
    ip("link set v0 master br0 up")?;
    ip("link set br0 up")?;
    assert_eq!(mac("br0"), "fc:ff:ff:ff:ff:ff");
    let netdev = open("tap,id=a,ifname=tap0,br=br0");
    assert!(mac("tap0").starts_with("fe:"), "{}", mac("tap0"));
    assert_eq!(mac("br0"), "fc:ff:ff:ff:ff:ff");
    drop(netdev);
    Ok(())
}

pub(crate) fn br_keeps_the_address_of_an_interface_that_was_there() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    ip("link set tap0 address 02:00:00:00:00:07")?;
    let _netdev = open("tap,id=a,ifname=tap0,queues=2,br=br0");
    assert_eq!(mac("tap0"), "02:00:00:00:00:07");
    Ok(())
}

pub(crate) fn br_takes_adopted_queues() -> TestResult {
    ip("link add br0 type bridge")?;
    let fds = passed_queues("tap0", 2);
    let _netdev = open(&format!("tap,id=a,fds={},br=br0", list(&fds)));
    assert_eq!(after(&details("tap0"), "master").as_deref(), Some("br0"));
    Ok(())
}

pub(crate) fn br_is_undone_at_the_end_for_an_interface_that_stays() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 4000")?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    let before = details("tap0");
    let netdev = open("tap,id=a,ifname=tap0,queues=2,br=br0");
    assert_eq!(after(&details("tap0"), "mtu").as_deref(), Some("4000"));
    drop(netdev);
    let now = details("tap0");
    assert_eq!(after(&now, "master"), None, "{now}");
    assert_eq!(after(&now, "mtu"), after(&before, "mtu"));
    assert!(!now.contains(",UP") && !before.contains(",UP"), "{now}");
    Ok(())
}

pub(crate) fn br_leaves_an_interface_that_is_on_it_already() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    ip("link set tap0 master br0 mtu 1400 up")?;
    drop(open("tap,id=a,ifname=tap0,queues=2,br=br0"));
    let now = details("tap0");
    assert_eq!(after(&now, "master").as_deref(), Some("br0"), "{now}");
    assert_eq!(after(&now, "mtu").as_deref(), Some("1400"), "{now}");
    assert!(now.contains(",UP"), "{now}");
    Ok(())
}

pub(crate) fn br_that_is_not_there_is_an_error_with_the_remedy() -> TestResult {
    let error = refused("tap,id=hn0,ifname=tap0,queues=2,br=br7");
    assert!(matches!(error, netdev::Error::Bridge { .. }), "{error}");
    says(&error, &["netdev hn0", "tap0", "there is no br7", "ip link add br7 type bridge"]);
    eventually("the tap is gone", || interfaces() == 1)
}

/// `ip netns` keeps its names in `/run/netns`, which is this test's own here.
pub(crate) fn br_that_is_in_another_namespace_is_named() -> TestResult {
    own_directory("/run")?;
    ip("netns add blue")?;
    ip("-netns blue link add br0 type bridge")?;
    ip("netns add red")?;
    ip("-netns red link add br0 type veth peer name br1")?;
    let error = refused("tap,id=a,br=br0");
    says(&error, &["there is no br0", "namespace blue:", "netns=blue", "--netns blue"]);
    Ok(())
}

/// The kernel finds it by such a name as well, and an access list of names would be got round.
pub(crate) fn br_by_an_alternative_name_is_refused() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link property add dev br0 altname lan")?;
    says(&refused("tap,id=a,ifname=tap0,br=lan"), &["lan", "another name of br0"]);
    eventually("the tap is gone", || interfaces() == 2)
}

pub(crate) fn br_that_is_no_bridge_is_an_error() -> TestResult {
    ip("link add v0 type veth peer name v1")?;
    says(&refused("tap,id=a,ifname=tap0,br=v0"), &["tap0", "v0 is of kind veth"]);
    says(&refused("tap,id=a,ifname=tap1,br=lo"), &["tap1", "lo is not a bridge"]);
    says(&refused("tap,id=a,ifname=tap2,br=tap2"), &["tap2 is the tap itself"]);
    eventually("the taps are gone", || interfaces() == 3)
}

pub(crate) fn br_refuses_an_interface_of_another_bridge() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link add br1 type bridge")?;
    ip("tuntap add tap0 mode tap")?;
    ip("link set tap0 master br1")?;
    let before = details("tap0");
    says(&refused("tap,id=a,ifname=tap0,br=br0"), &["it is on br1", "nomaster"]);
    assert_eq!(details("tap0"), before);
    Ok(())
}

/// A user may open a tap that is his, and not put it on a bridge.
pub(crate) fn br_without_the_capability_is_an_error_with_the_remedy() -> TestResult {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    ip("link add br0 type bridge")?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    let before = details("tap0");
    // Of this thread only, which is this test's.
    let mut mine = capabilities(None)?;
    mine.effective.remove(CapabilitySet::NET_ADMIN);
    set_capabilities(None, mine)?;
    let error = refused("tap,id=a,ifname=tap0,queues=2,br=br0");
    says(&error, &["tap0", "br0", "EPERM", "CAP_NET_ADMIN", "helper=mqtap"]);
    eventually("nothing has changed", || details("tap0") == before)
}

/// What a macvlan stands on cannot be a port; the kernel says so after the MTU was set.
pub(crate) fn br_that_fails_leaves_no_trace() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 2000")?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    ip("link add link tap0 name macvlan0 type macvlan")?;
    let before = details("tap0");
    let error = refused("tap,id=a,ifname=tap0,queues=2,br=br0");
    says(&error, &["tap0", "br0", "EBUSY"]);
    eventually("nothing has changed", || details("tap0") == before)
}
