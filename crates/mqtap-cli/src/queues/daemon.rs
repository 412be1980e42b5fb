//! What `mqtap serve` says of a tap that it holds.

use std::fmt::Write;

use mqtap::inspect::{Holder, Tap};
use serde_json::{Value, json};

use crate::status::{self, NicReport, Unreachable};
use crate::table;

/// A daemon of ours that holds a tap, and the NIC that it serves with it.
#[derive(Debug)]
pub(crate) struct Daemon {
    pid: u32,
    answer: Result<NicReport, Unreachable>,
}

impl Daemon {
    /// Those that hold this tap. Processes that are no daemons of ours are left out; one that is and may not be asked is not.
    pub(crate) fn of(tap: &Tap) -> Vec<Self> {
        let mut holders: Vec<&Holder> = tap.holders.iter().collect();
        holders.dedup_by_key(|holder| holder.pid);
        holders.into_iter().filter_map(|holder| Self::ask(holder, tap)).collect()
    }

    fn ask(holder: &Holder, tap: &Tap) -> Option<Self> {
        let pid = holder.pid;
        let answer = match status::ask(pid) {
            Err(Unreachable::NoSocket) if !is_ours(holder) => return None,
            Err(error) => Err(error),
            // The name can have changed since; and another namespace can have the same number.
            Ok(report) => Ok(report.nics.into_iter().find(|nic| nic.ifindex == tap.link.index)?),
        };
        Some(Self { pid, answer })
    }

    pub(crate) fn render(&self) -> String {
        let mut text = format!("mqtap serve (pid {})\n", self.pid);
        // Writing to a string cannot fail.
        let _ = match &self.answer {
            Ok(nic) => write!(text, "{}", table::render(&nic.id, &nic.counters)),
            Err(error) => writeln!(text, "  tells nothing: {error}"),
        };
        text
    }

    pub(crate) fn json(&self) -> Value {
        match &self.answer {
            Ok(nic) => {
                let mut object = json!({
                    "pid": self.pid,
                    "id": nic.id,
                    "queue_pairs": nic.counters.pairs,
                    "error": null,
                });
                if let Some(kernel) = &nic.counters.kernel {
                    object["kernel"] = json!(kernel);
                }
                object
            }
            Err(error) => json!({
                "pid": self.pid,
                "id": null,
                "queue_pairs": [],
                "error": error.to_string(),
            }),
        }
    }
}

/// Whether a holder goes by the name of `mqtap serve`.
fn is_ours(holder: &Holder) -> bool {
    holder.command == "mqtap" && holder.arguments.get(1).is_some_and(|word| word == "serve")
}
