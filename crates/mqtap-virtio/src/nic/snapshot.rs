//! The counters of a NIC, for whoever wants to look.

use std::sync::{Arc, Weak};

use mqtap::TapDevice;
use mqtap::link::LinkCounters;
use serde::{Deserialize, Serialize};

use crate::counters::{PairCounters, PairSnapshot};

/// Counters of a NIC, readable from any thread while the NIC works.
#[derive(Clone, Debug)]
pub struct NicCounters {
    pub(super) interface: String,
    /// The counters do not keep the tap.
    pub(super) device: Weak<TapDevice>,
    /// If the kernel moves the frames, what the interface had counted before.
    pub(super) before: Option<LinkCounters>,
    pub(super) pairs: Arc<[Arc<PairCounters>]>,
}

/// Values of [`NicCounters`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NicSnapshot {
    /// The tap.
    pub interface: String,
    /// What the interface counted, if the kernel moves the frames, which it does not count by pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelCounters>,
    /// One for each queue pair.
    pub pairs: Vec<PairSnapshot>,
}

/// What the interface counted since the NIC is there, for all pairs together, as the guest sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct KernelCounters {
    /// Frames from the guest that went out of the tap.
    pub transmit_frames: u64,
    /// Bytes of those, as the host's network counts them.
    pub transmit_bytes: u64,
    /// Frames from the guest that the interface refused: bad virtio-net headers, no memory.
    pub transmit_dropped: u64,
    /// Frames that were taken out of the tap for the guest.
    pub receive_frames: u64,
    /// Bytes of what was taken out of the tap.
    pub receive_bytes: u64,
    /// Frames for the guest that the interface had no room for, or no attached queue.
    pub receive_dropped: u64,
}

impl NicCounters {
    /// The values now.
    pub fn snapshot(&self) -> NicSnapshot {
        let device = self.device.upgrade();
        // A queue of which the kernel cannot tell (the tap was deleted) is not attached.
        let attached = |pair: usize| {
            let queue = device.as_ref().and_then(|device| device.queues().get(pair));
            queue.is_some_and(|queue| queue.is_attached().unwrap_or(false))
        };
        let pairs = self.pairs.iter().enumerate();
        let pairs: Vec<_> = pairs.map(|(pair, counters)| counters.snapshot(attached(pair))).collect();
        let kernel = self.before.as_ref().map(|before| {
            // Of a tap that was deleted, nothing is known any more.
            let now = device.and_then(|device| device.link().ok()).map(|link| link.counters);
            KernelCounters::new(before, &now.unwrap_or(*before), &pairs)
        });
        NicSnapshot { interface: self.interface.clone(), kernel, pairs }
    }
}

impl KernelCounters {
    /// What the kernel moved between two readings of the interface. What was read from the tap to be dropped is among what the
    /// interface sent, and is counted by pair.
    fn new(before: &LinkCounters, now: &LinkCounters, pairs: &[PairSnapshot]) -> Self {
        let since = |counter: fn(&LinkCounters) -> u64| counter(now).saturating_sub(counter(before));
        let discarded: u64 = pairs.iter().map(|pair| pair.receive.dropped_disabled).sum();
        Self {
            transmit_frames: since(|link| link.received_frames),
            transmit_bytes: since(|link| link.received_bytes),
            transmit_dropped: since(|link| link.receive_dropped + link.receive_errors),
            receive_frames: since(|link| link.sent_frames).saturating_sub(discarded),
            receive_bytes: since(|link| link.sent_bytes),
            receive_dropped: since(|link| link.send_dropped + link.send_errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_moved_is_what_the_interface_counted_since() {
        let mut before = LinkCounters::default();
        (before.received_frames, before.sent_frames) = (10, 20);
        let mut now = LinkCounters::default();
        (now.received_frames, now.received_bytes) = (13, 300);
        (now.receive_dropped, now.receive_errors) = (1, 2);
        (now.sent_frames, now.sent_bytes) = (27, 700);
        (now.send_dropped, now.send_errors) = (4, 8);
        let mut pairs = vec![PairSnapshot::default(); 2];
        pairs[1].receive.dropped_disabled = 2;
        let expected = KernelCounters {
            transmit_frames: 3,
            transmit_bytes: 300,
            transmit_dropped: 3,
            receive_frames: 5,
            receive_bytes: 700,
            receive_dropped: 12,
        };
        assert_eq!(KernelCounters::new(&before, &now, &pairs), expected);
        assert_eq!(KernelCounters::new(&now, &before, &[]), KernelCounters::default());
    }
}
