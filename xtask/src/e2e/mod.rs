//! Whole-system scenarios: what a user does, with the programs a user has.

mod guest;

use std::time::Instant;

use crate::lab::Stage;
use crate::outcome::{Result, say};

/// One scenario.
pub(crate) struct Scenario {
    /// `group.name`; `--only` takes either.
    pub(crate) name: &'static str,
    run: fn(&Stage, &str) -> Result<()>,
}

const SCENARIOS: &[Scenario] = &[Scenario {
    name: "guest.boots",
    run: guest::boots,
}];

/// The scenarios whose name or group is `only`; all without it.
pub(crate) fn selected(only: Option<&str>) -> Vec<&'static Scenario> {
    SCENARIOS
        .iter()
        .filter(|scenario| {
            only.is_none_or(|only| {
                scenario.name == only || scenario.name.split('.').next() == Some(only)
            })
        })
        .collect()
}

/// Runs scenarios one after the other; returns how many passed and failed.
pub(crate) fn run(scenarios: &[&Scenario], stage: &Stage) -> (u32, u32) {
    let (mut passed, mut failed) = (0, 0);
    for scenario in scenarios {
        let start = Instant::now();
        let result = (scenario.run)(stage, scenario.name);
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                say(format!("  ok    {:<28} {seconds:5.1} s", scenario.name));
            }
            Err(error) => {
                failed += 1;
                say(format!(
                    "  FAIL  {:<28} {seconds:5.1} s\n        {}",
                    scenario.name,
                    error.to_string().replace('\n', "\n        ")
                ));
            }
        }
    }
    (passed, failed)
}
