//! `persist=`, `user=`, `group=`, `mac=` and `mtu=`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mqtap::netdev::{self, Netdev};
use mqtap::{Link, Links, OpenOptions, TapDevice, device, queue};
use mqtap_test_support::{Scripts, TestResult, all_users_exist, eventually, ip};

use crate::{interfaces, open, parse, refused, says};

fn find(name: &str) -> Option<Link> {
    Links::open().unwrap().find(name.parse().unwrap()).unwrap()
}

/// Closes the queues and waits until the kernel knows: another test that starts a program may have copies for a moment.
fn close(netdev: Netdev) -> TestResult {
    let name = netdev.device().name();
    drop(netdev);
    let queues = || find(name.as_str()).and_then(|link| link.tun).map_or(0, |tun| tun.queues());
    eventually("the queues are closed", || queues() == 0)
}

pub(crate) fn persist_keeps_the_interface() -> TestResult {
    for (text, stays) in
        [("persist=on", true), ("persist=off", false), ("persist", true), ("nopersist", false)]
    {
        let netdev = open(&format!("tap,id=a,ifname=tap0,queues=2,{text}"));
        assert_eq!(find("tap0").unwrap().tun.unwrap().persistent, stays, "{text}");
        assert_eq!(netdev.device().is_persistent(), stays, "{text}");
        close(netdev)?;
        assert_eq!(find("tap0").is_some(), stays, "{text}");
        if stays {
            ip("link del tap0")?;
        }
    }
    Ok(())
}

pub(crate) fn persist_is_for_the_next_start_as_well() -> TestResult {
    let text = "tap,id=a,ifname=tap0,queues=2,persist=on,user=root,group=root,mac=02:00:00:00:00:42,mtu=1400";
    close(open(text))?;
    let before = find("tap0").unwrap();
    close(open(text))?;
    let after = find("tap0").unwrap();
    assert_eq!((before.index, before.tun, before.mac), (after.index, after.tun, after.mac));
    Ok(())
}

pub(crate) fn persist_leaves_nothing_if_something_fails() -> TestResult {
    let scripts = Scripts::new()?;
    let fails = scripts.script("up", "exit 3")?;
    for text in [format!("script={fails}"), "br=br0".to_owned(), "mac=02:00:00:00:00:01,br=lo".to_owned()] {
        refused(&format!("tap,id=a,ifname=tap0,persist=on,user=root,mtu=1400,{text}"));
        eventually("nothing is left", || interfaces() == 1)?;
    }
    Ok(())
}

pub(crate) fn user_and_group_own_a_new_interface() -> TestResult {
    let owners = |text: &str| {
        let _netdev = open(&format!("tap,id=a,ifname={text}"));
        let tun = find(text.split(',').next().unwrap()).unwrap().tun.unwrap();
        (tun.owner, tun.group)
    };
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(owners("tap0"), (Some(own), None), "ours unless asked");
    assert_eq!(owners("tap1,user=root"), (Some(0), None));
    assert_eq!(owners("tap2,group=root"), (None, Some(0)));
    assert_eq!(owners("tap3,user=0,group=0"), (Some(0), Some(0)));
    if all_users_exist() {
        // The numbers themselves, and not where they are kept.
        assert_eq!(owners("tap4,queues=2,user=1234,group=5678"), (Some(1234), Some(5678)));
    }
    Ok(())
}

pub(crate) fn trap_g_persist_leaves_no_interface_to_everybody() -> TestResult {
    drop(open("tap,id=a,ifname=tap0,persist=on"));
    let own = rustix::process::geteuid().as_raw();
    let owners = |name: &str| find(name).unwrap().tun.map(|tun| (tun.owner, tun.group)).unwrap();
    assert_eq!(owners("tap0"), (Some(own), None));
    drop(open("tap,id=a,ifname=tap1,persist=on,group=root"));
    assert_eq!(owners("tap1"), (None, Some(0)), "with a group, an owner would keep its other members out");
    // One that exists is left as it is.
    ip("tuntap add dev tap2 mode tap")?;
    drop(open("tap,id=a,ifname=tap2,persist=on"));
    assert_eq!(owners("tap2"), (None, None));
    Ok(())
}

/// Somebody else, without a capability, for as long as `act` takes. None where there is nobody else.
fn as_a_stranger<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    if !all_users_exist() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root, since it takes two users");
        eprintln!("SKIPPED: it takes two users, and so root");
        return None;
    }
    let stranger = || {
        let uid = rustix::process::Uid::from_raw;
        // For this thread only; it takes the capabilities.
        rustix::thread::set_thread_res_uid(uid(0), uid(4321), uid(0)).unwrap();
        // Who may open /dev/net/tun, on systems where not everybody may.
        nix::unistd::setfsuid(0.into());
        act()
    };
    std::thread::scope(|scope| scope.spawn(stranger).join()).ok()
}

pub(crate) fn trap_g_what_nobody_asked_for_is_not_for_everybody() -> TestResult {
    let _netdev = open("tap,id=a,ifname=tap0,queues=2");
    // What QEMU would leave.
    let _other = TapDevice::open(&OpenOptions { name: "tap1".parse()?, queues: 2, ..OpenOptions::default() });
    let join = |name: &str| {
        let options = OpenOptions { name: name.parse().unwrap(), ..OpenOptions::default() };
        as_a_stranger(|| TapDevice::open(&options).map(drop))
    };
    let Some(result) = join("tap0") else { return Ok(()) };
    let error = result.unwrap_err();
    assert!(matches!(error, device::Error::OwnerPermission { owner: Some(_), .. }), "{error}");
    join("tap1").unwrap()?;
    Ok(())
}

/// A stranger tries all the time to come between the making and the owner.
pub(crate) fn trap_g_nobody_is_quicker_than_the_owner() -> TestResult {
    const ROUNDS: usize = 60;
    // However the test ends, the scope waits for the stranger.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    // A name for each: a process that another test has just started keeps an interface for a moment after its end.
    let round = AtomicUsize::new(0);
    let stranger = || {
        while !over.load(Ordering::Relaxed) {
            let name = format!("tap{}", round.load(Ordering::Relaxed)).parse().unwrap();
            drop(TapDevice::open(&OpenOptions { name, ..OpenOptions::default() }));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| as_a_stranger(stranger));
        let _over = Over(&over);
        for number in 0..ROUNDS {
            round.store(number, Ordering::Relaxed);
            let name = format!("tap{number}");
            match Netdev::open(&parse(&format!("tap,id=a,ifname={name},queues=2"))) {
                Ok(_netdev) => {
                    let tun = || find(&name).unwrap().tun.unwrap();
                    assert_eq!(tun().owner, Some(0));
                    eventually("no queues but ours are there", || tun().queues() == 2)?;
                }
                Err(error) => says(&error, &[&name]),
            }
        }
        Ok(())
    })
}

/// A VMM has queues of an interface that is somebody else's, and no capability (drivers/net/tun.c: `tun_set_queue` asks for neither).
pub(crate) fn queues_are_good_for_whoever_has_them() -> TestResult {
    let netdev = open("tap,id=a,ifname=tap0,queues=4");
    let device = netdev.device();
    let result = as_a_stranger(|| -> Result<(), queue::Error> {
        for attached in [1, 4, 0, 3] {
            device.attach_first(attached)?;
        }
        Ok(())
    });
    if let Some(result) = result {
        result?;
        let tun = find("tap0").unwrap().tun.unwrap();
        assert_eq!((tun.attached_queues, tun.detached_queues), (3, 1));
    }
    Ok(())
}

pub(crate) fn user_and_group_that_do_not_exist_are_an_error() -> TestResult {
    let error = refused("tap,id=a,user=no-such-user");
    assert!(matches!(error, netdev::Error::Account { .. }), "{error}");
    says(&error, &["netdev a: user=: there is no user no-such-user"]);
    says(&refused("tap,id=a,group=no-such-group"), &["netdev a: group=: there is no group no-such-group"]);
    if !all_users_exist() {
        says(&refused("tap,id=a,user=1234"), &["EINVAL", "no mapping in this user namespace"]);
    }
    eventually("nothing is left", || interfaces() == 1)
}

pub(crate) fn mac_and_mtu_are_those_of_a_new_interface() -> TestResult {
    let _netdev = open("tap,id=a,ifname=tap0,queues=2,mac=02:00:00:00:00:42,mtu=9000");
    let link = find("tap0").unwrap();
    assert_eq!((link.mac, link.mtu), (Some("02:00:00:00:00:42".parse()?), 9000));
    Ok(())
}

pub(crate) fn mac_and_mtu_are_there_when_the_script_runs() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "ip link show $1 >$dir/shown")?;
    open(&format!("tap,id=a,script={up},mac=02:00:00:00:00:42,mtu=1400"));
    let shown = scripts.written("shown")?;
    assert!(shown.contains("02:00:00:00:00:42") && shown.contains("mtu 1400"), "{shown}");
    Ok(())
}

pub(crate) fn mac_and_mtu_go_before_what_the_bridge_would_have() -> TestResult {
    ip("link add br0 mtu 9000 type bridge")?;
    let _netdev = open("tap,id=a,ifname=tap0,br=br0,mac=02:00:00:00:00:42,mtu=1400");
    let link = find("tap0").unwrap();
    assert_eq!((link.mac, link.mtu), (Some("02:00:00:00:00:42".parse()?), 1400));
    assert_eq!(link.master, find("br0").map(|bridge| bridge.index));
    Ok(())
}

pub(crate) fn an_interface_that_exists_must_agree_and_is_not_changed() -> TestResult {
    ip("tuntap add dev tap0 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set tap0 address 02:00:00:00:00:42 mtu 1400")?;
    let before = find("tap0");
    close(open("tap,id=a,ifname=tap0,persist=on,user=root,mac=02:00:00:00:00:42,mtu=1400"))?;
    close(open("tap,id=a,ifname=tap0,queues=2,vnet_hdr=off"))?;
    for (text, piece) in [
        ("persist=off", "persist is on, not off"),
        ("group=root", "group is anybody, not root (0)"),
        ("user=4321", "owner is root (0), not 4321"),
        ("mac=02:00:00:00:00:43", "mac is 02:00:00:00:00:42, not 02:00:00:00:00:43"),
        ("mtu=1500", "mtu is 1400, not 1500"),
        ("user=4321,mtu=1500", "owner is root (0), not 4321, mtu is 1400, not 1500; persist="),
    ] {
        let error = refused(&format!("tap,id=a,ifname=tap0,vnet_hdr=off,{text}"));
        assert!(matches!(error, netdev::Error::Different { .. }), "{error}");
        says(&error, &["netdev a: tap0 exists and is not as asked for", piece, "mqtap delete tap0"]);
    }
    // That somebody opened it without a header in between shows, and nothing else.
    eventually("the queues are closed", || find("tap0").unwrap().tun.unwrap().queues() == 0)?;
    open("tap,id=a,ifname=tap0,vnet_hdr=on");
    eventually("it is as it was", || find("tap0") == before)
}
