//! Which charts there are.

use super::super::model::{CellFindings, Findings, Line, Side};
use super::svg::{Bar, Chart, Group};

/// A chart and the name of its file, without directory and ending.
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) chart: Chart,
}

/// All charts for which there are figures.
pub(super) fn all(findings: &Findings) -> Vec<Named> {
    let charts = [
        ("small-frames", small_frames(findings)),
        ("frame-sizes", frame_sizes(findings)),
        ("coalescing", coalescing(findings)),
        ("super-frames", super_frames(findings)),
        ("latency", latency(findings)),
    ];
    charts
        .into_iter()
        .filter(|(_, chart)| chart.groups.iter().any(|group| !group.bars.is_empty()))
        .map(|(name, chart)| Named { name, chart })
        .collect()
}

/// `write across CPUs` is called `bare write() across CPUs`.
pub(super) fn bare(floor: &str) -> String {
    match floor.split_once(' ') {
        Some((call, how)) => format!("bare {call}() {how}"),
        None => format!("bare {floor}()"),
    }
}

fn cpu_bar(line: &Line, floor: Option<&Line>) -> Bar {
    let ratio = match floor {
        Some(floor) if line.side != Side::Floor => {
            format!("  ({:.2} x)", line.cpu_ns.median / floor.cpu_ns.median)
        }
        _ => String::new(),
    };
    Bar {
        label: if line.side == Side::Floor { bare(&line.name) } else { line.name.clone() },
        side: line.side,
        value: line.cpu_ns.median,
        spread: Some((line.cpu_ns.least, line.cpu_ns.most)),
        text: format!("{:.0} ns{ratio}", line.cpu_ns.median),
    }
}

fn cpu_group(findings: &Findings, cell: &str, heading: &str, wanted: impl Fn(&Line) -> bool) -> Group {
    let lines = findings.cell(cell).map(|cell: &CellFindings| {
        cell.lines.iter().filter(|line| wanted(line)).map(|line| cpu_bar(line, cell.floor())).collect()
    });
    Group { heading: heading.to_owned(), bars: lines.unwrap_or_default() }
}

const SUBTITLE: &str = "less is better; with the least and the most of all runs";

fn small_frames(findings: &Findings) -> Chart {
    Chart {
        title: "What a frame of 60 bytes costs".to_owned(),
        subtitle: format!("CPU time of the backend, every frame of another flow; {SUBTITLE}"),
        axis: "ns for each frame".to_owned(),
        groups: vec![
            cpu_group(findings, "transmit.60.distinct", "Transmit: guest to tap", |_| true),
            cpu_group(findings, "receive.60.distinct", "Receive: tap to guest", |_| true),
        ],
    }
}

fn frame_sizes(findings: &Findings) -> Chart {
    let mut groups = Vec::new();
    for (direction, title) in [("transmit", "Transmit"), ("receive", "Receive")] {
        for size in [60, 512, 1514] {
            let cell = format!("{direction}.{size}.distinct");
            // The first floor and ours as it is by default; the other contenders are in the tables.
            let default = |line: &Line| match line.side {
                Side::Floor => line.name == "write" || line.name == "read",
                Side::Ours => line.name == "mqtap",
                Side::Peer => true,
            };
            groups.push(cpu_group(findings, &cell, &format!("{title}, {size} bytes"), default));
        }
    }
    groups.retain(|group| !group.bars.is_empty());
    Chart {
        title: "By frame size".to_owned(),
        subtitle: format!("CPU time of the backend; {SUBTITLE}"),
        axis: "ns for each frame".to_owned(),
        groups,
    }
}

fn coalescing(findings: &Findings) -> Chart {
    let cells = [
        ("transmit.60.1-flow.bridge", "UDP, 60 bytes, to a bridge"),
        ("transmit.60.1-flow.routed", "UDP, 60 bytes, routed"),
        ("transmit.60.1-flow.socket", "UDP, 60 bytes, to a local socket"),
        ("transmit.1514.1-flow.bridge", "UDP, 1514 bytes, to a bridge"),
        ("transmit.1514.tcp", "TCP, 1514 bytes, to a bridge"),
    ];
    Chart {
        title: "Frames of one flow".to_owned(),
        subtitle: format!("transmit, CPU time of the backend; {SUBTITLE}"),
        axis: "ns for each datagram or segment".to_owned(),
        groups: cells
            .into_iter()
            .map(|(cell, heading)| cpu_group(findings, cell, heading, |_| true))
            .filter(|group| !group.bars.is_empty())
            .collect(),
    }
}

fn super_frames(findings: &Findings) -> Chart {
    let cells = [
        ("transmit.64k.tso", "Transmit, TCP super-frames of 64 KiB"),
        ("receive.64k.tso", "Receive, TCP super-frames of 64 KiB"),
        ("receive.64k.uso.driver-without-uso", "Receive, UDP super-frames, driver without USO"),
    ];
    Chart {
        title: "Super-frames".to_owned(),
        subtitle: format!("CPU time of the backend for each segment; {SUBTITLE}"),
        axis: "ns for each segment of 1448 or 1472 bytes".to_owned(),
        groups: cells
            .into_iter()
            .map(|(cell, heading)| cpu_group(findings, cell, heading, |_| true))
            .filter(|group| !group.bars.is_empty())
            .collect(),
    }
}

fn latency(findings: &Findings) -> Chart {
    let mut groups = Vec::new();
    for (load, title) in [("idle", "Idle"), ("half", "At half load")] {
        for quantile in ["p50", "p99", "p99.9"] {
            let name = format!("latency.{load}.{quantile}");
            let bars: Vec<Bar> = findings
                .measures
                .iter()
                .filter(|measure| measure.name == name)
                .map(|measure| Bar {
                    label: measure.contender.clone(),
                    side: measure.side,
                    value: measure.value.median,
                    spread: Some((measure.value.least, measure.value.most)),
                    text: format!("{:.1} us", measure.value.median),
                })
                .collect();
            if !bars.is_empty() {
                groups.push(Group { heading: format!("{title}, {quantile}"), bars });
            }
        }
    }
    Chart {
        title: "Round trip: guest, tap, the host's kernel and back".to_owned(),
        subtitle: "an ICMP echo; the driver polls its ring; less is better".to_owned(),
        axis: "microseconds".to_owned(),
        groups,
    }
}
