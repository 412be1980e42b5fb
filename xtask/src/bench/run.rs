//! One run of one contender in one cell.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::cells::{Cell, Direction};
use super::contender::{Backend, Contender, DRIVER_CPU, Kind, Service, TAP};
use super::dpdk;
use super::sample::Sample;
use super::talker::{Talker, number};
use super::world::{Cpus, QUEUE_LENGTH, Sink, World};
use crate::outcome::{Result, fail};
use crate::process::Supervised;
use crate::{serve, setup};

/// The tap that frames are put into for a bridge to bring them to the measured one.
pub(super) const INJECTOR: &str = "inj0";
/// The tap that frames are read back from.
const END: &str = "end0";
/// How long to wait for a frame that does not come: on a busy machine a backend may have to wait for its CPU.
const PATIENCE_MS: u64 = 20_000;
/// The same where some are expected to be lost.
const POLLING_PATIENCE_MS: u64 = 200;

/// How long one run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    /// Transmit for so long, in all.
    pub(super) milliseconds: u64,
    /// Receive so many rounds.
    pub(super) rounds: u64,
}

/// Runs it once.
pub(super) fn once(
    cell: &Cell,
    contender: &Contender,
    cpus: Cpus,
    logs: &Path,
    length: Length,
) -> Result<Sample> {
    let world = World::new(cpus)?;
    if cell.testpmd {
        return dpdk::once(cell, contender, &world, logs, length);
    }
    match cell.direction {
        Direction::Transmit => transmit(cell, contender, &world, logs, length),
        Direction::Receive => receive(cell, contender, &world, logs, length),
    }
}

/// System calls of a backend for each frame, in a short run that is not measured otherwise; none where `perf` cannot count them.
pub(super) fn system_calls(
    cell: &Cell,
    contender: &Contender,
    cpus: Cpus,
    logs: &Path,
) -> Result<Option<f64>> {
    let world = World::new(cpus)?;
    // How often one that polls asks in vain says nothing about frames.
    if cell.testpmd || contender.is_floor() || contender.polls() || setup::find("perf").is_none() {
        return Ok(None);
    }
    match cell.direction {
        Direction::Transmit => {
            let mut runner = start(cell, contender, &world, logs, || world.lead_to(TAP, cell.sink))?;
            runner
                .counted_calls(logs, |runner| Ok(number(&runner.talker.ask("transmit 100")?, "tx_completed")))
        }
        Direction::Receive => {
            let (mut injector, mut runner) = receiver(cell, contender, &world, logs)?;
            runner.counted_calls(logs, |runner| {
                let (_, answer) = runner.round(&world, &mut injector)?;
                Ok(number(&answer, "rx_frames"))
            })
        }
    }
}

/// Whoever puts frames into the tap for the driver, or is it.
struct Runner {
    talker: Talker,
    // After the talker, so that its guest goes first.
    backend: Option<Backend>,
    patience_ms: u64,
}

impl Runner {
    /// CPU time of the backend, and of what the kernel put off while it ran there.
    fn cpu_ns(&self, world: &World) -> Result<u64> {
        Ok(self.backend.as_ref().map_or(Ok(0), Backend::cpu_ns)? + world.put_off_ns())
    }

    fn hold(&self) -> Result<()> {
        self.backend.as_ref().map_or(Ok(()), Backend::hold)
    }

    fn release(&self) -> Result<()> {
        self.backend.as_ref().map_or(Ok(()), Backend::release)
    }

    /// Fills the tap queue and has the driver empty it; returns how much was put in, and the CPU time in the answer.
    fn round(&mut self, world: &World, injector: &mut Injector) -> Result<(Round, Value)> {
        self.hold()?;
        let sent = number(&injector.talker.ask(&format!("count {}", injector.round))?, "payloads");
        let before = self.cpu_ns(world)?;
        self.talker.tell(&format!("collect {sent} {}", self.patience_ms))?;
        self.release()?;
        let answer = self.talker.answer()?;
        Ok((Round { sent, cpu_ns: self.cpu_ns(world)?.saturating_sub(before) }, answer))
    }

    /// System calls of the backend for each of the frames that `work` moves.
    fn counted_calls(
        &mut self,
        logs: &Path,
        work: impl FnOnce(&mut Self) -> Result<u64>,
    ) -> Result<Option<f64>> {
        let Some(backend) = &self.backend else { return Ok(None) };
        let pid = backend.pid()?.as_raw_nonzero().to_string();
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid, "--", "sleep", "0.6"]);
        command.stdin(Stdio::null());
        let mut perf = Supervised::start(&mut command, "perf", &logs.join("perf.log"))?;
        // It says nothing when it has begun.
        std::thread::sleep(Duration::from_millis(300));
        let frames = work(self)?;
        perf.wait(Duration::from_secs(20))?;
        let counted = perf.log().lines().find_map(|line| line.split(',').next()?.parse::<u64>().ok());
        Ok(counted.filter(|_| frames > 0).map(|calls| calls as f64 / frames as f64))
    }
}

struct Round {
    sent: u64,
    cpu_ns: u64,
}

/// Puts frames into a tap, for the bridge to bring them to the measured one.
struct Injector {
    talker: Talker,
    /// Its frames that make a round.
    round: u64,
}

/// A program of ours in the namespace.
fn bench(
    world: &World,
    mode: &str,
    tap: &str,
    arguments: &[String],
    measured: bool,
    logs: &Path,
) -> Result<Talker> {
    let program = serve::bench_binary()?;
    let mut command = if measured { world.on_backend_cpu(program) } else { world.on_driver_cpu(program) };
    command.arg(mode).args(["--tap", tap]).args(arguments);
    Talker::start(&mut command, &format!("mqtap-bench {mode}"), &logs.join(format!("bench-{tap}.log")))
}

fn driver(cell: &Cell, world: &World, backend: &Backend, logs: &Path) -> Result<Talker> {
    let mut command = world.on_driver_cpu(serve::driver_binary()?);
    command.arg("load").arg("--socket").arg(&backend.socket);
    command.args(cell.driver.arguments());
    command.args(["--frames", &cell.frames(), "--pieces", &cell.driver.pieces.to_string()]);
    Talker::start(&mut command, "mqtap-driver", &logs.join("driver.log"))
}

pub(super) fn service(cell: &Cell) -> Service {
    Service { pairs: cell.driver.pairs, ring_size: cell.driver.ring_size, spread: false }
}

fn start(
    cell: &Cell,
    contender: &Contender,
    world: &World,
    logs: &Path,
    lead: impl FnOnce() -> Result<()>,
) -> Result<Runner> {
    if let Kind::Floor(arguments) = &contender.kind {
        let (mode, mut all) = match cell.direction {
            // Some write the same in another shape.
            Direction::Transmit if arguments.iter().any(|argument| argument == "--frames") => {
                ("write", Vec::new())
            }
            Direction::Transmit => ("write", vec!["--frames".to_owned(), cell.frames()]),
            Direction::Receive => ("read", Vec::new()),
        };
        let cpu = world.cpus.driver.to_string();
        all.extend(arguments.iter().map(|argument| argument.replace(DRIVER_CPU, &cpu)));
        let talker = bench(world, mode, TAP, &all, true, logs)?;
        lead()?;
        return Ok(Runner { talker, backend: None, patience_ms: PATIENCE_MS });
    }
    let backend = Backend::start(contender, world, logs, service(cell))?;
    let talker = driver(cell, world, &backend, logs)?;
    lead()?;
    let patience_ms = if contender.polls() { POLLING_PATIENCE_MS } else { PATIENCE_MS };
    Ok(Runner { talker, backend: Some(backend), patience_ms })
}

fn transmit(
    cell: &Cell,
    contender: &Contender,
    world: &World,
    logs: &Path,
    length: Length,
) -> Result<Sample> {
    let mut runner = start(cell, contender, world, logs, || world.lead_to(TAP, cell.sink))?;
    let (verb, warm) = if contender.is_floor() { ("run", "run 20") } else { ("transmit", "transmit 20") };
    let mut socket = if cell.sink == Sink::Socket {
        let mut command = world.on_driver_cpu(serve::bench_binary()?);
        command.args(["sink", "--bind", "10.77.0.1:9"]);
        Some(Talker::start(&mut command, "mqtap-bench sink", &logs.join("sink.log"))?)
    } else {
        None
    };
    runner.talker.ask(warm)?;
    let mut all = Sample::default();
    // What waits in a socket is memory: so little of it that the kernel need not look for more each time.
    let parts = if socket.is_some() { (length.milliseconds / 10).max(1) } else { 1 };
    for _ in 0..parts {
        if let Some(socket) = &mut socket {
            socket.ask("take")?;
        }
        let before = runner.cpu_ns(world)?;
        let answer = runner.talker.ask(&format!("{verb} {}", length.milliseconds / parts))?;
        let after = runner.cpu_ns(world)?;
        let sample = transmitted(&answer, &runner, after.saturating_sub(before));
        if let Some(socket) = &mut socket {
            arrived(&socket.ask("take")?, sample.payloads, contender)?;
        }
        all.add(&sample);
    }
    if let Some(backend) = &mut runner.backend {
        backend.must_run()?;
    }
    counted(&all, contender)?;
    Ok(all)
}

/// Sends a few thousand frames to a place where every byte of them is looked at.
pub(super) fn check(cell: &Cell, contender: &Contender, cpus: Cpus, logs: &Path) -> Result<()> {
    /// Less than the tap at the end can hold.
    const PAYLOADS: u64 = 8192;
    if cell.testpmd || contender.is_floor() || cell.direction == Direction::Receive {
        return Ok(());
    }
    let world = World::new(cpus)?;
    let mut reader = bench(&world, "read", END, &["--offloads".to_owned()], false, logs)?;
    let cell = Cell { sink: Sink::Checked, ..cell.clone() };
    let mut runner = start(&cell, contender, &world, logs, || world.bridge(TAP, END))?;
    let per_frame = number(&runner.talker.greeting, "payloads").max(1);
    let answer = runner.talker.ask(&format!("send {} 20", PAYLOADS / per_frame))?;
    let sent = number(&answer, "tx_completed") * per_frame;
    arrived(&reader.ask(&format!("verify {sent} {}", runner.patience_ms))?, sent, contender)
        .map_err(|error| format!("checking every byte: {error}").into())
}

fn transmitted(answer: &Value, runner: &Runner, cpu_ns: u64) -> Sample {
    if runner.backend.is_none() {
        return floor_sample(answer, cpu_ns);
    }
    let frames = number(answer, "tx_completed");
    Sample {
        frames,
        payloads: frames * number(&runner.talker.greeting, "payloads").max(1),
        bytes: number(answer, "tx_bytes"),
        wall_ns: number(answer, "wall_ns"),
        cpu_ns,
        kicks: number(answer, "tx_kicks"),
        calls: number(answer, "tx_calls"),
    }
}

fn floor_sample(answer: &Value, put_off_ns: u64) -> Sample {
    let frames = number(answer, "frames");
    Sample {
        frames,
        payloads: frames.max(number(answer, "payloads")),
        bytes: number(answer, "bytes"),
        wall_ns: number(answer, "wall_ns"),
        cpu_ns: number(answer, "cpu_ns") + put_off_ns,
        ..Sample::default()
    }
}

/// What came to a place where it is looked at: all of it, as it was.
fn arrived(answer: &Value, sent: u64, contender: &Contender) -> Result<()> {
    let came = number(answer, "payloads");
    // The bare system call writes frames that are ready again and again, with the numbers that they have.
    let disorder = if contender.is_floor() { 0 } else { number(answer, "out_of_order") };
    if number(answer, "corrupt") > 0 || disorder > 0 {
        return fail(format!("what came out is not what went in: {answer}"));
    }
    if came < sent && !contender.polls() {
        return fail(format!("of {sent} payloads, {came} came out: {answer}"));
    }
    Ok(())
}

fn counted(sample: &Sample, contender: &Contender) -> Result<()> {
    if sample.frames == 0 { fail(format!("{} moved no frames", contender.name)) } else { Ok(()) }
}

pub(super) fn injector(cell: &Cell, world: &World, logs: &Path) -> Result<Talker> {
    bench(world, "write", INJECTOR, &["--frames".to_owned(), cell.frames()], false, logs)
}

fn receiver(cell: &Cell, contender: &Contender, world: &World, logs: &Path) -> Result<(Injector, Runner)> {
    let mut talker = injector(cell, world, logs)?;
    let mut runner = start(cell, contender, world, logs, || world.bridge(INJECTOR, TAP))?;
    // The kernel may cut each frame of the injector into many before the tap.
    let per_frame = number(&talker.ask("count 1")?, "payloads").max(1);
    runner.talker.ask(&format!("collect {per_frame} {}", runner.patience_ms))?;
    let round = (QUEUE_LENGTH * 4 / 5 / per_frame).min(16_384);
    Ok((Injector { talker, round }, runner))
}

fn receive(cell: &Cell, contender: &Contender, world: &World, logs: &Path, length: Length) -> Result<Sample> {
    let (mut injector, mut runner) = receiver(cell, contender, world, logs)?;
    let mut all = Sample::default();
    for _ in 0..length.rounds {
        let (round, answer) = runner.round(world, &mut injector)?;
        let sample = if contender.is_floor() {
            floor_sample(&answer, round.cpu_ns)
        } else {
            arrived(&answer, round.sent, contender)?;
            received(&answer, contender, round.cpu_ns)
        };
        all.add(&sample);
    }
    if let Some(backend) = &mut runner.backend {
        backend.must_run()?;
    }
    counted(&all, contender)?;
    Ok(all)
}

fn received(answer: &Value, contender: &Contender, cpu_ns: u64) -> Sample {
    let wall_ns = number(answer, "wall_ns");
    Sample {
        frames: number(answer, "rx_frames"),
        payloads: number(answer, "payloads"),
        bytes: number(answer, "rx_bytes"),
        wall_ns,
        // Before the first frame and after the last it takes the CPU, too, and that is not the frames' doing.
        cpu_ns: if contender.polls() { wall_ns } else { cpu_ns },
        kicks: number(answer, "rx_kicks"),
        calls: number(answer, "rx_calls"),
    }
}
