//! Development tasks of mqtap: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod agent;
mod counters;
mod cpio;
mod e2e;
mod image;
mod lab;
mod netns;
mod outcome;
mod paths;
mod process;
mod qemu;
mod serve;
mod setup;
mod test;
mod traffic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for working on mqtap.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test, or one group, setting up what it needs.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
