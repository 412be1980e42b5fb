//! Exit statuses, and the words that go with them.

use std::fmt::Display;
use std::process::ExitCode;

use mqtap::link::describe;
use rustix::io::Errno;

/// Wrong usage, as clap uses it.
const USAGE: u8 = 2;

/// Says what is wrong with the arguments of a subcommand.
pub(crate) fn usage(subcommand: &str, message: &impl Display) -> ExitCode {
    eprintln!("error: {message}\n\nFor more information, try 'mqtap {subcommand} --help'.");
    ExitCode::from(USAGE)
}

/// Prints the answer.
pub(crate) fn print(text: &str) -> ExitCode {
    match crate::output::print(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failure(&format!("cannot print: {}", reason(&error))),
    }
}

/// Prints what was done, and if that is not possible, says in few words that it was done all the same.
pub(crate) fn print_done(text: &str, done: &impl Display) -> ExitCode {
    match crate::output::print(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failure(&format!("{done}, but cannot print that: {}", reason(&error))),
    }
}

fn reason(error: &std::io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), describe)
}

/// Says what failed.
pub(crate) fn failure(error: &impl Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
