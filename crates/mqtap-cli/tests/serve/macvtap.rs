//! Interfaces that stand on another one: macvtaps, and, where the kernel has them (`MQTAP_TEST_IPVTAP=on`), ipvtaps.

use std::net::Ipv4Addr;

use mqtap_driver::protocol::feature;
use mqtap_driver::{DriverOptions, frames};
use mqtap_test_support::{Elsewhere, PatientSocket, TestResult, devices, eventually, ip};

use super::daemon::{Daemon, Result, address};
use super::datapath::{host_socket, path, received, spread_of_64_flows};

/// Whether it is an ipvtap's turn.
pub(crate) fn is_ipvtap() -> bool {
    std::env::var("MQTAP_TEST_IPVTAP").is_ok_and(|value| value == "on")
}

/// An interface with the guest's address, on one of a pair of interfaces, of which the other, `tap0`, is the host's: in a namespace of
/// its own, since an ipvtap gets what is sent to an address of its namespace.
struct Stage {
    name: &'static str,
    socket: PatientSocket,
    path: frames::Path,
    _host: Elsewhere,
}

impl Stage {
    /// None where there can be none.
    fn new() -> Result<Option<Self>> {
        if !devices::private()? {
            return Ok(None);
        }
        let name = if is_ipvtap() { "ipvtap0" } else { "macvtap0" };
        if is_ipvtap() {
            devices::ipvtap(name, "v0", "tap0")?;
            ip("link set v0 address 02:00:00:00:00:99")?;
            ip(&format!("address add 10.9.1.2/24 dev {name}"))?;
        } else {
            devices::macvtap(name, "v0", "tap0")?;
            ip(&format!("link set {name} address 02:00:00:00:00:99"))?;
        }
        let host = Elsewhere::new()?;
        ip(&format!("link set tap0 netns {}", host.path().display()))?;
        let (socket, path) = host.run(|| {
            address("tap0", 1)?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((host_socket()?, path("tap0", 1)?))
        })?;
        Ok(Some(Self { name, socket, path, _host: host }))
    }

    fn daemon(&self, queues: u16) -> Result<Daemon> {
        Daemon::start(&format!("tap,id=hn0,ifname={},queues={queues}", self.name), &[])
    }
}

pub(crate) fn a_macvtap_carries_frames_on_the_enabled_pairs() -> TestResult {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let (daemon, socket, path) = (stage.daemon(4)?, &stage.socket, stage.path);
    for variant in [
        DriverOptions { queue_pairs: 4, ..DriverOptions::default() },
        DriverOptions {
            queue_pairs: 4,
            packed: true,
            offloads: feature::OFFLOADS,
            ..DriverOptions::default()
        },
    ] {
        let mut driver = daemon.connect_to(stage.name, variant)?;
        for active in [4, 1, 3, 2, 4] {
            driver.set_active_pairs(active)?;
            received(&mut driver, 4)?;
            let mut buffer = [0; 64];
            for pair in 0..active {
                driver.transmit(pair, &frames::udp(path, (5000 + pair, 9000), &pair.to_be_bytes()))?;
                let (n, _) = socket.recv_from(&mut buffer)?;
                assert_eq!(&buffer[..n], pair.to_be_bytes());
            }
            let pairs = spread_of_64_flows(&mut driver, socket)?;
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
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let (daemon, socket) = (stage.daemon(2)?, &stage.socket);
    for _ in 0..3 {
        for port in 0..32 {
            socket.send_to(b"nobody is there", (Ipv4Addr::new(10, 9, 1, 2), 6000 + port))?;
        }
        let mut driver =
            daemon.connect_to(stage.name, DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
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
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let mut daemon = stage.daemon(2)?;
    let mut driver =
        daemon.connect_to(stage.name, DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    ip(&format!("link del {}", stage.name))?;
    assert_eq!(daemon.wait()?.code(), Some(1));
    assert!(daemon.log_has(stage.name), "{}", daemon.log());
    Ok(())
}

pub(crate) fn the_address_of_a_macvtap_is_the_guests() -> TestResult {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let netdev = format!("tap,id=hn0,ifname={}", stage.name);
    let own = "02:00:00:00:00:99";
    for (more, warned) in
        [(vec!["--mac", own], false), (vec!["--mac", "02:00:00:00:00:98"], true), (vec![], false)]
    {
        let daemon = Daemon::start(&netdev, &more)?;
        assert_eq!(daemon.log_has("may not reach it"), warned, "{}", daemon.log());
        let driver = daemon.connect_to(stage.name, DriverOptions::default())?;
        assert!(driver.offered_features() & feature::MAC != 0, "a frontend can ask for it");
    }
    Ok(())
}
