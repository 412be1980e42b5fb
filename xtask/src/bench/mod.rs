//! `cargo xtask bench`: what a frame costs through mqtap, beside what it costs at least and what others take for it.
//!
//! The main figure is CPU time of the backend for each frame, from the kernel's account of its threads: it survives a small,
//! noisy machine. Everything that is compared runs in turn, round after round, each run in a network namespace of its own.

mod cells;
mod contender;
mod dpdk;
mod field;
mod guests;
mod idle;
mod instructions;
mod machine;
mod measures;
mod model;
mod peers;
mod procfs;
mod report;
mod rounds;
mod run;
mod sample;
mod talker;
mod terminal;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use cells::Cell;
use contender::Named;
use field::Field;
use guests::GuestCell;
use measures::{Context, Group};
use model::{Findings, Method};
use rounds::Plan;
use world::Cpus;

use crate::outcome::{Context as _, Result, fail, say};
use crate::testpmd::Hugepages;
use crate::{serve, setup};

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
    /// Measure no time: count the instructions of the hot functions, and compare them with what was agreed
    #[arg(long)]
    instructions: bool,
    /// With --instructions: make what was counted the new baseline
    #[arg(long, requires = "instructions")]
    bless: bool,
    /// Print the names of the cells and end
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.instructions {
        return instructions::run(arguments.bless);
    }
    if let Some(path) = &arguments.from {
        let text = std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
        finish(&serde_json::from_str(&text)?, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let guest_cells: Vec<&GuestCell> =
        guests::CELLS.iter().filter(|cell| wanted(cell.name, false, arguments)).collect();
    let groups: Vec<&Group> =
        measures::GROUPS.iter().filter(|group| wanted(group.name, group.quick, arguments)).collect();
    let selected = |field: &Field| -> Vec<Cell> {
        cells::all(field).into_iter().filter(|cell| wanted(&cell.name, cell.quick, arguments)).collect()
    };
    // Which cells there are does not depend on who takes part.
    let cells = selected(&Field::default());
    if arguments.list {
        cells.iter().for_each(|cell| say(&cell.name));
        guest_cells.iter().for_each(|cell| say(cell.name));
        groups.iter().for_each(|group| say(group.name));
        return Ok(ExitCode::SUCCESS);
    }
    if cells.is_empty() && guest_cells.is_empty() && groups.is_empty() {
        return fail("no cell has such a name; `cargo xtask bench --list` names them");
    }
    if !setup::is_root() {
        return fail("the benchmark needs root, for namespaces, huge pages and the CPU time of others");
    }
    setup::ensure(&[setup::BASE])?;
    say("building (release)");
    serve::build_release(&["mqtap-cli", "mqtap-driver", "mqtap-bench"])?;
    let mut skipped = Vec::new();
    let field = Field::gather(arguments, &mut skipped);
    let cells = selected(&field);
    let cpus = Cpus::choose()?;
    say(format!("{} cells; driver on CPU {}, backend on CPU {}\n", cells.len(), cpus.driver, cpus.backend));

    let _hugepages = if need_hugepages(&cells) { Some(Hugepages::reserve(2)?) } else { None };
    let begin = Instant::now();
    let mut findings = Findings {
        machine: machine::look(&[("dpdk-testpmd", &["--version"]), ("qemu-system-x86_64", &["--version"])]),
        skipped,
        ..Findings::default()
    };
    findings.skipped.iter().for_each(|skipped| say(format!("without {}: {}", skipped.name, skipped.why)));
    let plan = Plan::of(arguments);
    let (mut failed, mut groups_run) = (0, 0);
    for cell in cells {
        let start = Instant::now();
        match rounds::measure(&cell, plan, cpus) {
            Ok(found) => {
                terminal::show(&found, start);
                findings.cells.push(found);
            }
            Err(error) => {
                failed += 1;
                say(format!("{:<38} FAILED: {error}", cell.name));
            }
        }
    }
    if !guest_cells.is_empty() {
        let start = Instant::now();
        let found =
            guests::image().and_then(|image| guests::run(&guest_cells, &image, cpus, plan.repetitions));
        match found {
            Ok(found) => {
                found.iter().for_each(|found| terminal::show(found, start));
                findings.cells.extend(found);
            }
            Err(error) => {
                failed += 1;
                say(format!("{:<38} FAILED: {error}", "guest"));
            }
        }
    }
    let ours = field.polling();
    let context = Context { cpus, repetitions: plan.repetitions, quick: arguments.quick, ours: &ours };
    for group in groups {
        let start = Instant::now();
        match measures::run(group, &context, &mut findings) {
            Ok(measures) => {
                groups_run += 1;
                terminal::show_measures(group.name, &measures, start);
            }
            Err(error) => {
                failed += 1;
                say(format!("{:<38} FAILED: {error}", group.name));
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
    let passed = findings.cells.len() + groups_run;
    say(format!("\ncells: {passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// DPDK wants them, whichever end of the socket it is, or both.
fn need_hugepages(cells: &[Cell]) -> bool {
    cells
        .iter()
        .any(|cell| cell.testpmd || cell.contenders.iter().any(|contender| contender.name == report::DPDK))
}

/// Says, and writes, what was found.
fn finish(findings: &Findings, arguments: &Arguments) -> Result<()> {
    if !arguments.quick {
        report::say_goals(findings);
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(findings)?;
        std::fs::write(path, text).context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.write || arguments.from.is_some() || (!arguments.quick && arguments.cells.is_empty()) {
        report::write(findings)?;
    }
    Ok(())
}

/// Whether a cell or a group of measures is asked for.
fn wanted(name: &str, quick: bool, arguments: &Arguments) -> bool {
    if arguments.cells.is_empty() {
        return quick || !arguments.quick;
    }
    arguments.cells.iter().any(|glob| matches(glob, name))
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
