//! What scenarios look at, from the kernel's, the guest's and the daemon's side.

use std::ops::Range;
use std::time::Duration;

use crate::lab::Lab;
use crate::outcome::{Result, fail};
use crate::process;
use crate::qemu::Guest;
use crate::traffic::{self, Servers};

/// Queue pairs of most scenarios.
pub(super) const PAIRS: u16 = 4;

/// The guest sees that many pairs and uses all of them.
pub(super) fn channels(guest: &mut Guest, pairs: u16) -> Result<()> {
    match guest.channels("eth0")? {
        seen if seen == (pairs, pairs) => Ok(()),
        (maximum, current) => {
            fail(format!("the guest sees {maximum} pairs and uses {current}, not {pairs} and {pairs}"))
        }
    }
}

/// The kernel counts that many attached and detached queues, soon: old frontends do not wait for the daemon.
pub(super) fn attached(lab: &Lab, attached: u16, detached: u16) -> Result<()> {
    let mut last = (0, 0);
    process::until(Duration::from_secs(20), "the tap queues to be attached and detached", || {
        let count = |key: &str| lab.namespace.link_number("tap0", &format!("/linkinfo/info_data/{key}"));
        last = (count("numqueues")?, count("numdisabled")?);
        Ok((last == (attached.into(), detached.into())).then_some(()))
    })
    .map_err(|error| {
        format!(
            "{error}: tap0 has {} attached and {} detached queues instead of {attached} and {detached}",
            last.0, last.1
        )
        .into()
    })
}

/// True when the kernel says that the tap is connected.
pub(super) fn has_carrier(lab: &Lab, tap: &str) -> Result<bool> {
    Ok(lab.namespace.ip(&format!("link show dev {tap}"))?.contains("LOWER_UP"))
}

/// Frames of one pair: guest received, guest transmitted, and the same two as the daemon counts them. None where nobody counts.
type Frames = [Option<u64>; 4];

/// Frames of every pair, as the guest and the daemon count them.
pub(super) struct Snapshot(Vec<Frames>);

impl Snapshot {
    pub(super) fn take(lab: &mut Lab, guest: &mut Guest, pairs: u16) -> Result<Self> {
        let statistics = guest.statistics("eth0")?;
        let table = lab.backend.counters()?;
        let mut all = Vec::new();
        for pair in 0..pairs {
            let row = table.as_ref().map(|table| table.row(0, pair)).transpose()?;
            all.push([
                statistics.received(pair),
                statistics.transmitted(pair),
                row.map(|row| row.received_frames),
                row.map(|row| row.transmitted_frames),
            ]);
        }
        Ok(Self(all))
    }

    /// How many frames the pair moved since.
    fn since(&self, before: &Self, pair: u16) -> Frames {
        let (now, then) = (self.0[usize::from(pair)], before.0[usize::from(pair)]);
        std::array::from_fn(|at| Some(now[at]?.saturating_sub(then[at]?)))
    }

    /// Every pair carried frames both ways, and both sides say so.
    pub(super) fn carried_since(&self, before: &Self, pairs: Range<u16>) -> Result<()> {
        for pair in pairs {
            let moved = self.since(before, pair);
            if moved[0].is_none() || moved.iter().flatten().any(|frames| *frames < 10) {
                return fail(format!("pair {pair} did not carry frames both ways: {}", explain(moved)));
            }
        }
        Ok(())
    }

    /// No more than `allowed` frames on these pairs.
    pub(super) fn silent_since(&self, before: &Self, pairs: Range<u16>, allowed: u64) -> Result<()> {
        for pair in pairs {
            let moved = self.since(before, pair);
            if moved.iter().flatten().any(|frames| *frames > allowed) {
                return fail(format!("frames on the detached pair {pair}: {}", explain(moved)));
            }
        }
        Ok(())
    }
}

fn explain(frames: Frames) -> String {
    let [guest_received, guest_transmitted, received, transmitted] =
        frames.map(|frames| frames.map_or_else(|| "?".to_owned(), |frames| frames.to_string()));
    format!(
        "the guest counts {guest_received} received and {guest_transmitted} transmitted, the daemon {received} and {transmitted}"
    )
}

/// One flow on each CPU of the guest, and every pair carried frames both ways.
pub(super) fn every_pair_both_ways(lab: &mut Lab, guest: &mut Guest, pairs: u16) -> Result<()> {
    let mut servers = Servers::start(lab, 0, pairs)?;
    let before = Snapshot::take(lab, guest, pairs)?;
    servers.load_each_cpu(guest, 2)?;
    Snapshot::take(lab, guest, pairs)?.carried_since(&before, 0..pairs)
}

/// The guest has four pairs, all of them attached, and each of them carries frames.
pub(super) fn four_pairs(lab: &mut Lab, guest: &mut Guest) -> Result<()> {
    channels(guest, PAIRS)?;
    attached(lab, PAIRS, 0)?;
    traffic::ping_both(lab)?;
    every_pair_both_ways(lab, guest, PAIRS)
}

/// Feature bits as the guest's driver took them.
pub(super) fn features(guest: &mut Guest, wanted: &[(usize, bool)]) -> Result<()> {
    let bits = guest.run("cat /sys/class/net/eth0/device/features")?;
    for (bit, set) in wanted {
        let found = bits.trim().chars().nth(*bit) == Some('1');
        if found != *set {
            let state = if found { "taken" } else { "not taken" };
            return fail(format!(
                "feature bit {bit} was {state} by the guest's driver, this scenario wants the opposite"
            ));
        }
    }
    Ok(())
}

/// An offload of the guest's interface, by its name in `ethtool -k`.
pub(super) fn guest_offload(guest: &mut Guest, name: &str, on: bool) -> Result<()> {
    let text = guest.run("ethtool -k eth0")?;
    let wanted = format!("{name}: {}", if on { "on" } else { "off" });
    if text.lines().any(|line| line.trim().starts_with(&wanted)) {
        Ok(())
    } else {
        fail(format!("in the guest, not `{wanted}`"))
    }
}

/// Bytes and frames of a tap, as the kernel counts them.
pub(super) struct LinkBytes {
    to_guest: (u64, u64),
    from_guest: (u64, u64),
}

impl LinkBytes {
    pub(super) fn take(lab: &Lab, tap: &str) -> Result<Self> {
        let number = |pointer: &str| lab.namespace.link_number(tap, &format!("/stats64/{pointer}"));
        Ok(Self {
            to_guest: (number("tx/bytes")?, number("tx/packets")?),
            from_guest: (number("rx/bytes")?, number("rx/packets")?),
        })
    }

    /// Frames since: to the guest, from the guest.
    pub(super) fn frames_since(&self, before: &Self) -> (u64, u64) {
        (self.to_guest.1 - before.to_guest.1, self.from_guest.1 - before.from_guest.1)
    }

    /// Average frame sizes since: to the guest, from the guest.
    pub(super) fn average_since(&self, before: &Self) -> (u64, u64) {
        let average = |now: (u64, u64), then: (u64, u64)| (now.0 - then.0) / (now.1 - then.1).max(1);
        (average(self.to_guest, before.to_guest), average(self.from_guest, before.from_guest))
    }
}
