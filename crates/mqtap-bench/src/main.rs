//! What a frame costs at least: bare system calls on a tap, with nothing around them.
//!
//! Each mode obeys lines on stdin with lines of JSON on stdout, as `mqtap-driver load` does, so that `cargo xtask bench`
//! can run it in turn with the backends it is the floor of.

#![forbid(unsafe_code)]

mod attach;
mod count;
mod ping;
mod read;
mod relay;
mod sink;
mod talk;
mod tap;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The floors of the benchmark, its injector and its sink.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Writes numbered frames to a tap: the floor of transmit, and the injector of the bridge
    #[command(after_help = write::HELP)]
    Write(write::Options),
    /// Reads frames from a tap: the floor of receive
    #[command(after_help = read::HELP)]
    Read(read::Options),
    /// Sends echo requests to the host through a tap: the floor of a round trip
    #[command(after_help = ping::HELP)]
    Ping(ping::Options),
    /// Attaches the queues of a tap: the floor of a set-up
    #[command(after_help = attach::HELP)]
    Attach(attach::Options),
    /// Runs a hot function so and so often, for valgrind to count its instructions
    Count(count::Options),
    /// Takes numbered datagrams from a UDP socket and checks every byte
    #[command(after_help = sink::HELP)]
    Sink(sink::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().mode {
        Mode::Write(options) => write::run(&options),
        Mode::Read(options) => read::run(&options),
        Mode::Ping(options) => ping::run(&options),
        Mode::Attach(options) => attach::run(&options),
        Mode::Count(options) => count::run(&options),
        Mode::Sink(options) => sink::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtap-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
