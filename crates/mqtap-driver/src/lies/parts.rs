//! What lies are made of.

use mqtap_virtio::memory::GuestAddress;

use crate::error::Result;
use crate::raw::RawRing;
use crate::ring::{Buffer, DESC_INDIRECT, DESC_NEXT, DESC_SIZE, DESC_WRITE};

/// Bytes at the end of guest memory that lies write into: 64 KiB for a table, 64 KiB for data.
pub(super) const SCRATCH: u64 = 128 * 1024;

pub(super) fn table_at(ring: &RawRing) -> GuestAddress {
    ring.scratch(SCRATCH)
}

/// A buffer that is good: big enough for a frame, cleared, in memory.
pub(super) fn good(ring: &RawRing) -> Result<Buffer> {
    let buffer = Buffer { at: ring.scratch(SCRATCH / 2), len: 128 };
    ring.memory().write(buffer.at, &[0; 128])?;
    Ok(buffer)
}

/// The flag that descriptors of this ring rightly have.
pub(super) fn rightly(ring: &RawRing) -> u16 {
    if ring.is_transmit() { 0 } else { DESC_WRITE }
}

/// Writes descriptors to where the device looks next, linked one to the next, and makes them available.
pub(super) fn offer(ring: &RawRing, chain: &[(Buffer, u16)]) -> Result<()> {
    let last = chain.len() - 1;
    if !ring.layout().packed {
        for (i, (buffer, flags)) in chain.iter().enumerate() {
            let next = if i < last { DESC_NEXT } else { 0 };
            ring.write_descriptor(i as u16, *buffer, flags | next, i as u16 + 1)?;
        }
        return ring.push_available(0);
    }
    let (start, wrap) = ring.next_slot();
    // The head last: the device may look at any time.
    for (i, (buffer, flags)) in chain.iter().enumerate().rev() {
        let slot = u32::from(start) + i as u32;
        let size = u32::from(ring.layout().size);
        let available = RawRing::packed_available(wrap == (slot < size));
        let next = if i < last { DESC_NEXT } else { 0 };
        ring.write_packed((slot % size) as u16, *buffer, 0, flags | next | available)?;
    }
    Ok(())
}

/// Offers one descriptor that is right but for its buffer.
pub(super) fn offer_buffer(ring: &RawRing, buffer: Buffer) -> Result<()> {
    offer(ring, &[(buffer, rightly(ring))])
}

/// Writes entry `index` of the table that [`offer_table`] offers.
pub(super) fn write_entry(ring: &RawRing, index: u16, buffer: Buffer, flags: u16, next: u16) -> Result<()> {
    let at = GuestAddress(table_at(ring).0 + u64::from(index) * DESC_SIZE);
    if ring.layout().packed {
        ring.write_packed_at(at, buffer, 0, flags & !DESC_NEXT)
    } else {
        ring.write_descriptor_at(at, buffer, flags, next)
    }
}

pub(super) fn offer_table(ring: &RawRing, bytes: u32) -> Result<()> {
    offer(ring, &[(Buffer { at: table_at(ring), len: bytes }, DESC_INDIRECT)])
}
