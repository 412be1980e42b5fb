//! `cargo xtask bench`: what a frame costs through mqtap, beside what it costs at least and what others take for it.
//!
//! The main figure is CPU time of the backend for each frame, from the kernel's account of its threads: it survives a small,
//! noisy machine. Everything that is compared runs in turn, round after round, each run in a network namespace of its own.

mod cells;
mod contender;
mod machine;
mod model;
mod peers;
mod procfs;
mod report;
mod run;
mod sample;
mod talker;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use cells::{Cell, Field};
use contender::{Contender, Named};
use model::{CellFindings, Findings, Line, Method, Skipped};
use run::Length;
use sample::{Figure, Sample};
use world::Cpus;

use crate::outcome::{Context as _, Result, fail, failure, say};
use crate::testpmd::Hugepages;
use crate::{paths, serve, setup};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One repetition of few cells, to show that everything runs
    #[arg(long)]
    quick: bool,
    /// Cells whose name matches, such as 'transmit.60.*'; may be given often
    #[arg(long, value_name = "GLOB")]
    cells: Vec<String>,
    /// Repetitions of each cell; medians are reported
    #[arg(long, value_name = "N")]
    repeat: Option<usize>,
    /// Measure ours with these netdev options too: 'uring=engine=io_uring'; may be given often
    #[arg(long, value_name = "NAME=OPTIONS")]
    ours: Vec<Named>,
    /// Another vhost-user-net backend: 'name=command … {socket} {tap}', with {queues} and {ring} if it wants to hear of
    /// them; may be given often
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Named>,
    /// Write everything that was found to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/benchmarks.md and its charts also after a part of the cells
    #[arg(long)]
    write: bool,
    /// Measure nothing: judge and write what an earlier run found
    #[arg(long, value_name = "JSON")]
    from: Option<PathBuf>,
    /// Print the names of the cells and end
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(path) = &arguments.from {
        let text = std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
        finish(&serde_json::from_str(&text)?, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut skipped = Vec::new();
    let field = field(arguments, &mut skipped);
    let cells: Vec<Cell> = cells::all(&field).into_iter().filter(|cell| selected(cell, arguments)).collect();
    if arguments.list {
        cells.iter().for_each(|cell| say(&cell.name));
        return Ok(ExitCode::SUCCESS);
    }
    if cells.is_empty() {
        return fail("no cell has such a name; `cargo xtask bench --list` names them");
    }
    if !setup::is_root() {
        return fail("the benchmark needs root, for namespaces, huge pages and the CPU time of others");
    }
    setup::ensure(&[setup::BASE])?;
    say("building (release)");
    serve::build_release(&["mqtap-cli", "mqtap-driver", "mqtap-bench"])?;
    let cpus = Cpus::choose()?;
    say(format!("{} cells; driver on CPU {}, backend on CPU {}\n", cells.len(), cpus.driver, cpus.backend));

    let _hugepages = if need_hugepages(&cells) { Some(Hugepages::reserve()?) } else { None };
    let begin = Instant::now();
    let mut findings = Findings {
        machine: machine::look(&[("dpdk-testpmd", &["--version"]), ("qemu-system-x86_64", &["--version"])]),
        skipped,
        ..Findings::default()
    };
    findings.skipped.iter().for_each(|skipped| say(format!("without {}: {}", skipped.name, skipped.why)));
    let plan = Plan::of(arguments);
    let mut failed = 0;
    for cell in cells {
        let start = Instant::now();
        match measure(&cell, plan, cpus) {
            Ok(found) => {
                show(&found, start);
                findings.cells.push(found);
            }
            Err(error) => {
                failed += 1;
                say(format!("{:<38} FAILED: {error}", cell.name));
            }
        }
    }
    findings.method = Method {
        repetitions: plan.repetitions,
        transmit_ms: plan.length.milliseconds,
        receive_rounds: plan.length.rounds,
        minutes: begin.elapsed().as_secs_f64() / 60.0,
    };
    finish(&findings, arguments)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// DPDK wants them, whichever end of the socket it is.
fn need_hugepages(cells: &[Cell]) -> bool {
    cells.iter().flat_map(|cell| &cell.contenders).any(|contender| contender.name == report::DPDK)
}

/// Says, and writes, what was found.
fn finish(findings: &Findings, arguments: &Arguments) -> Result<()> {
    report::say_goals(findings);
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(findings)?;
        std::fs::write(path, text).context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.write || arguments.from.is_some() || (!arguments.quick && arguments.cells.is_empty()) {
        report::write(findings)?;
    }
    Ok(())
}

/// How long everything is measured.
#[derive(Clone, Copy)]
struct Plan {
    repetitions: usize,
    length: Length,
    system_calls: bool,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let (repetitions, length) = if arguments.quick {
            (1, Length { milliseconds: 100, rounds: 2 })
        } else {
            (5, Length { milliseconds: 300, rounds: 8 })
        };
        Self {
            repetitions: arguments.repeat.unwrap_or(repetitions).max(1),
            length,
            system_calls: !arguments.quick,
        }
    }
}

fn selected(cell: &Cell, arguments: &Arguments) -> bool {
    if arguments.cells.is_empty() {
        return cell.quick || !arguments.quick;
    }
    arguments.cells.iter().any(|glob| matches(glob, &cell.name))
}

/// A `*` stands for anything.
fn matches(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        None => glob == name,
        Some((before, behind)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(behind, rest)))
        }),
    }
}

/// Who takes part. A peer that cannot be had is noted, and left out.
fn field(arguments: &Arguments, skipped: &mut Vec<Skipped>) -> Field {
    let mut ours = vec![Contender::ours("mqtap", "")];
    ours.extend(
        arguments.ours.iter().map(|named| Contender::ours(&format!("mqtap {}", named.name), &named.text)),
    );
    let mut peers: Vec<Contender> = arguments.peer.iter().map(peers::named).collect();
    // A list of names needs nobody installed; a quick run is to be quick.
    if !arguments.list && !arguments.quick {
        match peers::dpdk() {
            Ok(dpdk) => peers.insert(0, dpdk),
            Err(error) => skipped.push(Skipped { name: report::DPDK.to_owned(), why: error.to_string() }),
        }
    }
    Field { ours, peers }
}

fn measure(cell: &Cell, plan: Plan, cpus: Cpus) -> Result<CellFindings> {
    let logs = paths::logs(&format!("bench.{}", cell.name))?;
    let named = |contender: &Contender| {
        let name = contender.name.clone();
        move |error: Box<dyn std::error::Error>| failure(format!("{name}: {error}"))
    };
    let mut runs: Vec<(&Contender, Vec<Sample>)> = Vec::new();
    for contender in &cell.contenders {
        run::check(cell, contender, cpus, &logs).map_err(named(contender))?;
        runs.push((contender, Vec::new()));
    }
    // In turn, so that a machine that slows down slows all of them down.
    for _ in 0..plan.repetitions {
        for (contender, samples) in &mut runs {
            samples.push(run::once(cell, contender, cpus, &logs, plan.length).map_err(named(contender))?);
        }
    }
    let mut lines = Vec::new();
    for (contender, samples) in runs {
        let calls = if plan.system_calls {
            run::system_calls(cell, contender, cpus, &logs).map_err(named(contender))?
        } else {
            None
        };
        lines.push(line(contender, &samples, calls));
    }
    Ok(CellFindings {
        name: cell.name.clone(),
        frames: cell.shape.clone(),
        way: cell.way().to_owned(),
        driver: cell.driver.to_string(),
        lines,
    })
}

fn line(contender: &Contender, samples: &[Sample], system_calls: Option<f64>) -> Line {
    let figure = |of: fn(&Sample) -> f64| Figure::of(samples.iter().map(of));
    Line {
        name: contender.name.clone(),
        side: contender.side(),
        cpu_ns: figure(Sample::cpu_per_payload),
        rate: figure(Sample::payloads_per_second),
        gigabits: figure(Sample::gigabits_per_second),
        notifications: figure(Sample::notifications_per_frame),
        system_calls,
    }
}

fn show(cell: &CellFindings, start: Instant) {
    let floor = cell.floor().map_or(0.0, |line| line.cpu_ns.median);
    say(format!("{:<38} {:5.1} s  {}; {}", cell.name, start.elapsed().as_secs_f32(), cell.frames, cell.way));
    for line in &cell.lines {
        let ratio =
            if floor > 0.0 { format!("{:5.2} x floor", line.cpu_ns.median / floor) } else { String::new() };
        let calls = line.system_calls.map_or_else(String::new, |calls| format!("{calls:.3} calls"));
        say(format!(
            "    {:<24} {:7.0} ns ({:.0}-{:.0})  {:6.3} M/s  {:6.2} Gbit/s  {:7.4} notif.  {ratio}  {calls}",
            line.name,
            line.cpu_ns.median,
            line.cpu_ns.least,
            line.cpu_ns.most,
            line.rate.median / 1e6,
            line.gigabits.median,
            line.notifications.median,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_glob_matches_what_it_looks_like() {
        for (glob, name, expected) in [
            ("transmit.60", "transmit.60", true),
            ("transmit.60", "transmit.60.distinct", false),
            ("transmit.*", "transmit.60.distinct", true),
            ("*.tso*", "receive.64k.tso", true),
            ("*", "", true),
            ("receive.*.x", "receive.y", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
        }
    }
}
