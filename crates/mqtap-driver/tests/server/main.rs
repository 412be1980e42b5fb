//! The driver against the real server, the real rings and a real tap.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod backend;
mod command_line;
mod lies;

use std::time::Duration;

use backend::*;
use mqtap_driver::protocol::{feature, protocol_feature};
use mqtap_driver::ring::RingLayout;
use mqtap_driver::{DriverOptions, LARGEST_FRAME, frames};
use mqtap_test_support::{TestResult, eventually, patience};
use mqtap_virtio::memory::GuestAddress;

/// Every way to lay out rings and buffers.
fn flavours() -> Vec<DriverOptions> {
    let mut all = Vec::new();
    for bits in 0..32u8 {
        let bit = |n: u8| bits >> n & 1 == 1;
        all.push(DriverOptions {
            packed: bit(0),
            event_index: bit(1),
            indirect: bit(2),
            mergeable: bit(3),
            in_order: bit(4),
            ring_size: 128,
            buffer_size: 1024,
            transmit_buffer_size: 1024,
            mtu: 9000,
            split_header: bits % 3 == 0,
            offloads: if bits % 5 < 3 { 0 } else { feature::OFFLOADS },
            memory_regions: 1 + u16::from(bits % 3),
            memory_slots: bits % 7 < 3,
            polling: bits % 11 == 5,
            handshake_per_pair: bits % 13 == 3,
            owner_first: bits % 13 == 6,
            protocol_features: DriverOptions::default().protocol_features
                & if bits % 9 == 4 { !protocol_feature::REPLY_ACK } else { !0 },
            ..DriverOptions::default()
        });
    }
    all
}

/// Frames of every size cross both ways, whatever the driver chose, one session after the other.
fn frames_cross_both_ways() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    for options in flavours() {
        let mut driver = connect(&backend.path, options.clone());
        eprintln!("features {:#x}, in {} regions", driver.features(), options.memory_regions);
        // Round the rings of 128, some of them more than once.
        for round in 0..12 {
            for length in [0, 1, 17, 18, 958, 959, 1000, 1472, 4000, 8900, 8972] {
                let data = data(length + round % 2);
                guest_to_host(&mut driver, 0, &socket, &data[..length.min(8972)]);
                host_to_guest(&mut driver, &socket, &data[..length.min(8972)]);
            }
        }
        let counters = driver.counters(0);
        assert!(driver.pair(0).drain(patience())?, "every frame comes back");
        assert!(counters.transmit.frames >= 132 && counters.receive.frames >= 132);
    }
    Ok(())
}

/// A frame in more receive buffers than one, and the count in its header is right (the driver checks it).
fn a_large_frame_takes_several_mergeable_buffers() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    for packed in [false, true] {
        let options = DriverOptions { packed, buffer_size: 1024, ..DriverOptions::default() };
        let mut driver = connect(&backend.path, options);
        assert!(driver.features() & feature::MRG_RXBUF != 0);
        let (_, received) = host_to_guest(&mut driver, &socket, &data(8000));
        // 8000 bytes, three headers and a virtio header.
        assert_eq!(usize::from(received.chains), (8000 + 8 + 20 + 14 + 12_usize).div_ceil(1024));
    }
    Ok(())
}

/// Partial checksums and a super-frame that the host's stack takes apart or takes whole.
fn offloads_are_done_by_the_host() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    let options = DriverOptions { offloads: feature::OFFLOADS, ..DriverOptions::default() };
    let mut driver = connect(&backend.path, options);
    let mut frame = frames::udp(to_host(), (1000, 9000), &data(5000));
    let header = frames::partial(&mut frame, None).ok_or("UDP has a checksum")?;
    driver.transmit_with_header(0, &header, &frame)?;
    receive_at_host(&socket, &data(5000));
    if driver.features() & feature::HOST_USO != 0 {
        let mut frame = frames::udp(to_host(), (1000, 9000), &data(30_000));
        let header = frames::partial(&mut frame, Some(1000)).ok_or("UDP can be segmented")?;
        driver.transmit_with_header(0, &header, &frame)?;
        for piece in data(30_000).chunks(1000) {
            receive_at_host(&socket, piece);
        }
    }
    Ok(())
}

/// A stopped ring goes on where it was: what lay in it while it was stopped is not lost and not repeated.
fn rings_stop_and_go_on() -> TestResult {
    let backend = Backend::start(2);
    let socket = host_socket(9000);
    for packed in [false, true] {
        let options = DriverOptions { packed, queue_pairs: 2, ring_size: 16, ..DriverOptions::default() };
        let mut driver = connect(&backend.path, options);
        driver.set_active_pairs(2)?;
        for round in 0..20 {
            guest_to_host(&mut driver, 1, &socket, &data(round));
            host_to_guest(&mut driver, &socket, &data(round));
            let bases = driver.stop()?;
            driver.transmit(1, &frames::udp(to_host(), (1000, 9000), &data(100 + round)))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            assert!(socket.recv(&mut [0; 10]).is_err(), "a stopped ring does nothing");
            socket.set_read_timeout(Some(patience()))?;
            driver.resume(&bases)?;
            receive_at_host(&socket, &data(100 + round));
            host_to_guest(&mut driver, &socket, &data(200 + round));
        }
    }
    Ok(())
}

/// A connection that is lost and made again goes on with the same rings.
fn a_lost_connection_is_made_again() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    for packed in [false, true] {
        let options = DriverOptions { packed, ring_size: 16, ..DriverOptions::default() };
        let mut driver = connect(&backend.path, options);
        for round in 0..10 {
            guest_to_host(&mut driver, 0, &socket, &data(round));
            host_to_guest(&mut driver, &socket, &data(round));
            driver.reconnect(&backend.path)?;
        }
        driver.restart()?;
        guest_to_host(&mut driver, 0, &socket, &data(99));
        host_to_guest(&mut driver, &socket, &data(99));
    }
    Ok(())
}

/// A pair that is not enabled takes frames and forgets them, and gets none.
fn disabled_pairs_are_silent() -> TestResult {
    let backend = Backend::start(4);
    let socket = host_socket(9000);
    let options = DriverOptions { queue_pairs: 4, ..DriverOptions::default() };
    let mut driver = connect(&backend.path, options);
    for active in [4, 2, 1, 3] {
        driver.set_active_pairs(active)?;
        for pair in 0..4 {
            let forgotten = frames::udp(to_host(), (1000, 9000), b"forgotten");
            if pair < active {
                guest_to_host(&mut driver, pair, &socket, &data(pair.into()));
            } else {
                driver.transmit(pair, &forgotten)?;
                assert!(driver.pair(pair).drain(patience())?, "it comes back all the same");
            }
        }
        for flow in 0..64 {
            // A flow each.
            let from = std::net::UdpSocket::bind((HOST, 0))?;
            let (pair, _) = host_to_guest(&mut driver, &from, &data(flow));
            assert!(pair < active, "pair {pair} of {active} got a frame");
        }
    }
    Ok(())
}

/// Exactly what the device wrote is dirty: the received frame and the used rings.
fn the_dirty_log_tells_what_was_written() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    for packed in [false, true] {
        let options = DriverOptions { packed, buffer_size: 4096, ..DriverOptions::default() };
        let mut driver = connect(&backend.path, options);
        host_to_guest(&mut driver, &socket, &data(1));
        let layouts: Vec<_> =
            (0..2).map(|ring| driver.raw_ring(ring).map(|raw| raw.layout())).collect::<Result<_, _>>()?;
        let page = |at: GuestAddress| at.0 / 4096;
        let [_, _, length] = RingLayout::lengths(packed, layouts[1].size);
        let end = GuestAddress(layouts[1].device.0 + length - 1);
        driver.start_dirty_log()?;
        let log = driver.dirty_pages().ok_or("it was just started")?;
        // The device may have written where it wants to be kicked, and no more.
        let rings = page(layouts[0].descriptors)..=page(end);
        let pages = log.pages()?;
        assert!(pages.iter().all(|page| rings.contains(page)), "packed {packed}: {pages:?}, rings {rings:?}");
        log.clear()?;
        guest_to_host(&mut driver, 0, &socket, &data(2));
        assert!(driver.pair(0).drain(patience())?);
        // A packed ring is used in place.
        let used = |ring: usize| if packed { layouts[ring].descriptors } else { layouts[ring].device };
        let log = driver.dirty_pages().ok_or("it is on")?;
        eventually("the used ring of transmit is logged", || {
            log.pages().is_ok_and(|pages| pages.contains(&page(used(1))))
        })?;
        let pages = log.pages()?;
        assert!(pages.iter().all(|page| rings.contains(page)), "packed {packed}: {pages:?}");
        log.clear()?;
        host_to_guest(&mut driver, &socket, &data(3000));
        let log = driver.dirty_pages().ok_or("it is on")?;
        eventually("the used ring of receive is logged", || {
            log.pages().is_ok_and(|pages| pages.contains(&page(used(0))))
        })?;
        let pages = log.pages()?;
        let buffers = pages.iter().filter(|page| !rings.contains(page)).count();
        assert!((1..=2).contains(&buffers), "3054 bytes lie in one or two pages: {pages:?}");
        let log = driver.stop_dirty_log()?.ok_or("it was on")?;
        log.clear()?;
        host_to_guest(&mut driver, &socket, &data(4));
        assert_eq!(log.pages()?, [0; 0], "nothing is logged any more");
    }
    Ok(())
}

/// The ring is small, the frames are large: nothing is lost, the sender waits.
fn back_pressure_loses_nothing() -> TestResult {
    let backend = Backend::start(1);
    let socket = host_socket(9000);
    let options = DriverOptions { ring_size: 8, transmit_buffer_size: 2048, ..DriverOptions::default() };
    let mut driver = connect(&backend.path, options);
    for round in 0..500 {
        let data = data(8000 + round);
        let frame = frames::udp(to_host(), (1000, 9000), &data);
        driver.pair(0).transmit_waiting(&Default::default(), &frame, patience())?;
        receive_at_host(&socket, &data);
    }
    let too_long = vec![0; LARGEST_FRAME * 2];
    assert!(driver.transmit(0, &too_long).is_err());
    Ok(())
}

use command_line::*;
use lies::*;

mqtap_test_support::tests!(
    frames_cross_both_ways,
    a_large_frame_takes_several_mergeable_buffers,
    offloads_are_done_by_the_host,
    rings_stop_and_go_on,
    a_lost_connection_is_made_again,
    disabled_pairs_are_silent,
    the_dirty_log_tells_what_was_written,
    back_pressure_loses_nothing,
    lies_break_one_ring_and_nothing_else,
    the_guest_obeys_and_answers,
    the_load_arrives_and_is_counted,
    the_guest_ends_when_the_backend_does,
);
