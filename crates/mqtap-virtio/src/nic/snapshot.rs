//! The counters of a NIC, for whoever wants to look.

use std::sync::{Arc, Weak};

use mqtap::TapDevice;
use serde::{Deserialize, Serialize};

use crate::counters::{PairCounters, PairSnapshot};

/// Counters of a NIC, readable from any thread while the NIC works.
#[derive(Clone, Debug)]
pub struct NicCounters {
    pub(super) interface: String,
    /// The counters do not keep the tap.
    pub(super) device: Weak<TapDevice>,
    pub(super) pairs: Arc<[Arc<PairCounters>]>,
}

/// Values of [`NicCounters`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NicSnapshot {
    /// The tap.
    pub interface: String,
    /// One for each queue pair.
    pub pairs: Vec<PairSnapshot>,
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
        NicSnapshot {
            interface: self.interface.clone(),
            pairs: pairs.map(|(pair, counters)| counters.snapshot(attached(pair))).collect(),
        }
    }
}
