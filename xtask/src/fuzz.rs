//! `cargo xtask fuzz`: cargo-fuzz over its targets, one after the other.

use std::process::{Command, ExitCode};

use crate::outcome::{Result, fail, say};
use crate::{paths, process};

const TARGETS: [&str; 4] = ["netdev_options", "vhost_user_messages", "split_ring", "packed_ring"];

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
    /// Targets; all of them if none is given
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure_cargo_fuzz()?;
    let targets: Vec<&str> = if arguments.targets.is_empty() {
        TARGETS.to_vec()
    } else {
        arguments.targets.iter().map(String::as_str).collect()
    };
    for target in targets {
        say(format!("{target}: {} s", arguments.seconds));
        let mut command = cargo();
        command.args(["fuzz", "run", target, "--"]);
        command.arg(format!("-max_total_time={}", arguments.seconds)).args([
            "-max_len=4096",
            "-print_final_stats=1",
            "-verbosity=0",
        ]);
        let dictionary = paths::root().join("fuzz/dictionaries").join(format!("{target}.dict"));
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        process::show(&mut command)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The sanitizers need a nightly compiler; where there is none, the stable one is told to pass for it.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root()).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if nightly.is_ok_and(|output| output.status.success()) {
        command.arg("+nightly");
    } else {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

fn ensure_cargo_fuzz() -> Result<()> {
    let have = Command::new("cargo").args(["fuzz", "--version"]).output();
    if have.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    say("installing cargo-fuzz");
    let mut install = Command::new("cargo");
    process::show(install.args(["install", "--locked", "--quiet", "cargo-fuzz"]))
        .or_else(|error| fail(format!("{error}; install it by hand: cargo install cargo-fuzz")))
}
