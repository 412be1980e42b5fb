//! Whole-system scenarios: what a user does, with the programs a user has.

mod checks;
mod dpdk;
mod guest;
mod kill;

use std::time::Instant;

use crate::lab::Stage;
use crate::outcome::{Result, say};

/// One scenario.
pub(crate) struct Scenario {
    /// `group.name`; `--only` takes either.
    pub(crate) name: &'static str,
    run: fn(&Stage, &str) -> Result<()>,
}

const fn scenario(name: &'static str, run: fn(&Stage, &str) -> Result<()>) -> Scenario {
    Scenario { name, run }
}

const SCENARIOS: &[Scenario] = &[
    scenario("guest.pairs", guest::pairs),
    scenario("guest.resize", guest::resize),
    scenario("guest.resize-under-load", guest::resize_under_load),
    scenario("guest.reboot", guest::reboot),
    scenario("guest.reconnect", guest::reconnect),
    scenario("guest.tso", guest::tso),
    scenario("guest.mtu-9000", guest::mtu_9000),
    scenario("guest.queue-size-256", guest::queue_size_256),
    scenario("guest.queue-size-1024", guest::queue_size_1024),
    scenario("guest.packed", guest::packed),
    scenario("guest.packed-not-mergeable", guest::packed_not_mergeable),
    scenario("guest.not-mergeable", guest::not_mergeable),
    scenario("guest.no-guest-offloads", guest::no_guest_offloads),
    scenario("guest.no-host-offloads", guest::no_host_offloads),
    scenario("guest.plain-rings", guest::plain_rings),
    scenario("guest.one-pair", guest::one_pair),
    scenario("dpdk.matrix", dpdk::matrix),
    scenario("kill.any-moment", kill::any_moment),
    scenario("kill.deleted-tap", kill::deleted_tap),
];

/// The scenarios whose name or group is `only`; all without it.
pub(crate) fn selected(only: Option<&str>) -> Vec<&'static Scenario> {
    SCENARIOS
        .iter()
        .filter(|scenario| {
            only.is_none_or(|only| scenario.name == only || scenario.name.split('.').next() == Some(only))
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
