//! Whole-system scenarios: what a user does, with the programs a user has.

mod checks;
mod dpdk;
mod guest;
mod kill;

use std::time::Instant;

use crate::lab::Stage;
use crate::outcome::{Result, say};
use crate::serve::BackendKind;

type Run = Box<dyn Fn(&Stage, &str) -> Result<()>>;

/// One scenario.
pub(crate) struct Scenario {
    /// `group.name`; `--only` takes either.
    pub(crate) name: String,
    run: Run,
}

impl Scenario {
    fn group(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// True for a scenario about vhost-user, which QEMU's own backend has no part in.
    fn needs_daemon(&self) -> bool {
        self.group() != "guest"
    }
}

type Plain = (&'static str, fn(&Stage, &str) -> Result<()>);

const PLAIN: &[Plain] = &[
    ("guest.pairs", guest::pairs),
    ("guest.resize", guest::resize),
    ("guest.resize-under-load", guest::resize_under_load),
    ("guest.reboot", guest::reboot),
    ("guest.reconnect", guest::reconnect),
    ("guest.tso", guest::tso),
    ("guest.mtu-9000", guest::mtu_9000),
    ("guest.queue-size-256", guest::queue_size_256),
    ("guest.queue-size-1024", guest::queue_size_1024),
    ("guest.packed", guest::packed),
    ("guest.packed-not-mergeable", guest::packed_not_mergeable),
    ("guest.not-mergeable", guest::not_mergeable),
    ("guest.no-guest-offloads", guest::no_guest_offloads),
    ("guest.no-host-offloads", guest::no_host_offloads),
    ("guest.plain-rings", guest::plain_rings),
    ("guest.one-pair", guest::one_pair),
    ("kill.any-moment", kill::any_moment),
    ("kill.deleted-tap", kill::deleted_tap),
    ("kill.deleted-only-tap", kill::deleted_only_tap),
    ("kill.terminated", kill::terminated),
];

fn all() -> Vec<Scenario> {
    let plain = PLAIN.iter().map(|(name, run)| Scenario { name: (*name).to_owned(), run: Box::new(run) });
    let dpdk = dpdk::drivers().into_iter().map(|(name, driver)| Scenario {
        name,
        run: Box::new(move |stage, name| dpdk::run(stage, name, driver)),
    });
    plain.chain(dpdk).collect()
}

/// The scenarios whose name or group is `only`, or all; those that can run on that backend.
pub(crate) fn selected(only: Option<&str>, kind: BackendKind) -> Vec<Scenario> {
    all()
        .into_iter()
        .filter(|scenario| only.is_none_or(|only| scenario.name == only || scenario.group() == only))
        .filter(|scenario| kind == BackendKind::Mqtap || !scenario.needs_daemon())
        .collect()
}

/// Runs scenarios one after the other; returns how many passed and failed.
pub(crate) fn run(scenarios: &[Scenario], stage: &Stage) -> (u32, u32) {
    let (mut passed, mut failed) = (0, 0);
    for scenario in scenarios {
        let start = Instant::now();
        let result = (scenario.run)(stage, &scenario.name);
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                say(format!("  ok    {:<36} {seconds:5.1} s", scenario.name));
            }
            Err(error) => {
                failed += 1;
                say(format!(
                    "  FAIL  {:<36} {seconds:5.1} s\n        {}",
                    scenario.name,
                    error.to_string().replace('\n', "\n        ")
                ));
            }
        }
    }
    (passed, failed)
}
