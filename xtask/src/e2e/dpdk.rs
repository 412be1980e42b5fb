//! DPDK as the driver: every ring layout, one and two queues.

use std::time::Duration;

use super::checks::LinkBytes;
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::serve::TapSpec;
use crate::testpmd::{self, Driver, Hugepages, Testpmd};
use crate::{process, traffic};

/// For what takes a moment, on a machine that has others to do.
const PATIENCE: Duration = Duration::from_secs(60);

const PLAIN: Driver = Driver {
    queues: 2,
    packed: false,
    mergeable: true,
    in_order: false,
    hugepages: true,
    server: false,
    ring_size: 256,
    cpu: None,
};

/// The layouts of the rings, as names of scenarios and drivers.
pub(super) fn drivers() -> Vec<(String, Driver)> {
    let mut all = Vec::new();
    for queues in [1, 2] {
        for packed in [false, true] {
            for mergeable in [true, false] {
                for in_order in [false, true] {
                    let name = format!(
                        "dpdk.{queues}q-{}{}{}",
                        if packed { "packed" } else { "split" },
                        if mergeable { "-mergeable" } else { "" },
                        if in_order { "-in-order" } else { "" },
                    );
                    all.push((name, Driver { queues, packed, mergeable, in_order, ..PLAIN }));
                }
            }
        }
    }
    all.push(("dpdk.no-huge".to_owned(), Driver { hugepages: false, ..PLAIN }));
    all.push(("dpdk.frontend-listens".to_owned(), Driver { server: true, ..PLAIN }));
    all
}

/// Frames move both ways: out, out and back, and in.
pub(super) fn run(stage: &Stage, name: &str, driver: Driver) -> Result<()> {
    let installation = testpmd::install()?;
    let _hugepages = if driver.hugepages { Some(Hugepages::reserve(1)?) } else { None };
    let mut tap = TapSpec::numbered(0, driver.queues);
    tap.client = driver.server;
    let mut lab = Lab::new(stage, name, &[tap])?;
    let log = lab.logs.join("testpmd.log");
    let mut testpmd = Testpmd::start(&installation, &lab.namespace, lab.backend.socket(0), &log, driver)?;

    transmits(&mut lab, &mut testpmd, driver.queues)?;
    answers_pings(&mut lab, &mut testpmd, driver.queues)?;
    swaps(&lab, &mut testpmd)?;

    testpmd.quit()?;
    lab.backend.must_run()
}

/// As fast as it can, on every queue, and the kernel sees the frames on the tap.
fn transmits(lab: &mut Lab, testpmd: &mut Testpmd, queues: u16) -> Result<()> {
    let before = LinkBytes::take(lab, "tap0")?;
    testpmd.command("set fwd txonly")?;
    testpmd.command("start")?;
    process::until(PATIENCE, "10000 frames from testpmd on the tap, some from each pair", || {
        lab.backend.must_run()?;
        if LinkBytes::take(lab, "tap0")?.frames_since(&before).1 < 10_000 {
            return Ok(None);
        }
        let Some(table) = lab.backend.counters()? else { return Ok(Some(())) };
        for pair in 0..queues {
            if table.row(0, pair)?.transmitted_frames < 1000 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    testpmd.command("stop").map(drop)
}

/// Answers to many pings at once: nothing is lost, and each queue is used.
fn answers_pings(lab: &mut Lab, testpmd: &mut Testpmd, queues: u16) -> Result<()> {
    const FLOWS: u32 = 16;
    const EACH: u32 = 13;
    testpmd.command("set fwd icmpecho")?;
    testpmd.command("start")?;
    // It begins by throwing away what its queues hold, and says nothing when that is done.
    process::until(PATIENCE, "testpmd to answer", || {
        let text = lab.namespace.shell("ping -q -c 1 -W 1 10.77.0.2 || true", PATIENCE)?;
        Ok(text.contains(" 0% packet loss").then_some(()))
    })?;
    // No more at once than the rings hold: what does not fit there, testpmd throws away.
    let pings = traffic::pings_command(EACH, 4, "-s 1400", "10.77.0.$i");
    let pings = format!("for i in $(seq 2 {}); do ({pings}) & done; wait", FLOWS + 1);
    let text = lab.namespace.shell(&pings, Duration::from_secs(180))?;
    testpmd.command("stop")?;
    if !traffic::none_lost(&text, FLOWS * EACH) {
        let lost: Vec<&str> = text.lines().filter(|line| line.contains("% packet loss")).collect();
        let daemon = lab.backend.counters()?.map(|table| table.text).unwrap_or_default();
        let kernel = lab.namespace.shell("cat /proc/net/snmp | grep -E '^(Ip|Icmp):'; cat /proc/net/raw /proc/net/icmp; ip -s -s link show tap0", Duration::from_secs(20))?;
        return fail(format!("pings were lost:\n{}\n{daemon}\n{kernel}", lost.join("\n")));
    }
    if let Some(table) = lab.backend.counters()? {
        for pair in 0..queues {
            if table.row(0, pair)?.received_frames < 50 {
                return fail(format!("pair {pair} received too little:\n{}", table.text));
            }
        }
    }
    Ok(())
}

/// What goes in comes back.
fn swaps(lab: &Lab, testpmd: &mut Testpmd) -> Result<()> {
    testpmd.command("set fwd macswap")?;
    testpmd.command("start")?;
    // Nobody answers: the frames come back as they are, with their addresses swapped.
    lab.namespace.ip("neighbour replace 10.77.0.99 lladdr 02:00:00:4d:51:02 dev tap0")?;
    let send = |count: u32| {
        lab.namespace.shell(&format!("ping -q -c {count} -i 0.002 -W 1 10.77.0.99 || true"), PATIENCE)
    };
    let begin = LinkBytes::take(lab, "tap0")?;
    process::until(PATIENCE, "testpmd to send frames back", || {
        send(1)?;
        Ok((LinkBytes::take(lab, "tap0")?.frames_since(&begin).1 > 0).then_some(()))
    })?;
    let before = LinkBytes::take(lab, "tap0")?;
    send(500)?;
    process::until(PATIENCE, "what went to testpmd to come back", || {
        let (there, back) = LinkBytes::take(lab, "tap0")?.frames_since(&before);
        Ok((there >= 500 && back >= there - there / 100).then_some(()))
    })?;
    testpmd.command("stop").map(drop)
}
