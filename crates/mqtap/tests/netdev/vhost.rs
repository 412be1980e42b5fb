//! vhost-net handles: missing, and not what they should be. Handles that work are tested where there is a vhost-net.

use mqtap::{netdev, vhost_net};
use mqtap_test_support::{TestResult, own_mounts};
use nix::mount::{MsFlags, mount};

use crate::{interfaces, open, pass, passed_queues, refused, says};

/// Runs the rest of the test where `/dev` has `/dev/net` and, for programs that start others, `/dev/null`.
fn hide_vhost_net() -> TestResult {
    own_mounts()?;
    let none = None::<&str>;
    let aside = "/mnt";
    mount(Some("/dev/net"), aside, none, MsFlags::MS_BIND, none)?;
    mount(none, "/dev", Some("tmpfs"), MsFlags::empty(), none)?;
    std::fs::create_dir("/dev/net")?;
    std::fs::write("/dev/null", "")?;
    mount(Some(aside), "/dev/net", none, MsFlags::MS_MOVE, none)?;
    Ok(())
}

pub(crate) fn without_vhost_net_the_error_says_what_to_do() -> TestResult {
    hide_vhost_net()?;
    for text in ["vhost=on", "vhost=on,poll-us=50,queues=2", "vhostforce=on"] {
        let error = refused(&format!("tap,id=hn0,{text}"));
        assert!(matches!(&error, netdev::Error::Vhost { source: vhost_net::Error::Missing, .. }), "{error}");
        says(&error, &["netdev hn0", "/dev/vhost-net", "modprobe vhost_net", "`vhost=try`"]);
    }
    assert_eq!(interfaces(), 1);
    open("tap,id=hn0,vhost=off,vhostforce=off");
    Ok(())
}

pub(crate) fn trying_vhost_net_does_without_it() -> TestResult {
    hide_vhost_net()?;
    let mut netdev = open("tap,id=hn0,queues=2,vhost=try,poll-us=50");
    assert_eq!(netdev.device().queue_count(), 2);
    assert!(netdev.vhost().is_empty() && netdev.take_vhost().is_empty());
    Ok(())
}

pub(crate) fn refuses_what_is_not_a_vhost_net_handle_and_leaves_it_alone() -> TestResult {
    let tap = passed_queues("tap0", 1)[0];
    let null = pass(std::fs::File::options().read(true).write(true).open("/dev/null")?);
    for number in [tap, null] {
        let error = refused(&format!("tap,id=hn0,vhostfd={number}"));
        match &error {
            netdev::Error::Vhost { source: vhost_net::Error::NotVhostNet(found), .. } => {
                assert_eq!(*found, number);
            }
            other => panic!("{other}"),
        }
        says(&error, &["netdev hn0", "is not a vhost-net handle"]);
        assert!(!error.to_string().contains("vhost=try"), "who passes handles does not try: {error}");
    }
    // Neither taken nor closed.
    open(&format!("tap,id=hn0,fd={tap}"));
    mqtap::fd::inherit(null)?;
    Ok(())
}
