//! `cargo xtask test`: everything that can be tested on this machine.

use std::process::ExitCode;

use crate::lab::Stage;
use crate::outcome::{Result, fail, say};
use crate::serve::{self, BackendKind};
use crate::{e2e, image, setup};

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One group (guest) or one scenario (guest.boots) only.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Who serves the guest; `qemu` checks the scenarios themselves.
    #[arg(long, value_enum, default_value = "mqtap")]
    backend: BackendKind,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let scenarios = e2e::selected(arguments.only.as_deref());
    if scenarios.is_empty() {
        return fail("no test has that name");
    }
    setup::ensure(&[setup::BASE, setup::GUEST, setup::DPDK])?;
    if arguments.backend == BackendKind::Mqtap {
        serve::build_release(&["mqtap-cli"])?;
    }
    let stage = Stage { kind: arguments.backend, image: Some(image::build()?) };
    let (passed, failed) = e2e::run(&scenarios, &stage);
    say(format!("\n{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
