//! A NIC whose frames the kernel moves.
//!
//! It speaks the same vocabulary as [`Nic`], and is one in all but this: a ring that is started and enabled is the kernel's (vhost-net). The
//! kernel has guest memory, the ring's addresses, the driver's own kick and call eventfds and the tap queue, and no thread
//! of ours is woken by a frame. A ring that is started and not enabled is ours, since what a driver transmits through it is to be taken
//! and dropped, which vhost-net does not do. So a ring changes hands as it is enabled and disabled, each time from where it stands.
//!
//! What the kernel cannot do is not offered: packed rings, and whatever else its vhost-net lacks.

mod pair;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mqtap::vhost_net::{self, Ring, VHOST_NET_HEADER, VhostNet};
use mqtap::{MacAddress, TapDevice};

use super::eventfd::check_eventfd;
use super::{Engine, Error, Nic, NicCounters, NicOptions, OnFailure, RingSetup, is_receive};
use crate::features::OF_RINGS;
use crate::memory::{GuestAddress, GuestMemory};
use crate::queue_pair::signal;
use crate::ring::RingBase;
use pair::{KernelPair, side};

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

#[derive(Debug, Default)]
struct RingState {
    enabled: bool,
    started: Option<Started>,
}

/// A started ring.
#[derive(Debug)]
struct Started {
    holder: Holder,
    /// What to start it with elsewhere; the base is of its last start.
    setup: RingSetup,
}

/// Who has a started ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Our worker, which drops what is transmitted, while the ring is not enabled.
    Us,
    /// The kernel, while it is.
    Kernel,
}

impl Holder {
    fn of(enabled: bool) -> Self {
        if enabled { Self::Kernel } else { Self::Us }
    }
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

    /// Starts a ring. It carries frames once it is enabled, too.
    pub fn start_ring(&mut self, ring: u16, setup: RingSetup) -> Result<(), Error> {
        let state = self.state(ring)?;
        if state.started.is_some() {
            return Err(Error::Started(ring));
        }
        let holder = Holder::of(state.enabled);
        check_kick(ring, setup.kick.as_ref())?;
        check_eventfd("call", ring, setup.call.as_ref())?;
        check_eventfd("error", ring, setup.error.as_ref())?;
        self.start_at(ring, &setup, holder)?;
        self.rings[usize::from(ring)].started = Some(Started { holder, setup });
        Ok(())
    }

    /// Stops a ring and tells where it stands.
    pub fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Error> {
        self.state(ring)?;
        let started = self.rings[usize::from(ring)].started.take().ok_or(Error::NotStarted(ring))?;
        self.stop_at(ring, started.holder)
    }

    /// Enables or disables a ring, started or not. A started ring changes hands.
    pub fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Error> {
        if self.state(ring)?.enabled == enabled {
            return Ok(());
        }
        if let Some(mut started) = self.rings[usize::from(ring)].started.take() {
            started.setup.base = self.stop_at(ring, started.holder)?;
            let moved = self.start_at(ring, &started.setup, Holder::of(enabled));
            if moved.is_err() {
                // Back to where it was; a ring that does not start there either stays stopped.
                self.start_at(ring, &started.setup, started.holder)?;
            } else {
                started.holder = Holder::of(enabled);
            }
            self.rings[usize::from(ring)].started = Some(started);
            moved?;
        }
        self.rings[usize::from(ring)].enabled = enabled;
        Ok(())
    }

    fn start_at(&mut self, ring: u16, setup: &RingSetup, holder: Holder) -> Result<(), Error> {
        match holder {
            Holder::Us => self.nic.start_ring(ring, copy(ring, setup)?),
            Holder::Kernel => self.start_in_kernel(ring, setup),
        }
    }

    fn stop_at(&mut self, ring: u16, holder: Holder) -> Result<RingBase, Error> {
        match holder {
            Holder::Us => self.nic.stop_ring(ring),
            Holder::Kernel => self.stop_in_kernel(ring),
        }
    }

    fn start_in_kernel(&mut self, ring: u16, setup: &RingSetup) -> Result<(), Error> {
        self.nic.check_alive()?;
        if self.nic.memory.is_none() {
            return Err(Error::NoMemory(ring));
        }
        let (index, pair) = (ring / 2, self.pair(ring));
        let frontend = self.nic.worker(index).share(copy(ring, setup)?.error);
        let tap = Arc::clone(&self.nic.device.queues()[usize::from(index)]);
        if is_receive(ring) {
            self.nic.worker(index).call(move |worker| worker.lend_tap(index))?;
        }
        let started = pair.start(ring, copy(ring, setup)?, frontend, &tap);
        if !is_receive(ring) {
            return started;
        }
        // The kernel serves the ring before the first frame comes.
        let attached = started.and_then(|()| self.nic.attachments.attach(index));
        if attached.is_err() {
            if pair.vhost().is_started(side(ring)) {
                self.stop_in_kernel(ring)?;
            } else {
                self.nic.worker(index).call(move |worker| worker.take_tap_back(index))?;
            }
        }
        attached
    }

    fn stop_in_kernel(&mut self, ring: u16) -> Result<RingBase, Error> {
        let (index, pair) = (ring / 2, self.pair(ring));
        let base = pair.stop(ring);
        if is_receive(ring) {
            let taken = self.nic.worker(index).call(move |worker| worker.take_tap_back(index));
            self.nic.attachments.detach(index);
            taken?;
        }
        base.map(|base| RingBase(base.into()))
    }

    /// Replaces the kick eventfd of a started ring.
    pub fn set_ring_kick(&mut self, ring: u16, kick: Option<OwnedFd>) -> Result<(), Error> {
        let holder = self.holder(ring)?;
        check_kick(ring, kick.as_ref())?;
        let kept = duplicate(ring, kick.as_ref())?;
        match (holder, kick) {
            (Holder::Kernel, Some(kick)) => {
                let changed = self.pair(ring).vhost().set_kick(side(ring), kick);
                changed.map_err(|source| Error::VhostRing { ring, source })?;
            }
            (_, kick) => self.nic.set_ring_kick(ring, kick)?,
        }
        self.change_setup(ring, |setup| setup.kick = kept);
        Ok(())
    }

    /// Replaces the call eventfd of a started ring, and signals the new one once.
    pub fn set_ring_call(&mut self, ring: u16, call: Option<OwnedFd>) -> Result<(), Error> {
        let holder = self.holder(ring)?;
        check_eventfd("call", ring, call.as_ref())?;
        let kept = duplicate(ring, call.as_ref())?;
        if holder == Holder::Us {
            self.nic.set_ring_call(ring, call)?;
        } else {
            let changed = self.pair(ring).vhost().set_call(side(ring), call.as_ref());
            changed.map_err(|source| Error::VhostRing { ring, source })?;
            // By the worker: the frontend can make a write to its eventfd wait, and a worker can be freed from that.
            let worker = self.nic.worker(ring / 2);
            if let Some(call) = worker.share(call) {
                worker.call(move |_| signal(&call))?;
            }
        }
        self.change_setup(ring, |setup| setup.call = kept);
        Ok(())
    }

    /// Replaces the error eventfd of a started ring.
    pub fn set_ring_error(&mut self, ring: u16, error: Option<OwnedFd>) -> Result<(), Error> {
        let holder = self.holder(ring)?;
        check_eventfd("error", ring, error.as_ref())?;
        let kept = duplicate(ring, error.as_ref())?;
        if holder == Holder::Us {
            self.nic.set_ring_error(ring, error)?;
        } else {
            self.pair(ring).report_to(ring, self.nic.worker(ring / 2).share(error));
        }
        self.change_setup(ring, |setup| setup.error = kept);
        Ok(())
    }

    /// Moves where used-ring writes of a started ring are logged.
    pub fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Error> {
        if self.holder(ring)? == Holder::Us {
            self.nic.set_ring_log(ring, log)?;
        } else {
            let moved = self.pair(ring).vhost().set_ring_log(side(ring), log.map(|log| log.0));
            moved.map_err(|source| Error::VhostRing { ring, source })?;
        }
        self.change_setup(ring, |setup| setup.addresses.log = log);
        Ok(())
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

    /// The MTU that the guest will use, until the next reset.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), Error> {
        self.nic.set_mtu(mtu)
    }

    /// Tells the network where `mac` is now.
    pub fn announce(&self, mac: MacAddress) -> Result<(), Error> {
        self.nic.announce(mac)
    }

    /// Who has a ring that is started.
    fn holder(&self, ring: u16) -> Result<Holder, Error> {
        let started = self.state(ring)?.started.as_ref();
        started.map(|started| started.holder).ok_or(Error::NotStarted(ring))
    }

    fn change_setup(&mut self, ring: u16, change: impl FnOnce(&mut RingSetup)) {
        if let Some(started) = &mut self.rings[usize::from(ring)].started {
            change(&mut started.setup);
        }
    }

    fn any_started(&self) -> bool {
        self.rings.iter().any(|ring| ring.started.is_some())
    }

    fn pair(&self, ring: u16) -> Arc<KernelPair> {
        Arc::clone(&self.pairs[usize::from(ring / 2)])
    }

    fn state(&self, ring: u16) -> Result<&RingState, Error> {
        let pairs = self.device().queue_count();
        self.rings.get(usize::from(ring)).ok_or(Error::NoSuchRing { ring, pairs, rings: pairs * 2 })
    }
}

/// vhost-net wants to be kicked.
fn check_kick(ring: u16, kick: Option<&OwnedFd>) -> Result<(), Error> {
    if kick.is_none() {
        return Err(Error::NoKick(ring));
    }
    check_eventfd("kick", ring, kick)
}

fn duplicate(ring: u16, fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    fd.map(OwnedFd::try_clone).transpose().map_err(|source| Error::Duplicate { ring, source })
}

/// The same setup, with descriptors of its own.
fn copy(ring: u16, setup: &RingSetup) -> Result<RingSetup, Error> {
    Ok(RingSetup {
        size: setup.size,
        addresses: setup.addresses,
        base: setup.base,
        kick: duplicate(ring, setup.kick.as_ref())?,
        call: duplicate(ring, setup.call.as_ref())?,
        error: duplicate(ring, setup.error.as_ref())?,
    })
}
