//! `cargo xtask soak`: what is quick to break, again and again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::crate_tests::Count;
use crate::lab::Stage;
use crate::outcome::{Result, fail};
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
    if !setup::is_root() {
        return fail("this needs root");
    }
    setup::ensure(&[setup::BASE, setup::GUEST])?;
    serve::build_release(&["mqtap-cli"])?;
    let stage = Stage { kind: BackendKind::Mqtap, image: Some(image::build()?), real_root: false };
    let scenarios: Vec<_> =
        SCENARIOS.iter().flat_map(|name| e2e::selected(Some(name), BackendKind::Mqtap)).collect();
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    let mut count = Count::default();
    while count.failed == 0 && Instant::now() < end {
        count += e2e::run(&scenarios, &stage);
    }
    count.say();
    Ok(if count.bad() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
