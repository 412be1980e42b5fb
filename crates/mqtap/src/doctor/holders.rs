//! Who holds the queues, and how.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use super::commands::{count, mqtap, name, names, stop, stop_line, sudo};
use super::{Finding, Id, Severity};
use crate::inspect::{Holder, Kind, NamespaceId, QueueState, Tap};

pub(super) fn examine(tap: &Tap) -> Vec<Finding> {
    [
        blocking(tap),
        send_buffer(tap),
        classic_filter(tap),
        several_processes(tap),
        stopped(tap),
        namesake(tap),
        opened_elsewhere(tap),
        hidden(tap),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Holders of attached queues for which something is true.
fn attached(tap: &Tap, is_so: impl Fn(&Holder, &QueueState) -> bool) -> Vec<&Holder> {
    tap.holders
        .iter()
        .filter(|holder| holder.queue.is_ok_and(|queue| queue.attached && is_so(holder, &queue)))
        .collect()
}

fn descriptors(holders: &[&Holder]) -> String {
    let numbers: Vec<String> = holders.iter().map(|holder| holder.fd.to_string()).collect();
    let word = if numbers.len() == 1 { "descriptor" } else { "descriptors" };
    format!("{word} {}", numbers.join(", "))
}

fn blocking(tap: &Tap) -> Option<Finding> {
    if tap.kind != Kind::Tap {
        return None;
    }
    // The kernel and io_uring do not ask how the descriptor is set.
    let found = attached(tap, |holder, _| holder.blocking && !holder.io_uring && !holder.vhost_net);
    if found.is_empty() {
        return None;
    }
    let summary = format!("{} has queues open without O_NONBLOCK", names(found.iter().copied()));
    let cause = format!(
        "The kernel has a fast path for frames written to a tap, with one copy and no allocation of large pages, and takes it only for descriptors that do not block ({}).",
        descriptors(&found)
    );
    let finding = Finding::new(Id::BlockingDescriptor, Severity::Warning, summary, cause);
    Some(finding.advise("have the program set O_NONBLOCK on its queues, and wait with poll; no command can do it from outside"))
}

fn send_buffer(tap: &Tap) -> Option<Finding> {
    let limit = |queue: &QueueState| queue.send_buffer.filter(|&bytes| bytes < i32::MAX);
    let found = attached(tap, |_, queue| limit(queue).is_some());
    let bytes = found.iter().find_map(|holder| limit(&holder.queue.ok()?))?;
    let summary = format!("{} limits its send buffer to {bytes} bytes", names(found.iter().copied()));
    let cause = "There is no limit by default. With any, the kernel leaves its fast path for frames written to the tap, and a receiver on this host that does not read can hold up the sender.";
    let finding = Finding::new(Id::SendBuffer, Severity::Warning, summary, cause);
    Some(
        finding
            .advise("start it without a limit: leave out sndbuf= (QEMU, mqtap), or do not call TUNSETSNDBUF"),
    )
}

fn classic_filter(tap: &Tap) -> Option<Finding> {
    let found: Vec<&Holder> =
        tap.holders.iter().filter(|holder| holder.queue.is_ok_and(|queue| queue.classic_filter)).collect();
    let first = found.first()?;
    let tap_name = tap.link.name;
    let detached = tap.link.tun.map_or(0, |tun| tun.detached_queues);
    let summary = format!("{tap_name} had a classic packet filter put on it (TUNATTACHFILTER)");
    let consequence = if detached > 0 {
        format!("{} cannot be attached while it is", count(detached, "detached queue"))
    } else {
        "no queue that is detached can be attached again while it is".to_owned()
    };
    let cause = format!(
        "The kernel does not tell whether it is still there. With it, {consequence}: the kernel says that all went well and leaves the queue detached."
    );
    let finding = Finding::new(Id::ClassicFilter, Severity::Warning, summary, cause);
    Some(finding.advise(format!(
        "have {} take it off (TUNDETACHFILTER), or use an eBPF filter (TUNSETFILTEREBPF) instead",
        name(first)
    )))
}

fn several_processes(tap: &Tap) -> Option<Finding> {
    let queue = |holder: &Holder| holder.same_as.unwrap_or((holder.pid, holder.fd));
    let queues_of = |pid: u32| -> BTreeSet<(u32, RawFd)> {
        tap.holders.iter().filter(|holder| holder.pid == pid).map(queue).collect()
    };
    // Queues that are inherited or passed on are in several processes, one of which has them all.
    let all: BTreeSet<_> = tap.holders.iter().map(queue).collect();
    if all.is_empty() || tap.holders.iter().any(|holder| queues_of(holder.pid) == all) {
        return None;
    }
    let tap_name = tap.link.name;
    let summary = format!("several processes have queues of {tap_name}: {}", names(&tap.holders));
    let cause = "The kernel spreads frames over all attached queues, so that each process sees some flows and misses the others, and each may change the offloads and the header of all.";
    let finding = Finding::new(Id::SeveralProcesses, Severity::Warning, summary, cause);
    // Which is the stranger, who runs the host knows.
    let mut each: Vec<String> = Vec::new();
    for holder in &tap.holders {
        let has = count(queues_of(holder.pid).len() as u32, "queue");
        let says = format!("{} of {} with {has}", stop_line(holder), name(holder));
        if !each.contains(&says) {
            each.push(says);
        }
    }
    Some(finding.advise(format!("stop the one that should not be there: {}", each.join(", or "))))
}

fn stopped(tap: &Tap) -> Option<Finding> {
    let found: Vec<&Holder> = tap.holders.iter().filter(|holder| holder.stopped).collect();
    let first = found.first()?;
    let summary = format!("{} is stopped", names(found.iter().copied()));
    let cause = "It was stopped by a signal, or a debugger has it. It reads nothing meanwhile, and its queues fill up.";
    let finding = Finding::new(Id::HolderStopped, Severity::Warning, summary, cause);
    Some(finding.command(["kill", "-CONT", &first.pid.to_string()]))
}

/// A queue belongs to the namespace in which `/dev/net/tun` was opened, wherever its process is.
fn namesake(tap: &Tap) -> Option<Finding> {
    let tap_name = tap.link.name;
    let stray = |holder: &&Holder| {
        let device = holder.queue.ok().and_then(|queue| queue.device_namespace);
        device.is_some() && holder.namespace == tap.namespace
    };
    if let Some(holder) = tap.namesakes.iter().find(stray) {
        let there = holder.queue.ok().and_then(|queue| queue.device_namespace);
        let summary = format!("{} has a {tap_name}, but not this one", name(holder));
        let cause = format!(
            "Its queue was opened in another network namespace{}, where the kernel made a second {tap_name}: a queue belongs to the namespace in which /dev/net/tun was opened, not to that of TUNSETIFF or of the process.",
            there.map(place).unwrap_or_default()
        );
        let finding = Finding::new(Id::Namesake, Severity::Warning, summary, cause);
        return Some(
            finding
                .advise("restart it, and have /dev/net/tun opened in the namespace of the tap")
                .command(stop(holder)),
        );
    }
    // Containers have namesakes all the time. It is worth a word only where somebody may look for a reader in vain.
    if tap.open_queues() > 0 || tap.namesakes.is_empty() {
        return None;
    }
    let summary = format!(
        "nobody has this {tap_name} open, but {} in another network namespace",
        names(&tap.namesakes)
    );
    let cause = "A name stands for different interfaces in different namespaces. If this one was meant, /dev/net/tun was opened in the wrong namespace.";
    Some(Finding::new(Id::Namesake, Severity::Info, summary, cause))
}

fn place(namespace: NamespaceId) -> String {
    format!(" ({namespace})")
}

fn opened_elsewhere(tap: &Tap) -> Option<Finding> {
    let elsewhere = |queue: &QueueState| {
        queue.opened_in.is_some()
            && queue.device_namespace.is_some()
            && queue.opened_in != queue.device_namespace
    };
    let found: Vec<&Holder> =
        tap.holders.iter().filter(|holder| holder.queue.is_ok_and(|q| elsewhere(&q))).collect();
    let first = found.first()?;
    let tap_name = tap.link.name;
    let opened_in = first.queue.ok()?.opened_in.map(place).unwrap_or_default();
    let summary = format!("{tap_name} was moved here from another network namespace");
    let cause = format!(
        "{} opened its queues there{opened_in}, and they go on working. More queues must be opened from inside this namespace: opened there, they would make a second {tap_name}.",
        names(found.iter().copied())
    );
    Some(Finding::new(Id::OpenedElsewhere, Severity::Info, summary, cause))
}

fn hidden(tap: &Tap) -> Option<Finding> {
    let unseen = tap.unseen_queues();
    let asked = tap.holders.iter().filter(|holder| holder.queue.is_err()).count() as u32;
    if unseen == 0 && asked == 0 {
        return None;
    }
    let summary = format!("{} of {} cannot be looked at", count(unseen + asked, "queue"), tap.link.name);
    let cause = "They are open in processes of other users, which this user may not look into. What a queue tells (header, send buffer, frames that wait) is missing here.";
    let finding = Finding::new(Id::HiddenHolders, Severity::Info, summary, cause);
    let doctor = mqtap("doctor", tap.link.name.as_str(), Vec::new());
    Some(finding.command(sudo(doctor)))
}
