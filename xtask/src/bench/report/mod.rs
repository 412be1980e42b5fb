//! `docs/benchmarks.md` and its charts.

mod charts;
mod goals;
mod markdown;
mod same_work;
mod svg;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::model::Findings;
use crate::outcome::{Context as _, Result, say};
use crate::paths;

pub(super) use goals::{DPDK, OPEN_VSWITCH};

/// Writes the report and its charts into the checkout.
pub(super) fn write(findings: &Findings) -> Result<()> {
    let docs = paths::root().join("docs");
    let directory = docs.join("benchmarks");
    std::fs::create_dir_all(&directory).context(|| format!("cannot create {}", directory.display()))?;
    let charts = charts::all(findings);
    for named in &charts {
        put(&directory.join(format!("{}.svg", named.name)), &named.chart.render())?;
    }
    let notes = std::fs::read_to_string(docs.join("benchmarks-notes.md")).unwrap_or_default();
    let goals = goals::judge(findings);
    let parts = markdown::Parts { findings, goals: &goals, charts: &charts, notes: &notes };
    put(&docs.join("benchmarks.md"), &markdown::render(&parts))?;
    say("written: docs/benchmarks.md");
    Ok(())
}

/// The goals, for the terminal.
pub(super) fn say_goals(findings: &Findings) {
    say("\ngoals:");
    for goal in goals::judge(findings) {
        for part in goal.parts {
            let (found, verdict) = match &part.found {
                None => continue,
                Some(found) => (found, if part.met { "met" } else { "NOT MET" }),
            };
            say(format!("    {:<8} {}: {}: {found}", verdict, goal.subject, part.wanted));
        }
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).context(|| format!("cannot write {}", path.display()))
}
