//! `mqtap queues`: the state of each queue of a tap, once or again and again.

mod daemon;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
pub(crate) use daemon::Daemon;
use mqtap::Namespace;
use mqtap::inspect::{self, Holder, Tap};
use serde_json::{Value, json};

use crate::create::words;
use crate::output::{Align, Columns};
use crate::{exit, json as objects, output, seconds};

/// Show each queue of a tap: who holds it, whether it is attached, and what passed it.
///
/// Of a tap that `mqtap serve` holds, the daemon's counters are shown too, for each queue pair. The kernel itself counts by queue only
/// under the qdisc mq, and only what goes to the guest.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "mqtap queues [OPTIONS] [dev] NAME")]
pub(crate) struct Arguments {
    /// The tap.
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    words: Vec<String>,

    /// Look again and again, every second or as many as are given, until interrupted or the tap is gone.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds::some)]
    watch: Option<Duration>,

    /// In this network namespace: a name (see `ip netns`), a path, or the number of a process.
    #[arg(long, value_name = "NAME|PATH|PID")]
    netns: Option<Namespace>,

    /// Print JSON, one line for each look (see docs/json.md).
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let name = match words::name(&arguments.words, "queues") {
        Ok(name) => name,
        Err(message) => return exit::usage("queues", &message),
    };
    let mut is_first = true;
    loop {
        let tap = match inspect::find(name, arguments.netns.as_ref()) {
            Ok(tap) => tap,
            Err(error) => return exit::failure(&error),
        };
        let daemons = Daemon::of(&tap);
        let mut text = if arguments.json { as_json(&tap, &daemons) } else { render(&tap, &daemons) };
        if !arguments.json && !is_first {
            text.insert(0, '\n');
        }
        is_first = false;
        match (output::print(&text), arguments.watch) {
            (Ok(output::Printed::All), Some(interval)) => std::thread::sleep(interval),
            (Ok(_), _) => return ExitCode::SUCCESS,
            (Err(error), _) => return exit::unprinted(&error),
        }
    }
}

fn as_json(tap: &Tap, daemons: &[Daemon]) -> String {
    let mut object = objects::tap(tap);
    let mut line = json!({ "daemons": daemons.iter().map(Daemon::json).collect::<Vec<Value>>() });
    for key in ["ifname", "ifindex", "holders", "tx_queues", "unseen_queues"] {
        line[key] = object.remove(key).unwrap_or_default();
    }
    if let Some(tun) = tap.link.tun.filter(|tun| tun.multi_queue) {
        line["numqueues"] = tun.attached_queues.into();
        line["numdisabled"] = tun.detached_queues.into();
    }
    format!("{line}\n")
}

fn render(tap: &Tap, daemons: &[Daemon]) -> String {
    let mut text = format!("{}: {}\n", output::harmless(tap.link.name.as_str()), summary(tap));
    let holders = holders(tap);
    if !holders.is_empty() {
        text.push_str(&holders.render("  "));
    }
    let queues = transmit_queues(tap);
    if !queues.is_empty() {
        text.push_str("\ntransmit queues of the kernel (qdisc mq)\n");
        text.push_str(&queues.render("  "));
    }
    for daemon in daemons {
        text.push('\n');
        text.push_str(&daemon.render());
    }
    text
}

fn summary(tap: &Tap) -> String {
    match tap.link.tun {
        Some(tun) if tun.multi_queue => {
            format!("{} queues attached, {} detached", tun.attached_queues, tun.detached_queues)
        }
        _ => format!("{} queues open", tap.open_queues()),
    }
}

/// A line for each descriptor of a queue.
pub(crate) fn holders(tap: &Tap) -> Columns {
    let mut columns = Columns::new([
        ("PID", Align::Right),
        ("FD", Align::Right),
        ("QUEUE", Align::Left),
        ("MODE", Align::Left),
        ("NOTES", Align::Left),
        ("COMMAND", Align::Left),
        ("UNIT", Align::Left),
    ]);
    for holder in &tap.holders {
        columns.row([
            holder.pid.to_string(),
            holder.fd.to_string(),
            state(holder).to_owned(),
            if holder.blocking { "blocking" } else { "nonblock" }.to_owned(),
            notes(holder, tap),
            holder.command.clone(),
            holder.unit.clone().unwrap_or_default(),
        ]);
    }
    columns
}

fn state(holder: &Holder) -> &'static str {
    match holder.queue {
        Ok(queue) if queue.attached => "attached",
        Ok(_) => "detached",
        Err(_) => "hidden",
    }
}

fn notes(holder: &Holder, tap: &Tap) -> String {
    let mut notes = Vec::new();
    if let Some((pid, fd)) = holder.same_as {
        notes.push(if pid == holder.pid { format!("same as {fd}") } else { format!("same as {pid}:{fd}") });
    }
    if let Ok(queue) = holder.queue {
        if queue.has_frames {
            notes.push("frames wait".to_owned());
        }
        if let Some(bytes) = queue.send_buffer.filter(|&bytes| bytes < i32::MAX) {
            notes.push(format!("sndbuf {bytes}"));
        }
    }
    for (is_so, note) in
        [(holder.stopped, "stopped"), (holder.io_uring, "io_uring"), (holder.vhost_net, "vhost")]
    {
        if is_so {
            notes.push(note.to_owned());
        }
    }
    if let Some(namespace) = holder.namespace.filter(|&namespace| Some(namespace) != tap.namespace) {
        notes.push(format!("netns {}", namespace.name().unwrap_or_else(|| namespace.inode().to_string())));
    }
    notes.join(", ")
}

/// What the kernel counts by queue, which is under the qdisc `mq` only.
pub(crate) fn transmit_queues(tap: &Tap) -> Columns {
    let mut columns = Columns::new([
        ("QUEUE", Align::Right),
        ("FRAMES", Align::Right),
        ("BYTES", Align::Right),
        ("DROPPED", Align::Right),
        ("WAITING", Align::Right),
    ]);
    for queue in &tap.queue_counters {
        columns.row([
            queue.queue.to_string(),
            queue.frames.to_string(),
            queue.bytes.to_string(),
            queue.dropped.to_string(),
            queue.waiting.to_string(),
        ]);
    }
    columns
}
