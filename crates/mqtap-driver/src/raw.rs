//! A ring without manners: any descriptor, any index, any event structure.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

use crate::error::Result;
use crate::events::signal;
use crate::ring::{Buffer, DESC_AVAILABLE, DESC_USED, DriverRing, RingLayout, offset};

/// Raw access to one ring. Nothing it writes is known to the [`DriverRing`]: after telling lies, begin anew with
/// [`crate::Driver::restart_ring`].
#[derive(Debug)]
pub struct RawRing {
    index: u16,
    memory: GuestMemory,
    layout: RingLayout,
    next: (u16, bool),
    kick: OwnedFd,
    memory_end: u64,
}

impl RawRing {
    pub(crate) fn new(
        index: u16,
        memory: GuestMemory,
        ring: &DriverRing,
        kick: OwnedFd,
        memory_end: u64,
    ) -> RawRing {
        let (layout, next) = (ring.layout(), ring.next_slot());
        RawRing { index, memory, layout, next, kick, memory_end }
    }

    /// Number of the virtqueue: even ones receive, odd ones transmit.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Whether the device reads from this ring's buffers.
    #[must_use]
    pub fn is_transmit(&self) -> bool {
        self.index % 2 == 1
    }

    /// Where the ring lies.
    #[must_use]
    pub fn layout(&self) -> RingLayout {
        self.layout
    }

    /// Guest memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The first guest address behind all memory.
    #[must_use]
    pub fn memory_end(&self) -> u64 {
        self.memory_end
    }

    /// Room that a lie may use for tables and data: it ends where guest memory ends. `length` is in bytes.
    #[must_use]
    pub fn scratch(&self, length: u64) -> GuestAddress {
        GuestAddress((self.memory_end - length) & !15)
    }

    /// Packed: the slot and wrap counter where the device looks next, if it is idle.
    #[must_use]
    pub fn next_slot(&self) -> (u16, bool) {
        self.next
    }

    /// Writes a split descriptor, in the ring's table.
    pub fn write_descriptor(&self, index: u16, buffer: Buffer, flags: u16, next: u16) -> Result<()> {
        self.write_descriptor_at(self.layout.descriptor(index), buffer, flags, next)
    }

    /// Writes a split descriptor anywhere, as in an indirect table.
    pub fn write_descriptor_at(&self, at: GuestAddress, buffer: Buffer, flags: u16, next: u16) -> Result<()> {
        super::ring::write_split_descriptor(&self.memory, at, buffer, flags, next)
    }

    /// Writes a packed descriptor with exactly these flags, in the ring.
    pub fn write_packed(&self, slot: u16, buffer: Buffer, id: u16, flags: u16) -> Result<()> {
        self.write_packed_at(self.layout.descriptor(slot), buffer, id, flags)
    }

    /// Writes a packed descriptor anywhere, the flags last.
    pub fn write_packed_at(&self, at: GuestAddress, buffer: Buffer, id: u16, flags: u16) -> Result<()> {
        self.memory.store_u64(at, buffer.at.0, Ordering::Relaxed)?;
        self.memory.store_u32(offset(at, 8), buffer.len, Ordering::Relaxed)?;
        self.memory.store_u16(offset(at, 12), id, Ordering::Relaxed)?;
        self.memory.store_u16(offset(at, 14), flags, Ordering::Release)?;
        Ok(())
    }

    /// Flags that make a packed descriptor available in a round with this wrap counter.
    #[must_use]
    pub fn packed_available(wrap: bool) -> u16 {
        if wrap { DESC_AVAILABLE } else { DESC_USED }
    }

    /// Split: the available index as the device sees it.
    pub fn available_index(&self) -> Result<u16> {
        Ok(self.memory.load_u16(offset(self.layout.driver, 2), Ordering::Acquire)?)
    }

    /// Split: puts `head` into the available ring at the next place, and shows it.
    pub fn push_available(&self, head: u16) -> Result<()> {
        let index = self.available_index()?;
        let entry = 4 + 2 * u64::from(index % self.layout.size);
        self.memory.store_u16(offset(self.layout.driver, entry), head, Ordering::Relaxed)?;
        self.set_available_index(index.wrapping_add(1))
    }

    /// Split: sets the available index.
    pub fn set_available_index(&self, index: u16) -> Result<()> {
        self.memory.store_u16(offset(self.layout.driver, 2), index, Ordering::Release)?;
        Ok(())
    }

    /// Split: sets the flags of the available ring.
    pub fn set_available_flags(&self, flags: u16) -> Result<()> {
        self.memory.store_u16(self.layout.driver, flags, Ordering::Release)?;
        Ok(())
    }

    /// Split: sets `used_event`.
    pub fn set_used_event(&self, event: u16) -> Result<()> {
        let at = offset(self.layout.driver, 4 + 2 * u64::from(self.layout.size));
        self.memory.store_u16(at, event, Ordering::Release)?;
        Ok(())
    }

    /// Split: scribbles over the used index, which belongs to the device.
    pub fn set_used_index(&self, index: u16) -> Result<()> {
        self.memory.store_u16(offset(self.layout.device, 2), index, Ordering::Release)?;
        Ok(())
    }

    /// Packed: writes the driver's event suppression structure.
    pub fn set_driver_event(&self, offset_and_wrap: u16, flags: u16) -> Result<()> {
        let both = u32::from(offset_and_wrap) | u32::from(flags) << 16;
        self.memory.store_u32(self.layout.driver, both, Ordering::Release)?;
        Ok(())
    }

    /// Whether the device has used the chain at the place where a fresh ring begins.
    pub fn has_used(&self) -> Result<bool> {
        if !self.layout.packed {
            let index = self.memory.load_u16(offset(self.layout.device, 2), Ordering::Acquire)?;
            return Ok(index != 0);
        }
        let (slot, wrap) = self.next;
        let at = offset(self.layout.descriptor(slot), 14);
        let flags = self.memory.load_u16(at, Ordering::Acquire)?;
        let both = DESC_AVAILABLE | DESC_USED;
        Ok(flags & both == if wrap { both } else { 0 })
    }

    /// Kicks.
    pub fn kick(&self) -> Result<()> {
        signal(self.kick.as_fd())
    }
}
