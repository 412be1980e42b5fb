//! What is wrong with a tap, why, and what to type.
//!
//! A doctor looks and does not touch: [`sample`] and [`sample_all`] take what [`inspect`] sees, [`examine`] draws
//! conclusions from one or two such samples, which are pure functions. Two samples with some time between tell more: what
//! is not read, and what is dropped just now.
//!
//! What the kernel shows nobody is not guessed at: the offload mask shows as features of the interface, the header's length
//! and the send buffer only through a queue that somebody holds, and a steering program not at all: [`Host`] knows of programs
//! that nobody holds, one of which may be it.
//!
//! ```no_run
//! use mqtap::doctor::{self, Wanted};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let before = doctor::sample("tap0".parse()?, None)?;
//! std::thread::sleep(std::time::Duration::from_millis(500));
//! let now = doctor::sample("tap0".parse()?, None)?;
//! for finding in doctor::examine(Some(&before), &now, &Wanted::default()) {
//!     println!("{}: {}", finding.id, finding.summary);
//! }
//! # Ok(())
//! # }
//! ```

mod commands;
mod explain;
mod finding;
mod holders;
mod host;
mod settings;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::BTreeMap;

pub use explain::{Cause, Explanation, explain, explanations};
pub use finding::{Finding, Id, Severity};
pub use host::{Host, examine_host, missing, not_a_tap};

use crate::device::{Namespace, Obstacle};
use crate::inspect::{self, Kind, Reads, Tap};
use crate::link::LinkCounters;
use crate::name::InterfaceName;

/// What somebody is going to ask of a tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How many queues. `None` if that is not known.
    pub queues: Option<u16>,
    /// Whether frames have a virtio-net header. `None` is what every VMM asks for: yes.
    pub vnet_header: Option<bool>,
}

impl Wanted {
    fn vnet_header(self) -> bool {
        self.vnet_header.unwrap_or(true)
    }
}

/// A tap at one moment, and what its holders have read until then.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The tap. Its counters were read before its queues were looked at.
    pub tap: Tap,
    /// What each holder had read with system calls: after the queues were looked at, before the later counters.
    reads: BTreeMap<u32, Reads>,
    /// The counters once more, after all of this.
    later: LinkCounters,
    /// What keeps this process from its queues, of a macvtap or ipvtap.
    obstacle: Option<Obstacle>,
    /// Where it was looked for.
    namespace: Option<Namespace>,
}

/// A sample of one tap, of a network namespace (the caller's if `None`).
///
/// # Errors
/// As [`inspect::find`].
pub fn sample(name: InterfaceName, namespace: Option<&Namespace>) -> Result<Sample, inspect::Error> {
    let taps = vec![inspect::find(name, namespace)?];
    complete(taps, namespace)?.pop().ok_or(inspect::Error::NotFound(name))
}

/// A sample of each tap of a network namespace.
///
/// # Errors
/// As [`inspect::list`].
pub fn sample_all(namespace: Option<&Namespace>) -> Result<Vec<Sample>, inspect::Error> {
    complete(inspect::list(namespace)?, namespace)
}

/// Taps that are gone again are left out.
fn complete(taps: Vec<Tap>, namespace: Option<&Namespace>) -> Result<Vec<Sample>, inspect::Error> {
    let reads: Vec<_> = taps.iter().map(reads_of).collect();
    let later = inspect::counters(namespace)?;
    let samples = taps.into_iter().zip(reads);
    Ok(samples
        .filter_map(|(tap, reads)| {
            Some(Sample {
                later: *later.get(&tap.link.index)?,
                obstacle: Obstacle::of(&tap.link, tap.kind),
                tap,
                reads,
                namespace: namespace.cloned(),
            })
        })
        .collect())
}

fn reads_of(tap: &Tap) -> BTreeMap<u32, Reads> {
    tap.holders.iter().filter_map(|holder| Some((holder.pid, inspect::reads(holder.pid)?))).collect()
}

/// What can be said of a tap, the worst first. `before` is an earlier sample of it.
#[must_use]
pub fn examine(before: Option<&Sample>, now: &Sample, wanted: &Wanted) -> Vec<Finding> {
    let tap = &now.tap;
    if tap.kind == Kind::Tun {
        return vec![settings::not_a_tap(tap).inside(now.namespace.as_ref())];
    }
    // One that was deleted and made again meanwhile is another.
    let before = before.filter(|before| before.tap.link.index == tap.link.index);
    let place = now.namespace.as_ref();
    let mut findings = settings::examine(tap, wanted, place);
    findings.extend(holders::examine(tap));
    findings.extend(surroundings::examine(tap, now.obstacle.as_ref(), place));
    findings.extend(traffic::examine(before, now));
    // Equal ones stay as they are.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.into_iter().map(|finding| finding.on(tap.link.name).inside(place)).collect()
}
