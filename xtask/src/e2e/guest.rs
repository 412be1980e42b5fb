//! A Debian guest with its own `virtio_net` driver.

use std::time::Duration;

use super::checks::{self, PAIRS};
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::process;
use crate::qemu::Guest;
use crate::serve::{BackendKind, TapSpec};
use crate::traffic::{self, Payload, Servers};

fn lab_and_guest(stage: &Stage, name: &str, properties: &str) -> Result<(Lab, Guest)> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, PAIRS)])?;
    let machine = lab.machine(&[PAIRS], properties);
    let guest = lab.boot(&machine)?;
    Ok((lab, guest))
}

/// Four pairs are seen, and each carries frames both ways.
pub(super) fn pairs(stage: &Stage, name: &str) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, "")?;
    checks::channels(&mut guest, PAIRS)?;
    traffic::ping_both(&lab)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

/// `ethtool -L` in the guest reaches the tap, and no frame goes where nobody reads.
pub(super) fn resize(stage: &Stage, name: &str) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, "")?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)?;
    traffic::serve_in_guest(&mut guest)?;

    let all = checks::Snapshot::take(&mut lab, &mut guest, PAIRS)?;
    guest.run("ethtool -L eth0 combined 2")?;
    checks::attached(&lab, 2, 2)?;
    let before = checks::Snapshot::take(&mut lab, &mut guest, PAIRS)?;
    traffic::flows(&lab, 64, 3, false)?;
    traffic::flows(&lab, 64, 3, true)?;
    traffic::ping(&lab, &traffic::guest_address(0), 40, "")?;
    // Those may all be on one pair, that of the CPU on which iperf3 happens to run; these are on both.
    Servers::start(&lab, 0, PAIRS)?.load_each_cpu(&mut guest, 2)?;
    let after = checks::Snapshot::take(&mut lab, &mut guest, PAIRS)?;
    after.carried_since(&before, 0..2)?;
    after.silent_since(&before, 2..PAIRS, 0)?;

    // The guest counts the other two only while it uses them; a stray neighbour solicitation may get there by then.
    guest.run("ethtool -L eth0 combined 4")?;
    checks::attached(&lab, 4, 0)?;
    checks::Snapshot::take(&mut lab, &mut guest, PAIRS)?.silent_since(&all, 2..PAIRS, 3)?;

    guest.run("ethtool -L eth0 combined 2")?;
    checks::attached(&lab, 2, 2)?;
    // Back to four in the middle of a transfer, which must survive it.
    let client = traffic::start_client(&lab, "-P 16 -t 5", "load.json")?;
    guest.run("sleep 1; ethtool -L eth0 combined 4")?;
    checks::attached(&lab, 4, 0)?;
    traffic::report(client)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

/// Up and down again and again while both directions are busy.
pub(super) fn resize_under_load(stage: &Stage, name: &str) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, "")?;
    traffic::serve_in_guest(&mut guest)?;
    let client = traffic::start_client(&lab, "-P 8 -t 12", "forward.json")?;
    let servers = Servers::start(&lab, 0, 1)?;
    guest.run(&format!("iperf3 -c {} -P 8 -t 12 > /tmp/load 2>&1 &", traffic::host_address(0)))?;
    for pairs in [2, 4, 1, 3, 4, 2, 3, 1, 4] {
        guest.run(&format!("ethtool -L eth0 combined {pairs}; sleep 0.3"))?;
        checks::attached(&lab, pairs, PAIRS - pairs)?;
    }
    traffic::report(client)?;
    drop(servers);
    lab.backend.must_run()?;
    traffic::ping_both(&lab)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

/// The guest restarts while QEMU and the daemon stay.
pub(super) fn reboot(stage: &Stage, name: &str) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, "")?;
    traffic::ping_both(&lab)?;
    guest.run("ethtool -L eth0 combined 3")?;
    guest.reboot()?;
    guest.configure(0)?;
    checks::channels(&mut guest, PAIRS)?;
    traffic::ping_both(&lab)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

/// QEMU dies and another connects to the same daemon.
pub(super) fn reconnect(stage: &Stage, name: &str) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, "")?;
    let machine = lab.machine(&[PAIRS], "");
    for _ in 0..2 {
        traffic::ping_both(&lab)?;
        guest.kill();
        if stage.kind == BackendKind::Mqtap {
            checks::attached(&lab, 0, PAIRS)?;
            process::until(Duration::from_secs(20), "the carrier to follow the guest", || {
                Ok((!checks::has_carrier(&lab, "tap0")?).then_some(()))
            })?;
        }
        lab.backend.must_run()?;
        guest = lab.boot(&machine)?;
    }
    checks::channels(&mut guest, PAIRS)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

/// TCP with segmentation offload arrives intact, and really used super-frames.
pub(super) fn tso(stage: &Stage, name: &str) -> Result<()> {
    let (lab, mut guest) = lab_and_guest(stage, name, "")?;
    checks::guest_offload(&mut guest, "tcp-segmentation-offload", true)?;
    let payload = Payload::create(&lab, 64)?;
    // Only the direction of the data counts; acknowledgements are small. Without super-frames no average can exceed 1514.
    let start = checks::LinkBytes::take(&lab, "tap0")?;
    payload.send_to_guest(&lab, &mut guest)?;
    let middle = checks::LinkBytes::take(&lab, "tap0")?;
    payload.fetch_from_guest(&lab, &mut guest)?;
    let end = checks::LinkBytes::take(&lab, "tap0")?;
    let (to_guest, from_guest) = (middle.average_since(&start).0, end.average_since(&middle).1);
    if to_guest < 1600 || from_guest < 1600 {
        return fail(format!("no super-frames: {to_guest} bytes a frame to the guest, {from_guest} from it"));
    }
    Ok(())
}

/// Frames of 9000 bytes, both ways, unfragmented.
pub(super) fn mtu_9000(stage: &Stage, name: &str) -> Result<()> {
    let (lab, mut guest) = lab_and_guest(stage, name, "")?;
    lab.namespace.ip("link set tap0 mtu 9000")?;
    guest.run("ip link set eth0 mtu 9000")?;
    traffic::ping(&lab, &traffic::guest_address(0), 4, "-s 8972 -M do")?;
    traffic::ping(&lab, &traffic::guest_address6(0), 4, "-s 8952 -M do")?;
    guest.run(&format!("/usr/bin/ping -c 20 -i 0.02 -W 5 -s 8972 -M do {}", traffic::host_address(0)))?;
    // Without segmentation every TCP frame is one real frame of 9014 bytes.
    guest.run("ethtool -K eth0 tso off gso off")?;
    lab.namespace.shell("ethtool -K tap0 tso off gso off", Duration::from_secs(20))?;
    Payload::create(&lab, 16)?.round_trip(&lab, &mut guest)
}

fn queue_size(stage: &Stage, name: &str, size: u16) -> Result<()> {
    // QEMU's own backend has no transmit ring above 256.
    let transmit = if stage.kind == BackendKind::Qemu { 256 } else { size };
    let (mut lab, mut guest) =
        lab_and_guest(stage, name, &format!("rx_queue_size={size},tx_queue_size={transmit}"))?;
    let rings = guest.run("ethtool -g eth0")?;
    let found = rings
        .lines()
        .filter(|line| line.starts_with("RX:") && line.split_whitespace().nth(1) == Some(&size.to_string()))
        .count();
    if found != 2 {
        return fail(format!("the guest's rings are not {size} entries long:\n{rings}"));
    }
    traffic::ping_both(&lab)?;
    traffic::ping(&lab, &traffic::guest_address(0), 600, "-s 1400")?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

pub(super) fn queue_size_256(stage: &Stage, name: &str) -> Result<()> {
    queue_size(stage, name, 256)
}

pub(super) fn queue_size_1024(stage: &Stage, name: &str) -> Result<()> {
    queue_size(stage, name, 1024)
}

/// A driver that negotiated otherwise: the bits are as wanted, and traffic is intact.
fn variant(stage: &Stage, name: &str, properties: &str, bits: &[(usize, bool)]) -> Result<()> {
    let (mut lab, mut guest) = lab_and_guest(stage, name, properties)?;
    checks::features(&mut guest, bits)?;
    traffic::ping_both(&lab)?;
    traffic::ping(&lab, &traffic::guest_address(0), 200, "-s 1400")?;
    Payload::create(&lab, 8)?.round_trip(&lab, &mut guest)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, PAIRS)
}

const F_GUEST_CSUM: usize = 1;
const F_GUEST_TSO4: usize = 7;
const F_HOST_TSO4: usize = 11;
const F_MRG_RXBUF: usize = 15;
const F_INDIRECT_DESC: usize = 28;
const F_EVENT_IDX: usize = 29;
const F_VERSION_1: usize = 32;
const F_RING_PACKED: usize = 34;

pub(super) fn packed(stage: &Stage, name: &str) -> Result<()> {
    variant(stage, name, "packed=on", &[(F_RING_PACKED, true), (F_MRG_RXBUF, true)])
}

pub(super) fn packed_not_mergeable(stage: &Stage, name: &str) -> Result<()> {
    variant(stage, name, "packed=on,mrg_rxbuf=off", &[(F_RING_PACKED, true), (F_MRG_RXBUF, false)])
}

pub(super) fn not_mergeable(stage: &Stage, name: &str) -> Result<()> {
    variant(stage, name, "mrg_rxbuf=off", &[(F_MRG_RXBUF, false), (F_GUEST_TSO4, true)])
}

pub(super) fn no_guest_offloads(stage: &Stage, name: &str) -> Result<()> {
    let off = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
    variant(stage, name, off, &[(F_GUEST_CSUM, false), (F_GUEST_TSO4, false)])
}

pub(super) fn no_host_offloads(stage: &Stage, name: &str) -> Result<()> {
    variant(
        stage,
        name,
        "csum=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off",
        &[(F_HOST_TSO4, false)],
    )
}

pub(super) fn plain_rings(stage: &Stage, name: &str) -> Result<()> {
    variant(
        stage,
        name,
        "event_idx=off,indirect_desc=off",
        &[(F_EVENT_IDX, false), (F_INDIRECT_DESC, false), (F_VERSION_1, true)],
    )
}

/// One pair, as most machines have.
pub(super) fn one_pair(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 1)])?;
    let machine = lab.machine(&[1], "");
    let mut guest = lab.boot(&machine)?;
    traffic::ping_both(&lab)?;
    Payload::create(&lab, 8)?.round_trip(&lab, &mut guest)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, 1)
}
