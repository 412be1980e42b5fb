//! Whatever a guest sends, what comes out behind the tap is the same with coalescing as without.

mod behind;
mod refused;
mod sockets;
mod stream;

use std::net::{Ipv4Addr, Ipv6Addr};

use mqtap_driver::{DriverOptions, VirtioNetHeader};
use mqtap_test_support::{TestResult, eventually, ip};

use super::daemon::{Daemon, Result, host_mac};
use behind::{Behind, assert_the_same, end};
pub(crate) use refused::*;
pub(crate) use sockets::*;
use stream::{Destination, Stream};

/// Bursts of a stream, and the most frames in each; a queue of the second tap holds more.
const BURSTS: u16 = 12;
const FRAMES: usize = 150;

/// Counters of the daemon.
const COALESCED: &str = "were coalesced";
const SUPER_FRAMES: &str = "super-frames";

/// What came out, and how many of the frames were coalesced.
struct Outcome {
    frames: [Vec<Vec<u8>>; 2],
    coalesced: u64,
}

/// Sends a stream through a daemon with these options.
fn send(
    behind: &Behind,
    netdev: &str,
    options: DriverOptions,
    seed: u64,
    set_up: impl Fn() -> Result<Destination>,
) -> Result<Outcome> {
    let daemon = Daemon::start(netdev, &["--queue-size", "1024"])?;
    let to = set_up()?;
    let mut stream = Stream::new(seed, to);
    let mut driver = daemon.connect(options)?;
    behind.clear();
    let mut frames = [Vec::new(), Vec::new()];
    for number in 0..BURSTS {
        let mut burst = stream.burst(FRAMES);
        burst.push((VirtioNetHeader::default(), end(to.mac, number)));
        assert_eq!(driver.pair(0).transmit_batch_with_headers(&burst)?, burst.len());
        for (all, new) in frames.iter_mut().zip(behind.collect(number)?) {
            all.extend(new);
        }
    }
    Ok(Outcome { frames, coalesced: daemon.count_of("hn0", COALESCED)? })
}

/// Sends streams with coalescing and without, and compares what comes out.
fn compare(seeds: std::ops::Range<u64>, set_up: impl Fn() -> Result<Destination>) -> TestResult {
    let behind = Behind::new()?;
    let options = DriverOptions { ring_size: 1024, ..DriverOptions::default() };
    let variants = [
        options.clone(),
        DriverOptions { packed: true, ..options.clone() },
        DriverOptions { split_header: true, transmit_buffer_size: 200, ..options },
    ];
    let mut coalesced = 0;
    for seed in seeds {
        let options = &variants[seed as usize % variants.len()];
        let engine = ["syscall", "io_uring"][seed as usize / variants.len() % 2];
        let run = |coalesce| -> Result<Outcome> {
            let netdev = format!("tap,id=hn0,ifname=tap0,engine={engine},coalesce={coalesce}");
            send(&behind, &netdev, options.clone(), seed, &set_up)
        };
        let (without, with) = (run("off")?, run("on")?);
        assert_eq!(without.coalesced, 0);
        coalesced += with.coalesced;
        let names = ["read", "captured"];
        for (name, (without, with)) in names.iter().zip(without.frames.into_iter().zip(with.frames)) {
            assert_the_same(without, with, &format!("seed {seed}, {name}"));
        }
    }
    assert!(coalesced > 1000, "only {coalesced} frames were coalesced");
    Ok(())
}

/// Gives a device an IPv6 address. The kernel takes note of it when it gets around to it.
fn address_v6(device: &str, number: u8) -> TestResult {
    ip(&format!("address replace fd00:{number}::1/64 dev {device} nodad"))?;
    ip(&format!("link set {device} up"))?;
    eventually("the address is there", || {
        let of = |what: &str| ip(&format!("-6 {what} dev {device}")).unwrap();
        let route = format!("fd00:{number}::1");
        of("route show table local").contains(&route) && !of("address show").contains("tentative")
    })
}

/// A bridge passes frames on to a tap whose reader takes no offloads.
pub(crate) fn a_bridge_passes_on_the_same_frames_with_and_without_coalescing() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    let to = Destination {
        mac: [2, 0, 0, 0, 0, 0x77],
        v4: Ipv4Addr::new(10, 9, 1, 1),
        v6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
        vlans: true,
    };
    compare(0..12, || {
        ip("link set out0 master br0")?;
        ip("link set tap0 master br0 up")?;
        Ok(to)
    })
}

/// A router does, so that IP is looked at and changed in between.
pub(crate) fn a_router_passes_on_the_same_frames_with_and_without_coalescing() -> TestResult {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    compare(20..26, || {
        for (device, number) in [("tap0", 1), ("out0", 2)] {
            ip(&format!("address replace 10.9.{number}.1/24 dev {device}"))?;
            address_v6(device, number)?;
        }
        ip("neighbour replace 10.9.2.2 lladdr 02:00:00:00:00:77 dev out0 nud permanent")?;
        ip("neighbour replace fd00:2::2 lladdr 02:00:00:00:00:77 dev out0 nud permanent")?;
        Ok(Destination {
            mac: host_mac("tap0")?,
            v4: Ipv4Addr::new(10, 9, 2, 2),
            v6: Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2),
            vlans: false,
        })
    })
}
