//! `cargo xtask test`: everything that can be tested on this machine.

use std::process::{Command, ExitCode};

use crate::lab::Stage;
use crate::outcome::{Result, fail, say};
use crate::serve::{self, BackendKind};
use crate::{e2e, image, paths, process, setup};

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// `cargo` (all tests of the crates), one group of scenarios (guest, dpdk, kill) or one scenario (guest.pairs) only
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Who serves the guest; `qemu` checks the scenarios themselves.
    #[arg(long, value_enum, default_value = "mqtap")]
    backend: BackendKind,
}

/// The name of what `cargo test` runs.
const CARGO: &str = "cargo";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let only = arguments.only.as_deref();
    let scenarios = if only == Some(CARGO) { Vec::new() } else { e2e::selected(only, arguments.backend) };
    if scenarios.is_empty() && only != Some(CARGO) {
        return fail("no test has that name");
    }
    setup::ensure(&[setup::BASE])?;
    if only.is_none() || only == Some(CARGO) {
        crates()?;
    }
    if scenarios.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    setup::ensure(&[setup::GUEST])?;
    if arguments.backend == BackendKind::Mqtap {
        serve::build_release(&["mqtap-cli"])?;
    }
    let stage = Stage { kind: arguments.backend, image: Some(image::build()?) };
    let (passed, failed) = e2e::run(&scenarios, &stage);
    say(format!("\n{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests of the crates, and those of the tap crate as another operating system has it.
fn crates() -> Result<()> {
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    process::show(cargo().current_dir(paths::root()).args(["test", "--workspace", "--quiet"]))?;
    say("the tap crate on another operating system:");
    let mut other = cargo();
    other.current_dir(paths::root()).args([
        "test",
        "--quiet",
        "--package",
        "mqtap",
        "--lib",
        "--test",
        "other_os",
    ]);
    // Flags of its own want a build directory of its own.
    other.env("RUSTFLAGS", "--cfg mqtap_other_os").env("CARGO_TARGET_DIR", paths::target().join("other-os"));
    process::show(&mut other)
}
