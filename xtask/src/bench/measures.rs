//! What is not a cell: latency, two workers, idling, memory, set-up.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::contender::{Backend, Contender, Service, TAP};
use super::idle;
use super::model::{Findings, Measure, Side};
use super::sample::Figure;
use super::talker::{Talker, number};
use super::world::{Cpus, Sink, World};
use crate::outcome::{Result, fail};
use crate::process::Supervised;
use crate::{paths, serve};

/// A group of measures; its name is what theirs begin with.
pub(super) struct Group {
    pub(super) name: &'static str,
    /// Part of `--quick`.
    pub(super) quick: bool,
    run: fn(&Context<'_>, &mut Table) -> Result<()>,
}

/// In the order they are measured.
pub(super) const GROUPS: &[Group] = &[
    Group { name: "latency", quick: true, run: latency },
    Group { name: "scaling", quick: false, run: scaling },
    Group { name: "set-up", quick: true, run: set_up },
    Group { name: "memory", quick: false, run: idle::memory },
    Group { name: "idle", quick: false, run: idle::idle },
];

/// What the groups are told.
pub(super) struct Context<'a> {
    pub(super) cpus: Cpus,
    pub(super) repetitions: usize,
    pub(super) quick: bool,
    /// With and without polling.
    pub(super) ours: &'a [Contender],
}

/// Values by measure, contender, side and unit, in the order they came first.
#[derive(Default)]
pub(super) struct Table {
    order: Vec<Key>,
    values: BTreeMap<Key, Vec<f64>>,
}

type Key = (String, String, &'static str, bool);

impl Table {
    pub(super) fn add(&mut self, name: &str, contender: &str, side: Side, unit: &'static str, value: f64) {
        let key = (name.to_owned(), contender.to_owned(), unit, side == Side::Floor);
        if !self.values.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.values.entry(key).or_default().push(value);
    }

    fn measures(&self) -> impl Iterator<Item = Measure> + '_ {
        self.order.iter().map(|key| {
            let (name, contender, unit, floor) = key.clone();
            let values = self.values.get(key).cloned().unwrap_or_default();
            let side = if floor { Side::Floor } else { Side::Ours };
            Measure { name, contender, side, unit: unit.to_owned(), value: Figure::of(values) }
        })
    }
}

/// Runs a group and adds what it measured.
pub(super) fn run(group: &Group, context: &Context<'_>, findings: &mut Findings) -> Result<Vec<Measure>> {
    let mut table = Table::default();
    (group.run)(context, &mut table)?;
    let measures: Vec<Measure> = table.measures().collect();
    findings.measures.extend(measures.iter().cloned());
    Ok(measures)
}

impl Context<'_> {
    pub(super) fn logs(&self, group: &str) -> Result<std::path::PathBuf> {
        paths::logs(&format!("bench.{group}"))
    }
}

const ONE_PAIR: Service = Service { pairs: 1, ring_size: 256, spread: false };

/// Brings the tap up with the host's address, and lets the host know the guest.
fn host_answers(world: &World) -> Result<()> {
    world.lead_to(TAP, Sink::Socket)?;
    world.namespace.ip(&format!("neighbour replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev {TAP}"))?;
    Ok(())
}

fn frames(sink: Sink) -> String {
    format!("udp,size=60,flows=distinct{}", sink.address())
}

fn driver(world: &World, backend: &Backend, logs: &Path, arguments: &[&str]) -> Result<Talker> {
    let mut command = world.on_driver_cpu(serve::driver_binary()?);
    command.arg("load").arg("--socket").arg(&backend.socket).args(arguments);
    Talker::start(&mut command, "mqtap-driver", &logs.join("driver.log"))
}

/// The floors of a round trip.
const BARE_TAP: &str = "bare tap";
const BARE_TAP_WOKEN: &str = "bare tap, woken by an eventfd";

/// Round trips from the driver through the tap to the host's kernel and back, which answers in the call that writes the request.
fn latency(context: &Context<'_>, table: &mut Table) -> Result<()> {
    const QUANTILES: [&str; 3] = ["p50", "p99", "p99.9"];
    let (round_trips, gap) = if context.quick { (200, 150) } else { (2000, 150) };
    let mut note = |load: &str, who: &str, side, answer: &serde_json::Value| {
        for quantile in QUANTILES {
            let time = number(answer, &format!("{quantile}_ns")) as f64 / 1e3;
            table.add(&format!("latency.{load}.{quantile}"), who, side, "us", time);
        }
    };
    let logs = context.logs("latency")?;
    let to_host = frames(Sink::Socket);
    for _ in 0..context.repetitions {
        for name in [BARE_TAP, BARE_TAP_WOKEN] {
            let world = World::new(context.cpus)?;
            let mut command = world.on_backend_cpu(serve::bench_binary()?);
            command.args(["ping", "--tap", TAP, "--frames", &to_host]);
            if name == BARE_TAP_WOKEN {
                command.args(["--woken-from", &context.cpus.driver.to_string()]);
            }
            let mut bare = Talker::start(&mut command, "mqtap-bench ping", &logs.join("ping.log"))?;
            host_answers(&world)?;
            note("idle", name, Side::Floor, &bare.ask(&format!("ping {round_trips} {gap}"))?);
        }
        for contender in context.ours {
            let world = World::new(context.cpus)?;
            let backend = Backend::start(contender, &world, &logs, ONE_PAIR)?;
            let load = frames(Sink::Drop);
            let mut driver = driver(&world, &backend, &logs, &["--frames", &load, "--echo", &to_host])?;
            host_answers(&world)?;
            driver.ask("ping 20 100")?;
            note("idle", &contender.name, Side::Ours, &driver.ask(&format!("ping {round_trips} {gap}"))?);
            // Half of what it can do, with an answer to wait for among it.
            let full = driver.ask("transmit 100")?;
            let rate =
                number(&full, "tx_completed") as f64 / number(&full, "wall_ns").max(1) as f64 * 1e9 / 2.0;
            note(
                "half",
                &contender.name,
                Side::Ours,
                &driver.ask(&format!("ping {round_trips} {gap} {rate:.0}"))?,
            );
        }
    }
    Ok(())
}

/// Full rings, all emptied at once by workers on CPUs of their own, while the driver sleeps.
///
/// With flows that are all different the kernel has an entry to make for each frame in a table that all queues of a tap share.
fn scaling(context: &Context<'_>, table: &mut Table) -> Result<()> {
    if context.cpus.driver == context.cpus.backend {
        return fail("there is one CPU only");
    }
    let Some(contender) = context.ours.first() else { return Ok(()) };
    for _ in 0..context.repetitions {
        for (name, flows) in [("scaling.transmit", "64"), ("scaling.transmit-distinct", "distinct")] {
            let load = format!("udp,size=60,flows={flows}{}", Sink::Drop.address());
            let one = drained(context, contender, 1, &load)?;
            let two = drained(context, contender, 2, &load)?;
            for (pairs, rate) in [("1-pair", one), ("2-pairs", two)] {
                table.add(
                    &format!("{name}.rate.{pairs}"),
                    &contender.name,
                    Side::Ours,
                    "million/s",
                    rate / 1e6,
                );
            }
            table.add(&format!("{name}.2-pairs"), &contender.name, Side::Ours, "x one", two / one);
        }
    }
    Ok(())
}

/// Frames a second out of full rings.
fn drained(context: &Context<'_>, contender: &Contender, pairs: u16, load: &str) -> Result<f64> {
    const RING: u16 = 32768;
    let logs = context.logs("scaling")?;
    let world = World::new(context.cpus)?;
    let service = Service { pairs, ring_size: RING, spread: pairs > 1 };
    let backend = Backend::start(contender, &world, &logs, service)?;
    let (pairs, ring) = (pairs.to_string(), RING.to_string());
    let arguments = ["--queue-pairs", &pairs, "--ring-size", &ring, "--frames", load];
    let mut driver = driver(&world, &backend, &logs, &arguments)?;
    world.lead_to(TAP, Sink::Drop)?;
    let (mut frames, mut time) = (0, Duration::ZERO);
    for _ in 0..if context.quick { 2 } else { 16 } {
        backend.hold()?;
        frames += number(&driver.ask("fill")?, "tx_frames");
        driver.tell("drain")?;
        let start = Instant::now();
        backend.release()?;
        driver.answer()?;
        time += start.elapsed();
    }
    Ok(frames as f64 / time.as_secs_f64())
}

/// From the driver's connect to the moment it has its first frame back; and what the kernel alone takes to attach the queues.
fn set_up(context: &Context<'_>, table: &mut Table) -> Result<()> {
    let logs = context.logs("set-up")?;
    let Some(contender) = context.ours.first() else { return Ok(()) };
    for (name, pairs) in [("set-up.1-pair", 1), ("set-up.64-pairs", 64)] {
        {
            let world = World::new(context.cpus)?;
            let mut command = world.on_backend_cpu(serve::bench_binary()?);
            command.args(["attach", "--tap", TAP, "--queues", &pairs.to_string()]);
            let mut bare = Talker::start(&mut command, "mqtap-bench attach", &logs.join("attach.log"))?;
            world.lead_to(TAP, Sink::Drop)?;
            for _ in 0..context.repetitions {
                let time = number(&bare.ask("attach")?, "attach_ns") as f64 / 1e6;
                table.add(name, "bare TUNSETQUEUE", Side::Floor, "ms", time);
            }
        }
        let world = World::new(context.cpus)?;
        let service = Service { pairs, ring_size: 256, spread: false };
        let backend = Backend::start(contender, &world, &logs, service)?;
        world.lead_to(TAP, Sink::Drop)?;
        let pairs = pairs.to_string();
        let load = frames(Sink::Drop);
        let plain = ["--queue-pairs", &pairs, "--frames", &load];
        // As QEMU does, and as a frontend that waits for the answer to each message.
        let ways =
            [(name.to_owned(), &["--without", "reply-ack"][..]), (format!("{name}.acknowledged"), &[])];
        for (name, more) in ways.iter().cycle().take(2 * context.repetitions) {
            let driver = driver(&world, &backend, &logs, &[&plain, *more].concat())?;
            let time = number(&driver.greeting, "first_frame_ns") as f64 / 1e6;
            table.add(name, &contender.name, Side::Ours, "ms", time);
            drop(driver);
            // The daemon waits for the next guest once it has undone this one.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Guests that are connected and do nothing.
pub(super) fn idle_guests(
    world: &World,
    sockets: &[std::path::PathBuf],
    arguments: &[&str],
    log: &Path,
) -> Result<Talker> {
    let mut command = world.on_driver_cpu(serve::driver_binary()?);
    command.arg("idle").args(arguments);
    for socket in sockets {
        command.arg("--socket").arg(socket);
    }
    Talker::start(&mut command, "mqtap-driver idle", log)
}

/// A daemon with many NICs of so many pairs; returns it and its sockets.
pub(super) fn daemon(
    world: &World,
    nics: usize,
    pairs: u16,
    logs: &Path,
) -> Result<(Supervised, Vec<std::path::PathBuf>)> {
    let mut command = world.on_backend_cpu(serve::mqtap_binary()?);
    command.arg("serve").stdin(Stdio::null());
    let sockets: Vec<_> = (0..nics).map(|nic| logs.join(format!("{nic}.sock"))).collect();
    for (nic, socket) in sockets.iter().enumerate() {
        command.arg("--netdev").arg(format!("tap,id=hn{nic},ifname=tap{nic},queues={pairs}"));
        command.arg("--socket").arg(socket);
    }
    let mut daemon = Supervised::start(&mut command, "mqtap serve", &logs.join("mqtap.log"))?;
    crate::process::until(Duration::from_secs(60), "mqtap serve to make its sockets", || {
        daemon.must_run()?;
        Ok(daemon.log().matches("listening on").count().ge(&nics).then_some(()))
    })?;
    Ok((daemon, sockets))
}
