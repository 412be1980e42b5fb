//! What a daemon takes while nothing happens: wake-ups, CPU time, memory.

use std::time::{Duration, Instant};

use super::measures::{Context, Table, daemon, idle_guests};
use super::model::Side;
use super::procfs::{self, Memory};
use super::world::World;
use crate::outcome::Result;

const OURS: &str = "mqtap";

/// Guests are connected, their taps are up, and nobody sends anything.
pub(super) fn idle(context: &Context<'_>, table: &mut Table) -> Result<()> {
    let time = Duration::from_secs(if context.quick { 1 } else { 10 });
    let logs = context.logs("idle")?;
    // Both at once: if they are idle, they do not disturb each other.
    let mut daemons = Vec::new();
    for (name, nics) in [("1-nic", 1), ("200-nics", 200)] {
        let logs = logs.join(name);
        std::fs::create_dir_all(&logs)?;
        let world = World::new(context.cpus)?;
        let (daemon, sockets) = daemon(&world, nics, 1, &logs)?;
        let guests = idle_guests(&world, &sockets, &[], &logs.join("idle.log"))?;
        let up: Vec<String> = (0..nics).map(|nic| format!("ip link set tap{nic} up")).collect();
        world.namespace.shell(&up.join("\n"), Duration::from_secs(60))?;
        daemons.push((name, nics, daemon, guests, world));
    }
    // The kernel has a last word on each interface that comes up.
    std::thread::sleep(Duration::from_secs(2));
    let look = |daemons: &[(_, _, crate::process::Supervised, _, _)]| -> Result<Vec<(u64, u64)>> {
        daemons
            .iter()
            .map(|(_, _, daemon, _, _)| {
                let pid = daemon.pid()?;
                Ok((procfs::switches(pid)?, procfs::cpu_ns(pid)?))
            })
            .collect()
    };
    let (before, start) = (look(&daemons)?, Instant::now());
    std::thread::sleep(time);
    let (after, took) = (look(&daemons)?, start.elapsed().as_secs_f64());
    for ((name, ..), (before, after)) in daemons.iter().zip(before.iter().zip(&after)) {
        table.add(
            &format!("idle.{name}.wake-ups"),
            OURS,
            Side::Ours,
            "a second",
            (after.0 - before.0) as f64 / took,
        );
        let share = (after.1 - before.1) as f64 / 1e9 / took * 100.0;
        table.add(&format!("idle.{name}.cpu"), OURS, Side::Ours, "% of a core", share);
    }
    Ok(())
}

/// Resident memory of the daemon that is its own: not the guests' memory, which it maps.
pub(super) fn memory(context: &Context<'_>, table: &mut Table) -> Result<()> {
    const NICS: usize = 100;
    const PAIRS: u16 = 64;
    let logs = context.logs("memory")?;
    let resident = |nics, pairs: u16, guests: bool| -> Result<Memory> {
        let world = World::new(context.cpus)?;
        let logs = logs.join(format!("{nics}-{pairs}-{guests}"));
        std::fs::create_dir_all(&logs)?;
        let (daemon, sockets) = daemon(&world, nics, pairs, &logs)?;
        let arguments = ["--queue-pairs", &pairs.to_string()];
        let _guests = if guests {
            Some(idle_guests(&world, &sockets, &arguments, &logs.join("idle.log"))?)
        } else {
            None
        };
        std::thread::sleep(Duration::from_millis(300));
        procfs::memory(daemon.pid()?)
    };
    let (empty, one) = (resident(1, 1, false)?, resident(1, 1, true)?);
    let (many, wide) = (resident(NICS, 1, true)?, resident(1, PAIRS, true)?);
    let mib = |kib: u64| kib as f64 / 1024.0;
    let each =
        |more: &Memory, count: usize| more.own_kib.saturating_sub(one.own_kib) as f64 / (count - 1) as f64;
    table.add("memory.base", OURS, Side::Ours, "MiB", mib(empty.own_kib + empty.program_kib));
    table.add("memory.base.own", OURS, Side::Ours, "MiB", mib(empty.own_kib));
    table.add("memory.nic", OURS, Side::Ours, "KiB", each(&many, NICS));
    table.add("memory.pair", OURS, Side::Ours, "KiB", each(&wide, PAIRS.into()));
    Ok(())
}
