//! The counters of a NIC, for whoever wants to look.

use std::sync::Arc;

use mqtap::TapDevice;
use serde::Serialize;

use crate::counters::{PairCounters, PairSnapshot};

/// Counters of a NIC, readable from any thread while the NIC works.
#[derive(Clone, Debug)]
pub struct NicCounters {
    pub(super) device: Arc<TapDevice>,
    pub(super) pairs: Arc<[Arc<PairCounters>]>,
}

/// Values of [`NicCounters`].
#[derive(Clone, Debug, Serialize)]
pub struct NicSnapshot {
    /// The tap.
    pub interface: String,
    /// One for each queue pair.
    pub pairs: Vec<PairSnapshot>,
}

impl NicCounters {
    /// The values now.
    pub fn snapshot(&self) -> NicSnapshot {
        let pairs = self.pairs.iter().zip(self.device.queues());
        NicSnapshot {
            interface: self.device.name().to_string(),
            // A queue of which the kernel cannot tell (the tap was deleted) is not attached.
            pairs: pairs.map(|(pair, queue)| pair.snapshot(queue.is_attached().unwrap_or(false))).collect(),
        }
    }
}
