//! Development tasks of mqtap: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod agent;
mod bench;
mod counters;
mod cpio;
mod crate_tests;
mod demo;
mod dist;
mod e2e;
mod fuzz;
mod image;
mod lab;
mod netns;
mod outcome;
mod page;
mod paths;
mod process;
mod qemu;
mod serve;
mod setup;
mod soak;
mod test;
mod testpmd;
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
    /// Show a multiqueue NIC at work, setting up what it needs
    Demo(demo::Arguments),
    /// Run every test, or one group, setting up what it needs
    Test(test::Arguments),
    /// Measure what a frame costs, beside bare system calls and other backends
    Bench(bench::Arguments),
    /// Run the fuzz targets
    Fuzz(fuzz::Arguments),
    /// Make man pages, shell completions and a Debian package
    Dist(dist::Arguments),
    /// Repeat the scenarios that kill and resize, for as long as you like
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
