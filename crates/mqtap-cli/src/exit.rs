//! Exit statuses, and the words that go with them.

use std::fmt::Display;
use std::process::ExitCode;

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
        Err(error) => failure(&format!("cannot print: {error}")),
    }
}

/// Says what failed.
pub(crate) fn failure(error: &impl Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
