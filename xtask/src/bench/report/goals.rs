//! What was to be reached, and whether it was.

use super::super::model::{CellFindings, Findings, Line, Side};

/// A goal, in parts where it has several.
pub(super) struct Goal {
    pub(super) subject: &'static str,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Part {
    pub(super) wanted: String,
    /// As the reader is to see it; `None` if it was not measured.
    pub(super) found: Option<String>,
    pub(super) met: bool,
}

/// The names of peers that are always looked for.
pub(in super::super) const DPDK: &str = "DPDK net_vhost + net_tap";
pub(in super::super) const OPEN_VSWITCH: &str = "Open vSwitch (DPDK)";

struct Judge<'a>(&'a Findings);

/// Whether the figure is to be at most the limit, or at least.
#[derive(Clone, Copy)]
enum Limit {
    Most(f64),
    Least(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        // To the two digits that are shown: 1.004 is no miss of 1.00.
        let value = (value * 100.0).round() / 100.0;
        match self {
            Self::Most(limit) => value <= limit,
            Self::Least(limit) => value >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Most(limit) => format!("≤ {limit:.2}"),
            Self::Least(limit) => format!("≥ {limit:.2}"),
        }
    }
}

/// The figure of the best of ours, and that of ours by default where it is another.
fn with_default(cell: &CellFindings, best: &Line, figure: impl Fn(&Line) -> f64) -> String {
    let text = format!("{:.2} ({})", figure(best), best.name);
    match cell.of(Side::Ours).next() {
        Some(default) if default.name != best.name => {
            format!("{text}; {:.2} as it is by default", figure(default))
        }
        _ => text,
    }
}

fn part(wanted: String, found: Option<(f64, String)>, limit: Limit) -> Part {
    let met = found.as_ref().is_some_and(|(value, _)| limit.holds(*value));
    Part { wanted, found: found.map(|(_, text)| text), met }
}

impl Judge<'_> {
    /// The best of ours against the floor, in CPU time.
    fn against_floor(&self, cell: &str, limit: f64, what: &str) -> Part {
        let found = self.0.cell(cell).and_then(|cell| {
            let (ours, floor) = (cell.best()?, cell.floor()?);
            let ratio = |line: &Line| line.cpu_ns.median / floor.cpu_ns.median;
            Some((ratio(ours), with_default(cell, ours, ratio)))
        });
        let limit = Limit::Most(limit);
        part(format!("CPU {} x {what}", limit.text()), found, limit)
    }

    /// The best of ours against a floor or peers, in something where more is better.
    fn faster_than(
        &self,
        cell: &str,
        limit: f64,
        what: &str,
        others: impl Fn(&Line) -> bool,
        figure: fn(&Line) -> f64,
    ) -> Part {
        let most = |lines: &mut dyn Iterator<Item = &Line>| lines.map(figure).max_by(f64::total_cmp);
        let found = self.0.cell(cell).and_then(|cell| {
            let theirs = most(&mut cell.lines.iter().filter(|line| others(line)))?;
            let ours = cell.of(Side::Ours).max_by(|a, b| figure(a).total_cmp(&figure(b)))?;
            let ratio = |line: &Line| figure(line) / theirs;
            Some((ratio(ours), with_default(cell, ours, ratio)))
        });
        let limit = Limit::Least(limit);
        part(format!("{} x {what}", limit.text()), found, limit)
    }

    /// CPU time in one cell against that in another, both of ours as it is by default.
    fn variant(&self, cell: &str, base: &str) -> Part {
        let default = |name: &str| {
            let cell: &CellFindings = self.0.cell(name)?;
            cell.of(Side::Ours).next().map(|line| line.cpu_ns.median)
        };
        let found = default(cell).zip(default(base)).map(|(value, base)| {
            let ratio = value / base;
            (ratio, format!("{ratio:.2}"))
        });
        let limit = Limit::Most(1.05);
        part(format!("{cell} {} x {base}", limit.text()), found, limit)
    }

    fn least(&self, measure: &str, limit: f64, unit: &str, what: &str) -> Part {
        let found = self.0.least(measure, Side::Ours).map(|found| {
            (found.value.median, format!("{:.2} {unit} ({})", found.value.median, found.contender))
        });
        let limit = Limit::Most(limit);
        part(format!("{what} {} {unit}", limit.text()), found, limit)
    }

    /// How much longer the median round trip of a contender is than a bare tap's.
    fn round_trip(&self, contender: &str, limit: f64, what: &str) -> Part {
        let name = "latency.idle.p50";
        let bare = self.0.least(name, Side::Floor);
        let found = self.0.measure(name, contender).zip(bare).map(|(ours, bare)| {
            let more = ours.value.median - bare.value.median;
            (more, format!("+ {more:.1} us"))
        });
        part(format!("p50 ≤ bare tap + {limit} us {what}"), found, Limit::Most(limit))
    }

    fn scaling(&self) -> Part {
        let found = self
            .0
            .measures
            .iter()
            .filter(|measure| measure.name == "scaling.transmit.2-pairs")
            .max_by(|a, b| a.value.median.total_cmp(&b.value.median))
            .map(|found| (found.value.median, format!("{:.2}", found.value.median)));
        let limit = Limit::Least(1.8);
        part(format!("{} x one", limit.text()), found, limit)
    }
}

/// Every goal, judged by what was found.
pub(super) fn judge(findings: &Findings) -> Vec<Goal> {
    let judge = Judge(findings);
    let rate = |line: &Line| line.rate.median;
    let gigabits = |line: &Line| line.gigabits.median;
    let gigabits_of_cpu = |line: &Line| 1e3 / line.cpu_ns.median;
    let floor = |line: &Line| line.side == Side::Floor;
    let dpdk = |line: &Line| line.name == DPDK;
    let others = |line: &Line| line.side == Side::Peer && line.name != DPDK;
    vec![
        Goal {
            subject: "transmit 60 B, distinct flows, 1 pair",
            parts: vec![
                judge.against_floor("transmit.60.distinct", 1.0, "bare `write()`"),
                judge.faster_than("transmit.60.distinct", 1.5, "DPDK's frames/s", dpdk, rate),
                judge.faster_than("transmit.60.distinct", 2.0, "any other peer's frames/s", others, rate),
            ],
        },
        Goal {
            subject: "transmit 60 B, 1 flow UDP, coalescing",
            parts: vec![
                judge.against_floor("transmit.60.1-flow.bridge", 0.25, "bare `write()` to a bridge"),
                judge.against_floor("transmit.60.1-flow.routed", 0.25, "bare `write()`, routed"),
                judge.against_floor("transmit.60.1-flow.socket", 0.5, "bare `write()` to a local socket"),
            ],
        },
        Goal {
            subject: "transmit 1514 B UDP, 1 flow, coalescing",
            parts: vec![judge.faster_than(
                "transmit.1514.1-flow.bridge",
                3.0,
                "bare `write()` in Gbit/s",
                floor,
                gigabits,
            )],
        },
        Goal {
            subject: "receive 60 B",
            parts: vec![
                judge.against_floor("receive.60.distinct", 1.05, "bare `read()`"),
                judge.faster_than(
                    "receive.60.distinct",
                    1.0 / 0.6,
                    "frames for each second of CPU of a peer that sleeps",
                    others,
                    gigabits_of_cpu,
                ),
            ],
        },
        Goal {
            subject: "receive UDP super-frames, driver without USO",
            parts: vec![judge.against_floor(
                "receive.64k.uso.driver-without-uso",
                0.25,
                "bare `read()` for each datagram",
            )],
        },
        Goal {
            subject: "64 KiB TSO both ways",
            parts: vec![
                judge.faster_than("transmit.64k.tso", 0.95, "bare `write()`", floor, gigabits_of_cpu),
                judge.faster_than("receive.64k.tso", 0.95, "bare `read()`", floor, gigabits_of_cpu),
            ],
        },
        Goal {
            subject: "latency, idle",
            parts: vec![
                judge.round_trip("mqtap", 15.0, "without polling"),
                judge.round_trip("mqtap polling", 3.0, "with polling"),
            ],
        },
        Goal { subject: "2 pairs on 2 workers (driver side not the limit)", parts: vec![judge.scaling()] },
        Goal {
            subject: "packed against split; ring 1024 against 256; mergeable on or off",
            parts: ["transmit", "receive"]
                .into_iter()
                .flat_map(|way| {
                    ["packed.256", "split.1024", "not-mergeable"].map(|variant| {
                        judge.variant(&format!("{way}.rings.{variant}"), &format!("{way}.rings.split.256"))
                    })
                })
                .collect(),
        },
        Goal {
            subject: "idle",
            parts: vec![
                judge.least("idle.1-nic.wake-ups", 0.0, "a second", "1 NIC: wake-ups"),
                judge.least("idle.200-nics.wake-ups", 0.0, "a second", "200 NICs: wake-ups"),
                judge.least("idle.200-nics.cpu", 0.1, "% of a core", "200 NICs:"),
            ],
        },
        Goal {
            subject: "memory",
            parts: vec![
                judge.least("memory.base", 4.0, "MiB", "base"),
                judge.least("memory.pair", 64.0, "KiB", "a queue pair"),
            ],
        },
        Goal {
            subject: "set-up",
            parts: vec![
                judge.least("set-up.1-pair", 5.0, "ms", "1 pair"),
                judge.least("set-up.64-pairs", 30.0, "ms", "64 pairs"),
            ],
        },
    ]
}
