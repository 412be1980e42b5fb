//! Exit statuses, and the words that go with them.

use std::fmt::Display;
use std::process::ExitCode;

use mqtap::Namespace;
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
        Err(error) => unprinted(&error),
    }
}

/// Says why an answer could not be printed.
pub(crate) fn unprinted(error: &std::io::Error) -> ExitCode {
    failure(&format!("cannot print: {}", reason(error)))
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

/// An error about something in another network namespace, the commands of which are for there.
pub(crate) fn there(namespace: Option<&Namespace>, error: &impl Display) -> String {
    let text = error.to_string();
    let has_commands = ["`mqtap ", "`ip "].iter().any(|command| text.contains(command));
    match namespace {
        // One that names the namespace has it in its commands.
        Some(namespace) if has_commands && !text.contains("netns") => {
            format!("{text}; it is in another network namespace: begin commands with `{}`", namespace.entry())
        }
        _ => text,
    }
}

/// Says what failed.
pub(crate) fn failure(error: &impl Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_for_where_the_thing_is() {
        let blue = Namespace::Name("blue".to_owned());
        let error = "cannot make tap0: it exists; delete it with `mqtap delete tap0`";
        assert_eq!(there(None, &error), error);
        assert!(there(Some(&blue), &error).ends_with("begin commands with `ip netns exec blue`"));
        for error in ["tap0 is gone", "cannot enter blue: ENOENT; `ip netns` lists those with a name"] {
            assert_eq!(there(Some(&blue), &error), error);
        }
    }
}
