//! The packed ring (virtio 1.2, section 2.8), device side.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::batch::{Batch, Completion};
use super::chain::{INDIRECT, MAX_CHAIN, NEXT, Pieces, Stop, WRITE, Walker};
use super::parts::Parts;
use super::{Direction, Error, RingBase, RingConfig};

/// `VIRTQ_DESC_F_AVAIL`
const AVAIL: u16 = 1 << 7;
/// `VIRTQ_DESC_F_USED`
const USED: u16 = 1 << 15;

/// `RING_EVENT_FLAGS_ENABLE`, `_DISABLE` and `_DESC`: the upper half of an event suppression structure.
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;
/// The flags have two bits, the rest is reserved.
const EVENT_FLAGS: u16 = 3;

/// A place in the ring, with the wrap counter of the lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    /// `slots` further, at most one lap.
    #[inline]
    fn forward(self, slots: u16, size: u16) -> Position {
        // Both are at most 32768: the sum fits 17 bits.
        let index = u32::from(self.index) + u32::from(slots);
        if index >= u32::from(size) {
            Position { index: (index - u32::from(size)) as u16, wrap: !self.wrap }
        } else {
            Position { index: index as u16, wrap: self.wrap }
        }
    }

    /// `slots` back, at most one lap.
    fn back(self, slots: u16, size: u16) -> Position {
        if slots > self.index {
            Position { index: self.index + (size - slots), wrap: !self.wrap }
        } else {
            Position { index: self.index - slots, wrap: self.wrap }
        }
    }

    /// As event suppression and vhost-user write it: index in 15 bits, wrap counter above.
    fn bits(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }

    fn from_bits(bits: u16) -> Position {
        Position { index: bits & 0x7fff, wrap: bits & 0x8000 != 0 }
    }

    /// Whether a descriptor here with these flags is available: AVAIL as the wrap counter, USED not.
    #[inline]
    fn is_available(self, flags: u16) -> bool {
        let wanted = if self.wrap { AVAIL } else { USED };
        flags & (AVAIL | USED) == wanted
    }

    /// The flags of a descriptor used here: both as the wrap counter.
    #[inline]
    fn used_flags(self) -> u16 {
        if self.wrap { AVAIL | USED } else { 0 }
    }
}

/// What the driver was told about kicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kicks {
    /// We do not know what the memory says (another device may have written it).
    Unknown,
    Suppressed,
    /// Wanted, by this event suppression structure.
    Armed(u32),
}

/// Invariant: the parts are inside guest memory which the [`Ring`](super::Ring) around this holds.
#[derive(Debug)]
pub(super) struct PackedRing {
    walker: Walker,
    parts: Parts,
    size: u16,
    /// Where the next chain is popped.
    next: Position,
    /// Where the next used descriptor is written.
    used: Position,
    /// Chains popped and not completed.
    outstanding: u16,
    /// The descriptors they take: the last ones before `next`.
    outstanding_slots: u16,
    /// Descriptors used since the driver was last considered for a notification.
    unannounced: u32,
    kicks: Kicks,
    event_index: bool,
    /// Transmit chains are completed with one used descriptor for all (in order, nothing written).
    bulk: bool,
    /// The next notification is sent whatever the driver's event position says: completions before our
    /// time may never have been announced.
    announce_all: bool,
}

impl PackedRing {
    pub(super) fn new(config: &RingConfig, parts: Parts, walker: Walker) -> Result<Self, Error> {
        let next = Position::from_bits(config.base.0 as u16);
        let used = match (config.base.0 >> 16) as u16 {
            // Frontends with only 16 bits for the base leave the upper half empty (DPDK's do). Nothing
            // is in flight then, as after any device that drains its ring before it stops.
            0 => next,
            bits => Position::from_bits(bits),
        };
        // From used to next it is at most one lap: the same lap forward, or the next lap and behind.
        let possible = next.index < config.size
            && used.index < config.size
            && if used.wrap == next.wrap { used.index <= next.index } else { next.index <= used.index };
        if !possible {
            return Err(config.bad_base());
        }
        Ok(PackedRing {
            walker,
            parts,
            size: config.size,
            next,
            used,
            outstanding: 0,
            outstanding_slots: 0,
            unannounced: 0,
            kicks: Kicks::Unknown,
            event_index: config.features.event_index,
            bulk: config.features.in_order && config.direction == Direction::Transmit,
            announce_all: true,
        })
    }

    /// Takes parts found in new memory, and starts over with what is not completed.
    pub(super) fn replace(&mut self, parts: Parts, walker: Walker) {
        self.rewind();
        self.parts = parts;
        self.walker = walker;
        self.kicks = Kicks::Unknown;
    }

    pub(super) fn pop(&mut self, batch: &mut Batch, max: usize) -> Result<usize, Error> {
        batch.prepare();
        let max = max.min(batch.room());
        for taken in 0..max {
            let head = self.next;
            let rest = self.load_rest(head.index, Ordering::Acquire);
            if !head.is_available((rest >> 48) as u16) {
                return Ok(taken);
            }
            let mut pieces = Pieces::new(batch.free_iovecs());
            let limit = pieces.room();
            let walked = self.chain(head, rest, &mut pieces).and_then(|found| {
                pieces.check_bytes(head.index)?;
                Ok(found)
            });
            let (count, bytes) = (pieces.count, pieces.bytes);
            match walked {
                Ok((id, slots)) => {
                    batch.push(id, slots, count, bytes);
                    if self.walker.reads() {
                        batch.prefetch_last();
                    }
                    self.next = head.forward(slots, self.size);
                    self.outstanding += 1;
                    self.outstanding_slots += slots;
                }
                // The chains before it are good and go out first; this one is met again.
                Err(_) if taken > 0 => return Ok(taken),
                Err(Stop::Full) if !batch.is_empty() => return Ok(0),
                Err(Stop::Full) => {
                    return Err(Error::TooManyPieces { head: head.index, limit });
                }
                Err(Stop::Lie(error)) => return Err(error),
            }
        }
        Ok(max)
    }

    /// Walks the chain at `head`, whose second word was read: its buffer id and how many slots it has.
    #[inline]
    fn chain(&mut self, head: Position, mut rest: u64, pieces: &mut Pieces<'_>) -> Result<(u16, u16), Stop> {
        // A driver makes available what is free, so a chain never meets outstanding ones.
        let free = self.size - self.outstanding_slots;
        let limit = usize::from(free).min(MAX_CHAIN);
        let mut at = head;
        for slots in 1..=limit {
            let address = self.load_address(at.index);
            let (len, id, flags) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if flags & INDIRECT != 0 {
                // A list has descriptors of one kind only: an indirect one is alone (2.8.5).
                if slots > 1 {
                    return Err(Error::ChainedIndirect { descriptor: at.index }.into());
                }
                self.walker.packed_indirect(at.index, flags, address, len, pieces)?;
                return Ok((id, 1));
            }
            self.walker.buffer(at.index, flags, address, len, pieces)?;
            if flags & NEXT == 0 {
                // `slots` is at most the ring's size.
                return Ok((id, slots as u16));
            }
            at = at.forward(1, self.size);
            // The driver wrote these before the flags of the head, which were read with Acquire.
            rest = self.load_rest(at.index, Ordering::Relaxed);
            let flags = (rest >> 48) as u16;
            if slots < limit && !at.is_available(flags) {
                return Err(Error::NotAvailable { head: head.index, descriptor: at.index, flags }.into());
            }
        }
        Err(if limit < usize::from(self.size).min(MAX_CHAIN) {
            Error::Overrun { head: head.index }
        } else {
            Error::ChainTooLong { head: head.index, limit }
        }
        .into())
    }

    pub(super) fn complete(&mut self, completions: &[Completion]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (completions.first(), completions.last()) else {
            return Ok(());
        };
        let slots: usize = completions.iter().map(|completion| usize::from(completion.descriptors)).sum();
        let outstanding = usize::from(self.outstanding);
        if completions.len() > outstanding || slots > usize::from(self.outstanding_slots) {
            return Err(Error::CompletedTooMany { completed: completions.len(), outstanding });
        }
        // Both are at most what is outstanding, which are u16.
        let (count, slots) = (completions.len() as u16, slots as u16);
        let start = self.used;
        let mut written = first.descriptors;
        if self.bulk {
            // One descriptor, at the place of the first chain, naming the last (2.8.8).
            self.write_used(start, last, Ordering::Release);
        } else {
            // The driver polls the first descriptor, and whoever sees it used sees the rest: so it is
            // written last, with Release.
            let mut at = start.forward(first.descriptors, self.size);
            for completion in &completions[1..] {
                self.write_used(at, completion, Ordering::Relaxed);
                at = at.forward(completion.descriptors, self.size);
            }
            self.write_used(start, first, Ordering::Release);
            written = slots;
        }
        self.used = start.forward(slots, self.size);
        self.outstanding -= count;
        self.outstanding_slots -= slots;
        self.unannounced = self.unannounced.saturating_add(u32::from(slots));
        if let Some(log) = &self.parts.log {
            log.descriptors(start.index, written, self.size);
        }
        Ok(())
    }

    pub(super) fn must_notify(&mut self) -> bool {
        if self.unannounced == 0 {
            return false;
        }
        let slots = std::mem::take(&mut self.unannounced);
        let announce_all = std::mem::take(&mut self.announce_all);
        // The used flags must be out before the driver's wish is read; the driver writes its wish and then
        // reads the flags. With less than this, both could miss each other and the driver would
        // sleep with work in the ring.
        fence(Ordering::SeqCst);
        // One load: position and flags belong together.
        let event = u32::from_le(self.driver_event().load(Ordering::Relaxed));
        match (event >> 16) as u16 & EVENT_FLAGS {
            EVENT_DISABLE => false,
            EVENT_DESC if self.event_index => {
                announce_all || self.passed(Position::from_bits(event as u16), slots)
            }
            // ENABLE; and values that mean nothing, with which silence could be a mistake.
            _ => true,
        }
    }

    /// Whether `event` is among the last `slots` descriptors used. A position outside the ring counts
    /// as passed: the driver is confused, and a notification hurts nobody.
    fn passed(&self, event: Position, slots: u32) -> bool {
        if event.index >= self.size {
            return true;
        }
        // Positions repeat every two laps. What is used next lies a whole two laps behind.
        let two_laps = 2 * u32::from(self.size);
        let place = |at: Position| u32::from(at.index) + if at.wrap { 0 } else { two_laps / 2 };
        let behind = (place(self.used) + two_laps - 1 - place(event)) % two_laps + 1;
        behind <= slots
    }

    pub(super) fn suppress_kicks(&mut self) {
        if self.kicks != Kicks::Suppressed {
            self.write_event(u32::from(EVENT_DISABLE) << 16);
            self.kicks = Kicks::Suppressed;
        }
    }

    pub(super) fn arm_kicks(&mut self) -> Result<bool, Error> {
        let event = if self.event_index {
            u32::from(EVENT_DESC) << 16 | u32::from(self.next.bits())
        } else {
            u32::from(EVENT_ENABLE) << 16
        };
        if self.kicks != Kicks::Armed(event) {
            self.write_event(event);
            self.kicks = Kicks::Armed(event);
        }
        // Our wish must be out before the flags are read for the last time; the driver writes the flags
        // and then reads the wish. Otherwise a chain added in between would bring no kick.
        fence(Ordering::SeqCst);
        let more = self.has_available();
        if more {
            self.suppress_kicks();
        }
        Ok(more)
    }

    pub(super) fn has_available(&self) -> bool {
        let rest = self.load_rest(self.next.index, Ordering::Relaxed);
        self.next.is_available((rest >> 48) as u16)
    }

    pub(super) fn base(&self) -> RingBase {
        let next = self.next.back(self.outstanding_slots, self.size);
        RingBase(u32::from(next.bits()) | u32::from(self.used.bits()) << 16)
    }

    pub(super) fn rewind(&mut self) {
        self.next = self.next.back(self.outstanding_slots, self.size);
        self.outstanding = 0;
        self.outstanding_slots = 0;
    }

    fn write_event(&self, event: u32) {
        self.device_event().store(event.to_le(), Ordering::Relaxed);
        if let Some(log) = &self.parts.log {
            log.device(0, 4);
        }
    }

    /// Length, buffer id and flags of a descriptor.
    #[inline]
    fn load_rest(&self, index: u16, ordering: Ordering) -> u64 {
        // Positions are below the size, so there is always a cell; 0 would be "not available".
        self.parts.table.cell(index, 1).map_or(0, |cell| u64::from_le(cell.load(ordering)))
    }

    #[inline]
    fn load_address(&self, index: u16) -> u64 {
        self.parts.table.cell(index, 0).map_or(0, |cell| u64::from_le(cell.load(Ordering::Relaxed)))
    }

    /// Length, buffer id and flags in one store: nobody can see one without the others.
    #[inline]
    fn write_used(&self, at: Position, completion: &Completion, ordering: Ordering) {
        let mut flags = at.used_flags();
        if completion.written > 0 {
            flags |= WRITE;
        }
        let rest = u64::from(completion.written) | u64::from(completion.id) << 32 | u64::from(flags) << 48;
        if let Some(cell) = self.parts.table.cell(at.index, 1) {
            cell.store(rest.to_le(), ordering);
        }
    }

    #[inline]
    fn driver_event(&self) -> &AtomicU32 {
        // SAFETY: four bytes, aligned, as checked when the parts were found.
        unsafe { event(self.parts.driver) }
    }

    #[inline]
    fn device_event(&self) -> &AtomicU32 {
        // SAFETY: four bytes, aligned, as checked when the parts were found.
        unsafe { event(self.parts.device) }
    }
}

/// An event suppression structure.
///
/// # Safety
/// `part` must have four bytes, aligned to four, and stay mapped for `'a`.
#[inline]
unsafe fn event<'a>(part: NonNull<u8>) -> &'a AtomicU32 {
    // SAFETY: by the caller's promise; all accesses are atomic.
    unsafe { AtomicU32::from_ptr(part.cast().as_ptr()) }
}
