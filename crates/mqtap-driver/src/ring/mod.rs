//! Virtqueues as a driver sees them (virtio 1.3, 2.7 split and 2.8 packed).
//!
//! The two layouts share one interface: [`DriverRing::add`] chains, [`DriverRing::publish`] them together, ask
//! [`DriverRing::needs_kick`] once, [`DriverRing::reap`] what the device has used. Nothing here knows sockets or frames.

mod packed;
mod split;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

pub use packed::PackedRing;
pub use split::SplitRing;

use crate::error::Result;

/// `VIRTQ_DESC_F_NEXT`: the chain goes on.
pub const DESC_NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`: for the device to write.
pub const DESC_WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`: the buffer is a table of descriptors.
pub const DESC_INDIRECT: u16 = 4;
/// Packed ring: the driver's wrap counter, when the descriptor was made available.
pub const DESC_AVAILABLE: u16 = 1 << 7;
/// Packed ring: the device's wrap counter, when the descriptor was used.
pub const DESC_USED: u16 = 1 << 15;
/// Length of a descriptor, of either layout.
pub const DESC_SIZE: u64 = 16;

/// A piece of guest memory.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Buffer {
    /// Where it begins.
    pub at: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// Where a ring lies and how large it is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct RingLayout {
    /// Packed or split.
    pub packed: bool,
    /// Number of descriptors.
    pub size: u16,
    /// Descriptor table, or packed descriptor ring.
    pub descriptors: GuestAddress,
    /// Available ring, or driver event suppression structure.
    pub driver: GuestAddress,
    /// Used ring, or device event suppression structure.
    pub device: GuestAddress,
}

impl RingLayout {
    /// Bytes of the three parts: descriptors, driver area, device area.
    #[must_use]
    pub fn lengths(packed: bool, size: u16) -> [u64; 3] {
        let size = u64::from(size);
        if packed { [size * DESC_SIZE, 4, 4] } else { [size * DESC_SIZE, 6 + 2 * size, 6 + 8 * size] }
    }

    /// Where descriptor `index` lies; not bounded by the size, for those who want to write beyond it.
    #[must_use]
    pub fn descriptor(&self, index: u16) -> GuestAddress {
        offset(self.descriptors, DESC_SIZE * u64::from(index))
    }
}

/// Tables for indirect descriptors: one for each descriptor of a ring.
#[derive(Copy, Clone, Debug)]
pub struct IndirectTables {
    /// Where the first one lies.
    pub at: GuestAddress,
    /// Descriptors of each.
    pub entries: u16,
}

impl IndirectTables {
    fn table(&self, index: u16) -> GuestAddress {
        offset(self.at, u64::from(index) * u64::from(self.entries) * DESC_SIZE)
    }
}

/// What a ring was negotiated to do.
#[derive(Copy, Clone, Debug, Default)]
pub struct RingOptions {
    /// `VIRTIO_F_EVENT_IDX`.
    pub event_index: bool,
    /// `VIRTIO_F_IN_ORDER`.
    pub in_order: bool,
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub indirect: bool,
}

/// A chain the device gave back.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Used {
    /// What [`DriverRing::add`] returned for it.
    pub id: u16,
    /// Bytes the device says it wrote.
    pub written: u32,
}

/// The driver's side of one virtqueue.
#[derive(Debug)]
pub enum DriverRing {
    /// Virtio 1.3, 2.7.
    Split(SplitRing),
    /// Virtio 1.3, 2.8.
    Packed(PackedRing),
}

macro_rules! each {
    ($self:ident, $ring:ident => $what:expr) => {
        match $self {
            DriverRing::Split($ring) => $what,
            DriverRing::Packed($ring) => $what,
        }
    };
}

impl DriverRing {
    /// An empty ring in memory, which is cleared. `index` is the number of the virtqueue, for messages. With `tables`,
    /// chains of two descriptors and more go through them.
    pub fn new(
        index: u16,
        memory: &GuestMemory,
        layout: RingLayout,
        options: RingOptions,
        tables: Option<IndirectTables>,
    ) -> Result<DriverRing> {
        let parts = [layout.descriptors, layout.driver, layout.device];
        for (at, length) in parts.into_iter().zip(RingLayout::lengths(layout.packed, layout.size)) {
            memory.write(at, &vec![0; usize::try_from(length).unwrap_or(0)])?;
        }
        Ok(if layout.packed {
            DriverRing::Packed(PackedRing::new(index, memory, layout, options, tables))
        } else {
            DriverRing::Split(SplitRing::new(index, memory, layout, options, tables))
        })
    }

    /// Puts a chain into the ring: first `readable` buffers, which the device reads, then `writable` ones. The device
    /// does not see it before [`DriverRing::publish`]. Returns an id that is unique among the chains in flight and
    /// below the ring size. Fails with [`crate::Error::Full`] when there is no room.
    pub fn add(&mut self, readable: &[Buffer], writable: &[Buffer]) -> Result<u16> {
        each!(self, ring => ring.add(readable, writable))
    }

    /// Lets the device see every chain added.
    pub fn publish(&mut self) -> Result<()> {
        each!(self, ring => ring.publish())
    }

    /// Whether the device wants to be kicked for what was published since the last time this was asked.
    pub fn needs_kick(&mut self) -> Result<bool> {
        each!(self, ring => ring.needs_kick())
    }

    /// Takes the next chain the device has used.
    pub fn reap(&mut self) -> Result<Option<Used>> {
        each!(self, ring => ring.reap())
    }

    /// Whether there is something to reap.
    pub fn has_used(&self) -> Result<bool> {
        each!(self, ring => ring.has_used())
    }

    /// Tells the device not to call.
    pub fn suppress_calls(&mut self) -> Result<()> {
        each!(self, ring => ring.suppress_calls())
    }

    /// Tells the device to call at the next used chain. Returns true if there is one already, for which the device
    /// may not call any more.
    pub fn arm_calls(&mut self) -> Result<bool> {
        each!(self, ring => ring.arm_calls())
    }

    /// Descriptors that are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        each!(self, ring => ring.free())
    }

    /// Chains in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        each!(self, ring => ring.in_flight())
    }

    /// The base, as `SET_VRING_BASE` has it, of a device that forgot what it took and did not give back.
    #[must_use]
    pub fn base(&self) -> u32 {
        each!(self, ring => ring.base())
    }

    /// Where the ring lies.
    #[must_use]
    pub fn layout(&self) -> RingLayout {
        each!(self, ring => ring.layout())
    }

    /// Slot of the ring that the next chain begins in, and the packed ring's wrap counter.
    #[must_use]
    pub fn next_slot(&self) -> (u16, bool) {
        each!(self, ring => ring.next_slot())
    }
}

/// `vring_need_event` of the specification (2.7.10): did the index, going from `old` to `new`, pass `event`?
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

pub(crate) fn offset(at: GuestAddress, by: u64) -> GuestAddress {
    GuestAddress(at.0.wrapping_add(by))
}

/// Writes one descriptor of a split ring or of its indirect tables.
pub(crate) fn write_split_descriptor(
    memory: &GuestMemory,
    at: GuestAddress,
    buffer: Buffer,
    flags: u16,
    next: u16,
) -> Result<()> {
    memory.store_u64(at, buffer.at.0, Ordering::Relaxed)?;
    let rest = u64::from(buffer.len) | u64::from(flags) << 32 | u64::from(next) << 48;
    memory.store_u64(offset(at, 8), rest, Ordering::Relaxed)?;
    Ok(())
}

/// Flags of buffer `index` of a chain of `readable` and then writable buffers, `total` together.
fn chain_flags(index: usize, readable: usize, total: usize) -> u16 {
    let next = if index + 1 < total { DESC_NEXT } else { 0 };
    let write = if index >= readable { DESC_WRITE } else { 0 };
    next | write
}
