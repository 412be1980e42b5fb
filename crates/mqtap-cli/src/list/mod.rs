//! `mqtap list`: every tap, a line each.

use std::process::ExitCode;

use clap::Args;
use mqtap::inspect::{self, Tap};
use mqtap::{Namespace, account};
use serde_json::Value;

use crate::create::words;
use crate::output::{Align, Columns};
use crate::{exit, json};

/// List the taps of this network namespace, and who holds them.
///
/// Taps, macvtaps and ipvtaps, whoever made them. Changes nothing, and needs no privilege; of other users' processes root sees more.
/// QUEUES is how many are attached, of how many are open.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "mqtap list [OPTIONS] [NAME]...\n       mqtap list [OPTIONS] dev NAME")]
pub(crate) struct Arguments {
    /// Only these, a tun as well; that one of them is not there, or is something else, is an error [default: all taps].
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
    let names = match words::names(&arguments.words, "list") {
        Ok(names) => names,
        Err(message) => return exit::usage("list", &message),
    };
    let namespace = arguments.netns.as_ref();
    let taps = if names.is_empty() {
        inspect::list(namespace)
    } else {
        names.into_iter().map(|name| inspect::find(name, namespace)).collect()
    };
    match taps {
        Ok(taps) if arguments.json => {
            let taps: Vec<Value> = taps.iter().map(|tap| json::tap(tap).into()).collect();
            exit::print(&format!("{}\n", Value::from(taps)))
        }
        Ok(taps) => exit::print(&render(&taps)),
        Err(error) => exit::failure(&error),
    }
}

fn render(taps: &[Tap]) -> String {
    let mut columns = Columns::new([
        ("NAME", Align::Left),
        ("KIND", Align::Left),
        ("STATE", Align::Left),
        ("QUEUES", Align::Right),
        ("MTU", Align::Right),
        ("OWNER", Align::Left),
        ("MASTER", Align::Left),
        ("HELD BY", Align::Left),
    ]);
    for tap in taps {
        columns.row([
            tap.link.name.to_string(),
            tap.kind.as_str().to_owned(),
            state(tap).to_owned(),
            queues(tap),
            tap.link.mtu.to_string(),
            owner(tap),
            tap.master.as_ref().map(|master| master.name.to_string()).unwrap_or_default(),
            held_by(tap),
        ]);
    }
    if columns.is_empty() { String::new() } else { columns.render("") }
}

/// What people mean by up: carrier included.
pub(crate) fn state(tap: &Tap) -> &'static str {
    match (tap.link.up, tap.link.carrier) {
        (false, _) => "down",
        (true, false) => "no-carrier",
        (true, true) => "up",
    }
}

/// `2/4`: attached, of those that are open. The kernel does not tell for a tap without `multi_queue`.
fn queues(tap: &Tap) -> String {
    match tap.link.tun {
        Some(tun) if tun.multi_queue => format!("{}/{}", tun.attached_queues, tun.queues()),
        _ => tap.open_queues().to_string(),
    }
}

/// `alice`, `alice:kvm`, `:kvm`; empty for everybody's.
pub(crate) fn owner(tap: &Tap) -> String {
    let Some(tun) = tap.link.tun else { return String::new() };
    let user = tun.owner.map(|uid| account::user_name(uid).unwrap_or_else(|| uid.to_string()));
    let group = tun.group.map(|gid| account::group_name(gid).unwrap_or_else(|| gid.to_string()));
    match (user, group) {
        (user, None) => user.unwrap_or_default(),
        (user, Some(group)) => format!("{}:{group}", user.unwrap_or_default()),
    }
}

fn held_by(tap: &Tap) -> String {
    let mut pids: Vec<u32> = Vec::new();
    let mut names = Vec::new();
    for holder in &tap.holders {
        if !pids.contains(&holder.pid) {
            pids.push(holder.pid);
            names.push(format!("{}({})", holder.command, holder.pid));
        }
    }
    if tap.unseen_queues() > 0 {
        names.push("somebody".to_owned());
    }
    names.join(" ")
}
