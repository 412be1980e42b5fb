//! A queue pair in the kernel's hands, and what the kernel tells of a ring that its driver broke.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mqtap::TapQueue;
use mqtap::vhost_net::{MemoryTable, Ring, RingEvents, RingLayout, VhostNet, VhostPair};
use rustix::event::{EventfdFlags, eventfd};

use crate::counters::PairCounters;
use crate::memory::{DirtyLog, GuestMemory};
use crate::nic::{Error, RingSetup, is_receive};
use crate::queue_pair::signal;
use crate::worker::{OnEvent, WARNING_INTERVAL};

/// Which ring of its pair a ring of the device is.
pub(super) fn side(ring: u16) -> Ring {
    if is_receive(ring) { Ring::Receive } else { Ring::Transmit }
}

/// A queue pair of the kernel's.
///
/// The control side and the worker that hears of broken rings share it. Neither waits for the other while it holds the lock.
#[derive(Debug)]
pub(super) struct KernelPair {
    vhost: Mutex<VhostPair>,
    /// By [`Ring`]: that the driver broke it.
    reports: [Report; 2],
}

/// Where the kernel says that a ring is broken, and where the frontend wants to hear of it.
struct Report {
    ours: Arc<OwnedFd>,
    frontend: Mutex<Option<Arc<OwnedFd>>>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("ours", &self.ours).finish_non_exhaustive()
    }
}

impl Report {
    fn new() -> Result<Self, Error> {
        let ours = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let ours = ours.map_err(|errno| Error::Eventfd(errno.into()))?;
        Ok(Self { ours: Arc::new(ours), frontend: Mutex::default() })
    }

    /// Takes what the kernel said, if it said something.
    fn take(&self) -> bool {
        rustix::io::read(&*self.ours, &mut [0; 8]).is_ok()
    }

    fn frontend(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.frontend.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KernelPair {
    /// Makes the handle ours. `poll`: the busy loop, in microseconds.
    pub(super) fn new(handle: VhostNet, poll: u32) -> Result<Self, Error> {
        let mut vhost = handle.own()?;
        if poll != 0 {
            vhost.set_busy_loop(poll)?;
        }
        Ok(Self { vhost: Mutex::new(vhost), reports: [Report::new()?, Report::new()?] })
    }

    pub(super) fn offered_features(&self) -> u64 {
        self.vhost().offered_features()
    }

    pub(super) fn vhost(&self) -> MutexGuard<'_, VhostPair> {
        self.vhost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, ring: Ring) -> &Report {
        match ring {
            Ring::Receive => &self.reports[0],
            Ring::Transmit => &self.reports[1],
        }
    }

    pub(super) fn set_memory(&self, memory: Option<&GuestMemory>) -> Result<(), Error> {
        let table = memory.map_or_else(|| Ok(MemoryTable::empty()), GuestMemory::to_kernel)?;
        let log = memory.and_then(GuestMemory::log).map(DirtyLog::to_kernel);
        Ok(self.vhost().set_memory(table, log)?)
    }

    /// Starts a ring. `frontend`: who is told, by an eventfd, that the driver broke it.
    pub(super) fn start(
        &self,
        ring: u16,
        setup: RingSetup,
        frontend: Option<Arc<OwnedFd>>,
        tap: &Arc<TapQueue>,
    ) -> Result<(), Error> {
        let failed = |source| Error::VhostRing { ring, source };
        let side = side(ring);
        let kick = setup.kick.ok_or(Error::NoKick(ring))?;
        // A split ring, for no other is offered: its base has 16 bits, and the session has seen to it.
        let base = (setup.base.0 & 0xffff) as u16;
        let layout = RingLayout {
            size: setup.size,
            descriptors: setup.addresses.descriptors.0,
            available: setup.addresses.driver.0,
            used: setup.addresses.device.0,
            log: setup.addresses.log.map(|log| log.0),
            base,
        };
        let report = self.report(side);
        let error = report.ours.try_clone().map_err(|source| Error::Duplicate { ring, source })?;
        let events = RingEvents { kick, call: setup.call, error: Some(error) };
        let mut vhost = self.vhost();
        // What was said of the ring in its former life is old.
        report.take();
        *report.frontend() = frontend;
        vhost.start(side, layout, events, tap).map_err(failed)
    }

    pub(super) fn stop(&self, ring: u16) -> Result<u16, Error> {
        let base = self.vhost().stop(side(ring)).map_err(|source| Error::VhostRing { ring, source });
        *self.report(side(ring)).frontend() = None;
        base
    }

    /// Sends reports of a ring elsewhere from now on.
    pub(super) fn report_to(&self, ring: u16, frontend: Option<Arc<OwnedFd>>) {
        *self.report(side(ring)).frontend() = frontend;
    }

    /// What to wait for, and what to do then: a ring that its driver broke is left alone, counted and reported. `index` is the pair's.
    pub(super) fn watch(
        self: &Arc<Self>,
        ring: Ring,
        index: u16,
        counters: Arc<PairCounters>,
    ) -> (Arc<dyn AsFd + Send + Sync>, OnEvent) {
        let fd = Arc::clone(&self.report(ring).ours);
        let pair = Arc::clone(self);
        let mut warned: Option<Instant> = None;
        let on_event = move || {
            let report = pair.report(ring);
            let frontend = {
                let mut vhost = pair.vhost();
                // The ring may have been stopped, and even started again, since the kernel said so.
                if !report.take() || vhost.halt(ring).is_err() {
                    return;
                }
                report.frontend().clone()
            };
            counters.broken.add(1);
            if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                warned = Some(Instant::now());
                tracing::warn!(
                    "the driver broke its {} ring of queue pair {index}, which stops: the kernel could not use it",
                    if ring == Ring::Receive { "receive" } else { "transmit" }
                );
            }
            if let Some(frontend) = frontend {
                signal(&frontend);
            }
        };
        (fd, Box::new(on_event))
    }
}
