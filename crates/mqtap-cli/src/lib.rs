//! The `mqtap` command: what `main` runs, and its definition, from which man pages and shell completions are made.
#![forbid(unsafe_code)]
// `println!` panics where nobody reads what is printed, or the disk is full: see `output::print`.
#![deny(clippy::print_stdout)]

mod create;
mod delete;
mod descriptors;
mod doctor;
mod exec;
mod exit;
mod features;
mod guest_mac;
mod helper;
mod json;
mod list;
mod mac;
mod output;
mod per_nic;
mod queues;
mod seconds;
mod serve;
mod show;
mod status;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mqtap::helper::Privilege;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Multiqueue TAP devices for virtual machines.
///
/// Gives a virtual machine a network card with as many queues as it has CPUs, on a Linux multiqueue TAP device: served over
/// vhost-user, or as open file descriptors that the VMM inherits. Either way it needs no privilege and no /dev/net/tun.
#[derive(Debug, Parser)]
#[command(name = "mqtap", version, max_term_width = 110)]
#[command(after_help = "\
Exit status: 0 done, 1 failed, 2 wrong usage.

Environment:
  RUST_LOG sets what is logged to standard error: error, warn, info (the
  default), debug or trace; or a list, such as warn,mqtap_virtio=debug.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Exec(exec::Arguments),
    #[command(visible_alias = "add")]
    Create(create::Arguments),
    #[command(visible_alias = "del")]
    Delete(delete::Arguments),
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    Show(show::Arguments),
    Queues(queues::Arguments),
    Doctor(doctor::Arguments),
    Features(features::Arguments),
    Helper(helper::Arguments),
}

/// What ends a subcommand: all that is done with it is to print it.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can be typed, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the arguments of this process say, and returns its exit status.
#[must_use]
pub fn run() -> ExitCode {
    let privilege = match put_privilege_aside() {
        Ok(privilege) => privilege,
        Err(error) => return exit::failure(&error),
    };
    let arguments = std::env::args_os().skip(1);
    if let Some(arguments) = exec::stage::arguments(arguments) {
        return exec::stage::main(arguments);
    }
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // The environment is no business of a process with privileges.
    let wanted = if privilege.is_some() { None } else { std::env::var("RUST_LOG").ok() };
    let filter = wanted
        .and_then(|wanted| wanted.parse::<Targets>().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    match cli.command {
        Command::Serve(mut arguments) => {
            arguments.order =
                matches.subcommand().map(|(_, serve)| serve::endpoints_in_order(serve)).unwrap_or_default();
            serve::main(&arguments)
        }
        Command::Exec(arguments) => exec::main(&arguments),
        Command::Create(arguments) => create::main(&arguments),
        Command::Delete(arguments) => delete::main(&arguments),
        Command::List(arguments) => list::main(&arguments),
        Command::Show(arguments) => show::main(&arguments),
        Command::Queues(arguments) => queues::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
        Command::Features(arguments) => features::main(&arguments),
        Command::Helper(arguments) => match privilege {
            Some(privilege) => helper::main(arguments, privilege),
            // It comes first among the arguments, or not at all.
            None => exit::usage("helper", &"`helper` must be the first argument"),
        },
    }
}

/// Before anything else: privileges that come from the program's file are for the helper, and not in force for it yet. For any
/// other command they are gone.
fn put_privilege_aside() -> Result<Option<Privilege>, mqtap::helper::Error> {
    if helper::is_meant(std::env::args_os().skip(1)) {
        return Privilege::restrain().map(Some);
    }
    if mqtap::helper::is_elevated() {
        mqtap::helper::renounce()?;
    }
    Ok(None)
}
