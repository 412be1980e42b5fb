use super::super::model::{CellFindings, Findings, Line, Machine, Measure, Side, Skipped};
use super::super::sample::Figure;
use super::{charts, goals, markdown};

fn line(name: &str, side: Side, cpu_ns: f64) -> Line {
    let figure = |value: f64| Figure { median: value, least: value * 0.9, most: value * 1.1 };
    Line {
        name: name.to_owned(),
        side,
        cpu_ns: figure(cpu_ns),
        rate: figure(1e9 / cpu_ns),
        gigabits: figure(480.0 / cpu_ns),
        notifications: figure(0.001),
        system_calls: Some(0.5),
    }
}

fn findings() -> Findings {
    let cell = |name: &str, lines: Vec<Line>| CellFindings {
        name: name.to_owned(),
        frames: "udp,size=60".to_owned(),
        way: "bridge to a veth".to_owned(),
        driver: "1 queue pair".to_owned(),
        lines,
    };
    let measure = |name: &str, contender: &str, side, value: f64| Measure {
        name: name.to_owned(),
        contender: contender.to_owned(),
        side,
        unit: "us".to_owned(),
        value: Figure::of([value]),
    };
    Findings {
        machine: Machine { cpu: "A CPU".to_owned(), ..Machine::default() },
        cells: vec![
            cell(
                "transmit.60.distinct",
                vec![
                    line("write", Side::Floor, 400.0),
                    line("write across CPUs", Side::Floor, 500.0),
                    line("mqtap", Side::Ours, 440.0),
                    line("mqtap engine=syscall", Side::Ours, 401.0),
                    line(goals::DPDK, Side::Peer, 800.0),
                ],
            ),
            cell(
                "transmit.60.1-flow.bridge",
                vec![line("write", Side::Floor, 900.0), line("mqtap", Side::Ours, 90.0)],
            ),
            cell("transmit.rings.split.256", vec![line("mqtap", Side::Ours, 100.0)]),
            cell("transmit.rings.packed.256", vec![line("mqtap", Side::Ours, 120.0)]),
        ],
        measures: vec![
            measure("latency.idle.p50", "bare tap", Side::Floor, 2.0),
            measure("latency.idle.p50", "mqtap", Side::Ours, 19.5),
            measure("latency.idle.p50", "mqtap polling", Side::Ours, 4.0),
        ],
        skipped: vec![Skipped { name: "a peer".to_owned(), why: "it is not there".to_owned() }],
        ..Findings::default()
    }
}

/// What was found for the n-th part of a goal, and whether that meets it.
fn verdict(subject: &str, part: usize) -> (Option<String>, bool) {
    let goals = goals::judge(&findings());
    let goal = goals.iter().find(|goal| goal.subject.starts_with(subject)).unwrap();
    (goal.parts[part].found.clone(), goal.parts[part].met)
}

#[test]
fn the_best_of_ours_is_judged_and_the_default_is_not_hidden() {
    let (found, met) = verdict("transmit 60 B, distinct", 0);
    assert_eq!(found.unwrap(), "1.00 (mqtap engine=syscall); 1.10 as it is by default");
    assert!(met, "a goal of 1.00 is met by 1.0025, which is shown as 1.00");
    assert_eq!(verdict("transmit 60 B, distinct", 1).0.unwrap().get(..4), Some("2.00"));
    assert_eq!(verdict("transmit 60 B, 1 flow", 0), (Some("0.10 (mqtap)".to_owned()), true));
}

#[test]
fn what_was_not_measured_is_neither_met_nor_missed() {
    assert_eq!(verdict("transmit 60 B, distinct", 2), (None, false));
    assert_eq!(verdict("memory", 0), (None, false));
    let text = render();
    assert!(text.contains("|  | ≥ 2.00 x any other peer's frames/s | not measured |  |"), "{text}");
}

#[test]
fn differences_and_variants_are_judged() {
    assert_eq!(verdict("latency", 0), (Some("+ 17.5 us".to_owned()), false));
    assert_eq!(verdict("latency", 1), (Some("+ 2.0 us".to_owned()), true));
    assert_eq!(verdict("packed against split", 0), (Some("1.20".to_owned()), false));
}

fn render() -> String {
    render_of(&findings())
}

fn render_of(findings: &Findings) -> String {
    let (goals, charts) = (goals::judge(findings), charts::all(findings));
    markdown::render(&markdown::Parts { findings, goals: &goals, charts: &charts, notes: "## Kept\n\nThis." })
}

#[test]
fn the_report_has_everything_that_was_found() {
    let text = render();
    for part in [
        "## Goals",
        "![What a frame of 60 bytes costs](benchmarks/small-frames.svg)",
        "## Kept\n\nThis.",
        "### `transmit.60.distinct`",
        "| bare write() across CPUs | 500 (450-550) | 1.25 |",
        "| **mqtap** | 440 (396-484) | 1.10 |",
        "## Transmit: layouts of the rings",
        "| `transmit.60.distinct` | bare write() across CPUs: the driver's CPU has just made the frames | 500 ns | 440 ns | 0.88 |",
        "| packed.256 | 120 (108-132) | 1.20 |",
        "| `latency.idle.p50` | mqtap polling | 4.00 |",
        "* a peer: it is not there",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn what_is_written_as_json_is_read_back() {
    let text = serde_json::to_string(&findings()).unwrap();
    let back: Findings = serde_json::from_str(&text).unwrap();
    assert_eq!(render_of(&back), render());
}
