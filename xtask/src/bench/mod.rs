//! `cargo xtask bench`: what a frame costs through mqtap, beside what it costs at least and what others take for it.
//!
//! The main figure is CPU time of the backend for each frame, from the kernel's account of its threads: it survives a small,
//! noisy machine. Everything that is compared runs in turn, round after round, each run in a network namespace of its own.

mod cells;
mod contender;
mod procfs;
mod run;
mod sample;
mod talker;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use cells::{Cell, Field};
use contender::{Contender, Kind, Named, Peer};
use run::Length;
use sample::{Figure, Sample};
use world::Cpus;

use crate::outcome::{Result, fail, say};
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
    /// Print the names of the cells and end
    #[arg(long)]
    list: bool,
}

/// The repetitions of one contender in one cell.
struct Line {
    contender: Contender,
    samples: Vec<Sample>,
}

struct Outcome {
    cell: Cell,
    lines: Vec<Line>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let field = field(arguments);
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

    let mut failed = 0;
    for cell in cells {
        let start = Instant::now();
        match measure(&cell, arguments, cpus) {
            Ok(lines) => show(&Outcome { cell, lines }, start),
            Err(error) => {
                failed += 1;
                say(format!("{:<34} FAILED: {error}", cell.name));
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn field(arguments: &Arguments) -> Field {
    let mut ours = vec![Contender::ours("mqtap", "")];
    ours.extend(
        arguments.ours.iter().map(|named| Contender::ours(&format!("mqtap {}", named.name), &named.text)),
    );
    let peers = arguments
        .peer
        .iter()
        .map(|named| Contender {
            name: named.name.clone(),
            kind: Kind::Peer(Peer { command: named.text.clone(), polls: false, environment: Vec::new() }),
        })
        .collect();
    Field { ours, peers }
}

fn measure(cell: &Cell, arguments: &Arguments, cpus: Cpus) -> Result<Vec<Line>> {
    let repeat = arguments.repeat.unwrap_or(if arguments.quick { 1 } else { 5 });
    let length = if arguments.quick {
        Length { milliseconds: 100, rounds: 2 }
    } else {
        Length { milliseconds: 300, rounds: 8 }
    };
    let mut lines: Vec<Line> = cell
        .contenders
        .iter()
        .map(|contender| Line { contender: contender.clone(), samples: Vec::new() })
        .collect();
    let logs = paths::logs(&format!("bench.{}", cell.name))?;
    for line in &lines {
        run::check(cell, &line.contender, cpus, &logs)
            .map_err(|error| format!("{}: {error}", line.contender.name))?;
    }
    for _ in 0..repeat {
        for line in &mut lines {
            let sample = run::once(cell, &line.contender, cpus, &logs, length)
                .map_err(|error| format!("{}: {error}", line.contender.name))?;
            line.samples.push(sample);
        }
    }
    Ok(lines)
}

fn show(outcome: &Outcome, start: Instant) {
    let figure = |line: &Line, of: fn(&Sample) -> f64| Figure::of(line.samples.iter().map(of));
    let floor = outcome
        .lines
        .iter()
        .find(|line| line.contender.is_floor())
        .map(|line| figure(line, Sample::cpu_per_payload).median);
    let cell = &outcome.cell;
    say(format!("{:<34} {:5.1} s  {}; {}", cell.name, start.elapsed().as_secs_f32(), cell.shape, cell.way()));
    for line in &outcome.lines {
        let cpu = figure(line, Sample::cpu_per_payload);
        let rate = figure(line, Sample::payloads_per_second);
        let bits = figure(line, Sample::gigabits_per_second);
        let notifications = figure(line, Sample::notifications_per_frame);
        let ratio = match floor {
            Some(floor) if floor > 0.0 => format!("{:5.2} x floor", cpu.median / floor),
            _ => String::new(),
        };
        say(format!(
            "    {:<24} {:7.0} ns ({:.0}-{:.0})  {:6.3} M/s  {:6.2} Gbit/s  {:7.4} notif./frame  {ratio}",
            line.contender.name,
            cpu.median,
            cpu.least,
            cpu.most,
            rate.median / 1e6,
            bits.median,
            notifications.median,
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
