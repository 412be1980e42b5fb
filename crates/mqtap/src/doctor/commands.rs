//! What to type.

use super::Wanted;
use crate::account::{group_name, user_name};
use crate::device::Namespace;
use crate::inspect::{Holder, Tap};
use crate::link::TunLink;
use crate::name::InterfaceName;
use crate::netdev::Qdisc;
use crate::shell::line;

/// A command as it has to be typed for an interface of this namespace.
pub(super) fn inside(namespace: Option<&Namespace>, command: String) -> String {
    let (sudo, rest) = match command.strip_prefix("sudo ") {
        Some(rest) => ("sudo ", rest),
        None => ("", command.as_str()),
    };
    // Processes have no namespace here, nor has what is of the whole host.
    let is_of_an_interface =
        ["ip", "tc", "ethtool", "mqtap"].into_iter().any(|program| rest.split(' ').next() == Some(program));
    match namespace {
        Some(namespace) if is_of_an_interface => {
            format!("{sudo}{} {rest}", namespace.entry())
        }
        _ => command,
    }
}

/// A command for an interface, in a sentence.
pub(super) fn quote(namespace: Option<&Namespace>, words: Vec<String>) -> String {
    format!("`{}`", inside(namespace, line(words)))
}

/// A subcommand of mqtap for one interface, whose name may look like an option.
pub(super) fn mqtap(subcommand: &str, name: &str, options: Vec<String>) -> Vec<String> {
    let name = name.to_owned();
    let (before, after) =
        if name.starts_with('-') { (None, Some(["--".to_owned(), name])) } else { (Some(name), None) };
    let command = ["mqtap".to_owned(), subcommand.to_owned()];
    command.into_iter().chain(before).chain(options).chain(after.into_iter().flatten()).collect()
}

/// What makes a tap that any VMM can use, for somebody whom only the reader knows, and with `more`.
pub(super) fn fresh(name: &str, more: &[&str]) -> Vec<String> {
    let options = ["--multi-queue", "--vnet-hdr", "--owner", "USER"];
    mqtap("create", name, options.iter().chain(more).map(|&option| option.to_owned()).collect())
}

/// A command, as root.
pub(super) fn sudo(command: Vec<String>) -> Vec<String> {
    std::iter::once("sudo".to_owned()).chain(command).collect()
}

/// What brings an interface up.
pub(super) fn bring_up(name: InterfaceName) -> Vec<String> {
    ["ip", "link", "set", "dev", name.as_str(), "up"].map(str::to_owned).to_vec()
}

/// The commands that make a tap again as it is, but for what is wanted and what `change` changes: what is decided when it is
/// made, and what iproute2 cannot change on a tap that is there. The commands of one finding do not undo those of another.
pub(super) fn remake(tap: &Tap, wanted: &Wanted, change: impl FnOnce(&mut TunLink)) -> [Vec<String>; 2] {
    let name = tap.link.name.as_str();
    let mut tun = tap.link.tun.unwrap_or_default();
    if let Some(queues) = wanted.queues {
        tun.multi_queue = queues > 1;
    }
    if wanted.queues.is_some() || wanted.vnet_header.is_some() {
        tun.vnet_header |= wanted.vnet_header();
    }
    change(&mut tun);
    let mut words = Vec::new();
    let mut flag = |option: &str, is_on: bool| {
        if is_on {
            words.push(option.to_owned());
        }
    };
    flag("--multi-queue", tun.multi_queue);
    flag("--vnet-hdr", tun.vnet_header);
    let mut set = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([option.to_owned(), value]);
        }
    };
    let nobody = (tun.owner, tun.group) == (None, None);
    let owner = tun.owner.map(|uid| user_name(uid).unwrap_or_else(|| uid.to_string()));
    set("--owner", owner.or_else(|| nobody.then(|| "USER".to_owned())));
    set("--group", tun.group.map(|gid| group_name(gid).unwrap_or_else(|| gid.to_string())));
    set("--mac", tap.link.mac.map(|mac| mac.to_string()));
    set("--mtu", Some(tap.link.mtu.to_string()));
    let bridge = tap.master.as_ref().filter(|master| master.kind.as_deref() == Some("bridge"));
    set("--bridge", bridge.map(|bridge| bridge.name.to_string()));
    // The kernel gives it to every tap that is made with several queues and brought up otherwise than by mqtap.
    let is_mq = tun.multi_queue && tap.link.qdisc.as_deref() == Some(Qdisc::Mq.as_str());
    set("--qdisc", is_mq.then(|| Qdisc::Mq.as_str().to_owned()));
    if tap.link.up {
        words.push("--up".to_owned());
    }
    [mqtap("delete", name, Vec::new()), mqtap("create", name, words)]
}

/// What ends a process: its unit if it is a service, which else would start it again.
pub(super) fn stop(holder: &Holder) -> Vec<String> {
    match &holder.unit {
        Some(unit) if unit.ends_with(".service") && !unit.starts_with("user@") => {
            vec!["systemctl".to_owned(), "stop".to_owned(), unit.clone()]
        }
        _ => vec!["kill".to_owned(), holder.pid.to_string()],
    }
}

/// The same, for a sentence.
pub(super) fn stop_line(holder: &Holder) -> String {
    quote(None, stop(holder))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option() {
        let words = |name: &str| mqtap("create", name, vec!["--up".to_owned()]).join(" ");
        assert_eq!(words("tap0"), "mqtap create tap0 --up");
        assert_eq!(words("-tap0"), "mqtap create --up -- -tap0");
    }

    #[test]
    fn what_is_elsewhere_is_mended_there() {
        let blue = Namespace::Name("blue".to_owned());
        for (namespace, command, expected) in [
            (None, "mqtap delete tap0", "mqtap delete tap0"),
            (Some(&blue), "mqtap delete tap0", "ip netns exec blue mqtap delete tap0"),
            (Some(&blue), "sudo mqtap doctor tap0", "sudo ip netns exec blue mqtap doctor tap0"),
            (Some(&blue), "kill 7", "kill 7"),
            (Some(&Namespace::Pid(7)), "tc qdisc show", "nsenter --net=/proc/7/ns/net tc qdisc show"),
            (Some(&Namespace::Path("/run/a b".into())), "ip link", "nsenter '--net=/run/a b' ip link"),
        ] {
            assert_eq!(inside(namespace, command.to_owned()), expected);
        }
    }
}
