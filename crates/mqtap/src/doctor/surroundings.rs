//! The interface among others.

use super::commands::{bring_up, mqtap, quote};
use super::{Finding, Id, Severity};
use crate::device::{Namespace, Obstacle, a_kind};
use crate::inspect::Tap;
use crate::link::Link;

pub(super) fn examine(tap: &Tap, obstacle: Option<&Obstacle>, place: Option<&Namespace>) -> Vec<Finding> {
    let bridge = tap.master.as_ref().filter(|master| master.kind.as_deref() == Some("bridge"));
    [
        interface_down(tap),
        leftover(tap, place),
        obstacle.map(|obstacle| device_node(tap, obstacle)),
        lower_down(tap),
        bridge.and_then(|bridge| bridge_mtu(tap, bridge)),
        bridge.and_then(|bridge| bridge_down(tap, bridge)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn interface_down(tap: &Tap) -> Option<Finding> {
    if tap.link.up || tap.open_queues() == 0 {
        return None;
    }
    let name = tap.link.name;
    // A queue of a single-queue tap is always attached.
    let attached = tap.link.tun.is_none_or(|tun| !tun.multi_queue || tun.attached_queues > 0);
    let severity = if attached { Severity::Error } else { Severity::Warning };
    let cause = "Nothing leaves through an interface that is down, and frames written to a queue of it are refused (EIO).";
    let summary = format!("{name} is in use and down");
    Some(Finding::new(Id::InterfaceDown, severity, summary, cause).command(bring_up(name)))
}

/// A tap that nobody uses, and nobody prepared for use.
fn leftover(tap: &Tap, place: Option<&Namespace>) -> Option<Finding> {
    let tun = tap.link.tun?;
    if !tun.persistent || tap.open_queues() > 0 || tap.link.up || tap.link.master.is_some() {
        return None;
    }
    let name = tap.link.name;
    let flag = if tun.multi_queue {
        "; without `multi_queue`, which this tap has, it fails with a bare \"Invalid argument\""
    } else {
        ""
    };
    let cause = format!(
        "It is persistent, down, on no bridge, and no queue of it is open: prepared for later, or left over. If it should be gone: `ip tuntap del` is treacherous, since it says nothing about a name that does not exist{flag}."
    );
    let finding = Finding::new(Id::Leftover, Severity::Info, format!("nobody uses {name}"), cause);
    // Nothing to be typed unasked: somebody may have it prepared for later.
    Some(finding.advise(format!(
        "if it should be gone: {}",
        quote(place, mqtap("delete", name.as_str(), Vec::new()))
    )))
}

fn device_node(tap: &Tap, obstacle: &Obstacle) -> Finding {
    let severity = if tap.holders.is_empty() { Severity::Error } else { Severity::Warning };
    let summary = format!("this process cannot open queues of {}", tap.link.name);
    let cause = format!("Queues of {} are opened by a device node in /dev.", a_kind(tap.kind));
    let mut finding = Finding::new(Id::DeviceNode, severity, summary, cause).advise(obstacle.error.clone());
    finding.commands.extend(obstacle.command.clone());
    finding
}

fn lower_down(tap: &Tap) -> Option<Finding> {
    let lower = tap.parent.as_ref().filter(|_| tap.kind.is_on_another_interface())?;
    if !tap.link.up || lower.up && lower.carrier {
        return None;
    }
    let (name, below) = (tap.link.name, lower.name);
    let is = if lower.up { "has no carrier" } else { "is down" };
    let summary = format!("{name} stands on {below}, which {is}");
    let cause = format!("All that goes out of {name}, and comes to it from outside, passes {below}.");
    let finding = Finding::new(Id::LowerDown, Severity::Warning, summary, cause);
    Some(match lower.up {
        true => finding.advise(format!("see to the cable, or to what {below} stands on in turn")),
        false => finding.command(bring_up(below)),
    })
}

fn bridge_mtu(tap: &Tap, bridge: &Link) -> Option<Finding> {
    let (name, mtu) = (tap.link.name, tap.link.mtu);
    if mtu == bridge.mtu {
        return None;
    }
    let summary = format!("{name} has MTU {mtu}, its bridge {} has {}", bridge.name, bridge.mtu);
    let cause = "A bridge drops, without an answer, frames that are longer than the port they leave by takes: short packets pass, long ones do not.";
    Some(
        Finding::new(Id::BridgeMtu, Severity::Warning, summary, cause)
            .advise("tell the guest as well: its card should have the same MTU")
            .command(["ip", "link", "set", "dev", name.as_str(), "mtu", &bridge.mtu.to_string()]),
    )
}

fn bridge_down(tap: &Tap, bridge: &Link) -> Option<Finding> {
    if bridge.up || !tap.link.up {
        return None;
    }
    let cause = "A bridge that is down forwards nothing between its ports.";
    let summary = format!("{} is a port of {}, which is down", tap.link.name, bridge.name);
    Some(Finding::new(Id::BridgeDown, Severity::Warning, summary, cause).command(bring_up(bridge.name)))
}
