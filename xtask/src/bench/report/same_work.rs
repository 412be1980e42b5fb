//! Ours beside floors that do the same work: what of a goal is out of anybody's reach.

use std::fmt::Write as _;

use super::super::model::{Findings, Line, Side};

/// A cell, one of its floors, and what that floor does besides a bare call.
const CELLS: &[(&str, &str, &str)] = &[
    ("transmit.60.distinct", "write across CPUs", "the driver's CPU has just made the frames"),
    ("transmit.512.distinct", "write across CPUs", "the same"),
    ("transmit.1514.distinct", "write across CPUs", "the same"),
    ("transmit.64k.tso", "write across CPUs", "the same"),
    ("transmit.60.1-flow.socket", "write of super-frames", "the kernel takes each apart for the socket"),
    ("receive.60.distinct", "read across CPUs", "the driver's CPU looks at the frames"),
    ("receive.512.distinct", "read across CPUs", "the same"),
    ("receive.1514.distinct", "read across CPUs", "the same"),
    ("receive.64k.tso", "readv into 33 pieces", "as many buffers as a driver's of 2 KiB"),
    ("receive.64k.uso.driver-without-uso", "read of super-frames", "the super-frames are read whole"),
];

/// A measure and its floors.
const MEASURES: &[(&str, &str, &str)] = &[
    ("latency.idle.p50", "bare tap, woken by an eventfd", "a thread that sleeps is woken for each request"),
    ("set-up.64-pairs", "bare TUNSETQUEUE", "the queues are attached, and that is all"),
];

pub(super) fn render(text: &mut String, findings: &Findings) {
    let mut rows = String::new();
    for (name, floor, work) in CELLS {
        let Some(cell) = findings.cell(name) else { continue };
        let floor = cell.of(Side::Floor).find(|line| line.name == *floor);
        if let (Some(floor), Some(ours)) = (floor, cell.of(Side::Ours).next()) {
            let ns = |line: &Line| line.cpu_ns.median;
            let label = super::charts::bare(&floor.name);
            let ratio = ns(ours) / ns(floor);
            let _ = writeln!(
                rows,
                "| `{name}` | {label}: {work} | {:.0} ns | {:.0} ns | {ratio:.2} |",
                ns(floor),
                ns(ours)
            );
        }
    }
    for (name, floor, work) in MEASURES {
        // As it is by default: polling is no answer to a floor that sleeps.
        if let (Some(floor), Some(ours)) = (findings.measure(name, floor), findings.measure(name, "mqtap")) {
            let (floor_value, value) = (floor.value.median, ours.value.median);
            let _ = writeln!(
                rows,
                "| `{name}` | {}: {work} | {floor_value:.1} {unit} | {value:.1} {unit} | {:.2} |",
                floor.contender,
                value / floor_value,
                unit = ours.unit
            );
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(
            text,
            "## Beside the same work without virtio\n\n\
             The goals take the barest call as their measure. A backend has more to do than that, however it is made; these \
             floors do the same work as it does, and nothing else.\n\n\
             | cell | floor | floor | mqtap | x |\n| --- | --- | ---: | ---: | ---: |\n{rows}"
        );
    }
}
