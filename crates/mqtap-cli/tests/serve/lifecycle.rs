//! Drivers that come and go, taps that vanish, and the end.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use mqtap_driver::{DriverOptions, frames};
use mqtap_test_support::{TestResult, eventually, gone, ip};
use nix::sys::signal::Signal;

use super::daemon::{Daemon, GUEST_MAC, address, has_carrier, layouts, queues, settle};
use super::datapath::{host_socket, path, received};

pub(crate) fn carrier_follows_the_guest() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    // Before Linux 6.8 the kernel takes its time, each time.
    eventually("there is no carrier without a guest", || !has_carrier("tap0").unwrap())?;
    assert_eq!(queues("tap0")?, (0, 2));
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    eventually("the guest brings the carrier", || has_carrier("tap0").unwrap())?;
    driver.stop()?;
    eventually("the carrier goes with the rings", || !has_carrier("tap0").unwrap())?;
    assert_eq!(queues("tap0")?, (0, 2));
    drop(driver);
    let driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    eventually("the next guest brings it back", || has_carrier("tap0").unwrap())?;
    drop(driver);
    eventually("the carrier goes with the guest", || !has_carrier("tap0").unwrap())?;
    Ok(())
}

pub(crate) fn carrier_can_be_kept() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2,carrier=on", &[])?;
    address("tap0", 1)?;
    eventually("there is a carrier without a guest", || has_carrier("tap0").unwrap())?;
    assert_eq!(queues("tap0")?, (0, 2));
    drop(daemon.connect(DriverOptions::default())?);
    eventually("the queues are detached", || queues("tap0").unwrap() == (0, 2))?;
    assert!(has_carrier("tap0")?);
    Ok(())
}

pub(crate) fn the_next_driver_is_served() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let path = path("tap0", 1)?;
    let packed = |round: u16| layouts()[usize::from(round) % layouts().len()];
    for round in 0..20_u16 {
        let options =
            DriverOptions { queue_pairs: 1 + round % 4, packed: packed(round), ..DriverOptions::default() };
        let mut driver = daemon.connect(options)?;
        driver.transmit(0, &frames::udp(path, (5000, 9000), &round.to_be_bytes()))?;
        let mut buffer = [0; 64];
        let (n, _) = socket.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..n], round.to_be_bytes());
    }
    Ok(())
}

pub(crate) fn a_ring_goes_on_where_it_stopped() -> TestResult {
    // The kernel drops what is sent in the moment after the carrier has come back; it stays here.
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,carrier=on", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let path = path("tap0", 1)?;
    let mut buffer = [0; 64];
    for &packed in layouts() {
        let mut driver =
            daemon.connect(DriverOptions { packed, ring_size: 64, ..DriverOptions::default() })?;
        for round in 0..50_u16 {
            driver.transmit(0, &frames::udp(path, (5000, 9000), &round.to_be_bytes()))?;
            let (n, _) = socket.recv_from(&mut buffer)?;
            assert_eq!(&buffer[..n], round.to_be_bytes());
            socket.send_to(&round.to_be_bytes(), (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
            eventually("the frame arrives", || !received(&mut driver, 1).unwrap().is_empty())
                .map_err(|error| format!("packed={packed}, round {round}: {error}"))?;
            let bases = driver.stop()?;
            driver.resume(&bases)?;
        }
    }
    Ok(())
}

pub(crate) fn announcements_leave_the_tap() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    // What leaves the tap into the host is what its interface receives.
    let packets = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = text.lines().find(|line| line.trim_start().starts_with("tap0:")).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let before = packets();
    driver.announce(GUEST_MAC)?;
    assert_eq!(packets(), before + 1);
    Ok(())
}

pub(crate) fn a_deleted_tap_ends_its_nic_only() -> TestResult {
    let mut daemon = Daemon::start_many(
        &["tap,id=first,ifname=tap0,queues=2", "tap,id=second,ifname=tap1,queues=2"],
        &[],
    )?;
    address("tap1", 1)?;
    let _first = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    let second = daemon.socket(1);
    let mut driver = mqtap_driver::Driver::connect(&second, DriverOptions::default())?;
    settle("tap1")?;
    ip("link del tap0")?;
    eventually("the loss is reported", || daemon.log_has("netdev{id=first}: tap0 is gone"))?;
    let wrong = |line: &&str| line.contains("ERROR") && !line.contains("netdev{id=first}: tap0 is gone");
    assert_eq!(daemon.log().lines().find(wrong), None);
    let socket = host_socket()?;
    socket.send_to(b"still here", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
    eventually("the other NIC goes on", || !received(&mut driver, 1).unwrap().is_empty())?;
    let first = daemon.socket(0);
    eventually("nobody listens for the lost NIC", || !first.exists())?;
    assert_eq!(daemon.has_ended(), None);
    daemon.signal(Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(1), "one of its NICs failed");
    Ok(())
}

pub(crate) fn a_tap_that_is_shared_is_said_to_be() -> TestResult {
    let first = Daemon::start("tap,id=first,ifname=tap0,queues=2", &[])?;
    let _driver = first.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    let second = Daemon::start("tap,id=second,ifname=tap0,queues=3", &[])?;
    let warning =
        format!("tap0 is shared: 2 more of its queues are open; held by mqtap (pid {});", first.pid());
    eventually("the other holder is named", || second.log_has(&warning))
        .map_err(|error| format!("{error}: {}", second.log()))?;
    assert!(!first.log_has("shared"), "{}", first.log());
    // Each line says of which NIC it is.
    let _driver = second.connect(DriverOptions { queue_pairs: 3, ..DriverOptions::default() })?;
    eventually("the frontend is told of", || second.log_has("netdev{id=second}: frontend connected"))?;
    Ok(())
}

pub(crate) fn a_deleted_tap_is_noticed_without_a_guest() -> TestResult {
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    ip("link del tap0")?;
    assert_eq!(daemon.wait()?.code(), Some(1));
    assert!(daemon.log_has("netdev{id=hn0}: tap0 is gone"), "{}", daemon.log());
    Ok(())
}

pub(crate) fn sigterm_leaves_nothing() -> TestResult {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?;
        let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
        driver.set_active_pairs(4)?;
        daemon.signal(signal)?;
        assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
        gone("tap0")?;
        assert!(!daemon.socket(0).exists(), "and so is the socket");
    }
    Ok(())
}

pub(crate) fn a_persistent_tap_is_kept() -> TestResult {
    ip("tuntap add dev tap0 mode tap multi_queue vnet_hdr")?;
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=3", &[])?;
    assert_eq!(queues("tap0")?, (0, 3));
    daemon.signal(Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0));
    eventually("it has no queues", || queues("tap0").is_ok_and(|queues| queues == (0, 0)))
}

pub(crate) fn a_stale_socket_is_replaced_and_a_live_one_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("s");
    drop(UnixListener::bind(&socket)?);
    assert!(socket.exists(), "a stale socket file");
    // A program that another test starts is a copy of this process for a moment, and listens.
    eventually("nobody listens", || {
        UnixStream::connect(&socket).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
    command.args(["serve", "--netdev", "tap,id=hn0,ifname=tap0", "--socket"]).arg(&socket);
    let first = Daemon::spawn(command, directory)?;
    eventually("the NIC is served", || first.log_has(" virtqueues), "))?;
    let output = Command::new(env!("CARGO_BIN_EXE_mqtap"))
        .args(["serve", "--netdev", "tap,id=hn0,ifname=tap1", "--socket"])
        .arg(&socket)
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains(&socket.display().to_string()), "{text}");
    assert!(ip("link show tap1").is_err());
    mqtap_driver::Driver::connect(&socket, DriverOptions::default())?;
    Ok(())
}
