//! Drivers that lie and frontends that misbehave.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtap_driver::lies::{self, Expectation};
use mqtap_driver::ring::{Buffer, DESC_NEXT};
use mqtap_driver::{Driver, DriverOptions, Frontend, MemoryRegion, frames};
use mqtap_test_support::{TestResult, eventually, patience};
use mqtap_virtio::memory::{GuestAddress, SharedMemory};
use rustix::fs::OFlags;
use rustix::io::{ReadWriteFlags, preadv2};

use super::daemon::{Daemon, address, in_kernel, layouts, settle};
use super::datapath::{host_socket, path, received};

pub(crate) fn every_lie_stops_its_ring_only() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let path = path("tap0", 1)?;
    let (mut told, mut found_out) = (0, 0);
    for &packed in layouts() {
        for lie in lies::all() {
            for ring in [0, 1] {
                let options =
                    DriverOptions { queue_pairs: 2, packed, fill_receive: false, ..DriverOptions::default() };
                let mut driver = daemon.connect(options)?;
                driver.set_active_pairs(2)?;
                let raw = driver.raw_ring(ring)?;
                if !lie.applies(&raw, driver.features()) {
                    continue;
                }
                let expectation = lie.tell(&raw)?;
                let context = format!("{} on ring {ring}, packed={packed}", lie.name);
                if expectation == Expectation::RingBroken {
                    // A receive ring is looked at when there is a frame.
                    socket.send_to(b"look", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
                    // The kernel lets some lies pass, as long as they do not hurt it.
                    let time = if in_kernel() { Duration::from_millis(300) } else { patience() };
                    let broken = driver.events(ring).wait_for_error(time)?;
                    assert!(broken || in_kernel(), "{context}: the error eventfd was not signalled");
                    found_out += u32::from(broken);
                }
                // The other pair goes on.
                driver.transmit(1, &frames::udp(path, (5001, 9000), lie.name.as_bytes()))?;
                let mut buffer = [0; 256];
                let (n, _) = socket.recv_from(&mut buffer).map_err(|error| format!("{context}: {error}"))?;
                assert_eq!(&buffer[..n], lie.name.as_bytes(), "{context}");
                told += 1;
            }
        }
    }
    assert!(told > 20 * layouts().len(), "only {told} lies were told");
    assert!(found_out > 10, "only {found_out} lies were found out");
    Ok(())
}

pub(crate) fn broken_rings_leave_other_nics_alone() -> TestResult {
    let daemon = Daemon::start_many(&["tap,id=bad,ifname=tap0", "tap,id=good,ifname=tap1"], &[])?;
    address("tap1", 1)?;
    let mut good = Driver::connect(&daemon.socket(1), DriverOptions::default())?;
    settle("tap1")?;
    let socket = host_socket()?;
    for _ in 0..50 {
        let bad = daemon.connect(DriverOptions { fill_receive: false, ..DriverOptions::default() })?;
        bad.raw_ring(1)?.set_available_index(40_000)?;
        bad.raw_ring(1)?.kick()?;
        assert!(bad.events(1).wait_for_error(patience())?);
    }
    eventually("a warning is printed", || daemon.log_has("broke its"))?;
    let warnings = daemon.log().lines().filter(|line| line.contains("broke its")).count();
    assert!((1..10).contains(&warnings), "{warnings} warnings for 50 broken rings");
    socket.send_to(b"fine", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
    eventually("the other NIC goes on", || !received(&mut good, 1).unwrap().is_empty())?;
    Ok(())
}

/// Nor by one session after the other.
pub(crate) fn frontends_do_not_fill_the_log() -> TestResult {
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    for _ in 0..200 {
        let stream = std::os::unix::net::UnixStream::connect(daemon.socket(0))?;
        let mut frontend = Frontend::from_stream(stream)?;
        for request in [5, 6, 9, 10, 12, 13, 18] {
            frontend.send_message(request, 1, b"?", &[])?;
        }
        // The reply says that those before were looked at.
        frontend.get_features()?;
    }
    daemon.connect(DriverOptions::default())?;
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    let lines = daemon.log().lines().count();
    assert!((10..150).contains(&lines), "{lines} lines for 200 sessions");
    let told = daemon.log().matches(" lines about frontends were left out").count();
    assert!(told >= 2, "of visits and of complaints: {}", daemon.log());
    Ok(())
}

pub(crate) fn descriptors_that_are_no_eventfds_are_refused() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    let mut driver = daemon.connect(DriverOptions::default())?;
    let (_reader, writer) = std::io::pipe()?;
    let file = tempfile::tempfile()?;
    for fd in [writer.as_fd(), file.as_fd()] {
        driver.frontend().set_vring_call(1, Some(fd)).expect_err("a call descriptor that can block");
        driver.frontend().set_vring_kick(1, Some(fd)).expect_err("a kick descriptor that is none");
    }
    drop(driver);
    daemon.connect(DriverOptions::default())?;
    Ok(())
}

/// The kernel takes 1024 pieces at most. A chain has no more descriptors, but what lies in two regions is two pieces.
pub(crate) fn a_frame_of_too_many_pieces_is_dropped_whole() -> TestResult {
    const LINKS: u16 = 900;
    const ACROSS: u16 = 200;
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    for (round, frames) in [(1, 1), (2, 4)] {
        let driver = daemon.connect(DriverOptions {
            ring_size: 1024,
            memory_regions: 2,
            fill_receive: false,
            ..DriverOptions::default()
        })?;
        let border = driver.ram().regions().map(|(region, _)| region.guest_address).max().unwrap();
        let ring = driver.raw_ring(1)?;
        let room = ring.scratch(4096);
        ring.memory().write(room, &[0; 4096])?;
        let across = Buffer { at: GuestAddress(border - 1), len: 2 };
        for link in 0..LINKS {
            let buffer = match link {
                0 => Buffer { at: room, len: 12 },
                1..=ACROSS => across,
                _ => Buffer { at: room, len: 1 },
            };
            let flags = if link + 1 < LINKS { DESC_NEXT } else { 0 };
            ring.write_descriptor(link, buffer, flags, link + 1)?;
        }
        ring.push_available(0)?;
        // One call for each frame, or one for all.
        for other in 1..frames {
            ring.write_descriptor(LINKS + other, Buffer { at: room, len: 12 + 60 }, 0, 0)?;
            ring.push_available(LINKS + other)?;
        }
        ring.kick()?;
        eventually("the frames are dealt with", || {
            let row = daemon.counters("hn0").unwrap()[0];
            let dropped = daemon.count_of("hn0", "in too many pieces").unwrap();
            (row.transmitted, row.transmit_dropped, dropped) == (u64::from(frames) - 1, round, round)
        })
        .map_err(|error| format!("{error}: {:?}", daemon.counters("hn0")))?;
    }
    Ok(())
}

/// A frontend shares its eventfds with us, and can make them full and blocking.
pub(crate) fn an_eventfd_that_blocks_holds_nobody_up() -> TestResult {
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let path = path("tap0", 1)?;
    for last in [false, true] {
        let mut driver = daemon.connect(DriverOptions { event_index: false, ..DriverOptions::default() })?;
        driver.events(1).take_calls()?;
        rustix::io::write(driver.events(1).call_fd(), &(u64::MAX - 1).to_ne_bytes())?;
        rustix::fs::fcntl_setfl(driver.events(1).call_fd(), OFlags::RDWR)?;
        driver.pair(0).arm_transmit()?;
        driver.transmit(0, &frames::udp(path, (5000, 9000), b"call me"))?;
        wait_until_stuck(&daemon)?;
        if !last {
            drop(driver);
        }
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

/// Nor does it help to make them block over and over, the empty ones, too.
pub(crate) fn eventfds_made_to_block_again_hold_nobody_up() -> TestResult {
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let path = path("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { event_index: false, ..DriverOptions::default() })?;
    let events = [0, 1].map(|ring| driver.events(ring).call_fd().try_clone_to_owned());
    let [empty, full] = [&events[0], &events[1]].map(|fd| fd.as_ref().unwrap());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = rustix::fs::fcntl_setfl(empty, OFlags::RDWR);
            }
        });
        let mut held_up = || -> TestResult {
            for enabled in [false, true, false, true] {
                take_now(empty);
                take_now(full);
                rustix::io::write(full, &(u64::MAX - 1).to_ne_bytes())?;
                rustix::fs::fcntl_setfl(full, OFlags::RDWR)?;
                driver.pair(0).arm_transmit()?;
                driver.transmit(0, &frames::udp(path, (5000, 9000), b"call me"))?;
                wait_until_stuck(&daemon)?;
                driver.frontend().set_vring_enable(0, enabled)?;
            }
            daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
            assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
            Ok(())
        };
        let result = held_up();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// Waits until the worker sleeps in a write to an eventfd.
fn wait_until_stuck(daemon: &Daemon) -> TestResult {
    // The wait that eventfds have for themselves, or what calls it.
    let asleep = ["do_wait_intr_irq", "eventfd_write"];
    eventually("the worker is stuck", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let read =
            |task: &std::path::Path, file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        tasks
            .map(|task| task.path())
            .any(|task| read(&task, "comm").starts_with("tap0.") && asleep.contains(&&*read(&task, "wchan")))
    })
}

/// Takes what an eventfd counted, whatever its flags are.
fn take_now(eventfd: &OwnedFd) {
    let mut count = [0; 8];
    let _ = preadv2(eventfd, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
}

pub(crate) fn a_vanishing_memory_hurts_nobody_else() -> TestResult {
    let mut daemon = Daemon::start_many(&["tap,id=bad,ifname=tap0", "tap,id=good,ifname=tap1"], &[])?;
    address("tap0", 2)?;
    address("tap1", 1)?;
    let socket = host_socket()?;
    let mut good = Driver::connect(&daemon.socket(1), DriverOptions::default())?;
    settle("tap1")?;
    let bad = daemon.connect(DriverOptions::default())?;
    for (_, fd) in bad.ram().regions() {
        rustix::fs::ftruncate(fd, 0)?;
    }
    let kicked = bad.events(1).kick();
    assert!(kicked.is_ok());
    socket.send_to(b"into the void", (Ipv4Addr::new(10, 9, 2, 2), 5000))?;
    for _ in 0..5 {
        socket.send_to(b"fine", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
        eventually("the other NIC goes on", || !received(&mut good, 1).unwrap().is_empty())?;
    }
    assert_eq!(daemon.has_ended(), None, "{}", daemon.log());
    drop(bad);
    daemon.connect(DriverOptions::default())?;
    Ok(())
}

pub(crate) fn hostile_sessions_leak_no_descriptor() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    let count = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let session = |round: u32| -> TestResult {
        let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
        let file = tempfile::tempfile()?;
        let fds = [file.as_fd(); 20];
        // Unknown requests, descriptors where none belong, a broken header.
        let _ = driver.frontend().send_message(200 + round, 1, &[0; 64], &fds);
        let _ = driver.frontend().send_message(1, 1, &[0; 8], &fds[..8]);
        let _ = driver.frontend().send_message(5, 1, &[0xff; 264], &fds[..8]);
        let _ = driver.frontend().send_bytes(&[0xff; 12], &fds[..3]);
        let _ = driver.frontend().wait_for_close(patience());
        Ok(())
    };
    for round in 0..5 {
        session(round)?;
    }
    eventually("the daemon is at rest", || super::daemon::queues("tap0").unwrap() == (0, 2))?;
    let before = count();
    for round in 0..30 {
        session(round)?;
    }
    eventually("all descriptors are closed", || count() <= before)
        .map_err(|error| format!("{error}: {before} before, {} after", count()))?;
    Ok(())
}

/// A region of its own, far from the driver's memory.
pub(crate) fn far(number: u64, size: u64) -> MemoryRegion {
    MemoryRegion {
        guest_address: (1 << 40) + (number << 30),
        size,
        user_address: 0x1234_0000_0000 + (number << 30),
        mmap_offset: 0,
    }
}

pub(crate) fn a_broken_ring_lets_go_of_memory_that_is_taken_back() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    let mapped = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
        maps.lines().filter(|line| line.contains("mqtap-memory")).count()
    };
    let options =
        DriverOptions { queue_pairs: 2, fill_receive: false, memory_slots: true, ..DriverOptions::default() };
    let mut driver = daemon.connect(options)?;
    let before = mapped();
    for ring in 0..4 {
        let (region, memory) = (far(ring, 1 << 20), SharedMemory::create(1 << 20)?);
        driver.frontend().add_memory_region(region, memory.fd())?;
        assert_eq!(mapped(), before + 1);
        let ring = u16::try_from(ring)?;
        driver.raw_ring(ring)?.set_available_index(40_000)?;
        driver.raw_ring(ring)?.kick()?;
        if ring % 2 == 1 {
            assert!(driver.events(ring).wait_for_error(patience())?);
        }
        driver.frontend().remove_memory_region(region)?;
        eventually("the region is unmapped", || mapped() == before)?;
    }
    Ok(())
}

pub(crate) fn a_frontend_that_maps_all_it_can_hurts_nobody_else() -> TestResult {
    let mut daemon = Daemon::start_many(&["tap,id=bad,ifname=tap0", "tap,id=good,ifname=tap1"], &[])?;
    address("tap1", 1)?;
    let socket = host_socket()?;
    let mut bad = daemon.connect(DriverOptions { memory_slots: true, ..DriverOptions::default() })?;
    let file = SharedMemory::create(1 << 46)?;
    let (mut size, mut number) = (1 << 46, 0);
    while size >= 1 << 20 {
        // Each at another address, of which there are enough for sparse files.
        let at = (1 << 48) * (number + 1);
        let region = MemoryRegion { guest_address: at, size, user_address: at, mmap_offset: 0 };
        match bad.frontend().add_memory_region(region, file.fd()) {
            Ok(()) => number += 1,
            Err(_) => size /= 2,
        }
    }
    assert!(number > 10, "{number} regions");
    eventually("it is said why", || daemon.log_has("the most a frontend may have here"))?;
    let mut good =
        Driver::connect(&daemon.socket(1), DriverOptions { memory_slots: true, ..DriverOptions::default() })?;
    let (region, memory) = (far(1, 1 << 40), SharedMemory::create(1 << 40)?);
    good.frontend().add_memory_region(region, memory.fd())?;
    settle("tap1")?;
    socket.send_to(b"fine", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
    eventually("the other NIC goes on", || !received(&mut good, 1).unwrap().is_empty())?;
    assert_eq!(daemon.has_ended(), None, "{}", daemon.log());
    Ok(())
}
