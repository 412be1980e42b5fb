//! What passes, and what does not.

use super::commands::{count, name, names, stop_line};
use super::{Finding, Id, Sample, Severity};
use crate::inspect::{Holder, Kind};

/// With fewer frames, no conclusion is drawn from their average.
const FRAMES_FOR_AN_AVERAGE: u64 = 16;

pub(super) fn examine(before: Option<&Sample>, now: &Sample) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(carrier(before, now));
    if let Some(before) = before {
        findings.extend(not_read(before, now));
        findings.extend(short_reads(before, now));
    }
    findings
}

fn dropped_between(before: &Sample, now: &Sample) -> u64 {
    now.later.send_dropped.saturating_sub(before.tap.link.counters.send_dropped)
}

/// Of a tap without `multi_queue` the kernel does not tell whether it is attached; its carrier goes with its queue.
fn carrier(before: Option<&Sample>, now: &Sample) -> Option<Finding> {
    let tap = &now.tap;
    let tun = tap.link.tun.filter(|tun| tun.multi_queue)?;
    if !tap.link.up {
        return None;
    }
    let tap_name = tap.link.name;
    match (tap.link.carrier, tun.attached_queues) {
        (true, 0) => {
            let dropped = before.map_or(0, |before| dropped_between(before, now));
            let severity = if dropped > 0 { Severity::Error } else { Severity::Warning };
            let summary = match dropped {
                0 => format!("{tap_name} has carrier, and no queue of it is attached"),
                _ => format!(
                    "{tap_name} has carrier and no attached queue, and dropped {dropped} frames while I looked"
                ),
            };
            let cause = format!(
                "Whoever sends through it believes that somebody is there, and everything is dropped: {} open, all detached. The kernel takes the carrier away only when the last queue is closed.",
                count(tun.detached_queues, "queue")
            );
            Some(
                Finding::new(Id::CarrierWithoutReader, severity, summary, cause)
                    .advise("with mqtap, carrier=guest (the default) has the carrier follow the guest")
                    .command(["ip", "link", "set", "dev", tap_name.as_str(), "carrier", "off"]),
            )
        }
        (false, attached @ 1..) => {
            let summary = format!("{tap_name} has {} attached and no carrier", count(attached, "queue"));
            let cause = "The kernel sends nothing through an interface without carrier: its readers see nothing. It was taken away (TUNSETCARRIER, `ip link set … carrier off`), or never given (IFF_NO_CARRIER).";
            Some(Finding::new(Id::ReaderWithoutCarrier, Severity::Warning, summary, cause).command([
                "ip",
                "link",
                "set",
                "dev",
                tap_name.as_str(),
                "carrier",
                "on",
            ]))
        }
        _ => None,
    }
}

/// The kernel counts a frame as sent when it is read. So a frame that waits in a queue while nothing is sent is not read: the
/// counters are from before the first look at the queues, and from after the second.
fn not_read(before: &Sample, now: &Sample) -> Option<Finding> {
    let (tap, former) = (&now.tap, &before.tap.holders);
    let tap_name = tap.link.name;
    let waited = |holder: &&Holder| {
        is_waiting(holder) && former.iter().any(|former| same(former, holder) && is_waiting(former))
    };
    let waiting: Vec<&Holder> = tap.holders.iter().filter(waited).collect();
    let attached =
        tap.link.tun.map_or(0, |tun| if tun.multi_queue { tun.attached_queues } else { tap.open_queues() });
    let dropped = if attached > 0 && tap.link.carrier { dropped_between(before, now) } else { 0 };
    let sent = now.later.sent_frames.saturating_sub(before.tap.link.counters.sent_frames);
    let who = || {
        let fds: Vec<String> =
            waiting.iter().map(|holder| format!("{} of {}", holder.fd, name(holder))).collect();
        if fds.is_empty() { String::new() } else { format!(" Frames wait in descriptor {}.", fds.join(", ")) }
    };
    if dropped > 0 {
        let summary = format!("{tap_name} dropped {dropped} frames while I looked");
        let slow = if sent > 0 { "reads more slowly than frames come" } else { "does not read" };
        let cause = format!(
            "Whoever holds its queues ({}) {slow}, and the rings, of {} frames each, are full.{} (A filter on the tap drops frames as well.)",
            if tap.holders.is_empty() { "not visible to this user".to_owned() } else { names(&tap.holders) },
            tap.link.transmit_queue_length,
            who(),
        );
        let finding = Finding::new(Id::QueueNotRead, Severity::Error, summary, cause);
        let mut advice = "see that the guest has enabled as many queues as are attached (`ethtool -l` in the guest), and that its VMM is not paused".to_owned();
        if let Some(holder) = waiting.first() {
            advice.push_str(&format!("; else stop it: {}", stop_line(holder)));
        }
        return Some(finding.advise(advice));
    }
    let first = waiting.first()?;
    if sent > 0 {
        return None;
    }
    let summary = format!("frames wait in {tap_name} and nobody reads them");
    let cause = format!(
        "{} attached and {} not been read while I looked. The ring fills up, and then frames are dropped.{}",
        if waiting.len() == 1 { "1 queue is".to_owned() } else { format!("{} queues are", waiting.len()) },
        if waiting.len() == 1 { "has" } else { "have" },
        who()
    );
    Some(Finding::new(Id::QueueNotRead, Severity::Warning, summary, cause).advise(format!(
        "see whether the VMM is paused, or the guest's driver is not loaded; else stop it: {}",
        stop_line(first)
    )))
}

fn is_waiting(holder: &Holder) -> bool {
    holder.same_as.is_none() && holder.queue.is_ok_and(|queue| queue.attached && queue.has_frames)
}

fn same(a: &Holder, b: &Holder) -> bool {
    (a.pid, a.fd) == (b.pid, b.fd)
}

/// What a buffer has no room for is lost, and the kernel counts frames at their full length. So holders that read fewer bytes
/// than the frames had, with as many calls as there were frames, lost some.
fn short_reads(before: &Sample, now: &Sample) -> Option<Finding> {
    let tap = &now.tap;
    // What was read is known from before these counters, and from after those.
    let (from, to) = (before.later, tap.link.counters);
    let frames = to.sent_frames.saturating_sub(from.sent_frames);
    let bytes = to.sent_bytes.saturating_sub(from.sent_bytes);
    let unknown = tap.kind != Kind::Tap
        || tap.unseen_queues() > 0
        || tap.holders.iter().any(|holder| holder.io_uring || holder.vhost_net);
    if unknown || frames < FRAMES_FOR_AN_AVERAGE {
        return None;
    }
    // All that was read by anybody who may have read the frames.
    let (mut read, mut calls) = (0, 0);
    for (pid, end) in &now.reads {
        let start = before.reads.get(pid)?;
        read += end.bytes.saturating_sub(start.bytes);
        calls += end.calls.saturating_sub(start.calls);
    }
    // A tenth is for what was on its way.
    if calls < frames || read >= bytes - bytes / 10 {
        return None;
    }
    let summary = format!("frames of {} are cut off when they are read", tap.link.name);
    let cause = format!(
        "{} read {read} bytes in all while {frames} frames of {bytes} bytes went out. What a buffer has no room for is lost without an error.",
        names(&tap.holders)
    );
    let needed = match tap.offloads {
        Some(offloads) if !offloads.is_empty() => "with offloads, 65550 bytes and the header".to_owned(),
        _ => format!("MTU {} and 18 bytes, and the header", tap.link.mtu),
    };
    let finding = Finding::new(Id::ShortReads, Severity::Error, summary, cause);
    Some(finding.advise(format!("have the program read with larger buffers ({needed}), or turn off the offloads that it does not expect")))
}
