//! How the device is made and set.

use super::commands::{count, fresh, mqtap, names, quote, remake};
use super::{Finding, Id, Severity, Wanted};
use crate::device::{MAX_QUEUES, Namespace};
use crate::inspect::Tap;
use crate::link::TunLink;
use crate::offload::Offloads;

pub(super) fn not_a_tap(tap: &Tap) -> Finding {
    let name = tap.link.name;
    let cause = "A tun carries IP packets, a tap Ethernet frames, and a virtual network card needs frames. It is decided when the device is made.";
    Finding::new(Id::NotATap, Severity::Error, format!("{name} is a tun, not a tap"), cause)
        .on(name)
        .command(["ip", "link", "del", "dev", name.as_str()])
        .command(fresh(name.as_str(), &[]))
}

pub(super) fn examine(tap: &Tap, wanted: &Wanted, place: Option<&Namespace>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(tun) = tap.link.tun {
        findings.extend(queue_count(tap, tun, wanted, place));
        findings.extend(flags_kept(tap, tun, *wanted));
        findings.extend(vnet_header_lost(tap, tun, *wanted, place));
        findings.extend(stale_offloads(tap, tun));
        findings.extend(no_owner(tap, tun, wanted));
    }
    findings.extend(header_size(tap));
    findings.extend(ring_length_zero(tap));
    findings.extend(qdisc_memory(tap));
    findings
}

/// `IFF_MULTI_QUEUE` must be the same on each attach (drivers/net/tun.c: `tun_set_iff`).
fn queue_count(tap: &Tap, tun: TunLink, wanted: &Wanted, place: Option<&Namespace>) -> Option<Finding> {
    let name = tap.link.name;
    match (tun.multi_queue, wanted.queues) {
        (false, None | Some(2..)) => {
            let (severity, summary) = match wanted.queues {
                Some(queues) => {
                    (Severity::Error, format!("{name} can have one queue, and {queues} are wanted"))
                }
                None => (Severity::Info, format!("{name} can have one queue only")),
            };
            let cause = "It was made without `multi_queue`. Whoever asks for more than one queue gets EINVAL, which QEMU reports as \"could not configure /dev/net/tun\".";
            let finding = Finding::new(Id::SingleQueue, severity, summary, cause);
            if wanted.queues.is_none() {
                return Some(finding.advise(format!(
                    "where more are wanted, {} says what to type",
                    ask(tap, place, ["--queues", "N"])
                )));
            }
            Some(spare(tap, finding).commands(remake(tap, wanted, |tun| tun.multi_queue = true)))
        }
        (true, Some(1)) => {
            let cause = "A tap made with `multi_queue` must be opened with IFF_MULTI_QUEUE. QEMU with queues=1, and others that were told of one queue, do not, and get EINVAL. mqtap does.";
            let summary =
                format!("{name} was made with `multi_queue`, and is to be opened as a tap with one queue");
            let finding = Finding::new(Id::NotSingleQueue, Severity::Error, summary, cause);
            Some(spare(tap, finding).commands(remake(tap, wanted, |tun| tun.multi_queue = false)))
        }
        (true, Some(queues)) if u32::from(queues) + tun.queues() > u32::from(MAX_QUEUES) => {
            let open = count(tun.queues(), "queue");
            let summary = format!("{name} has no room for {queues} more queues");
            let cause = format!(
                "The kernel allows {MAX_QUEUES} on a device, attached and detached together. {open} of {name} are open{}. Who asks for too many gets E2BIG (\"Argument list too long\").",
                held_by(tap)
            );
            Some(
                Finding::new(Id::TooManyQueues, Severity::Error, summary, cause)
                    .advise("ask for fewer queues"),
            )
        }
        _ => None,
    }
}

/// Says what is lost when the tap is made again, and who has to end before.
fn spare(tap: &Tap, mut finding: Finding) -> Finding {
    let mut advice: Vec<String> = finding.advice.take().into_iter().collect();
    let port = if tap.link.master.is_some() { ", and VLANs and isolation of the port" } else { "" };
    advice.push(format!("what else was set on it is lost (IP addresses, an alias, filters{port})"));
    if tap.open_queues() > 0 {
        let holders =
            if tap.holders.is_empty() { "those who hold it".to_owned() } else { names(&tap.holders) };
        advice.push(format!("stop {holders} first: who holds the tap loses it with this"));
    }
    finding.advise(advice.join("; "))
}

/// The question that has an answer with commands.
fn ask(tap: &Tap, place: Option<&Namespace>, options: [&str; 2]) -> String {
    quote(place, mqtap("doctor", tap.link.name.as_str(), options.map(str::to_owned).to_vec()))
}

fn held_by(tap: &Tap) -> String {
    if tap.holders.is_empty() { String::new() } else { format!(", held by {}", names(&tap.holders)) }
}

/// The kernel takes the flags of who comes first, and later ones get them without a word.
fn flags_kept(tap: &Tap, tun: TunLink, wanted: Wanted) -> Option<Finding> {
    if !tun.multi_queue || tun.queues() == 0 {
        return None;
    }
    let mut differ = Vec::new();
    if tun.vnet_header != wanted.vnet_header() {
        differ.push(if tun.vnet_header { "with a virtio-net header" } else { "without a virtio-net header" });
    }
    if tun.packet_information {
        differ.push("with packet information in front of each frame");
    }
    if differ.is_empty() {
        return None;
    }
    let name = tap.link.name;
    let summary = format!("{name} is in use {}", differ.join(" and "));
    let cause = format!(
        "The first process to open a queue decides{}. The kernel lets others in who ask for something else, tells them that all is well, and they misread every frame.",
        held_by(tap)
    );
    let first = if tap.holders.is_empty() { "who holds it".to_owned() } else { names(&tap.holders) };
    let finding = Finding::new(Id::FlagsKept, Severity::Warning, summary, cause);
    Some(finding.advise(format!(
        "stop {first} before another process opens {name}, or have both ask for the same (vnet_hdr=on, no packet information)"
    )))
}

/// The flags that a tap was made with are a default only: who opens it first changes them.
fn vnet_header_lost(tap: &Tap, tun: TunLink, wanted: Wanted, place: Option<&Namespace>) -> Option<Finding> {
    if !tun.persistent || tap.open_queues() > 0 || tun.vnet_header || !wanted.vnet_header() {
        return None;
    }
    let name = tap.link.name;
    let severity = if wanted.vnet_header.is_some() { Severity::Warning } else { Severity::Info };
    let cause = "It was made so, or whoever opened it last did not ask for one: the first to open an idle tap changes the flags that it was made with. The next to open it decides again. Only those who look before they open, or are handed queues that somebody else opens, are misled.";
    let finding =
        Finding::new(Id::VnetHeaderLost, severity, format!("{name} has no virtio-net header"), cause);
    if wanted.vnet_header.is_none() && wanted.queues.is_none() {
        return Some(finding.advise(format!(
            "where it matters, {} says what to type",
            ask(tap, place, ["--vnet-hdr", "on"])
        )));
    }
    Some(spare(tap, finding).commands(remake(tap, &wanted, |tun| tun.vnet_header = true)))
}

/// A persistent device keeps its offloads when its last queue is closed.
fn stale_offloads(tap: &Tap, tun: TunLink) -> Option<Finding> {
    let offloads = tap.offloads.filter(|offloads| !offloads.is_empty())?;
    let name = tap.link.name;
    let idle = tap.open_queues() == 0;
    let large = offloads.intersects(Offloads::ALL - Offloads::CSUM);
    let (severity, summary, cause) = match (tun.vnet_header, idle) {
        (true, false) => return None,
        (false, false) => (
            Severity::Error,
            format!("{name} has offloads ({offloads}) and no virtio-net header"),
            "Its reader gets frames without checksum{large}, and nothing that says so: a former user left the offloads on.",
        ),
        (_, true) => (
            Severity::Warning,
            format!("{name} is idle and has offloads ({offloads}) left from a former user"),
            "A persistent tap keeps them. Whoever opens it next and does not set them himself gets frames without checksum{large}. (mqtap, QEMU and others that ask for a virtio-net header set them; simple programs do not.)",
        ),
    };
    let large =
        if large { ", and super-frames of up to 64 KiB of which a small buffer loses the rest" } else { "" };
    let finding = Finding::new(Id::StaleOffloads, severity, summary, cause.replace("{large}", large));
    Some(finding.command(["ethtool", "-K", name.as_str(), "tx", "off"]))
}

fn no_owner(tap: &Tap, tun: TunLink, wanted: &Wanted) -> Option<Finding> {
    if tun.owner.is_some() || tun.group.is_some() {
        return None;
    }
    let name = tap.link.name;
    let found =
        |cause| Finding::new(Id::NoOwner, Severity::Warning, format!("{name} belongs to nobody"), cause);
    let [delete, create] = remake(tap, wanted, |_| ());
    if tun.persistent {
        let cause = "A persistent tap without owner and group may be opened by every user who can open /dev/net/tun, which is everybody on most systems; and who has opened it may make himself its owner.";
        let advice = "root can open any tap; give it to the user that runs the VMM";
        return Some(spare(tap, found(cause).advise(advice)).commands([delete, create]));
    }
    if !tun.multi_queue {
        // Its one queue is open, or it would not be there.
        return None;
    }
    let cause = "While a program has it open, every user who can open /dev/net/tun may open another queue of it, and gets a part of the frames. QEMU makes its taps so; mqtap gives those that it makes to the user who runs it.";
    let advice = "make the tap beforehand, for the user that runs the program, and tell the program its name";
    Some(found(cause).advise(advice).commands([create]))
}

fn header_size(tap: &Tap) -> Option<Finding> {
    let bytes = tap.vnet_header_size()?;
    let name = tap.link.name;
    match bytes {
        24 if tap.offloads.is_some_and(|set| set.intersects(Offloads::TUNNEL)) => None,
        24 => {
            let summary =
                format!("the virtio-net header of {name} has 24 bytes, and its tunnel offloads are off");
            let cause = "With 24 bytes the kernel reads tunnel fields from each frame written to the tap: whoever writes must set the last 12 bytes, or the frame may be refused (EINVAL).";
            Some(Finding::new(Id::HeaderSize, Severity::Info, summary, cause))
        }
        10 | 12 | 20 => None,
        _ => {
            let summary = format!("the virtio-net header of {name} has {bytes} bytes");
            let cause = "The kernel takes any number from 10 on. A header has 10, 12, 20 or 24; with another length the holder's frames make no sense, and with a very large one no frame can be read at all.";
            let finding = Finding::new(Id::HeaderSize, Severity::Error, summary, cause);
            Some(finding.advise(format!("restart {}, which set it (TUNSETVNETHDRSZ)", names(&tap.holders))))
        }
    }
}

/// For a tap, `txqueuelen` is the length of each queue's ring.
fn ring_length_zero(tap: &Tap) -> Option<Finding> {
    if tap.link.transmit_queue_length > 0 {
        return None;
    }
    let name = tap.link.name;
    let cause = "Each queue's ring has as many places as `txqueuelen` says, so that every frame to the reader is dropped. To be rid of the qdisc's queue, set the qdisc `noqueue` instead.";
    Some(
        Finding::new(Id::RingLengthZero, Severity::Error, format!("txqueuelen of {name} is 0"), cause)
            .command(["ip", "link", "set", "dev", name.as_str(), "txqueuelen", "1000"])
            .command(["tc", "qdisc", "replace", "dev", name.as_str(), "root", "noqueue"]),
    )
}

/// A multi-queue device has 256 transmit queues, whatever the number of its descriptors, and `mq` a qdisc for each.
fn qdisc_memory(tap: &Tap) -> Option<Finding> {
    if tap.link.qdisc.as_deref() != Some("mq") || tap.link.transmit_queues < u32::from(MAX_QUEUES) {
        return None;
    }
    let name = tap.link.name;
    let cause = "The kernel makes room for 256 queues as soon as a multi-queue tap is up, some 6 MiB, however few are open. It gives counters for each queue (`tc -s qdisc show`, `mqtap queues`); without need of them, do without.";
    Some(Finding::new(Id::QdiscMemory, Severity::Info, format!("{name} has the qdisc mq"), cause).command([
        "tc",
        "qdisc",
        "replace",
        "dev",
        name.as_str(),
        "root",
        "noqueue",
    ]))
}
