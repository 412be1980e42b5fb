//! The report as Markdown.

use std::fmt::Write as _;

use super::super::model::{CellFindings, Findings, Line, Side};
use super::charts::{self, Named};
use super::goals::Goal;
use super::same_work;

const METHOD: &str = "\
Everything that is compared does the same work in turn, round after round, so that a machine that slows down slows all of them
down. Each run has a network namespace, a tap and processes of its own. The driver (`mqtap-driver`, a virtio-net driver
in a process) and whatever puts frames into the tap run on one CPU, the backend, or the bare system call in its place, on
another. The figure is the **CPU time of the backend's threads for each frame**: the kernel's account (`schedstat`) of all of
them, and of the kernel's thread for interrupt work on that CPU, over the frames that got through. A backend that polls
takes its CPU whether there is work or not; for it this is the time that a frame takes at full load.

* **Transmit**: the ring is kept full for the whole run; frames lie ready in guest memory and only their numbers are written. What
  became of the frames is said for each cell: *dropped by IP* means that they are for somebody else's Ethernet address, which is the
  least that the kernel can do with a frame; a *bridge* or a *route* leads to a veth pair; a *local socket* holds them until they
  are checked.
* **Receive**: the backend is held (SIGSTOP) until the tap queue is full, then measured until the driver has them all: the
  injector is not the limit. The frames are written to another tap and bridged, and so are made by the kernel alike for all.
* **Floors** are single-threaded loops around one system call, on a tap with the same flags, with as many buffers as the ring
  has, and without any virtio. *Across CPUs* means that a thread on the driver's CPU has just made the frames, or looks at
  them and gives the buffers back: the way from one CPU's cache to the other's is then part of the floor, and so is the
  reference on the open file that each call takes in a process with several threads.
* **Checks**: before a cell is measured each backend sends some thousand of its frames to a tap where every byte of them is
  looked at. Of the received ones, every number is checked and every byte of one in 16. A cell that loses or
  damages anything fails.
* Where a super-frame stands for many datagrams or segments, the figures are for each of these.";

/// What the report is made of.
pub(super) struct Parts<'a> {
    pub(super) findings: &'a Findings,
    pub(super) goals: &'a [Goal],
    pub(super) charts: &'a [Named],
    /// Written by hand.
    pub(super) notes: &'a str,
}

pub(super) fn render(parts: &Parts<'_>) -> String {
    let mut text = String::from("# Benchmarks\n\nWritten by `cargo xtask bench`");
    text.push_str(if parts.notes.trim().is_empty() {
        ".\n\n"
    } else {
        "; what is written by hand is in [benchmarks-notes.md](benchmarks-notes.md) and comes along unchanged.\n\n"
    });
    machine(&mut text, parts.findings);
    goals(&mut text, parts.goals);
    same_work::render(&mut text, parts.findings);
    if !parts.charts.is_empty() {
        text.push_str("## Charts\n\n");
        for named in parts.charts {
            let _ = writeln!(text, "![{}](benchmarks/{}.svg)\n", named.chart.title, named.name);
        }
    }
    if !parts.notes.trim().is_empty() {
        let _ = writeln!(text, "{}\n", parts.notes.trim());
    }
    let _ = writeln!(text, "## How it is measured\n\n{METHOD}\n");
    for (prefix, title) in [
        ("transmit", "Transmit"),
        ("receive", "Receive"),
        ("dpdk", "DPDK as the driver"),
        ("guest", "A Linux guest in QEMU"),
    ] {
        let cells: Vec<&CellFindings> = parts
            .findings
            .cells
            .iter()
            .filter(|cell| cell.name.split('.').next() == Some(prefix) && !cell.name.contains(".rings."))
            .collect();
        if !cells.is_empty() {
            let _ = writeln!(text, "## {title}\n");
            cells.into_iter().for_each(|found| cell(&mut text, found));
        }
    }
    rings(&mut text, parts.findings);
    measures(&mut text, parts.findings);
    skipped(&mut text, parts.findings);
    text
}

fn machine(text: &mut String, findings: &Findings) {
    let (machine, method) = (&findings.machine, &findings.method);
    let _ = writeln!(
        text,
        "{}, on {}, {} CPUs, {} GiB of memory, Linux {}; mqtap at {}. Medians of {} repetitions, in brackets the least and the most; \
         {} ms of transmit or {} rounds of receive each; {:.0} minutes in all.\n",
        machine.date,
        machine.cpu,
        machine.cpus,
        machine.memory_gib,
        machine.kernel,
        machine.revision,
        method.repetitions,
        method.transmit_ms,
        method.receive_rounds,
        method.minutes
    );
    if !machine.programs.is_empty() {
        let _ = writeln!(text, "With {}.\n", machine.programs.join("; "));
    }
}

fn goals(text: &mut String, goals: &[Goal]) {
    text.push_str("## Goals\n\n| what | goal | measured | |\n| --- | --- | --- | --- |\n");
    for goal in goals {
        let mut subject = goal.subject;
        for part in &goal.parts {
            let verdict = match (&part.found, part.met) {
                (None, _) => "",
                (Some(_), true) => "met",
                (Some(_), false) => "**not met**",
            };
            let found = part.found.as_deref().unwrap_or("not measured");
            let _ = writeln!(text, "| {subject} | {} | {found} | {verdict} |", part.wanted);
            subject = "";
        }
    }
    text.push('\n');
}

fn cell(text: &mut String, cell: &CellFindings) {
    let _ = writeln!(text, "### `{}`\n\n{}; {}; {}.\n", cell.name, cell.frames, cell.way, cell.driver);
    table(text, cell.lines.iter().map(|line| (label(line), line, cell.floor())));
}

fn label(line: &Line) -> String {
    match line.side {
        Side::Floor => charts::bare(&line.name),
        Side::Ours => format!("**{}**", line.name),
        Side::Peer => line.name.clone(),
    }
}

fn table<'a>(text: &mut String, lines: impl Iterator<Item = (String, &'a Line, Option<&'a Line>)>) {
    text.push_str(
        "| | CPU, ns | x floor | million/s | Gbit/s | system calls | notifications |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (label, line, floor) in lines {
        let ratio = floor
            .filter(|floor| floor.cpu_ns.median > 0.0)
            .map_or_else(String::new, |floor| format!("{:.2}", line.cpu_ns.median / floor.cpu_ns.median));
        let calls = line.system_calls.map_or_else(String::new, |calls| format!("{calls:.3}"));
        let notifications = if line.side == Side::Floor {
            String::new()
        } else {
            format!("{:.4}", line.notifications.median)
        };
        let _ = writeln!(
            text,
            "| {label} | {:.0} ({:.0}-{:.0}) | {ratio} | {:.2} | {:.2} | {calls} | {notifications} |",
            line.cpu_ns.median,
            line.cpu_ns.least,
            line.cpu_ns.most,
            line.rate.median / 1e6,
            line.gigabits.median,
        );
    }
    text.push('\n');
}

/// One table for all layouts of the rings: they differ in nothing else.
fn rings(text: &mut String, findings: &Findings) {
    for (direction, title) in [("transmit", "Transmit"), ("receive", "Receive")] {
        let prefix = format!("{direction}.rings.");
        let cells: Vec<&CellFindings> =
            findings.cells.iter().filter(|cell| cell.name.starts_with(&prefix)).collect();
        let Some(first) = cells.first() else { continue };
        let _ = writeln!(text, "## {title}: layouts of the rings\n\n{}; {}.\n", first.frames, first.way);
        let base = first.best();
        let lines = cells.iter().flat_map(|cell| {
            let name = cell.name.trim_start_matches(&prefix).to_owned();
            cell.lines.iter().map(move |line| {
                let name =
                    if line.side == Side::Ours { name.clone() } else { format!("{name}, {}", line.name) };
                (name, line, base)
            })
        });
        let mut part = String::new();
        table(&mut part, lines);
        text.push_str(&part.replace("| x floor |", "| x the first |"));
    }
}

fn measures(text: &mut String, findings: &Findings) {
    for (prefix, title) in [
        ("latency", "Latency"),
        ("scaling", "Two workers on two CPUs"),
        ("idle", "Idle"),
        ("memory", "Memory"),
        ("set-up", "Set-up"),
    ] {
        let of_it: Vec<_> = findings
            .measures
            .iter()
            .filter(|measure| measure.name.split('.').next() == Some(prefix))
            .collect();
        if of_it.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "## {title}\n\n| | | median | least - most | unit |\n| --- | --- | ---: | ---: | --- |"
        );
        for measure in of_it {
            let _ = writeln!(
                text,
                "| `{}` | {} | {:.2} | {:.2} - {:.2} | {} |",
                measure.name,
                measure.contender,
                measure.value.median,
                measure.value.least,
                measure.value.most,
                measure.unit
            );
        }
        text.push('\n');
    }
}

fn skipped(text: &mut String, findings: &Findings) {
    if findings.skipped.is_empty() {
        return;
    }
    text.push_str("## Not measured here\n\n");
    for skipped in &findings.skipped {
        let _ = writeln!(text, "* {}: {}", skipped.name, skipped.why);
    }
    text.push('\n');
}
