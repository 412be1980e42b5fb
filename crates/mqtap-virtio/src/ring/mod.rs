//! Virtqueues, device side: the split ring (virtio 1.2, section 2.7) and the packed ring (2.8) behind one
//! batch interface.
//!
//! The life of a burst:
//!
//! 1. a kick arrives; [`Ring::suppress_kicks`];
//! 2. [`Ring::pop_batch`] puts chains into a [`Batch`], checked, as [`IoVec`]s into guest memory;
//! 3. the frames cross the tap; [`Ring::complete_batch`] gives the chains back with one store the driver
//!    can see, and [`Ring::must_notify`] tells whether the driver wants to hear of it;
//! 4. when nothing is left, [`Ring::arm_kicks`], which looks once more and says if something came.
//!
//! Chains are completed in ring order, always: so `VIRTIO_F_IN_ORDER` costs nothing, and popping can be
//! undone ([`Ring::rewind`]).
//!
//! The driver is not trusted. Every descriptor and index is read exactly once, with an atomic load, and
//! checked; whatever a driver writes, an iovec lies inside guest memory, a chain has a bounded number of
//! descriptors, and the sum of its bytes is below 2^32. A driver that breaks the rules gets a typed
//! [`Error`], and the ring stays broken.
//!
//! Where the driver and we use the same words of memory, this module relies on three orderings and no more:
//! Acquire on the word that makes chains available, Release on the one that makes them used, and a
//! sequentially consistent fence between publishing something and reading the other side's wish to be
//! told of it ([`Ring::must_notify`], [`Ring::arm_kicks`]).

mod batch;
mod chain;
mod error;
mod packed;
mod parts;
mod split;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Chain, Completion, IoVec};
pub use error::Error;

use crate::memory::{GuestAddress, GuestMemory, truncations};
use chain::Walker;
use packed::PackedRing;
use parts::Parts;
use split::SplitRing;

/// Which way the frames of a ring go, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Driver to us: all buffers are device-readable.
    Transmit,
    /// Us to driver: all buffers are device-writable.
    Receive,
}

/// The negotiated features that concern rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFeatures {
    /// `VIRTIO_F_RING_PACKED`
    pub packed: bool,
    /// `VIRTIO_F_EVENT_IDX`
    pub event_index: bool,
    /// `VIRTIO_F_INDIRECT_DESC`
    pub indirect: bool,
    /// `VIRTIO_F_IN_ORDER`
    pub in_order: bool,
}

/// Where the parts of a ring are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingAddresses {
    /// Descriptor table or descriptor ring.
    pub descriptors: GuestAddress,
    /// Available ring or driver event suppression.
    pub driver: GuestAddress,
    /// Used ring or device event suppression.
    pub device: GuestAddress,
    /// Where writes to the used ring are marked in the dirty log (`VHOST_VRING_F_LOG`); at
    /// `device`, if not given.
    pub log: Option<GuestAddress>,
}

/// Where a ring goes on, as vhost-user carries it.
///
/// Split: the available index. Packed: the position of the next chain in bits 0 to 14, its wrap counter in
/// bit 15, and the same for the next used descriptor in bits 16 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingBase(pub u32);

/// Everything a ring is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Entries.
    pub size: u16,
    /// Where its parts are.
    pub addresses: RingAddresses,
    /// Features.
    pub features: RingFeatures,
    /// Which buffers are to be expected.
    pub direction: Direction,
    /// Where to go on.
    pub base: RingBase,
}

impl RingConfig {
    fn layout_name(&self) -> &'static str {
        if self.features.packed { "packed" } else { "split" }
    }

    fn bad_base(&self) -> Error {
        Error::Base { layout: self.layout_name(), size: self.size, base: self.base.0 }
    }
}

/// One virtqueue, device side.
///
/// ```
/// # use std::sync::Arc;
/// # use mqtap_virtio::memory::{GuestAddress, GuestMemory, SharedMemory};
/// use mqtap_virtio::ring::*;
///
/// # let ram = SharedMemory::create(0x10000)?;
/// # let memory = GuestMemory::new(vec![Arc::new(ram.region(0, 0)?)])?;
/// let mut ring = Ring::new(
///     &RingConfig {
///         size: 256,
///         addresses: RingAddresses {
///             descriptors: GuestAddress(0x0),
///             driver: GuestAddress(0x1000),
///             device: GuestAddress(0x2000),
///             log: None,
///         },
///         features: RingFeatures::default(),
///         direction: Direction::Transmit,
///         base: RingBase(0),
///     },
///     &memory,
/// )?;
/// let mut batch = Batch::with_capacity(64, 1024);
/// let mut done = Vec::new();
/// ring.suppress_kicks();
/// loop {
///     while ring.pop_batch(&mut batch, 64)? > 0 {
///         for chain in batch.chains() {
///             // writev(batch.iovecs(chain)) ...
///             done.push(chain.completion(0));
///         }
///         ring.complete_batch(&done)?;
///         if ring.must_notify() {
///             // write the call eventfd
///         }
///         done.clear();
///         batch.clear();
///     }
///     if !ring.arm_kicks()? {
///         break; // now wait for the kick eventfd
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ring {
    layout: Layout,
    config: RingConfig,
    /// Keeps mapped what the layout points to.
    memory: GuestMemory,
    /// What broke the ring, if something did.
    broken: Option<Error>,
    /// [`truncations`] when `memory` was last known to be whole.
    truncations: u32,
}

#[derive(Debug)]
enum Layout {
    Split(SplitRing),
    Packed(PackedRing),
}

// SAFETY: the raw pointers inside go to guest memory, which belongs to the process and which `memory`
// keeps mapped; a ring is used by one thread at a time (it is not Sync).
unsafe impl Send for Ring {}

impl Ring {
    /// Sets a ring up: checks the configuration and finds everything in memory, once.
    ///
    /// # Errors
    /// A size the layout does not allow, parts that are misaligned or not in guest memory, an impossible
    /// base.
    pub fn new(config: &RingConfig, memory: &GuestMemory) -> Result<Ring, Error> {
        let seen = truncations();
        if memory.is_poisoned() {
            return Err(Error::MemoryTruncated);
        }
        let parts = Parts::find(config, memory)?;
        let walker = Walker::new(memory, config.direction, config.features.indirect);
        let layout = if config.features.packed {
            Layout::Packed(PackedRing::new(config, parts, walker)?)
        } else {
            Layout::Split(SplitRing::new(config, parts, walker)?)
        };
        Ok(Ring { layout, config: *config, memory: memory.clone(), broken: None, truncations: seen })
    }

    /// Pops up to `max` chains to the end of the batch, as far as that has room; the answer is how
    /// many. 0 means that nothing is available, or that the batch is too full for the next chain.
    ///
    /// # Errors
    /// The driver broke the rules; the ring is broken from then on. Good chains before a bad one come out
    /// first, the error with the next call.
    pub fn pop_batch(&mut self, batch: &mut Batch, max: usize) -> Result<usize, Error> {
        self.check()?;
        let result = match &mut self.layout {
            Layout::Split(ring) => ring.pop(batch, max),
            Layout::Packed(ring) => ring.pop(batch, max),
        };
        result.map_err(|error| self.break_with(error))
    }

    /// Gives chains back, oldest first: they must be the first ones popped and not yet completed,
    /// in order. The driver sees all of them at once.
    ///
    /// # Errors
    /// [`Error::CompletedTooMany`] (nothing is completed then, the ring is not broken), or what broke
    /// the ring before.
    pub fn complete_batch(&mut self, completions: &[Completion]) -> Result<(), Error> {
        self.check()?;
        match &mut self.layout {
            Layout::Split(ring) => ring.complete(completions),
            Layout::Packed(ring) => ring.complete(completions),
        }
    }

    /// Whether the driver wants a notification for what was completed since the last call.
    ///
    /// With the event index, the first completions of a new ring are always worth one: a device
    /// before us may have died between completing and notifying.
    #[must_use]
    pub fn must_notify(&mut self) -> bool {
        if self.check().is_err() {
            return false;
        }
        match &mut self.layout {
            Layout::Split(ring) => ring.must_notify(),
            Layout::Packed(ring) => ring.must_notify(),
        }
    }

    /// Tells the driver that kicks are not needed. A few may still come.
    pub fn suppress_kicks(&mut self) {
        if self.check().is_err() {
            return;
        }
        match &mut self.layout {
            Layout::Split(ring) => ring.suppress_kicks(),
            Layout::Packed(ring) => ring.suppress_kicks(),
        }
    }

    /// Asks the driver for a kick with the next chain, and looks whether there are chains already:
    /// `true` means so, kicks are suppressed again, and the caller goes on popping.
    ///
    /// # Errors
    /// The driver broke the rules; the ring is broken from then on.
    pub fn arm_kicks(&mut self) -> Result<bool, Error> {
        self.check()?;
        let result = match &mut self.layout {
            Layout::Split(ring) => ring.arm_kicks(),
            Layout::Packed(ring) => ring.arm_kicks(),
        };
        result.map_err(|error| self.break_with(error))
    }

    /// Whether a chain seems to be available. One look without ordering: a hint, for polling.
    #[must_use]
    pub fn has_available(&self) -> bool {
        match &self.layout {
            _ if self.broken.is_some() => false,
            Layout::Split(ring) => ring.has_available(),
            Layout::Packed(ring) => ring.has_available(),
        }
    }

    /// Where another device would go on, as if what was popped and not completed had never been popped.
    #[must_use]
    pub fn base(&self) -> RingBase {
        match &self.layout {
            Layout::Split(ring) => ring.base(),
            Layout::Packed(ring) => ring.base(),
        }
    }

    /// Forgets what was popped and not completed; it will be popped again. Batches that hold it are to be
    /// cleared.
    pub fn rewind(&mut self) {
        match &mut self.layout {
            Layout::Split(ring) => ring.rewind(),
            Layout::Packed(ring) => ring.rewind(),
        }
    }

    /// Goes on in another memory (new regions, or the dirty log switched on or off), from what is
    /// not completed on, as after [`rewind`](Self::rewind).
    ///
    /// # Errors
    /// The ring is not in that memory; it is broken then, and lets the old memory go.
    pub fn update_memory(&mut self, memory: &GuestMemory) -> Result<(), Error> {
        if let Some(error) = self.broken {
            self.memory = memory.clone();
            return Err(error);
        }
        let seen = truncations();
        let found = if memory.is_poisoned() {
            Err(Error::MemoryTruncated)
        } else {
            Parts::find(&self.config, memory)
        };
        // Either way the old memory is not to be kept: a broken ring never touches its parts again.
        self.memory = memory.clone();
        self.truncations = seen;
        let parts = found.map_err(|error| self.break_with(error))?;
        let walker = Walker::new(memory, self.config.direction, self.config.features.indirect);
        match &mut self.layout {
            Layout::Split(ring) => ring.replace(parts, walker),
            Layout::Packed(ring) => ring.replace(parts, walker),
        }
        Ok(())
    }

    /// Moves where writes to the used ring are logged ([`RingAddresses::log`]), from the next
    /// [`update_memory`](Self::update_memory) on.
    pub fn set_log(&mut self, log: Option<GuestAddress>) {
        self.config.addresses.log = log;
    }

    /// Entries of the ring.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.config.size
    }

    #[inline]
    fn check(&mut self) -> Result<(), Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if truncations() != self.truncations {
            return self.check_truncation();
        }
        Ok(())
    }

    /// Some memory of this process was truncated: ours?
    #[cold]
    fn check_truncation(&mut self) -> Result<(), Error> {
        let seen = truncations();
        if self.memory.is_poisoned() {
            return Err(self.break_with(Error::MemoryTruncated));
        }
        self.truncations = seen;
        Ok(())
    }

    #[cold]
    fn break_with(&mut self, error: Error) -> Error {
        *self.broken.insert(error)
    }
}
