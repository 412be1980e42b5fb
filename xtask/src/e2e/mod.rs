//! Whole-system scenarios: what a user does, with the programs a user has.

mod checks;
mod dist;
mod dpdk;
mod exec;
mod guest;
mod ipvtap;
mod kill;
mod lab;
mod libvirt;
mod public;
mod qemu;
mod room;
mod vhost;

use std::time::Instant;

use crate::crate_tests::Count;
use crate::lab::Stage;
use crate::outcome::{Result, say};
use crate::serve::BackendKind;
use crate::{paths, process};

type Run = Box<dyn Fn(&Stage, &str) -> Result<()>>;

/// One scenario.
pub(crate) struct Scenario {
    /// `group.name`; `--only` takes either.
    pub(crate) name: String,
    run: Run,
    /// What it needs the rights of the machine's root for, if it does.
    needs_root: Option<&'static str>,
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
    ("ipvtap.serve", ipvtap::serve),
    ("qemu.vhost-user", qemu::vhost_user),
    ("vhost.without-module", vhost::without_module),
    ("vhost.serve", vhost::serve),
    ("vhost.dpdk-1-pair", vhost::dpdk_on_one_pair),
    ("vhost.dpdk-4-pairs", vhost::dpdk_on_four_pairs),
    ("vhost.exec", vhost::exec),
    ("vhost.exec-guest", vhost::exec_guest),
];

/// They make processes other users', and change a copy of the system.
const FOR_ROOT: &[Plain] = &[
    ("exec.unprivileged", exec::unprivileged),
    ("exec.downscript", exec::downscript),
    ("libvirt.vhost-user", libvirt::vhost_user),
    ("libvirt.ethernet", libvirt::ethernet),
    ("dist.package", dist::package),
    ("dist.service", dist::service),
];

fn all() -> Vec<Scenario> {
    let plain = |list: &'static [Plain], needs_root| {
        list.iter().map(move |(name, run)| Scenario {
            name: (*name).to_owned(),
            run: Box::new(run),
            needs_root,
        })
    };
    let dpdk = dpdk::drivers().into_iter().map(|(name, driver)| Scenario {
        name,
        needs_root: driver.hugepages.then_some("huge pages"),
        run: Box::new(move |stage, name| dpdk::run(stage, name, driver)),
    });
    plain(PLAIN, None).chain(plain(FOR_ROOT, Some("other users"))).chain(dpdk).collect()
}

/// The scenarios whose name or group is `only`, or all; those that can run on that backend.
pub(crate) fn selected(only: Option<&str>, kind: BackendKind) -> Vec<Scenario> {
    all()
        .into_iter()
        .filter(|scenario| only.is_none_or(|only| scenario.name == only || scenario.group() == only))
        .filter(|scenario| kind == BackendKind::Mqtap || !scenario.needs_daemon())
        .collect()
}

/// How many scenarios of a run may fail once. Emulated machines on a busy one sometimes stand still for longer than a guest's
/// kernel, or a program that is not ours, puts up with. Each first failure is shown as fully as a second one; more of them
/// than this are no accident.
const SECOND_TRIES: u32 = 2;

/// Runs scenarios one after the other.
pub(crate) fn run(scenarios: &[Scenario], stage: &Stage) -> Count {
    let mut count = Count::default();
    let mut second_tries = 0;
    for scenario in scenarios {
        if let Some(what) = scenario.needs_root
            && !stage.real_root
        {
            count.skipped += 1;
            say(format!("  SKIP  {:<36} needs root, for {what}", scenario.name));
            continue;
        }
        let passed = run_one(scenario, stage) || {
            second_tries += 1;
            second_tries <= SECOND_TRIES && {
                say(format!("  again {}", scenario.name));
                run_one(scenario, stage)
            }
        };
        if passed {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }
    count
}

/// Whether a scenario passes, which is said.
fn run_one(scenario: &Scenario, stage: &Stage) -> bool {
    let start = Instant::now();
    let result = (scenario.run)(stage, &scenario.name);
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        Ok(()) => say(format!("  ok    {:<36} {seconds:5.1} s", scenario.name)),
        Err(error) => {
            let error = error.to_string().replace('\n', "\n        ");
            say(format!("  FAIL  {:<36} {seconds:5.1} s\n        {error}", scenario.name));
            say(last_words(&scenario.name));
        }
    }
    result.is_ok()
}

/// The end of each log of a scenario: the machine that ran it may be gone when somebody reads this.
fn last_words(scenario: &str) -> String {
    let directory = paths::target().join("xtask-logs").join(scenario);
    let mut text = format!("        logs: {}", directory.display());
    let Ok(entries) = std::fs::read_dir(&directory) else { return text };
    for path in entries.flatten().map(|entry| entry.path()) {
        let wanted =
            path.extension().is_some_and(|kind| kind == "log" || kind == "console" || kind == "qemu");
        let content = if wanted { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        if !content.is_empty() {
            let lines = process::tail(&String::from_utf8_lossy(&content), 12).replace('\n', "\n          | ");
            text.push_str(&format!("\n        {}:\n          | {lines}", path.display()));
        }
    }
    text
}
