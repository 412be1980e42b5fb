//! `mqtap show`: all there is to know of one tap.

mod text;

use std::process::ExitCode;

use clap::Args;
use mqtap::Namespace;
use mqtap::inspect::{self, Tap};
use serde_json::Value;

use crate::create::words;
use crate::queues::Daemon;
use crate::{exit, json};

/// Show all there is to know of a tap: settings, counters, queues, and who holds them.
///
/// Any tap, macvtap or ipvtap, whoever made it. Changes nothing, and needs no privilege. What only a queue can tell (the length of
/// the virtio-net header, the state of each queue) is shown if this user may look into the process that holds it: root may.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "mqtap show [OPTIONS] [dev] NAME")]
pub(crate) struct Arguments {
    /// The tap.
    #[arg(value_name = "NAME")]
    words: Vec<String>,

    /// In this network namespace: a name (see `ip netns`), a path, or the number of a process.
    #[arg(long, value_name = "NAME|PATH|PID")]
    netns: Option<Namespace>,

    /// Print JSON, with the keys of `ip -json -details -statistics link` (see docs/json.md).
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    if arguments.words.is_empty() {
        // `ip tuntap show` shows all.
        return exit::usage("show", &"NAME says which tap; `mqtap list` lists all");
    }
    let name = match words::name(&arguments.words, "show") {
        Ok(name) => name,
        Err(message) => return exit::usage("show", &message),
    };
    let tap = match inspect::find(name, arguments.netns.as_ref()) {
        Ok(tap) => tap,
        Err(error) => return exit::failure(&error),
    };
    let daemons = Daemon::of(&tap);
    exit::print(&if arguments.json { as_json(&tap, &daemons) } else { text::render(&tap, &daemons) })
}

fn as_json(tap: &Tap, daemons: &[Daemon]) -> String {
    let mut object = json::tap(tap);
    object.insert("daemons".to_owned(), daemons.iter().map(Daemon::json).collect());
    format!("{}\n", Value::from(vec![Value::from(object)]))
}
