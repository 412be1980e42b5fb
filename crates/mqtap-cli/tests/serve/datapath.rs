//! Frames through the daemon, both ways.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use mqtap_driver::frames::{self, Addresses, Path, Payload};
use mqtap_driver::protocol::feature;
use mqtap_driver::{Driver, DriverOptions};
use mqtap_test_support::{PatientSocket, TestResult, eventually, ip, patience};

use super::daemon::{Daemon, GUEST_MAC, Result, address, host_mac, in_kernel, layouts, queues};

pub(crate) fn path(device: &str, number: u8) -> Result<Path> {
    Ok(Path {
        source_mac: GUEST_MAC,
        destination_mac: host_mac(device)?,
        addresses: Addresses::V4(Ipv4Addr::new(10, 9, number, 2), Ipv4Addr::new(10, 9, number, 1)),
    })
}

/// A socket of the host's. That of a former round of the test may be kept for a moment, by a process that another test has just
/// started.
pub(crate) fn bound(address: impl ToSocketAddrs + Copy) -> Result<UdpSocket> {
    let mut socket = None;
    eventually("the port is free", || {
        socket = UdpSocket::bind(address).ok();
        socket.is_some()
    })?;
    Ok(socket.ok_or("no socket")?)
}

pub(crate) fn host_socket() -> Result<PatientSocket> {
    Ok(PatientSocket::new(bound((Ipv4Addr::UNSPECIFIED, 9000))?)?)
}

/// UDP payloads that have come in on any pair of the driver.
pub(crate) fn received(driver: &mut Driver, pairs: u16) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut all = Vec::new();
    for pair in 0..pairs {
        while let Some(frame) = driver.receive(pair)? {
            if let Some(frames::Frame { payload: Payload::Udp(udp), .. }) = frames::parse(&frame) {
                all.push((pair, udp.payload));
            }
        }
    }
    Ok(all)
}

/// Sends from the guest on each of the pairs and sees it arrive; sends flows to the guest until each pair has got one.
pub(crate) fn exercise(driver: &mut Driver, socket: &PatientSocket, pairs: u16, number: u8) -> TestResult {
    let path = path("tap0", number)?;
    let mut buffer = [0; 65536];
    for pair in 0..pairs {
        for round in 0..20_u8 {
            let length = 1 + usize::from(round) * 70;
            let payload = vec![round ^ pair as u8; length];
            driver.transmit(pair, &frames::udp(path, (5000 + pair, 9000), &payload))?;
            let (n, _) =
                socket.recv_from(&mut buffer).map_err(|e| format!("pair {pair}, round {round}: {e}"))?;
            assert_eq!(&buffer[..n], payload, "pair {pair}, round {round}");
        }
    }
    // The kernel sends the answers of a flow to the queue on which the flow came in.
    for pair in 0..pairs {
        for round in 0..20_u8 {
            let payload = vec![round; 1 + usize::from(round) * 70];
            let deadline = Instant::now() + patience();
            while !answer(driver, socket, (pairs, pair), number, &payload)? {
                assert!(Instant::now() < deadline, "pair {pair}, round {round} comes elsewhere");
            }
        }
    }
    Ok(())
}

/// Answers the flow of one of the pairs. False if that came in on another pair: the kernel forgets a flow of which nothing has
/// come for three seconds (`TUN_FLOW_EXPIRE`).
fn answer(
    driver: &mut Driver,
    socket: &PatientSocket,
    (pairs, pair): (u16, u16),
    number: u8,
    payload: &[u8],
) -> Result<bool> {
    driver.transmit(pair, &frames::udp(path("tap0", number)?, (5000 + pair, 9000), b"reminder"))?;
    socket.recv_from(&mut [0; 16])?;
    socket.send_to(payload, (Ipv4Addr::new(10, 9, number, 2), 5000 + pair))?;
    let deadline = Instant::now() + patience();
    loop {
        if let Some((on, got)) = received(driver, pairs)?.into_iter().next() {
            assert_eq!(got, payload, "pair {pair}");
            return Ok(on == pair);
        }
        assert!(Instant::now() < deadline, "nothing came for pair {pair}");
        driver.wait(pair, Duration::from_millis(50))?;
    }
}

pub(crate) fn every_pair_carries_frames_both_ways() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(4)?;
    assert_eq!(queues("tap0")?, (4, 0));
    exercise(&mut driver, &socket, 4, 1)?;
    let rows = daemon.counters("hn0")?;
    assert_eq!(rows.len(), 4);
    // The kernel counts all pairs together.
    let least = if in_kernel() { 0 } else { 20 };
    for row in &rows {
        assert!(row.attached && row.transmitted >= least && row.received >= least, "{rows:?}");
        assert_eq!((row.transmit_dropped, row.receive_dropped), (0, 0), "{rows:?}");
    }
    let all = daemon.all_counters("hn0")?;
    assert!(all.transmitted >= 80 && all.received >= 80, "{all:?}");
    Ok(())
}

pub(crate) fn variants_of_rings_carry_every_byte() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &["--queue-size", "4096"])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let plain = DriverOptions { queue_pairs: 2, ..DriverOptions::default() };
    let variants = [
        plain.clone(),
        DriverOptions { packed: true, ..plain.clone() },
        DriverOptions { packed: true, mergeable: false, indirect: false, ..plain.clone() },
        DriverOptions { mergeable: false, ..plain.clone() },
        DriverOptions { event_index: false, indirect: false, ..plain.clone() },
        DriverOptions { in_order: true, ..plain.clone() },
        DriverOptions { in_order: true, packed: true, ..plain.clone() },
        DriverOptions { ring_size: 1024, ..plain.clone() },
        DriverOptions { ring_size: 4096, ..plain.clone() },
        DriverOptions { ring_size: 8, ..plain.clone() },
        DriverOptions { packed: true, ring_size: 100, ..plain.clone() },
        DriverOptions { split_header: true, ..plain.clone() },
        DriverOptions {
            split_header: true,
            packed: true,
            indirect: false,
            transmit_buffer_size: 100,
            ..plain.clone()
        },
        DriverOptions { buffer_size: 200, ..plain.clone() },
        DriverOptions { memory_regions: 5, memory_slots: true, ..plain.clone() },
        DriverOptions { owner_first: true, handshake_per_pair: true, ..plain },
    ];
    for variant in variants.into_iter().filter(|variant| layouts().contains(&variant.packed)) {
        let mut driver = daemon.connect(variant.clone()).map_err(|error| format!("{variant:?}: {error}"))?;
        driver.set_active_pairs(2)?;
        exercise(&mut driver, &socket, 2, 1).map_err(|error| format!("{variant:?}: {error}"))?;
    }
    Ok(())
}

/// On which of the four pairs frames come in, when 64 flows do.
pub(crate) fn spread_of_64_flows(driver: &mut Driver, socket: &PatientSocket) -> Result<BTreeSet<u16>> {
    for port in 0..64 {
        socket.send_to(b"flow", (Ipv4Addr::new(10, 9, 1, 2), 6000 + port))?;
    }
    let mut arrived = Vec::new();
    eventually("all 64 flows arrive", || {
        arrived.extend(received(driver, 4).unwrap());
        arrived.iter().filter(|(_, payload)| payload == b"flow").count() == 64
    })?;
    Ok(arrived.iter().map(|(pair, _)| *pair).collect())
}

pub(crate) fn pairs_that_are_not_enabled_get_nothing() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    for active in [1, 3, 2, 4, 2] {
        driver.set_active_pairs(active)?;
        assert_eq!(queues("tap0")?, (active.into(), u64::from(4 - active)));
        let before = daemon.counters("hn0")?;
        received(&mut driver, 4)?;
        let pairs = spread_of_64_flows(&mut driver, &socket)?;
        assert!(pairs.iter().all(|pair| *pair < active), "{active} active, frames on {pairs:?}");
        let after = daemon.counters("hn0")?;
        for pair in usize::from(active)..4 {
            assert_eq!(after[pair].received, before[pair].received);
            assert!(!after[pair].attached);
        }
    }
    // What a driver sends on a ring that is not enabled is taken and dropped.
    let path = path("tap0", 1)?;
    driver.transmit(3, &frames::udp(path, (5003, 9000), b"dropped"))?;
    eventually("the frame is dropped and counted", || {
        daemon.counters("hn0").unwrap()[3].transmit_dropped == 1
    })?;
    Ok(())
}

pub(crate) fn a_busy_transmit_ring_leaves_receive_its_turn() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let path = path("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { ring_size: 1024, ..DriverOptions::default() })?;
    // Nobody listens there: the frames go into the host and end.
    let flood: Vec<Vec<u8>> = (0..256).map(|port| frames::udp(path, (6000 + port, 19), &[0; 18])).collect();
    let socket = bound((Ipv4Addr::UNSPECIFIED, 9000))?;
    let mut arrived = 0;
    let deadline = Instant::now() + patience();
    for round in 0.. {
        if Instant::now() > deadline {
            break;
        }
        driver.transmit_batch(0, &flood)?;
        if round % 10 == 0 {
            socket.send_to(b"in between", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
        }
        arrived += received(&mut driver, 1)?.iter().filter(|(_, payload)| payload == b"in between").count();
        if arrived >= 50 {
            return Ok(());
        }
    }
    Err(format!("only {arrived} frames came in beside a flood").into())
}

pub(crate) fn an_mtu_of_a_frontend_changes_nothing_of_the_host() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &["--mtu", "4000"])?;
    let mut driver = daemon.connect(DriverOptions::default())?;
    // The smallest there is would take IPv6 from the bridge that the tap is on.
    for mtu in [68, 1280, 4000] {
        driver.set_mtu(mtu)?;
        assert!(ip("link show tap0")?.contains("mtu 4000"), "{mtu}");
    }
    assert!(driver.set_mtu(4001).is_err());
    eventually("the remedy is said", || {
        daemon.log_has("the guest is to have MTU 4001, and tap0 has 4000: set it with mtu=4001")
    })?;
    assert!(ip("link show tap0")?.contains("mtu 4000"));
    Ok(())
}

pub(crate) fn large_frames_arrive_in_small_buffers() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &["--mtu", "9000"])?;
    address("tap0", 1)?;
    assert!(ip("link show tap0")?.contains("mtu 9000"));
    let socket = host_socket()?;
    for options in [
        DriverOptions { buffer_size: 256, ..DriverOptions::default() },
        DriverOptions { buffer_size: 256, packed: true, ..DriverOptions::default() },
        // 16 buffers of 600 bytes hold one frame of 9000 and not two.
        DriverOptions { buffer_size: 600, ring_size: 16, ..DriverOptions::default() },
        DriverOptions {
            mergeable: false,
            buffer_size: 1024,
            buffers_per_chain: 10,
            ..DriverOptions::default()
        },
    ]
    .into_iter()
    .filter(|options| layouts().contains(&options.packed))
    {
        let mut driver = daemon.connect(options.clone())?;
        for round in 0..30_u8 {
            let payload: Vec<u8> = (0..8900_usize).map(|i| (i as u8).wrapping_mul(round)).collect();
            socket.send_to(&payload, (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
            let mut got = Vec::new();
            eventually("a frame of 9000 bytes arrives", || {
                got.extend(received(&mut driver, 1).unwrap());
                !got.is_empty()
            })
            .map_err(|error| format!("{options:?}, round {round}: {error}"))?;
            assert!(got[0].1 == payload, "{options:?}, round {round}");
        }
    }
    // Buffers that can never hold it: the frame is dropped and counted, and the next one arrives.
    let tiny = DriverOptions {
        mergeable: false,
        buffer_size: 1600,
        buffers_per_chain: 1,
        ..DriverOptions::default()
    };
    let mut driver = daemon.connect(tiny)?;
    let before = daemon.counters("hn0")?[0].receive_dropped;
    socket.send_to(&[7; 8000], (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
    socket.send_to(b"small", (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
    let mut got = Vec::new();
    eventually("the small frame arrives", || {
        got.extend(received(&mut driver, 1).unwrap());
        !got.is_empty()
    })?;
    assert_eq!(got[0].1, b"small");
    // The kernel does not count them.
    let dropped = if in_kernel() { 0 } else { 1 };
    assert_eq!(daemon.counters("hn0")?[0].receive_dropped, before + dropped);
    Ok(())
}

pub(crate) fn checksums_and_segmentation_are_left_to_the_other_end() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver =
        daemon.connect(DriverOptions { offloads: feature::OFFLOADS, ..DriverOptions::default() })?;
    // Guest to host: a partial checksum, which the host completes or trusts.
    let path = path("tap0", 1)?;
    let mut frame = frames::udp(path, (5000, 9000), b"partial");
    let header = frames::partial(&mut frame, None).ok_or("no checksum to leave out")?;
    driver.transmit_with_header(0, &header, &frame)?;
    let mut buffer = [0; 65536];
    let (n, _) = socket.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..n], b"partial");
    // Guest to host: one super-frame of UDP segments, taken apart by the host (Linux 6.2).
    if driver.features() & feature::HOST_USO != 0 {
        let payload: Vec<u8> = (0..4000_u32).map(|i| i as u8).collect();
        let mut frame = frames::udp(path, (5000, 9000), &payload);
        let header = frames::partial(&mut frame, Some(1000)).ok_or("no checksum to leave out")?;
        driver.transmit_with_header(0, &header, &frame)?;
        for part in payload.chunks(1000) {
            let (n, _) = socket.recv_from(&mut buffer)?;
            assert!(&buffer[..n] == part);
        }
    }
    // Host to guest: the kernel leaves the checksum to a driver that takes partial ones.
    socket.send_to(b"to the guest", (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
    let mut got = None;
    eventually("a frame arrives", || {
        got = driver.receive_with_header(0).unwrap().filter(|got| got.frame.ends_with(b"to the guest"));
        got.is_some()
    })?;
    let got = got.ok_or("no frame")?;
    const NEEDS_CSUM: u8 = 1;
    assert_eq!(got.header.flags & NEEDS_CSUM, NEEDS_CSUM);
    // And does it itself for a driver that does not.
    drop(driver);
    let mut driver = daemon.connect(DriverOptions::default())?;
    socket.send_to(b"complete", (Ipv4Addr::new(10, 9, 1, 2), 7000))?;
    eventually("a frame arrives", || {
        let got = driver.receive_with_header(0).unwrap().filter(|got| got.frame.ends_with(b"complete"));
        got.is_some_and(|got| {
            assert_eq!(got.header.flags & NEEDS_CSUM, 0);
            assert!(frames::parse(&got.frame).is_some());
            true
        })
    })?;
    Ok(())
}

pub(crate) fn a_tap_without_a_header_carries_frames() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2,vnet_hdr=off", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    for mergeable in [true, false] {
        let options = DriverOptions {
            queue_pairs: 2,
            mergeable,
            offloads: feature::OFFLOADS,
            ..DriverOptions::default()
        };
        let mut driver = daemon.connect(options)?;
        assert_eq!(driver.features() & feature::OFFLOADS, 0, "no offload without a header to describe it");
        driver.set_active_pairs(2)?;
        exercise(&mut driver, &socket, 2, 1)?;
    }
    Ok(())
}

pub(crate) fn polling_rings_need_no_eventfd() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { polling: true, ..DriverOptions::default() })?;
    let path = path("tap0", 1)?;
    driver.transmit(0, &frames::udp(path, (5000, 9000), b"polled"))?;
    let mut buffer = [0; 64];
    assert_eq!(socket.recv_from(&mut buffer)?.0, 6);
    socket.send_to(b"polled", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
    eventually("the frame arrives", || !received(&mut driver, 1).unwrap().is_empty())?;
    Ok(())
}

pub(crate) fn dirty_pages_are_logged() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    for &packed in layouts() {
        let mut driver = daemon.connect(DriverOptions { packed, ..DriverOptions::default() })?;
        driver.start_dirty_log()?;
        driver.dirty_pages().ok_or("no log")?.clear()?;
        socket.send_to(b"dirty", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
        eventually("the frame arrives", || !received(&mut driver, 1).unwrap().is_empty())?;
        let pages = driver.stop_dirty_log()?.ok_or("no log")?.pages()?;
        assert!(
            pages.len() >= 2,
            "a page of the buffer and one of the ring at least, packed={packed}: {pages:?}"
        );
        // Nothing is logged any more, and frames go on.
        socket.send_to(b"clean", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
        eventually("the frame arrives", || !received(&mut driver, 1).unwrap().is_empty())?;
    }
    Ok(())
}

pub(crate) fn workers_can_be_shared() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &["--workers", "1", "--cpus", "0"])?;
    address("tap0", 1)?;
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))?
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("tap0."))
        .count();
    assert_eq!(threads, 1);
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(4)?;
    exercise(&mut driver, &socket, 4, 1)
}
