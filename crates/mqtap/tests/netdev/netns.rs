//! `netns=`.

use std::process::{Child, Command};

use mqtap::device::Error;
use mqtap::{Link, Links, netdev};
use mqtap_test_support::{Elsewhere, Scripts, TestResult, eventually, ip, own_directory};
use nix::mount::{MsFlags, mount};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{open, refused, says};

fn find(name: &str) -> Option<Link> {
    Links::open().unwrap().find(name.parse().unwrap()).unwrap()
}

/// A process, ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The namespace of a queue is that in which `/dev/net/tun` was opened.
pub(crate) fn trap_h_netns_is_where_the_interface_and_all_its_settings_are() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let there = elsewhere.path();
    let text = format!(
        "tap,id=a,ifname=tap0,queues=4,mac=02:00:00:00:00:42,mtu=1400,persist=on,user=root,netns={}",
        there.display()
    );
    let netdev = open(&text);
    assert_eq!(find("tap0"), None);
    let link = elsewhere.run(|| find("tap0")).unwrap();
    let tun = link.tun.unwrap();
    assert_eq!((tun.queues(), tun.persistent, tun.owner), (4, true, Some(0)));
    assert_eq!((link.mac, link.mtu), (Some("02:00:00:00:00:42".parse()?), 1400));
    assert_eq!(netdev.device().link()?, link, "it is looked up there");
    assert_eq!(link.qdisc.as_deref(), Some("noqueue"));
    drop(netdev);
    eventually("the queues are closed", || {
        elsewhere.run(|| find("tap0")).unwrap().tun.unwrap().queues() == 0
    })?;
    // And it is found there again, rather than made anew.
    let again = open(&text);
    assert_eq!(again.device().interface_index(), link.index);
    Ok(())
}

pub(crate) fn netns_is_where_bridge_and_script_are() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    elsewhere.run(|| ip("link add br0 mtu 9000 type bridge"))?;
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "ip link show $1 >$dir/shown")?;
    let down = scripts.script("down", "ip link show $1 >$dir/gone")?;
    let netdev = open(&format!(
        "tap,id=a,ifname=tap0,br=br0,script={up},downscript={down},netns={}",
        elsewhere.path().display()
    ));
    assert!(scripts.written("shown")?.contains("tap0"));
    let (tap, bridge) = elsewhere.run(|| (find("tap0").unwrap(), find("br0").unwrap()));
    assert_eq!((tap.master, tap.mtu), (Some(bridge.index), 9000));
    drop(netdev);
    assert!(scripts.written("gone")?.contains("tap0"));
    Ok(())
}

pub(crate) fn netns_is_a_name_a_path_or_a_process() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    own_directory("/run")?;
    let none = None::<&str>;
    std::fs::create_dir("/run/netns")?;
    std::fs::write("/run/netns/blue", "")?;
    mount(Some(&elsewhere.path()), "/run/netns/blue", none, MsFlags::MS_BIND, none)?;
    let process = Running(elsewhere.run(|| Command::new("sleep").arg("600").spawn())?);
    for (number, netns) in ["blue", "/run/netns/blue", &process.0.id().to_string()].into_iter().enumerate() {
        let name = format!("tap{number}");
        let _netdev = open(&format!("tap,id=a,ifname={name},netns={netns}"));
        assert_eq!((find(&name), elsewhere.run(|| find(&name)).is_some()), (None, true), "{netns}");
    }
    Ok(())
}

pub(crate) fn netns_that_does_not_exist_is_an_error() -> TestResult {
    for (netns, pieces) in [
        ("mqtap-no-such-namespace", ["/run/netns/mqtap-no-such-namespace: ENOENT", "`ip netns` lists"]),
        ("/no/such/file", ["/no/such/file: ENOENT", "`ip netns` lists"]),
        ("4194305", ["/proc/4194305/ns/net: ENOENT", "there is no process 4194305"]),
        ("/proc/self/ns/uts", ["/proc/self/ns/uts: EINVAL", "it is no network namespace"]),
    ] {
        let error = refused(&format!("tap,id=a,netns={netns}"));
        assert!(matches!(error, netdev::Error::Device { source: Error::Namespace { .. }, .. }), "{error}");
        says(&error, &pieces);
    }
    Ok(())
}

pub(crate) fn netns_without_the_capability_is_an_error_with_the_remedy() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let powerless = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        refused(&format!("tap,id=a,netns={}", elsewhere.path().display()))
    };
    let error = std::thread::scope(|scope| scope.spawn(powerless).join()).unwrap();
    says(&error, &["EPERM", "CAP_SYS_ADMIN"]);
    Ok(())
}
