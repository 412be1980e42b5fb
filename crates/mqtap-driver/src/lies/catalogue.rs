//! The lies, one function each; what they are called in [`super::all`].

use mqtap_virtio::memory::GuestAddress;

use super::Expectation;
use super::parts::{SCRATCH, good, offer, offer_buffer, offer_table, rightly, table_at, write_entry};
use crate::error::Result;
use crate::raw::RawRing;
use crate::ring::{Buffer, DESC_INDIRECT, DESC_NEXT, DESC_WRITE};

// About the ring.

/// A descriptor that follows itself.
pub(super) fn loop_of_one(ring: &RawRing) -> Result<Expectation> {
    ring.write_descriptor(0, good(ring)?, rightly(ring) | DESC_NEXT, 0)?;
    ring.push_available(0)?;
    Ok(Expectation::RingBroken)
}

/// Two descriptors that follow each other.
pub(super) fn loop_of_two(ring: &RawRing) -> Result<Expectation> {
    ring.write_descriptor(0, good(ring)?, rightly(ring) | DESC_NEXT, 1)?;
    ring.write_descriptor(1, good(ring)?, rightly(ring) | DESC_NEXT, 0)?;
    ring.push_available(0)?;
    Ok(Expectation::RingBroken)
}

/// A chain that goes on behind the table.
pub(super) fn next_outside_table(ring: &RawRing) -> Result<Expectation> {
    ring.write_descriptor(0, good(ring)?, rightly(ring) | DESC_NEXT, ring.layout().size)?;
    ring.push_available(0)?;
    Ok(Expectation::RingBroken)
}

/// A chain that begins behind the table.
pub(super) fn head_outside_table(ring: &RawRing) -> Result<Expectation> {
    ring.push_available(ring.layout().size)?;
    Ok(Expectation::RingBroken)
}

/// More chains than the ring has room for.
pub(super) fn available_index_jumps_ahead(ring: &RawRing) -> Result<Expectation> {
    let index = ring.available_index()?;
    ring.set_available_index(index.wrapping_add(ring.layout().size).wrapping_add(1))?;
    Ok(Expectation::RingBroken)
}

/// One chain fewer than none.
pub(super) fn available_index_goes_back(ring: &RawRing) -> Result<Expectation> {
    let index = ring.available_index()?;
    ring.set_available_index(index.wrapping_sub(1))?;
    Ok(Expectation::RingBroken)
}

/// Another used index than the device wrote, which a device has no reason to read.
pub(super) fn scribbled_used_index(ring: &RawRing) -> Result<Expectation> {
    ring.set_used_index(0x5555)?;
    offer_buffer(ring, good(ring)?)?;
    Ok(Expectation::Survives)
}

/// Wishes about calls that make no sense.
pub(super) fn wild_call_event(ring: &RawRing) -> Result<Expectation> {
    if ring.layout().packed {
        // A slot the ring does not have, and a mode that is reserved.
        ring.set_driver_event(0x7fff, 3)?;
    } else {
        ring.set_used_event(0xabcd)?;
        ring.set_available_flags(0xffff)?;
    }
    offer_buffer(ring, good(ring)?)?;
    Ok(Expectation::Survives)
}

/// Many kicks, and no chain.
pub(super) fn kicks_for_nothing(ring: &RawRing) -> Result<Expectation> {
    for _ in 0..1000 {
        ring.kick()?;
    }
    Ok(Expectation::Survives)
}

/// Every descriptor of the ring, each followed by another.
pub(super) fn chain_without_end(ring: &RawRing) -> Result<Expectation> {
    let (start, wrap) = ring.next_slot();
    let size = ring.layout().size;
    for i in (0..size).rev() {
        let slot = u32::from(start) + u32::from(i);
        let available = RawRing::packed_available(wrap == (slot < u32::from(size)));
        let flags = rightly(ring) | DESC_NEXT | available;
        ring.write_packed((slot % u32::from(size)) as u16, good(ring)?, 0, flags)?;
    }
    Ok(Expectation::RingBroken)
}

/// A chain whose second descriptor is not available yet: its head was shown too early.
pub(super) fn chain_cut_short(ring: &RawRing) -> Result<Expectation> {
    let (start, wrap) = ring.next_slot();
    let size = ring.layout().size;
    let (next, next_wrap) = if start + 1 == size { (0, !wrap) } else { (start + 1, wrap) };
    ring.write_packed(next, good(ring)?, 0, RawRing::packed_available(!next_wrap))?;
    let flags = rightly(ring) | DESC_NEXT | RawRing::packed_available(wrap);
    ring.write_packed(start, good(ring)?, 0, flags)?;
    Ok(Expectation::RingBroken)
}

/// A descriptor that looks as if the device had used it already: not available, so nothing happens.
pub(super) fn looks_used(ring: &RawRing) -> Result<Expectation> {
    let (start, wrap) = ring.next_slot();
    let both = RawRing::packed_available(true) | RawRing::packed_available(false);
    ring.write_packed(start, good(ring)?, 0, rightly(ring) | if wrap { both } else { 0 })?;
    Ok(Expectation::Survives)
}

// About buffers.

/// An address where there is no memory.
pub(super) fn buffer_outside_memory(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { at: GuestAddress(ring.memory_end() + (1 << 20)), len: 64 })?;
    Ok(Expectation::RingBroken)
}

/// Guest address 0, where this guest has no memory.
pub(super) fn buffer_at_zero(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { at: GuestAddress(0), len: 64 })?;
    Ok(Expectation::RingBroken)
}

/// A buffer that begins in memory and ends behind it.
pub(super) fn buffer_ends_outside_memory(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { at: ring.scratch(32), len: 64 })?;
    Ok(Expectation::RingBroken)
}

/// A buffer whose end is before its beginning.
pub(super) fn buffer_wraps_around(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { at: GuestAddress(u64::MAX - 15), len: 64 })?;
    Ok(Expectation::RingBroken)
}

/// A buffer as long as the field allows.
pub(super) fn buffer_of_4_gib(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: u32::MAX, ..good(ring)? })?;
    Ok(Expectation::RingBroken)
}

/// A buffer to write in a transmit ring, or one to read in a receive ring.
pub(super) fn wrong_direction(ring: &RawRing) -> Result<Expectation> {
    offer(ring, &[(good(ring)?, rightly(ring) ^ DESC_WRITE)])?;
    Ok(Expectation::RingBroken)
}

/// A chain that begins well.
pub(super) fn second_buffer_outside_memory(ring: &RawRing) -> Result<Expectation> {
    let wild = Buffer { at: GuestAddress(ring.memory_end()), len: 64 };
    offer(ring, &[(good(ring)?, rightly(ring)), (wild, rightly(ring))])?;
    Ok(Expectation::RingBroken)
}

/// A receive buffer without room.
pub(super) fn empty_receive_buffer(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: 0, ..good(ring)? })?;
    Ok(Expectation::RingBroken)
}

/// A receive buffer with less room than the header takes. Whether that is noticed waits for a frame.
pub(super) fn tiny_receive_buffer(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: 1, ..good(ring)? })?;
    Ok(Expectation::Survives)
}

// About frames.

/// A chain of no bytes.
pub(super) fn empty_frame(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: 0, ..good(ring)? })?;
    Ok(Expectation::FrameDropped)
}

/// A chain that ends in the virtio header.
pub(super) fn half_a_header(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: 5, ..good(ring)? })?;
    Ok(Expectation::FrameDropped)
}

/// A header, and no frame behind it.
pub(super) fn header_and_nothing(ring: &RawRing) -> Result<Expectation> {
    offer_buffer(ring, Buffer { len: 12, ..good(ring)? })?;
    Ok(Expectation::FrameDropped)
}

/// A frame that no network has: the same 32 KiB four times.
pub(super) fn frame_of_128_kib(ring: &RawRing) -> Result<Expectation> {
    good(ring)?;
    let part = (Buffer { at: ring.scratch(SCRATCH / 2), len: 32 * 1024 }, rightly(ring));
    offer(ring, &[part; 4])?;
    Ok(Expectation::FrameDropped)
}

fn offer_header(ring: &RawRing, header: [u8; 12]) -> Result<Expectation> {
    let buffer = good(ring)?;
    ring.memory().write(buffer.at, &header)?;
    offer_buffer(ring, buffer)?;
    Ok(Expectation::FrameDropped)
}

/// A checksum outside the frame.
pub(super) fn header_with_wild_offsets(ring: &RawRing) -> Result<Expectation> {
    offer_header(ring, [1, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0])
}

/// A super-frame to be cut into pieces of no bytes.
pub(super) fn header_with_gso_of_zero(ring: &RawRing) -> Result<Expectation> {
    offer_header(ring, [1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0])
}

// About indirect descriptors.

/// A table, of a driver that did not take the feature.
pub(super) fn indirect_not_negotiated(ring: &RawRing) -> Result<Expectation> {
    write_entry(ring, 0, good(ring)?, rightly(ring), 0)?;
    offer_table(ring, 16)?;
    Ok(Expectation::RingBroken)
}

/// A table in a table.
pub(super) fn indirect_in_indirect(ring: &RawRing) -> Result<Expectation> {
    let inner = Buffer { at: table_at(ring), len: 16 };
    write_entry(ring, 0, inner, DESC_INDIRECT | rightly(ring), 0)?;
    offer_table(ring, 16)?;
    // In a packed ring's tables every flag but WRITE is reserved, and the device ignores it.
    Ok(if ring.layout().packed { Expectation::Survives } else { Expectation::RingBroken })
}

/// A table, and then the chain goes on.
pub(super) fn indirect_and_next(ring: &RawRing) -> Result<Expectation> {
    write_entry(ring, 0, good(ring)?, rightly(ring), 0)?;
    let table = Buffer { at: table_at(ring), len: 16 };
    offer(ring, &[(table, DESC_INDIRECT), (good(ring)?, rightly(ring))])?;
    Ok(Expectation::RingBroken)
}

/// A table where there is no memory.
pub(super) fn indirect_table_outside_memory(ring: &RawRing) -> Result<Expectation> {
    let table = Buffer { at: GuestAddress(ring.memory_end() + 4096), len: 16 };
    offer(ring, &[(table, DESC_INDIRECT)])?;
    Ok(Expectation::RingBroken)
}

/// A table without entries.
pub(super) fn indirect_table_of_no_bytes(ring: &RawRing) -> Result<Expectation> {
    offer_table(ring, 0)?;
    Ok(Expectation::RingBroken)
}

/// A table that ends in an entry.
pub(super) fn indirect_table_of_17_bytes(ring: &RawRing) -> Result<Expectation> {
    write_entry(ring, 0, good(ring)?, rightly(ring), 0)?;
    offer_table(ring, 17)?;
    Ok(Expectation::RingBroken)
}

/// A table as long as the field allows.
pub(super) fn indirect_table_of_4_gib(ring: &RawRing) -> Result<Expectation> {
    offer_table(ring, !15)?;
    Ok(Expectation::RingBroken)
}

/// 4096 descriptors in one chain.
pub(super) fn indirect_table_of_64_kib(ring: &RawRing) -> Result<Expectation> {
    let count = 4096;
    let byte = Buffer { len: 1, ..good(ring)? };
    for i in 0..count {
        let next = if i + 1 < count { DESC_NEXT } else { 0 };
        write_entry(ring, i, byte, rightly(ring) | next, i + 1)?;
    }
    offer_table(ring, u32::from(count) * 16)?;
    Ok(Expectation::RingBroken)
}

/// Two entries that follow each other.
pub(super) fn indirect_loop(ring: &RawRing) -> Result<Expectation> {
    write_entry(ring, 0, good(ring)?, rightly(ring) | DESC_NEXT, 1)?;
    write_entry(ring, 1, good(ring)?, rightly(ring) | DESC_NEXT, 0)?;
    offer_table(ring, 32)?;
    Ok(Expectation::RingBroken)
}

/// An entry that goes on behind its table.
pub(super) fn indirect_next_outside_table(ring: &RawRing) -> Result<Expectation> {
    write_entry(ring, 0, good(ring)?, rightly(ring) | DESC_NEXT, 1)?;
    offer_table(ring, 16)?;
    Ok(Expectation::RingBroken)
}

/// A table in memory, and a buffer that is not.
pub(super) fn indirect_buffer_outside_memory(ring: &RawRing) -> Result<Expectation> {
    let wild = Buffer { at: GuestAddress(ring.memory_end()), len: 64 };
    write_entry(ring, 0, wild, rightly(ring), 0)?;
    offer_table(ring, 16)?;
    Ok(Expectation::RingBroken)
}
