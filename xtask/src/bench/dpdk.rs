//! DPDK's virtio driver in testpmd, in place of our own: other people's rings, kicks and memory.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cells::{Cell, Direction};
use super::contender::{Backend, Contender, TAP};
use super::run::{self, Length};
use super::sample::Sample;
use super::talker::number;
use super::world::{QUEUE_LENGTH, World};
use crate::outcome::{Result, fail, failure};
use crate::process;
use crate::testpmd::{self, Driver, Testpmd};

/// For frames that are on their way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a contender once with testpmd as its guest.
pub(super) fn once(
    cell: &Cell,
    contender: &Contender,
    world: &World,
    logs: &Path,
    length: Length,
) -> Result<Sample> {
    let backend = Backend::start(contender, world, logs, run::service(cell))?;
    let driver = Driver {
        queues: cell.driver.pairs,
        packed: cell.driver.packed,
        mergeable: cell.driver.mergeable,
        in_order: cell.driver.in_order,
        hugepages: true,
        server: false,
        ring_size: cell.driver.ring_size,
        cpu: Some(world.cpus.driver),
    };
    let installation = testpmd::install()?;
    let log = logs.join("testpmd.log");
    let testpmd = Testpmd::start(&installation, &world.namespace, &backend.socket, &log, driver)?;
    match cell.direction {
        Direction::Transmit => transmit(cell, contender, world, &backend, testpmd, length),
        Direction::Receive => receive(cell, world, &backend, testpmd, logs, length),
    }
}

fn transmit(
    cell: &Cell,
    contender: &Contender,
    world: &World,
    backend: &Backend,
    mut testpmd: Testpmd,
    length: Length,
) -> Result<Sample> {
    world.lead_to(TAP, cell.sink)?;
    testpmd.command("set fwd txonly")?;
    testpmd.command("set txpkts 60")?;
    testpmd.command("start")?;
    std::thread::sleep(Duration::from_millis(50));
    // The two are a few milliseconds apart, at both ends alike.
    let look = || -> Result<(u64, u64, Instant)> {
        let frames = world.namespace.link_number(TAP, "/stats64/rx/packets")?;
        Ok((frames, backend.cpu_ns()? + world.put_off_ns(), Instant::now()))
    };
    let before = look()?;
    std::thread::sleep(Duration::from_millis(length.milliseconds));
    let after = look()?;
    testpmd.command("stop")?;
    let (frames, wall_ns) = (after.0 - before.0, (after.2 - before.2).as_nanos() as u64);
    let cpu_ns = if contender.polls() { wall_ns } else { after.1.saturating_sub(before.1) };
    testpmd.quit()?;
    if frames == 0 {
        return fail(format!("{} moved no frames", contender.name));
    }
    Ok(Sample { frames, payloads: frames, bytes: frames * 60, wall_ns, cpu_ns, ..Sample::default() })
}

fn receive(
    cell: &Cell,
    world: &World,
    backend: &Backend,
    mut testpmd: Testpmd,
    logs: &Path,
    length: Length,
) -> Result<Sample> {
    let mut injector = run::injector(cell, world, logs)?;
    world.bridge(run::INJECTOR, TAP)?;
    testpmd.command("set fwd rxonly")?;
    testpmd.command("start")?;
    let round = QUEUE_LENGTH * 4 / 5;
    let mut all = Sample::default();
    for _ in 0..length.rounds {
        backend.hold()?;
        let start = received(&mut testpmd)?;
        let sent = number(&injector.ask(&format!("count {round}"))?, "payloads");
        let (before, begin) = (backend.cpu_ns()?, Instant::now());
        backend.release()?;
        let frames = process::until(PATIENCE, "testpmd to have all frames", || {
            let frames = received(&mut testpmd)? - start;
            Ok((frames >= sent).then_some(frames))
        })?;
        all.add(&Sample {
            frames,
            payloads: frames,
            bytes: frames * 60,
            wall_ns: begin.elapsed().as_nanos() as u64,
            cpu_ns: backend.cpu_ns()?.saturating_sub(before),
            ..Sample::default()
        });
    }
    testpmd.command("stop")?;
    testpmd.quit()?;
    Ok(all)
}

/// Frames that testpmd has received so far.
fn received(testpmd: &mut Testpmd) -> Result<u64> {
    let text = testpmd.command("show port stats 0")?;
    text.split("RX-packets:")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| failure(format!("testpmd printed no count of received frames: {text}")))
}
