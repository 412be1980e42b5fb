//! `cargo xtask soak`: what is quick to break, again and again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::lab::Stage;
use crate::outcome::{Result, say};
use crate::serve::{self, BackendKind};
use crate::{e2e, image, setup};

/// How long to go on.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes after which no further round begins
    #[arg(long, default_value_t = 30, value_name = "N")]
    minutes: u64,
}

/// Scenarios with timing in them.
const SCENARIOS: [&str; 4] =
    ["guest.resize-under-load", "guest.reconnect", "kill.any-moment", "kill.deleted-tap"];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(&[setup::BASE, setup::GUEST])?;
    serve::build_release(&["mqtap-cli"])?;
    let stage = Stage { kind: BackendKind::Mqtap, image: Some(image::build()?) };
    let scenarios: Vec<_> =
        SCENARIOS.iter().flat_map(|name| e2e::selected(Some(name), BackendKind::Mqtap)).collect();
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    let (mut passed, mut failed) = (0, 0);
    while failed == 0 && Instant::now() < end {
        let (good, bad) = e2e::run(&scenarios, &stage);
        passed += good;
        failed += bad;
    }
    say(format!("\n{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
