//! Taps elsewhere than where the daemon is, and of another kind.

use std::net::Ipv4Addr;

use mqtap_driver::protocol::feature;
use mqtap_driver::{Driver, DriverOptions, frames};
use mqtap_test_support::{Elsewhere, TestResult, devices, eventually, ip};
use nix::sys::signal::Signal;

use super::daemon::{Daemon, address, queues, settle};
use super::datapath::{exercise, host_socket, path, received, spread_of_64_flows};

pub(crate) fn netns_has_the_tap_and_its_frames() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let netdev = format!(
        "tap,id=hn0,ifname=tap0,queues=4,mtu=1400,persist=on,user=root,netns={}",
        elsewhere.path().display()
    );
    // Says the same as mtu=, which is no contradiction.
    let mut daemon = Daemon::start(&netdev, &["--mtu", "1400"])?;
    assert!(ip("link show tap0").is_err(), "not here");
    let socket = daemon.socket(0);
    elsewhere.run(|| -> TestResult {
        address("tap0", 1)?;
        let mut driver =
            Driver::connect(&socket, DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
        settle("tap0")?;
        driver.set_active_pairs(4)?;
        assert_eq!(queues("tap0")?, (4, 0));
        exercise(&mut driver, &host_socket()?, 4, 1)?;
        assert!(ip("link show tap0")?.contains("mtu 1400"));
        Ok(())
    })?;
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    eventually("nobody has a queue, and the tap stays", || {
        elsewhere.run(|| queues("tap0").unwrap()) == (0, 0)
    })
}

/// A macvtap with the address of the guest, on a pair of interfaces of which the other, `tap0`, is the host's here.
fn macvtap() -> TestResult {
    devices::macvtap("macvtap0", "v0", "tap0")?;
    ip("link set macvtap0 address 02:00:00:00:00:99")?;
    address("tap0", 1)
}

pub(crate) fn a_macvtap_carries_frames_on_the_enabled_pairs() -> TestResult {
    if !devices::private()? {
        return Ok(());
    }
    macvtap()?;
    let daemon = Daemon::start("tap,id=hn0,ifname=macvtap0,queues=4", &[])?;
    let socket = host_socket()?;
    let path = path("tap0", 1)?;
    for variant in [
        DriverOptions { queue_pairs: 4, ..DriverOptions::default() },
        DriverOptions {
            queue_pairs: 4,
            packed: true,
            offloads: feature::OFFLOADS,
            ..DriverOptions::default()
        },
    ] {
        let mut driver = daemon.connect(variant)?;
        for active in [4, 1, 3, 2, 4] {
            driver.set_active_pairs(active)?;
            received(&mut driver, 4)?;
            let mut buffer = [0; 64];
            for pair in 0..active {
                driver.transmit(pair, &frames::udp(path, (5000 + pair, 9000), &pair.to_be_bytes()))?;
                let (n, _) = socket.recv_from(&mut buffer)?;
                assert_eq!(&buffer[..n], pair.to_be_bytes());
            }
            let pairs = spread_of_64_flows(&mut driver, &socket)?;
            assert_eq!(pairs, (0..active).collect(), "{active} active");
        }
        let large = vec![7; 1400];
        socket.send_to(&large, (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
        let mut arrived = Vec::new();
        eventually("a large frame arrives", || {
            arrived.extend(received(&mut driver, 4).unwrap());
            arrived.iter().any(|(_, payload)| *payload == large)
        })?;
    }
    let rows = daemon.counters("hn0")?;
    assert!(rows.iter().all(|row| row.transmitted > 0 && row.received > 0), "{rows:?}");
    Ok(())
}

pub(crate) fn a_macvtap_keeps_nothing_for_the_next_guest() -> TestResult {
    if !devices::private()? {
        return Ok(());
    }
    macvtap()?;
    let daemon = Daemon::start("tap,id=hn0,ifname=macvtap0,queues=2", &[])?;
    let socket = host_socket()?;
    for _ in 0..3 {
        for port in 0..32 {
            socket.send_to(b"nobody is there", (Ipv4Addr::new(10, 9, 1, 2), 6000 + port))?;
        }
        let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
        driver.set_active_pairs(2)?;
        socket.send_to(b"for you", (Ipv4Addr::new(10, 9, 1, 2), 6000))?;
        let mut arrived = Vec::new();
        eventually("the frame arrives", || {
            arrived.extend(received(&mut driver, 2).unwrap());
            arrived.iter().any(|(_, payload)| payload == b"for you")
        })?;
        assert!(arrived.iter().all(|(_, payload)| payload != b"nobody is there"));
    }
    Ok(())
}

pub(crate) fn a_deleted_macvtap_ends_its_nic() -> TestResult {
    if !devices::private()? {
        return Ok(());
    }
    macvtap()?;
    let mut daemon = Daemon::start("tap,id=hn0,ifname=macvtap0,queues=2", &[])?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    ip("link del macvtap0")?;
    assert_eq!(daemon.wait()?.code(), Some(1));
    assert!(daemon.log_has("macvtap0"), "{}", daemon.log());
    Ok(())
}

pub(crate) fn the_address_of_a_macvtap_is_the_guests() -> TestResult {
    if !devices::private()? {
        return Ok(());
    }
    macvtap()?;
    let netdev = "tap,id=hn0,ifname=macvtap0";
    let own = "02:00:00:00:00:99";
    for (more, warned) in
        [(vec!["--mac", own], false), (vec!["--mac", "02:00:00:00:00:98"], true), (vec![], false)]
    {
        let daemon = Daemon::start(netdev, &more)?;
        assert_eq!(daemon.log_has("may not reach it"), warned, "{}", daemon.log());
        let driver = daemon.connect(DriverOptions::default())?;
        assert!(driver.offered_features() & feature::MAC != 0, "a frontend can ask for it");
    }
    Ok(())
}
