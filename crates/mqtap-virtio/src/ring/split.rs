//! The split ring (virtio 1.2, section 2.7), device side.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use super::batch::{Batch, Completion};
use super::chain::{Pieces, Stop, Walker};
use super::parts::{Parts, around};
use super::{Direction, Error, RingBase, RingConfig};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT`: the driver wants no notifications.
const NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY`: we want no kicks.
const NO_NOTIFY: u16 = 1;

/// Bytes of an element of the used ring.
const USED_ELEMENT: usize = 8;

/// What the driver was told about kicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kicks {
    /// We do not know what the memory says (another device may have written it).
    Unknown,
    Suppressed,
    /// Wanted; with the event index, for the chain at this index.
    Armed(u16),
}

/// Invariant: the parts are inside guest memory which the [`Ring`](super::Ring) around this holds.
#[derive(Debug)]
pub(super) struct SplitRing {
    walker: Walker,
    parts: Parts,
    size: u16,
    /// The index the next chain is popped at.
    next: u16,
    /// The driver's available index as we last saw it.
    available: u16,
    /// Chains popped and not completed: the last ones before `next`.
    outstanding: u16,
    /// Our used index.
    used: u16,
    /// Chains completed since the driver was last considered for a notification.
    unannounced: u32,
    kicks: Kicks,
    event_index: bool,
    /// Transmit chains are completed with one used element for all (in order, nothing written).
    bulk: bool,
    /// The next notification is sent whatever the driver's event index says: completions before our
    /// time may never have been announced.
    announce_all: bool,
}

impl SplitRing {
    pub(super) fn new(config: &RingConfig, parts: Parts, walker: Walker) -> Result<Self, Error> {
        let start = u16::try_from(config.base.0).map_err(|_| config.bad_base())?;
        let mut ring = SplitRing {
            walker,
            parts,
            size: config.size,
            next: start,
            available: start,
            outstanding: 0,
            used: 0,
            unannounced: 0,
            kicks: Kicks::Unknown,
            event_index: config.features.event_index,
            bulk: config.features.in_order && config.direction == Direction::Transmit,
            announce_all: true,
        };
        // The frontend tells where to go on in the available ring only. Where the used ring stands is
        // in guest memory: a device before us may have left some chains out.
        ring.used = u16::from_le(ring.used_index().load(Ordering::Relaxed));
        Ok(ring)
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
        let mut left = usize::from(self.available.wrapping_sub(self.next));
        if left < max {
            left = usize::from(self.look()?);
        }
        let wanted = left.min(max);
        // A hint: what counts is read below, once.
        for ahead in 0..wanted as u16 {
            let slot = self.next.wrapping_add(ahead) & (self.size - 1);
            self.parts.table.prefetch(u16::from_le(self.available_entry(slot).load(Ordering::Relaxed)));
        }
        for taken in 0..wanted {
            let slot = self.next & (self.size - 1);
            let head = u16::from_le(self.available_entry(slot).load(Ordering::Relaxed));
            let mut pieces = Pieces::new(batch.free_iovecs());
            let limit = pieces.room();
            let walked = if head < self.size {
                self.walker
                    .split_chain(self.parts.table, head, &mut pieces)
                    .and_then(|()| pieces.check_bytes(head))
            } else {
                Err(Stop::Lie(Error::Head { position: slot, head, size: self.size }))
            };
            let (count, bytes) = (pieces.count, pieces.bytes);
            match walked {
                Ok(()) => {
                    batch.push(head, 1, count, bytes);
                    if self.walker.reads() {
                        batch.prefetch_last();
                    }
                }
                // The chains before it are good and go out first; this one is met again.
                Err(_) if taken > 0 => return Ok(taken),
                Err(Stop::Full) if !batch.is_empty() => return Ok(0),
                Err(Stop::Full) => return Err(Error::TooManyPieces { head, limit }),
                Err(Stop::Lie(error)) => return Err(error),
            }
            self.next = self.next.wrapping_add(1);
            self.outstanding += 1;
        }
        Ok(wanted)
    }

    /// Reads the available index; the answer is how many chains are to be popped.
    #[inline]
    fn look(&mut self) -> Result<u16, Error> {
        // Acquire pairs with the driver's barrier between writing the ring and the index: what
        // the index covers is visible after it.
        let available = u16::from_le(self.available_index().load(Ordering::Acquire));
        let completed = self.next.wrapping_sub(self.outstanding);
        if available.wrapping_sub(completed) > self.size
            // An index that went back, behind what was popped already.
            || available.wrapping_sub(completed) < self.outstanding
        {
            return Err(Error::IndexJump { available, completed, size: self.size });
        }
        self.available = available;
        Ok(available.wrapping_sub(self.next))
    }

    pub(super) fn complete(&mut self, completions: &[Completion]) -> Result<(), Error> {
        let Some(last) = completions.last() else {
            return Ok(());
        };
        let outstanding = usize::from(self.outstanding);
        if completions.len() > outstanding {
            return Err(Error::CompletedTooMany { completed: completions.len(), outstanding });
        }
        // At most `outstanding`, a u16.
        let count = completions.len() as u16;
        let start = self.used;
        let elements = if self.bulk {
            // One element, at the place of the first chain, naming the last (2.7.9).
            self.write_element(start, last);
            1
        } else {
            for (offset, completion) in (0..count).zip(completions) {
                self.write_element(start.wrapping_add(offset), completion);
            }
            count
        };
        self.used = start.wrapping_add(count);
        self.outstanding -= count;
        self.unannounced = self.unannounced.saturating_add(u32::from(count));
        // Release: the elements (and the data before them) are visible to whoever sees the index.
        self.used_index().store(self.used.to_le(), Ordering::Release);
        if let Some(log) = &self.parts.log {
            for (index, count) in around(start & (self.size - 1), elements, self.size) {
                log.device(4 + usize::from(index) * USED_ELEMENT, usize::from(count) * USED_ELEMENT);
            }
            log.device(0, 4);
        }
        Ok(())
    }

    pub(super) fn must_notify(&mut self) -> bool {
        if self.unannounced == 0 {
            return false;
        }
        let count = std::mem::take(&mut self.unannounced);
        // The used index must be out before the driver's wish is read; the driver writes its wish and then
        // reads the index. With less than this, both could miss each other and the driver would
        // sleep with work in the ring.
        fence(Ordering::SeqCst);
        if !self.event_index {
            return u16::from_le(self.available_flags().load(Ordering::Relaxed)) & NO_INTERRUPT == 0;
        }
        if std::mem::take(&mut self.announce_all) {
            return true;
        }
        let event = u16::from_le(self.used_event().load(Ordering::Relaxed));
        // Did the index pass `event`, that is, is `event` one of the `count` indices before `used`?
        u32::from(self.used.wrapping_sub(event).wrapping_sub(1)) < count
    }

    pub(super) fn suppress_kicks(&mut self) {
        if self.kicks == Kicks::Suppressed {
            return;
        }
        // With the event index there is nothing to write: the driver kicks only when it passes the
        // index we left, and we leave it behind as we go on.
        if !self.event_index {
            self.used_flags().store(NO_NOTIFY.to_le(), Ordering::Relaxed);
            self.log_device(0, 2);
        }
        self.kicks = Kicks::Suppressed;
    }

    pub(super) fn arm_kicks(&mut self) -> Result<bool, Error> {
        let wanted = Kicks::Armed(if self.event_index { self.next } else { 0 });
        if self.kicks != wanted {
            if self.event_index {
                self.available_event().store(self.next.to_le(), Ordering::Relaxed);
                self.log_device(self.event_offset(), 2);
            } else {
                self.used_flags().store(0, Ordering::Relaxed);
                self.log_device(0, 2);
            }
            self.kicks = wanted;
        }
        // Our wish must be out before the index is read for the last time; the driver writes the index
        // and then reads the wish. Otherwise a chain added in between would bring no kick.
        fence(Ordering::SeqCst);
        let more = self.look()? > 0;
        if more {
            self.suppress_kicks();
        }
        Ok(more)
    }

    pub(super) fn has_available(&self) -> bool {
        self.available != self.next
            || u16::from_le(self.available_index().load(Ordering::Relaxed)) != self.next
    }

    pub(super) fn base(&self) -> RingBase {
        RingBase(u32::from(self.next.wrapping_sub(self.outstanding)))
    }

    pub(super) fn rewind(&mut self) {
        self.next = self.next.wrapping_sub(self.outstanding);
        self.outstanding = 0;
    }

    fn log_device(&self, offset: usize, len: usize) {
        if let Some(log) = &self.parts.log {
            log.device(offset, len);
        }
    }

    /// Where the available event index is in the used ring.
    fn event_offset(&self) -> usize {
        4 + usize::from(self.size) * USED_ELEMENT
    }

    #[inline]
    fn write_element(&self, index: u16, completion: &Completion) {
        let slot = usize::from(index & (self.size - 1));
        let id = u32::from(completion.id);
        // A driver reads it only behind the index stored later with Release. The store is atomic all the same, for a guest can say
        // that it has two used rings in one place.
        for (at, value) in [(0, id), (4, completion.written)] {
            // SAFETY: `slot` is below the ring's size, so the element is inside the used ring, which is aligned to 4 as its
            // elements are.
            let field = unsafe {
                AtomicU32::from_ptr(self.parts.device.add(4 + slot * USED_ELEMENT + at).cast().as_ptr())
            };
            field.store(value.to_le(), Ordering::Relaxed);
        }
    }

    #[inline]
    fn available_flags(&self) -> &AtomicU16 {
        // SAFETY: the available ring starts with it.
        unsafe { cell(self.parts.driver, 0) }
    }

    #[inline]
    fn available_index(&self) -> &AtomicU16 {
        // SAFETY: the second field of the available ring.
        unsafe { cell(self.parts.driver, 2) }
    }

    #[inline]
    fn available_entry(&self, slot: u16) -> &AtomicU16 {
        debug_assert!(slot < self.size);
        // SAFETY: callers mask `slot` to the ring's size.
        unsafe { cell(self.parts.driver, 4 + usize::from(slot) * 2) }
    }

    #[inline]
    fn used_event(&self) -> &AtomicU16 {
        debug_assert!(self.event_index);
        // SAFETY: behind the available ring; checked to be there with the event index, and used only so.
        unsafe { cell(self.parts.driver, 4 + usize::from(self.size) * 2) }
    }

    #[inline]
    fn used_flags(&self) -> &AtomicU16 {
        // SAFETY: the used ring starts with it.
        unsafe { cell(self.parts.device, 0) }
    }

    #[inline]
    fn used_index(&self) -> &AtomicU16 {
        // SAFETY: the second field of the used ring.
        unsafe { cell(self.parts.device, 2) }
    }

    #[inline]
    fn available_event(&self) -> &AtomicU16 {
        debug_assert!(self.event_index);
        // SAFETY: behind the used ring; checked to be there with the event index, and used only so.
        unsafe { cell(self.parts.device, self.event_offset()) }
    }
}

/// A 16-bit field of a ring part.
///
/// # Safety
/// `offset` must be even and inside the part, which must stay mapped for `'a`.
#[inline]
unsafe fn cell<'a>(part: NonNull<u8>, offset: usize) -> &'a AtomicU16 {
    // SAFETY: by the caller's promise; parts are aligned to 2 at least; all accesses are atomic.
    unsafe { AtomicU16::from_ptr(part.add(offset).cast().as_ptr()) }
}
