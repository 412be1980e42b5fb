//! The packed virtqueue, driver's side.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use mqtap_virtio::memory::GuestMemory;

use super::{
    Buffer, DESC_AVAILABLE, DESC_INDIRECT, DESC_SIZE, DESC_USED, IndirectTables, RingLayout, RingOptions,
    Used, chain_flags, offset, passed, write_split_descriptor,
};
use crate::error::{Error, Result};

/// `RING_EVENT_FLAGS_ENABLE`.
const EVENT_ENABLE: u16 = 0;
/// `RING_EVENT_FLAGS_DISABLE`.
const EVENT_DISABLE: u16 = 1;
/// `RING_EVENT_FLAGS_DESC`: only when a given descriptor is reached.
const EVENT_DESCRIPTOR: u16 = 2;

/// A place in the packed ring: a slot, and the wrap counter in that round.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Position {
    slot: u16,
    wrap: bool,
}

impl Position {
    fn advance(&mut self, by: u16, size: u16) {
        // In 32 bits: the ring may have 32768 slots.
        let next = u32::from(self.slot) + u32::from(by);
        if next >= size.into() {
            self.wrap = !self.wrap;
        }
        self.slot = (next % u32::from(size)) as u16;
    }

    /// As the event structures and the vring base have it.
    fn bits(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }

    /// Flags of a descriptor made available here.
    fn available_flags(self) -> u16 {
        if self.wrap { DESC_AVAILABLE } else { DESC_USED }
    }
}

/// The driver's side of a packed virtqueue.
#[derive(Debug)]
pub struct PackedRing {
    index: u16,
    memory: GuestMemory,
    layout: RingLayout,
    options: RingOptions,
    tables: Option<IndirectTables>,
    available: Position,
    used: Position,
    free_slots: u16,
    free_ids: VecDeque<u16>,
    /// For each id in flight, the slots its chain takes.
    slots: Vec<u16>,
    /// Ids in the order they were added.
    order: VecDeque<u16>,
    /// The first head of the chains not yet published, with its flags: storing them shows all at once.
    hidden: Option<(u16, u16)>,
    /// Slots published since a kick was last considered.
    unannounced: u16,
    hidden_slots: u16,
    /// Chains reaped but not yet handed out (with IN_ORDER, one used descriptor may stand for several).
    pending: VecDeque<Used>,
}

impl PackedRing {
    pub(super) fn new(
        index: u16,
        memory: &GuestMemory,
        layout: RingLayout,
        options: RingOptions,
        tables: Option<IndirectTables>,
    ) -> PackedRing {
        let start = Position { slot: 0, wrap: true };
        PackedRing {
            index,
            memory: memory.clone(),
            layout,
            options,
            tables,
            available: start,
            used: start,
            free_slots: layout.size,
            free_ids: (0..layout.size).collect(),
            slots: vec![0; layout.size.into()],
            order: VecDeque::new(),
            hidden: None,
            unannounced: 0,
            hidden_slots: 0,
            pending: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, readable: &[Buffer], writable: &[Buffer]) -> Result<u16> {
        let total = readable.len() + writable.len();
        let table = self.tables.filter(|t| total > 1 && total <= t.entries.into());
        let slots = if table.is_some() { 1 } else { total };
        if slots == 0 || slots > self.layout.size.into() {
            let bytes = readable.iter().chain(writable).map(|b| b.len as usize).sum();
            return Err(Error::TooLong { bytes, ring_size: self.layout.size });
        }
        if slots > self.free_slots.into() {
            return Err(Error::Full);
        }
        // There are as many ids as slots, and a chain takes at least one slot.
        let id = self.free_ids.pop_front().ok_or(Error::Full)?;
        let buffers = readable.iter().chain(writable).enumerate();
        if let Some(tables) = table {
            let at = tables.table(id);
            for (i, buffer) in buffers {
                // In a table only the write flag counts; the order is the chain (virtio 1.3, 2.8.7).
                let flags = chain_flags(i, readable.len(), total) & super::DESC_WRITE;
                // The flags of a packed descriptor lie where a split one has its next field, the id where that has flags.
                let entry = offset(at, DESC_SIZE * i as u64);
                write_split_descriptor(&self.memory, entry, *buffer, 0, flags)?;
            }
            let whole = Buffer { at, len: total as u32 * DESC_SIZE as u32 };
            self.put(whole, DESC_INDIRECT, id)?;
        } else {
            for (i, buffer) in buffers {
                let flags = chain_flags(i, readable.len(), total);
                self.put(*buffer, flags, id)?;
            }
        }
        self.slots[usize::from(id)] = slots as u16;
        self.free_slots -= slots as u16;
        self.hidden_slots += slots as u16;
        self.order.push_back(id);
        Ok(id)
    }

    /// Writes the descriptor at the available position, and moves on.
    fn put(&mut self, buffer: Buffer, flags: u16, id: u16) -> Result<()> {
        let slot = self.available.slot;
        let at = self.layout.descriptor(slot);
        let flags = flags | self.available.available_flags();
        self.memory.store_u64(at, buffer.at.0, Ordering::Relaxed)?;
        self.memory.store_u32(offset(at, 8), buffer.len, Ordering::Relaxed)?;
        self.memory.store_u16(offset(at, 12), id, Ordering::Relaxed)?;
        if self.hidden.is_none() {
            self.hidden = Some((slot, flags));
        } else {
            self.memory.store_u16(offset(at, 14), flags, Ordering::Relaxed)?;
        }
        self.available.advance(1, self.layout.size);
        Ok(())
    }

    pub(super) fn publish(&mut self) -> Result<()> {
        if let Some((slot, flags)) = self.hidden.take() {
            // Release: the device that sees this head sees every descriptor behind it.
            let at = offset(self.layout.descriptor(slot), 14);
            self.memory.store_u16(at, flags, Ordering::Release)?;
            self.unannounced = self.unannounced.saturating_add(self.hidden_slots);
            self.hidden_slots = 0;
        }
        Ok(())
    }

    pub(super) fn needs_kick(&mut self) -> Result<bool> {
        // See SplitRing::needs_kick.
        fence(Ordering::SeqCst);
        let fresh = std::mem::replace(&mut self.unannounced, 0);
        if fresh == 0 {
            return Ok(false);
        }
        // Both halves at once: they belong together.
        let wish = self.memory.load_u32(self.layout.device, Ordering::Relaxed)?;
        let (event, flags) = (wish as u16, (wish >> 16) as u16 & 3);
        if flags != EVENT_DESCRIPTOR || !self.options.event_index {
            return Ok(flags != EVENT_DISABLE);
        }
        // A slot of the round before this one lies a ring's length back.
        let mut slot = event & 0x7fff;
        if (event >> 15 != 0) != self.available.wrap {
            slot = slot.wrapping_sub(self.layout.size);
        }
        let new = self.available.slot;
        Ok(passed(slot, new, new.wrapping_sub(fresh)))
    }

    fn used_at(&self, position: Position) -> Result<bool> {
        let at = offset(self.layout.descriptor(position.slot), 14);
        // Acquire: what the device wrote before the flags is visible after this.
        let flags = self.memory.load_u16(at, Ordering::Acquire)?;
        let (available, used) = (flags & DESC_AVAILABLE != 0, flags & DESC_USED != 0);
        Ok(available == used && used == position.wrap)
    }

    pub(super) fn has_used(&self) -> Result<bool> {
        // A ring without chains in flight may show old flags that look used.
        Ok(!self.pending.is_empty() || (!self.order.is_empty() && self.used_at(self.used)?))
    }

    pub(super) fn reap(&mut self) -> Result<Option<Used>> {
        if let Some(used) = self.pending.pop_front() {
            return Ok(Some(used));
        }
        if !self.has_used()? {
            return Ok(None);
        }
        let at = self.layout.descriptor(self.used.slot);
        let written = self.memory.load_u32(offset(at, 8), Ordering::Relaxed)?;
        let id = self.memory.load_u16(offset(at, 12), Ordering::Relaxed)?;
        let place = self.order.iter().position(|&other| other == id);
        let Some(place) = place else {
            return Err(self.bug(format!("it used buffer id {id}, which is not in flight")));
        };
        if self.options.in_order {
            // One descriptor may stand for a batch that ends with its chain (virtio 1.3, 2.8.13).
            for _ in 0..place {
                let Some(skipped) = self.order.pop_front() else { break };
                self.recycle(skipped);
                self.pending.push_back(Used { id: skipped, written: 0 });
            }
            self.order.pop_front();
        } else {
            self.order.remove(place);
        }
        self.recycle(id);
        self.pending.push_back(Used { id, written });
        Ok(self.pending.pop_front())
    }

    fn recycle(&mut self, id: u16) {
        let slots = std::mem::take(&mut self.slots[usize::from(id)]);
        self.used.advance(slots, self.layout.size);
        self.free_slots += slots;
        self.free_ids.push_back(id);
    }

    pub(super) fn suppress_calls(&mut self) -> Result<()> {
        let flags = offset(self.layout.driver, 2);
        self.memory.store_u16(flags, EVENT_DISABLE, Ordering::Relaxed)?;
        Ok(())
    }

    pub(super) fn arm_calls(&mut self) -> Result<bool> {
        let flags = if self.options.event_index { EVENT_DESCRIPTOR } else { EVENT_ENABLE };
        let wish = u32::from(self.used.bits()) | u32::from(flags) << 16;
        self.memory.store_u32(self.layout.driver, wish, Ordering::Relaxed)?;
        // See SplitRing::arm_calls.
        fence(Ordering::SeqCst);
        self.has_used()
    }

    pub(super) fn free(&self) -> u16 {
        self.free_slots
    }

    pub(super) fn in_flight(&self) -> usize {
        self.order.len()
    }

    pub(super) fn base(&self) -> u32 {
        // Walk over what the device used and we have not reaped: it begins again after that.
        let mut position = self.used;
        let mut rest = self.order.clone();
        while !rest.is_empty() && matches!(self.used_at(position), Ok(true)) {
            let at = offset(self.layout.descriptor(position.slot), 12);
            let id = self.memory.load_u16(at, Ordering::Relaxed).ok();
            let Some(place) = rest.iter().position(|other| Some(*other) == id) else { break };
            // With IN_ORDER the descriptor stands for everything up to its chain.
            let first = if self.options.in_order { 0 } else { place };
            for id in rest.drain(first..=place) {
                position.advance(self.slots[usize::from(id)], self.layout.size);
            }
        }
        u32::from(position.bits()) << 16 | u32::from(position.bits())
    }

    pub(super) fn layout(&self) -> RingLayout {
        self.layout
    }

    pub(super) fn next_slot(&self) -> (u16, bool) {
        (self.available.slot, self.available.wrap)
    }

    fn bug(&self, problem: String) -> Error {
        Error::DeviceBug { ring: self.index, problem }
    }
}
