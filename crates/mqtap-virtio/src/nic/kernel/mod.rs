//! A NIC whose frames the kernel moves.
//!
//! It speaks the same vocabulary as [`Nic`], and is one in all but this: a ring that is started and enabled is the kernel's (vhost-net). The
//! kernel has guest memory, the ring's addresses, the driver's own kick and call eventfds and the tap queue, and no thread
//! of ours is woken by a frame. A ring that is started and not enabled is ours, since what a driver transmits through it is to be taken
//! and dropped, which vhost-net does not do. So a ring changes hands as it is enabled and disabled, each time from where it stands.
//!
//! What the kernel cannot do is not offered: packed rings, and whatever else its vhost-net lacks.

mod pair;
mod rings;

use std::sync::Arc;
use std::time::Duration;

use mqtap::vhost_net::{self, Ring, VHOST_NET_HEADER, VhostNet};
use mqtap::{MacAddress, TapDevice};

use super::{Engine, Error, Nic, NicCounters, NicOptions, OnFailure};
use crate::features::OF_RINGS;
use crate::memory::GuestMemory;
use pair::KernelPair;
use rings::RingState;

/// A NIC whose frames the kernel moves, by vhost-net.
#[derive(Debug)]
pub struct KernelNic {
    // First, so that its worker is gone before the pairs that it watches.
    nic: Nic,
    pairs: Vec<Arc<KernelPair>>,
    /// Features about rings that the kernel has.
    offered: u64,
    /// `None` while it is not known what the kernel is set to.
    acknowledged: Option<u64>,
    rings: Vec<RingState>,
}

impl KernelNic {
    /// Puts a NIC on `device`, with handle i for queue pair i, which becomes ours. Detaches all queues and takes the carrier (unless told
    /// otherwise). Of the options, `workers`, `cpus` and `engine` are about threads that have nothing to do here; `poll` is the
    /// kernel's.
    pub fn new(
        device: Arc<TapDevice>,
        handles: Vec<VhostNet>,
        mut options: NicOptions,
        on_failure: OnFailure,
    ) -> Result<Self, Error> {
        let pairs = device.queue_count();
        if handles.len() != usize::from(pairs) {
            return Err(Error::Handles { handles: handles.len(), pairs });
        }
        // More is no use, as the kernel counts in whole microseconds and up to this.
        let poll = u32::try_from(options.poll.as_micros()).unwrap_or(u32::MAX);
        let pairs = handles
            .into_iter()
            .map(|handle| KernelPair::new(handle, poll).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let offered = pairs.iter().fold(u64::MAX, |all, pair| all & pair.offered_features());
        // One worker does for rings that are not enabled.
        (options.workers, options.engine, options.poll) = (1, Engine::Syscall, Duration::ZERO);
        options.cpus.clear();
        // Nobody of ours sees the frames on their way.
        options.segment = false;
        let mut nic = Nic::new(device, options, on_failure)?;
        nic.counters.before = Some(nic.device.link()?.counters);
        let rings = (0..nic.ring_count()).map(|_| RingState::default()).collect();
        let mut nic = Self { nic, pairs, offered, acknowledged: None, rings };
        // Nobody waits for the queues here, which would be woken for each frame.
        let end = nic.device().watch_end_aside()?;
        nic.nic.worker(0).call(move |worker| worker.watch_end(end))??;
        nic.watch_rings()?;
        nic.set_features(0)?;
        Ok(nic)
    }

    fn watch_rings(&self) -> Result<(), Error> {
        for (index, pair) in (0..).zip(&self.pairs) {
            for ring in Ring::BOTH {
                let counters = Arc::clone(&self.nic.counters.pairs[usize::from(index)]);
                let (fd, on_error) = pair.watch(ring, index, counters);
                self.nic.worker(index).call(move |worker| worker.watch(fd, on_error))??;
            }
        }
        Ok(())
    }

    /// The tap.
    pub fn device(&self) -> &Arc<TapDevice> {
        self.nic.device()
    }

    /// Virtqueues: two for each queue pair.
    pub fn ring_count(&self) -> u16 {
        self.nic.ring_count()
    }

    /// The largest ring that a driver may use, in descriptors.
    pub fn max_ring_size(&self) -> u16 {
        self.nic.max_ring_size()
    }

    /// The most memory regions that the kernel takes.
    pub fn max_memory_regions(&self) -> usize {
        vhost_net::max_memory_regions()
    }

    /// The counters, to be read from wherever they are wanted. What the kernel moved is in those of the interface, for all pairs
    /// together; those of the pairs count what became of frames on the way elsewhere.
    pub fn counters(&self) -> NicCounters {
        self.nic.counters()
    }

    /// The virtio features that this NIC offers: what the tap and the kernel's vhost-net can do.
    pub fn features(&self) -> u64 {
        self.nic.features() & (self.offered | !OF_RINGS)
    }

    /// The `virtio_net_config` of this NIC (virtio 1.3, 5.1.4).
    pub fn config(&self) -> Vec<u8> {
        self.nic.config()
    }

    /// The driver's choice of the features.
    pub fn set_features(&mut self, acknowledged: u64) -> Result<(), Error> {
        let unknown = acknowledged & !self.features();
        if unknown != 0 {
            return Err(Error::NotOffered(unknown));
        }
        if Some(acknowledged) == self.acknowledged {
            return Ok(());
        }
        if self.any_started() {
            return Err(Error::RingsStarted);
        }
        self.acknowledged = None;
        self.nic.set_features(acknowledged)?;
        let header = if self.device().has_vnet_header() { 0 } else { VHOST_NET_HEADER };
        for pair in &self.pairs {
            pair.vhost().set_features(acknowledged & OF_RINGS | header)?;
        }
        self.acknowledged = Some(acknowledged);
        Ok(())
    }

    /// The guest's memory, or another view of it (more of it, or with a dirty log). Started rings go on in it.
    pub fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Error> {
        if memory.is_none() && self.any_started() {
            return Err(Error::RingsStarted);
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            if let Err(error) = pair.set_memory(memory) {
                // All of them go on in the memory that they had.
                for pair in &self.pairs[..index] {
                    pair.set_memory(self.nic.memory.as_ref())?;
                }
                return Err(error);
            }
        }
        self.nic.set_memory(memory)
    }

    /// Stops and disables all rings, last to first, and forgets features and memory. Tries everything even where something fails, and then
    /// returns the first error.
    pub fn reset(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for ring in (0..self.ring_count()).rev() {
            if self.rings[usize::from(ring)].started.is_some() {
                result = result.and(self.stop_ring(ring).map(drop));
            }
            self.rings[usize::from(ring)].enabled = false;
        }
        for pair in &self.pairs {
            result = result.and(pair.set_memory(None));
        }
        self.acknowledged = None;
        result = result.and(self.nic.reset());
        if self.nic.check_alive().is_err() {
            // There is no tap to set back.
            return result;
        }
        result.and(self.set_features(0))
    }

    /// The MTU that the guest will use, in bytes: at most the tap's.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), Error> {
        self.nic.set_mtu(mtu)
    }

    /// Tells the network where `mac` is now.
    pub fn announce(&self, mac: MacAddress) -> Result<(), Error> {
        self.nic.announce(mac)
    }

    fn any_started(&self) -> bool {
        self.rings.iter().any(|ring| ring.started.is_some())
    }
}
