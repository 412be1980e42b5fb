//! What to type.

use std::fmt::Write as _;

use crate::account::{group_name, user_name};
use crate::inspect::{Holder, Tap};
use crate::link::TunLink;
use crate::netdev::Qdisc;

/// The commands that make a tap again as it is, but for what `change` changes: what is decided when it is made, and what
/// iproute2 cannot change on a tap that is there.
pub(super) fn remake(tap: &Tap, change: impl FnOnce(&mut TunLink)) -> String {
    let name = tap.link.name;
    let mut tun = tap.link.tun.unwrap_or_default();
    change(&mut tun);
    let mut text = format!("mqtap delete {name} && mqtap create {name}");
    // Writing to a string cannot fail.
    for (is_on, option) in [(tun.multi_queue, "--multi-queue"), (tun.vnet_header, "--vnet-hdr")] {
        if is_on {
            let _ = write!(text, " {option}");
        }
    }
    match (tun.owner, tun.group) {
        (None, None) => text.push_str(" --owner USER"),
        (owner, group) => {
            if let Some(uid) = owner {
                let _ = write!(text, " --owner {}", user_name(uid).unwrap_or_else(|| uid.to_string()));
            }
            if let Some(gid) = group {
                let _ = write!(text, " --group {}", group_name(gid).unwrap_or_else(|| gid.to_string()));
            }
        }
    }
    if let Some(mac) = tap.link.mac {
        let _ = write!(text, " --mac {mac}");
    }
    let _ = write!(text, " --mtu {}", tap.link.mtu);
    if let Some(bridge) = tap.master.as_ref().filter(|master| master.kind.as_deref() == Some("bridge")) {
        let _ = write!(text, " --bridge {}", bridge.name);
    }
    if tap.link.qdisc.as_deref() == Some(Qdisc::Mq.as_str()) {
        text.push_str(" --qdisc mq");
    }
    if tap.link.up {
        text.push_str(" --up");
    }
    text
}

/// What ends a process: its unit if it is a service, which else would start it again.
pub(super) fn stop(holder: &Holder) -> String {
    match holder.unit.as_deref() {
        Some(unit) if unit.ends_with(".service") && !unit.starts_with("user@") => {
            format!("systemctl stop {unit}")
        }
        _ => format!("kill {}", holder.pid),
    }
}

/// A holder in words.
pub(super) fn name(holder: &Holder) -> String {
    format!("{} (pid {})", holder.command, holder.pid)
}

/// The processes among holders, each once, in words.
pub(super) fn names<'a>(holders: impl IntoIterator<Item = &'a Holder>) -> String {
    let mut seen = Vec::new();
    let mut names = Vec::new();
    for holder in holders {
        if !seen.contains(&holder.pid) {
            seen.push(holder.pid);
            names.push(name(holder));
        }
    }
    names.join(", ")
}

/// Numbers in words: `1 queue`, `3 queues`.
pub(super) fn count(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
