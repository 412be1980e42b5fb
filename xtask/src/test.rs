//! `cargo xtask test`: everything that can be tested on this machine.

use std::process::{Command, ExitCode, Stdio};

use crate::crate_tests::{self, Count};
use crate::lab::Stage;
use crate::outcome::{Context as _, Result, fail, say};
use crate::serve::{self, BackendKind};
use crate::{e2e, image, setup};

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// `cargo` (the tests of the crates), one group of scenarios (guest, dpdk, kill, ipvtap, exec, qemu, libvirt,
    /// dist, vhost) or one scenario
    /// (guest.pairs) only
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Who serves the guest; `qemu` checks the scenarios themselves
    #[arg(long, value_enum, default_value = "mqtap")]
    backend: BackendKind,
    /// Print the names of the scenarios and end
    #[arg(long)]
    list: bool,
    /// Everything is installed and built; the task calls itself with this in a user namespace
    #[arg(long, hide = true)]
    prepared: bool,
}

/// The name of what `cargo test` runs.
const CARGO: &str = "cargo";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let only = arguments.only.as_deref();
    let scenarios = if only == Some(CARGO) { Vec::new() } else { e2e::selected(only, arguments.backend) };
    if arguments.list {
        for scenario in &scenarios {
            say(&scenario.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if scenarios.is_empty() && only != Some(CARGO) {
        return fail("no test has that name; `cargo xtask test --list` names them");
    }

    let mut count = Count::default();
    if !arguments.prepared {
        setup::ensure(&[setup::BASE])?;
        if only.is_none() || only == Some(CARGO) {
            setup::ensure(&[setup::CRATE_TESTS])?;
        }
        if !scenarios.is_empty() {
            // Before an hour of tests, not after it.
            setup::ensure(&[setup::GUEST])?;
            image::build()?;
        }
        if only.is_none() || only == Some(CARGO) {
            count += crate_tests::run()?;
        }
        if !scenarios.is_empty() && arguments.backend == BackendKind::Mqtap {
            say("\nbuilding the daemon and the driver (release)");
            serve::build_release(&["mqtap-cli", "mqtap-driver"])?;
        }
    }
    if !scenarios.is_empty() {
        if setup::is_root() {
            say(format!("\n{} scenarios:", scenarios.len()));
            let stage = Stage {
                kind: arguments.backend,
                image: Some(image::build()?),
                real_root: !arguments.prepared,
            };
            count += e2e::run(&scenarios, &stage);
        } else {
            count += in_user_namespace(arguments)?;
        }
    }
    count.say();
    Ok(if count.bad() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is not root becomes so in a namespace, in which network namespaces and taps can be made.
fn in_user_namespace(arguments: &Arguments) -> Result<Count> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--"]).arg(std::env::current_exe()?);
    command.args(["test", "--prepared"]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| "cannot start `unshare`".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout);
    say(text.trim_end());
    let last = text.lines().last().unwrap_or_default();
    let number = |name: &str| last.split(", ").find_map(|part| part.strip_suffix(name)?.trim().parse().ok());
    match (number("passed"), number("failed")) {
        (Some(passed), Some(failed)) => Ok(Count { passed, failed, skipped: 0 }),
        _ => fail("the scenarios did not run; without user namespaces they need root"),
    }
}
