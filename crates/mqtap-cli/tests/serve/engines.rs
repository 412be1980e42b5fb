//! Bursts, however they are written to the tap.

use mqtap_driver::DriverOptions;
use mqtap_driver::traffic::{Sink, Source};
use mqtap_test_support::{PatientSocket, TestResult, eventually, ip};

use super::daemon::{Daemon, Result, address, forwards};
use super::datapath::{host_socket, path};

/// Frames of one test; the host's socket holds as many.
const FRAMES: usize = 2000;

/// A tap, a guest on it, and what the guest sent, seen by a socket of the host.
fn send_bursts(netdev: &str, options: DriverOptions, size: usize) -> Result<(Daemon, Sink)> {
    let daemon = Daemon::start(netdev, &["--queue-size", "1024"])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(options)?;
    let mut source = Source::new(path("tap0", 1)?, 9000, 7, size);
    let mut sink = Sink::default();
    let frames: Vec<Vec<u8>> = (0..FRAMES).map(|_| source.next_frame().1).collect();
    // As much at once as the socket's buffer takes for sure: 208 KiB, of which a frame of 1400 bytes takes 2.3 at least, and a
    // quarter may be held back for what was read already.
    for burst in frames.chunks(40) {
        driver.transmit_batch(0, burst)?;
        collect(&socket, burst.len(), &mut sink)?;
    }
    Ok((daemon, sink))
}

fn collect(socket: &PatientSocket, count: usize, sink: &mut Sink) -> TestResult {
    let mut buffer = [0; 65536];
    for _ in 0..count {
        let n = socket.recv(&mut buffer).map_err(|error| format!("{:?}: {error}", sink.counters()))?;
        sink.accept(&buffer[..n]);
    }
    Ok(())
}

fn is_whole(sink: &Sink) {
    let seen = sink.counters();
    assert_eq!((seen.received, seen.out_of_order, seen.missing, seen.corrupt), (FRAMES as u64, 0, 0, 0));
}

pub(crate) fn bursts_arrive_whole_and_in_order_with_each_engine() -> TestResult {
    for engine in ["syscall", "io_uring", "auto"] {
        for packed in [false, true] {
            let options = DriverOptions { ring_size: 1024, packed, ..DriverOptions::default() };
            // Small ones are one buffer, large ones several.
            for size in [80, 1400] {
                let netdev = format!("tap,id=hn0,ifname=tap0,engine={engine}");
                let (daemon, sink) = send_bursts(&netdev, options.clone(), size)?;
                is_whole(&sink);
                let rows = daemon.counters("hn0")?;
                assert_eq!((rows[0].transmitted, rows[0].transmit_dropped), (FRAMES as u64, 0), "{engine}");
            }
        }
    }
    Ok(())
}

/// Without a virtio-net header on the tap, what the guest puts in front of a frame is left out.
pub(crate) fn bursts_for_a_tap_without_header_leave_it_out() -> TestResult {
    for engine in ["syscall", "io_uring"] {
        let netdev = format!("tap,id=hn0,ifname=tap0,vnet_hdr=off,engine={engine}");
        is_whole(&send_bursts(&netdev, DriverOptions::default(), 300)?.1);
    }
    Ok(())
}

/// The device holds little on its way to a slow interface, so that writes would block in the middle of a burst.
pub(crate) fn a_limited_send_buffer_keeps_order_and_loses_nothing() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,engine=io_uring,sndbuf=8k", &[])?;
    // What comes in on the tap waits in a shaper, which keeps it on the tap's account.
    for line in [
        "link add br0 type bridge",
        "link add out type veth peer name in",
        "link set out master br0 up",
        "link set in up",
        "link set tap0 master br0 up",
        "link set br0 up",
        "address add 10.9.1.1/24 dev in",
    ] {
        ip(line)?;
    }
    // Where bridges pass frames on to netfilter, that takes them off the account.
    let filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if std::path::Path::new(filter).exists() {
        std::fs::write(filter, "0")?;
    }
    let shaper = std::process::Command::new("tc")
        .args("qdisc add dev out root tbf rate 20mbit burst 3000 limit 1000000".split(' '))
        .status()?;
    assert!(shaper.success());
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions::default())?;
    forwards("tap0")?;
    forwards("out")?;
    let mut path = path("in", 1)?;
    path.destination_mac = super::daemon::host_mac("in")?;
    let mut source = Source::new(path, 9000, 3, 1000);
    let mut sink = Sink::default();
    let frames: Vec<Vec<u8>> = (0..600).map(|_| source.next_frame().1).collect();
    for burst in frames.chunks(60) {
        driver.transmit_batch(0, burst)?;
        collect(&socket, burst.len(), &mut sink)?;
    }
    let seen = sink.counters();
    assert_eq!((seen.received, seen.out_of_order, seen.missing, seen.corrupt), (600, 0, 0, 0));
    assert!(daemon.blocked("hn0")? > 0, "no write would have blocked");
    Ok(())
}

/// While it looks for work by itself, a worker needs no kicks.
pub(crate) fn a_polling_worker_spares_the_driver_its_kicks() -> TestResult {
    const FRAMES: u64 = 30;
    // Once it polls, it does so for longer than any test runs.
    for poll in ["", ",poll-us=4294967295"] {
        let daemon = Daemon::start(&format!("tap,id=hn0,ifname=tap0{poll}"), &[])?;
        address("tap0", 1)?;
        let socket = host_socket()?;
        let mut driver = daemon.connect(DriverOptions { queue_pairs: 1, ..DriverOptions::default() })?;
        let mut source = Source::new(path("tap0", 1)?, 9000, 1, 100);
        let mut sink = Sink::default();
        for _ in 0..FRAMES {
            if poll.is_empty() {
                eventually("the worker sleeps", || daemon.sleeps())?;
            }
            driver.transmit(0, &source.next_frame().1)?;
            collect(&socket, 1, &mut sink)?;
        }
        assert_eq!(sink.counters().missing, 0);
        let kicks = driver.counters(0).transmit.kicks;
        if poll.is_empty() {
            assert_eq!(kicks, FRAMES, "a worker that sleeps has to be woken for each frame");
        } else {
            assert!(kicks <= 1, "a worker that polls was kicked {kicks} times");
        }
    }
    Ok(())
}

/// Once nothing has come for as long, it sleeps, and is woken by a kick as ever.
pub(crate) fn a_polling_worker_sleeps_in_the_end() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,poll-us=2000", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions::default())?;
    let mut source = Source::new(path("tap0", 1)?, 9000, 1, 100);
    for _ in 0..5 {
        let mut sink = Sink::default();
        driver.transmit(0, &source.next_frame().1)?;
        collect(&socket, 1, &mut sink)?;
        eventually("the worker sleeps", || daemon.sleeps())?;
    }
    assert!(driver.counters(0).transmit.kicks >= 4);
    Ok(())
}
