//! Rings, which change hands between the kernel and us.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::super::eventfd::check_eventfd;
use super::super::{Error, RingSetup, is_receive};
use super::KernelNic;
use super::pair::{KernelPair, side};
use crate::memory::GuestAddress;
use crate::queue_pair::signal;
use crate::ring::RingBase;

#[derive(Debug, Default)]
pub(super) struct RingState {
    pub(super) enabled: bool,
    pub(super) started: Option<Started>,
}

/// A started ring.
#[derive(Debug)]
pub(super) struct Started {
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
