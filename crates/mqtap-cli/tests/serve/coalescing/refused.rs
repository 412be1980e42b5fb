//! Super-frames that the kernel refuses.

use std::collections::BTreeMap;

use mqtap_driver::frames::{self, Path};
use mqtap_driver::{Driver, DriverOptions, VirtioNetHeader};
use mqtap_test_support::{PatientSocket, TestResult, eventually, patience};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::super::daemon::{Daemon, Result, address};
use super::super::datapath;
use super::COALESCED;
use super::stream::{Packet, identify};

/// Frames of a flow in a burst. Their number, and so that of the pieces of a super-frame, is more than a frame of the driver has
/// pieces, or a word of the daemon.
const FRAMES: u8 = 20;
const PIECES: u64 = 10;

/// Has the kernel refuse what this thread, and whatever it starts, writes in more pieces than that.
fn refuse_many_pieces() -> TestResult {
    let more = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Gt, PIECES)?;
    let rules = BTreeMap::from([(nix::libc::SYS_writev, vec![SeccompRule::new(vec![more])?])]);
    let invalid = SeccompAction::Errno(nix::libc::EINVAL as u32);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, invalid, std::env::consts::ARCH.try_into()?)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}

/// A burst of two flows, in turn, and a frame of neither in the middle.
fn burst(path: Path) -> Vec<Packet> {
    let frame = |port, number: u8| {
        let mut frame = frames::udp(path, (port, 9000), &[number; 700]);
        identify(&mut frame, number.into());
        (VirtioNetHeader::default(), frame)
    };
    let mut frames: Vec<Packet> =
        (0..FRAMES).flat_map(|number| [frame(5000, number), frame(5001, number)]).collect();
    frames.insert(frames.len() / 2, frame(5002, 0));
    frames
}

fn send(driver: &mut Driver, burst: &[Packet]) -> TestResult {
    assert_eq!(driver.pair(0).transmit_batch_with_headers(burst)?, burst.len());
    assert!(driver.pair(0).drain(patience())?);
    Ok(())
}

/// The numbers of the frames that a socket has got, by flow.
fn received(socket: &PatientSocket, count: usize) -> Result<BTreeMap<u16, Vec<u8>>> {
    let mut buffer = [0; 2048];
    let mut flows = BTreeMap::<u16, Vec<u8>>::new();
    for _ in 0..count {
        let (_, from) = socket.recv_from(&mut buffer)?;
        flows.entry(from.port()).or_default().push(buffer[0]);
    }
    Ok(flows)
}

pub(crate) fn frames_of_a_refused_super_frame_are_written_one_by_one() -> TestResult {
    // A filter does not see what io_uring writes.
    let netdev = "tap,id=hn0,ifname=tap0,coalesce=on,engine=syscall";
    refuse_many_pieces()?;
    let daemon = Daemon::start(netdev, &[])?;
    address("tap0", 1)?;
    let socket = datapath::host_socket()?;
    let path = datapath::path("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { ring_size: 64, ..DriverOptions::default() })?;
    let in_order: Vec<u8> = (0..FRAMES).collect();
    let all = BTreeMap::from([(5000, in_order.clone()), (5001, in_order), (5002, vec![0])]);
    let burst = burst(path);
    for round in 1..=3 {
        send(&mut driver, &burst)?;
        assert_eq!(received(&socket, burst.len())?, all, "round {round}");
        let row = daemon.counters("hn0")?[0];
        assert_eq!((row.transmitted, row.transmit_dropped), (round * burst.len() as u64, 0));
        assert_eq!(daemon.count_of("hn0", COALESCED)?, 0);
    }
    eventually("it is said", || daemon.log_has("the kernel refuses frames that were coalesced"))?;
    assert_eq!(daemon.log().matches("the kernel refuses").count(), 1, "once");
    Ok(())
}
