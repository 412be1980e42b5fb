//! A queue pair whose frames the kernel moves.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::{DirtyBitmap, Error, MemoryTable, Ring, RingEvents, RingLayout, VHOST_NET_HEADER, VhostNet};
use crate::queue::TapQueue;
use crate::sys::guest::RingParts;
use crate::sys::vhost;

/// `VHOST_F_LOG_ALL`: what is written to guest memory is marked in the bitmap.
const LOG_ALL: u64 = 1 << 26;

/// What a pair can do, if the kernel can: `VIRTIO_NET_F_MRG_RXBUF`, `VIRTIO_F_INDIRECT_DESC`, `VIRTIO_F_EVENT_IDX`,
/// `VIRTIO_F_VERSION_1`, `VIRTIO_F_IN_ORDER`, and a header of vhost-net's own. Others change what addresses mean, or how rings
/// are laid out.
const KNOWN: u64 = 1 << 15 | 1 << 28 | 1 << 29 | 1 << 32 | 1 << 35 | VHOST_NET_HEADER;

/// A vhost-net handle that this process owns: a queue pair, whose frames the kernel moves while its rings are started.
///
/// The kernel works on this process's memory, in a thread of its own for each pair. Dropping the pair stops its rings.
pub struct VhostPair {
    fd: OwnedFd,
    offered: u64,
    features: u64,
    memory: MemoryTable,
    log: Option<DirtyBitmap>,
    rings: [Option<Started>; 2],
    /// A kick that has come: has the kernel look at a ring at once.
    kicked: OwnedFd,
}

/// What is needed to pause a ring and to go on.
struct Started {
    layout: RingLayout,
    kick: OwnedFd,
    tap: Arc<TapQueue>,
    halted: bool,
}

impl fmt::Debug for VhostPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VhostPair").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl VhostPair {
    pub(super) fn own(handle: VhostNet) -> Result<Self, Error> {
        vhost::set_owner(handle.as_fd()).map_err(|errno| match errno {
            Errno::BUSY => Error::Owned,
            _ => Error::Refused { what: "become the owner of a vhost-net handle", errno },
        })?;
        let kicked = vhost::kicked().map_err(|errno| Error::Refused { what: "make an eventfd", errno })?;
        Ok(Self {
            offered: handle.features,
            fd: handle.fd,
            features: 0,
            memory: MemoryTable::empty(),
            log: None,
            rings: [None, None],
            kicked,
        })
    }

    /// What can be acknowledged with [`set_features`](Self::set_features).
    #[must_use]
    pub fn offered_features(&self) -> u64 {
        self.offered & KNOWN
    }

    /// What the driver acknowledged, as far as it is about rings (virtio 1.3, 6) and `VIRTIO_NET_F_MRG_RXBUF`; and
    /// [`VHOST_NET_HEADER`](super::VHOST_NET_HEADER) for a tap without a virtio-net header.
    ///
    /// # Errors
    /// [`Error::Features`] for what is not offered; [`Error::Started`] while a ring is started; [`Error::Refused`].
    pub fn set_features(&mut self, features: u64) -> Result<(), Error> {
        let unknown = features & !self.offered_features();
        if unknown != 0 {
            return Err(Error::Features(unknown));
        }
        if let Some(ring) = Ring::BOTH.into_iter().find(|&ring| self.is_started(ring)) {
            return Err(Error::Started { ring: ring.name() });
        }
        vhost::set_features(self.fd(), features | self.log_feature())
            .map_err(|errno| Error::Refused { what: "set features", errno })?;
        self.features = features;
        Ok(())
    }

    /// How long the kernel looks busily for more frames before it sleeps, in microseconds, for both rings; 0 is not at all.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::BusyLoop`] if the kernel made something else of it.
    pub fn set_busy_loop(&mut self, microseconds: u32) -> Result<(), Error> {
        for ring in Ring::BOTH {
            vhost::set_busy_loop(self.fd(), ring.index(), microseconds)
                .map_err(|errno| Error::Refused { what: "set the busy loop", errno })?;
            let now = vhost::busy_loop(self.fd(), ring.index())
                .map_err(|errno| Error::Refused { what: "ask for the busy loop", errno })?;
            if now != microseconds {
                return Err(Error::BusyLoop { asked: microseconds, now });
            }
        }
        Ok(())
    }

    /// Replaces guest memory, and the bitmap in which writes to it are marked. Started rings go on in it, from where they are.
    ///
    /// # Errors
    /// [`Error::RingNotInMemory`] and [`Error::RingMisaligned`] for a started ring; [`Error::LogTooSmall`] for a bitmap that does not cover all of
    /// memory and of the used rings; [`Error::TooManyRegions`]; [`Error::Refused`]. Everything is as before then, and the rings go on, unless the
    /// kernel refuses even that: [`Error::Lost`].
    pub fn set_memory(&mut self, memory: MemoryTable, log: Option<DirtyBitmap>) -> Result<(), Error> {
        for ring in Ring::BOTH {
            if let Some(started) = self.started(ring) {
                started.layout.find(ring, &memory, self.features)?;
            }
        }
        if let Some(log) = &log {
            self.check_log(log, &memory)?;
        }
        // A ring at rest touches neither memory nor bitmap, so in between they may be of different age.
        self.pause().map_err(|error| Error::Lost(Box::new(error)))?;
        let before = (std::mem::replace(&mut self.memory, memory), std::mem::replace(&mut self.log, log));
        let changed = self.apply_memory();
        if changed.is_err() {
            (self.memory, self.log) = before;
            self.apply_memory().map_err(|error| Error::Lost(Box::new(error)))?;
        }
        self.resume().map_err(|error| Error::Lost(Box::new(error)))?;
        changed
    }

    /// Starts a ring on a tap queue. It is looked at at once, without waiting for a kick.
    ///
    /// # Errors
    /// [`Error::Started`]; [`Error::RingSize`], [`Error::RingNotInMemory`], [`Error::RingMisaligned`]; [`Error::LogTooSmall`];
    /// [`Error::Refused`]. The ring is stopped then.
    pub fn start(
        &mut self,
        ring: Ring,
        layout: RingLayout,
        events: RingEvents,
        tap: &Arc<TapQueue>,
    ) -> Result<(), Error> {
        if self.is_started(ring) {
            return Err(Error::Started { ring: ring.name() });
        }
        let parts = layout.find(ring, &self.memory, self.features)?;
        if let Some(log) = &self.log {
            check_log_end(log, layout.log_end())?;
        }
        let started = Started { layout, kick: events.kick, tap: Arc::clone(tap), halted: false };
        let result = self
            .set_up(ring, &started, parts)
            .and_then(|()| self.tell(ring, "set the call eventfd of", vhost::set_call, events.call.as_ref()))
            .and_then(|()| {
                self.tell(ring, "set the error eventfd of", vhost::set_error, events.error.as_ref())
            })
            .and_then(|()| self.run(ring, &started));
        match result {
            Ok(()) => self.rings[usize::from(ring.index())] = Some(started),
            // What went wrong first is what counts.
            Err(_) => drop(self.let_go(ring)),
        }
        result
    }

    /// Stops a ring and tells where it stands: the available index of the next chain. Its eventfds are let go.
    ///
    /// # Errors
    /// [`Error::NotStarted`]; [`Error::Refused`], and the ring is stopped all the same.
    pub fn stop(&mut self, ring: Ring) -> Result<u16, Error> {
        if self.rings[usize::from(ring.index())].take().is_none() {
            return Err(Error::NotStarted { ring: ring.name() });
        }
        self.leave(ring)?;
        self.let_go(ring)?;
        let base = vhost::base(self.fd(), ring.index())
            .map_err(|errno| Error::Refused { what: "ask for the base of a ring", errno })?;
        // Of a split ring, which is all there is here, the upper half is 0.
        Ok((base & 0xffff) as u16)
    }

    /// Has the kernel leave a started ring alone until it is stopped and started again: for one that its driver broke.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::RingRefused`].
    pub fn halt(&mut self, ring: Ring) -> Result<(), Error> {
        self.check_started(ring)?;
        self.leave(ring)?;
        if let Some(started) = &mut self.rings[usize::from(ring.index())] {
            started.halted = true;
        }
        Ok(())
    }

    /// Whether a ring is started.
    #[must_use]
    pub fn is_started(&self, ring: Ring) -> bool {
        self.started(ring).is_some()
    }

    /// Replaces the kick eventfd of a started ring, and has the ring looked at.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Refused`].
    pub fn set_kick(&mut self, ring: Ring, kick: OwnedFd) -> Result<(), Error> {
        let fd = self.fd.as_fd();
        let started = self.rings[usize::from(ring.index())].as_mut();
        let started = started.ok_or(Error::NotStarted { ring: ring.name() })?;
        listen(fd, &self.kicked, ring, &kick)?;
        started.kick = kick;
        Ok(())
    }

    /// Replaces the call eventfd of a started ring.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Refused`].
    pub fn set_call(&mut self, ring: Ring, call: Option<&OwnedFd>) -> Result<(), Error> {
        self.check_started(ring)?;
        self.tell(ring, "set the call eventfd of", vhost::set_call, call)
    }

    /// Replaces the error eventfd of a started ring.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Refused`].
    pub fn set_error(&mut self, ring: Ring, error: Option<&OwnedFd>) -> Result<(), Error> {
        self.check_started(ring)?;
        self.tell(ring, "set the error eventfd of", vhost::set_error, error)
    }

    /// Moves where writes to the used ring of a started ring are marked.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::RingMisaligned`], [`Error::LogTooSmall`], [`Error::Refused`]. It is where it was then.
    pub fn set_ring_log(&mut self, ring: Ring, log: Option<u64>) -> Result<(), Error> {
        let started = self.started(ring).ok_or(Error::NotStarted { ring: ring.name() })?;
        let layout = RingLayout { log, ..started.layout };
        let parts = layout.find(ring, &self.memory, self.features)?;
        if let Some(bitmap) = &self.log {
            check_log_end(bitmap, layout.log_end())?;
        }
        self.set_addresses(ring, &layout, parts)?;
        if let Some(started) = &mut self.rings[usize::from(ring.index())] {
            started.layout = layout;
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn started(&self, ring: Ring) -> Option<&Started> {
        self.rings[usize::from(ring.index())].as_ref()
    }

    fn check_started(&self, ring: Ring) -> Result<(), Error> {
        if self.is_started(ring) { Ok(()) } else { Err(Error::NotStarted { ring: ring.name() }) }
    }

    fn log_feature(&self) -> u64 {
        if self.log.is_some() { LOG_ALL } else { 0 }
    }

    /// The kernel sets bits as far as guest memory and the used rings reach, and does not know where the bitmap ends.
    fn check_log(&self, log: &DirtyBitmap, memory: &MemoryTable) -> Result<(), Error> {
        let rings = self.rings.iter().flatten().map(|started| started.layout.log_end());
        check_log_end(log, rings.fold(memory.guest_end(), u64::max))
    }

    /// Tells the kernel what `memory` and `log` are now. No ring runs.
    fn apply_memory(&self) -> Result<(), Error> {
        vhost::set_memory(self.fd(), &self.memory).map_err(|errno| match errno {
            Errno::TOOBIG => Error::TooManyRegions { count: self.memory.regions().len() },
            _ => Error::Refused { what: "set the memory table", errno },
        })?;
        if let Some(log) = &self.log {
            vhost::set_log(self.fd(), log).map_err(|errno| Error::Refused { what: "set the log", errno })?;
        }
        vhost::set_features(self.fd(), self.features | self.log_feature())
            .map_err(|errno| Error::Refused { what: "switch the log", errno })?;
        for ring in Ring::BOTH {
            if let Some(started) = self.started(ring) {
                let parts = started.layout.find(ring, &self.memory, self.features)?;
                self.set_addresses(ring, &started.layout, parts)?;
            }
        }
        Ok(())
    }

    fn set_up(&self, ring: Ring, started: &Started, parts: RingParts) -> Result<(), Error> {
        let refused = |what| move |errno| Error::Refused { what, errno };
        vhost::set_size(self.fd(), ring.index(), started.layout.size)
            .map_err(refused("set the size of a ring"))?;
        vhost::set_base(self.fd(), ring.index(), started.layout.base)
            .map_err(refused("set the base of a ring"))?;
        self.set_addresses(ring, &started.layout, parts)
    }

    fn set_addresses(&self, ring: Ring, layout: &RingLayout, parts: RingParts) -> Result<(), Error> {
        let log = self.log.as_ref().map(|_| layout.log_address());
        vhost::set_addresses(self.fd(), ring.index(), parts, log)
            .map_err(|errno| Error::Refused { what: "set the addresses of a ring", errno })
    }

    fn tell(
        &self,
        ring: Ring,
        what: &'static str,
        set: impl Fn(BorrowedFd<'_>, u8, Option<BorrowedFd<'_>>) -> Result<(), Errno>,
        eventfd: Option<&OwnedFd>,
    ) -> Result<(), Error> {
        set(self.fd(), ring.index(), eventfd.map(AsFd::as_fd)).map_err(|errno| Error::RingRefused {
            what,
            ring: ring.name(),
            errno,
        })
    }

    /// Has the kernel move frames.
    fn run(&self, ring: Ring, started: &Started) -> Result<(), Error> {
        vhost::set_backend(self.fd(), ring.index(), Some(started.tap.as_fd()))
            .map_err(|errno| Error::RingRefused { what: "start", ring: ring.name(), errno })?;
        listen(self.fd(), &self.kicked, ring, &started.kick).inspect_err(|_| drop(self.leave(ring)))
    }

    /// Has the kernel leave a ring alone. When this fails, nobody knows what the kernel does with memory, so that stays for good.
    fn leave(&self, ring: Ring) -> Result<(), Error> {
        vhost::set_backend(self.fd(), ring.index(), None).map_err(|errno| {
            std::mem::forget((self.memory.clone(), self.log.clone()));
            Error::RingRefused { what: "stop", ring: ring.name(), errno }
        })
    }

    /// Has the kernel let go the eventfds of a ring at rest.
    fn let_go(&self, ring: Ring) -> Result<(), Error> {
        self.tell(ring, "let go the kick eventfd of", vhost::set_kick, None)
            .and(self.tell(ring, "let go the call eventfd of", vhost::set_call, None))
            .and(self.tell(ring, "let go the error eventfd of", vhost::set_error, None))
    }

    fn pause(&self) -> Result<(), Error> {
        Ring::BOTH.into_iter().filter(|&ring| self.is_started(ring)).try_for_each(|ring| self.leave(ring))
    }

    fn resume(&self) -> Result<(), Error> {
        for ring in Ring::BOTH {
            if let Some(started) = self.started(ring).filter(|started| !started.halted) {
                self.run(ring, started)?;
            }
        }
        Ok(())
    }
}

/// Has the kernel look at a ring at once, for kicks may have come unseen, and then listen to its kicks.
fn listen(fd: BorrowedFd<'_>, kicked: &OwnedFd, ring: Ring, kick: &OwnedFd) -> Result<(), Error> {
    vhost::set_kick(fd, ring.index(), Some(kicked.as_fd()))
        .and_then(|()| vhost::set_kick(fd, ring.index(), Some(kick.as_fd())))
        .map_err(|errno| Error::RingRefused { what: "set the kick eventfd of", ring: ring.name(), errno })
}

fn check_log_end(log: &DirtyBitmap, end: u64) -> Result<(), Error> {
    let needed = DirtyBitmap::bytes_for(end);
    if log.len() < needed { Err(Error::LogTooSmall { len: log.len(), needed }) } else { Ok(()) }
}

impl Drop for VhostPair {
    fn drop(&mut self) {
        // Closing the handle would do, if nobody else had the open file: whoever passed it may.
        for ring in Ring::BOTH {
            if self.is_started(ring) {
                let _ = self.leave(ring).and(self.let_go(ring));
            }
        }
    }
}
