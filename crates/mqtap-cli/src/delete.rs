//! `mqtap delete`: a tap goes, and nothing else.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use mqtap::Namespace;
use mqtap::create::{Error, delete};
use serde_json::json;

use crate::create::words;
use crate::exit;

/// Delete a tap.
///
/// Works for taps with and without multi_queue alike, and fails if there is no such interface or it is not a tap. Whoever has the
/// tap open loses it.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "mqtap delete [OPTIONS] NAME\n       mqtap delete [OPTIONS] dev NAME [mode tap] [multi_queue]"
)]
pub(crate) struct Arguments {
    /// The tap. Or what follows `ip tuntap del`, word for word, of which the name is enough.
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    words: Vec<String>,

    /// Be content if there is no such interface.
    #[arg(long)]
    if_exists: bool,

    /// Delete it in this network namespace: a name (see `ip netns`), a path, or the number of a process.
    #[arg(long, value_name = "NAME|PATH|PID")]
    netns: Option<Namespace>,

    /// Print what was deleted as JSON: `ifname`, `ifindex` if there was one, and `deleted`.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let name = match words::name(&arguments.words, "delete") {
        Ok(name) => name,
        Err(message) => return exit::usage("delete", &message),
    };
    let index = match delete(name, arguments.netns.as_ref()) {
        Ok(deleted) => {
            // Once for each process, of which a queue or more may be.
            let holders: BTreeMap<u32, String> =
                deleted.holders.into_iter().map(|holder| (holder.pid, holder.command)).collect();
            for (pid, command) in holders {
                tracing::warn!("{command} (pid {pid}) had {name} open, and has lost it");
            }
            Some(deleted.link.index)
        }
        Err(Error::NotFound { .. }) if arguments.if_exists => None,
        Err(error) => return exit::failure(&exit::there(arguments.netns.as_ref(), &error)),
    };
    if arguments.json {
        let mut object = json!({ "ifname": name, "deleted": index.is_some() });
        if let Some(index) = index {
            object["ifindex"] = index.into();
        }
        let done = match index {
            Some(_) => format!("{name} was deleted"),
            None => format!("there was no {name}"),
        };
        return exit::print_done(&format!("{object}\n"), &done);
    }
    ExitCode::SUCCESS
}
