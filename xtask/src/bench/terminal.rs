//! What the terminal shows of what was found.

use std::time::Instant;

use super::model::{CellFindings, Measure};
use crate::outcome::say;

pub(super) fn show(cell: &CellFindings, start: Instant) {
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

pub(super) fn show_measures(name: &str, measures: &[Measure], start: Instant) {
    say(format!("{name:<38} {:5.1} s", start.elapsed().as_secs_f32()));
    for measure in measures {
        let value = &measure.value;
        say(format!(
            "    {:<28} {:<16} {:10.3} ({:.3}-{:.3}) {}",
            measure.name, measure.contender, value.median, value.least, value.most, measure.unit
        ));
    }
}
