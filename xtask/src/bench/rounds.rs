//! A cell from beginning to end: everybody checked, then measured in turn.

use super::Arguments;
use super::cells::Cell;
use super::contender::Contender;
use super::model::{CellFindings, Line};
use super::run::{self, Length};
use super::sample::{Figure, Sample};
use super::world::Cpus;
use crate::outcome::{Result, failure};
use crate::paths;

/// How long everything is measured.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) repetitions: usize,
    pub(super) length: Length,
    pub(super) system_calls: bool,
}

impl Plan {
    pub(super) fn of(arguments: &Arguments) -> Self {
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

/// Measures a cell.
pub(super) fn measure(cell: &Cell, plan: Plan, cpus: Cpus) -> Result<CellFindings> {
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
