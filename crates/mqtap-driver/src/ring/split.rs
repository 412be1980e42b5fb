//! The split virtqueue, driver's side.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

use super::{
    Buffer, DESC_INDIRECT, DESC_SIZE, IndirectTables, RingLayout, RingOptions, Used, chain_flags, offset,
    passed, write_split_descriptor,
};
use crate::error::{Error, Result};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT`.
const NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY`.
const NO_NOTIFY: u16 = 1;

/// The driver's side of a split virtqueue.
#[derive(Debug)]
pub struct SplitRing {
    index: u16,
    memory: GuestMemory,
    layout: RingLayout,
    options: RingOptions,
    tables: Option<IndirectTables>,
    /// Free descriptors, oldest first: with IN_ORDER this hands them out in ring order, as the feature demands.
    free: VecDeque<u16>,
    /// For each head in flight, how many descriptors its chain takes.
    lengths: Vec<u16>,
    /// For each descriptor of a chain in flight, the one behind it.
    behind: Vec<u16>,
    /// Heads in the order they were added.
    order: VecDeque<u16>,
    /// Next available index, and how far the device may see.
    available: u16,
    published: u16,
    /// Available index when a kick was last considered.
    considered: u16,
    /// Used index up to which we reaped.
    reaped: u16,
    /// Chains reaped but not yet handed out (with IN_ORDER, one used element may stand for several).
    pending: VecDeque<Used>,
}

impl SplitRing {
    pub(super) fn new(
        index: u16,
        memory: &GuestMemory,
        layout: RingLayout,
        options: RingOptions,
        tables: Option<IndirectTables>,
    ) -> SplitRing {
        SplitRing {
            index,
            memory: memory.clone(),
            layout,
            options,
            tables,
            free: (0..layout.size).collect(),
            lengths: vec![0; layout.size.into()],
            behind: vec![0; layout.size.into()],
            order: VecDeque::new(),
            available: 0,
            published: 0,
            considered: 0,
            reaped: 0,
            pending: VecDeque::new(),
        }
    }

    fn available_flags(&self) -> GuestAddress {
        self.layout.driver
    }

    fn available_index(&self) -> GuestAddress {
        offset(self.layout.driver, 2)
    }

    fn available_entry(&self, index: u16) -> GuestAddress {
        offset(self.layout.driver, 4 + 2 * u64::from(index % self.layout.size))
    }

    fn used_event(&self) -> GuestAddress {
        offset(self.layout.driver, 4 + 2 * u64::from(self.layout.size))
    }

    fn used_index(&self) -> GuestAddress {
        offset(self.layout.device, 2)
    }

    fn used_entry(&self, index: u16) -> GuestAddress {
        offset(self.layout.device, 4 + 8 * u64::from(index % self.layout.size))
    }

    fn available_event(&self) -> GuestAddress {
        offset(self.layout.device, 4 + 8 * u64::from(self.layout.size))
    }

    pub(super) fn add(&mut self, readable: &[Buffer], writable: &[Buffer]) -> Result<u16> {
        let total = readable.len() + writable.len();
        let table = self.tables.filter(|t| total > 1 && total <= t.entries.into());
        let slots = if table.is_some() { 1 } else { total };
        if slots == 0 || slots > self.layout.size.into() {
            let bytes = readable.iter().chain(writable).map(|b| b.len as usize).sum();
            return Err(Error::TooLong { bytes, ring_size: self.layout.size });
        }
        if slots > self.free.len() {
            return Err(Error::Full);
        }
        // There are as many as `slots`, which is not 0.
        let Some(head) = self.free.pop_front() else { return Err(Error::Full) };
        let buffers = readable.iter().chain(writable).enumerate();
        if let Some(tables) = table {
            let at = tables.table(head);
            for (i, buffer) in buffers {
                let flags = chain_flags(i, readable.len(), total);
                let next = if i + 1 < total { i + 1 } else { 0 };
                let entry = offset(at, DESC_SIZE * i as u64);
                write_split_descriptor(&self.memory, entry, *buffer, flags, next as u16)?;
            }
            let whole = Buffer { at, len: total as u32 * DESC_SIZE as u32 };
            let at = self.layout.descriptor(head);
            write_split_descriptor(&self.memory, at, whole, DESC_INDIRECT, 0)?;
        } else {
            let mut here = head;
            for (i, buffer) in buffers {
                let flags = chain_flags(i, readable.len(), total);
                let more = if i + 1 < total { self.free.pop_front() } else { None };
                let next = more.unwrap_or(0);
                let at = self.layout.descriptor(here);
                write_split_descriptor(&self.memory, at, *buffer, flags, next)?;
                self.behind[usize::from(here)] = next;
                here = next;
            }
        }
        self.lengths[usize::from(head)] = slots as u16;
        self.order.push_back(head);
        self.memory.store_u16(self.available_entry(self.available), head, Ordering::Relaxed)?;
        self.available = self.available.wrapping_add(1);
        Ok(head)
    }

    pub(super) fn publish(&mut self) -> Result<()> {
        // Release: the device that sees the index sees the descriptors and entries behind it.
        self.memory.store_u16(self.available_index(), self.available, Ordering::Release)?;
        self.published = self.available;
        Ok(())
    }

    pub(super) fn needs_kick(&mut self) -> Result<bool> {
        // The device stores its wish, then looks at our index; we stored the index, now look at its wish. Without a
        // full barrier on both sides each may miss the other's store.
        fence(Ordering::SeqCst);
        let old = std::mem::replace(&mut self.considered, self.published);
        if old == self.published {
            return Ok(false);
        }
        if self.options.event_index {
            let event = self.memory.load_u16(self.available_event(), Ordering::Relaxed)?;
            return Ok(passed(event, self.published, old));
        }
        let flags = self.memory.load_u16(self.layout.device, Ordering::Relaxed)?;
        Ok(flags & NO_NOTIFY == 0)
    }

    pub(super) fn has_used(&self) -> Result<bool> {
        Ok(!self.pending.is_empty() || self.fresh()? != 0)
    }

    /// How many used elements there are that we have not read.
    fn fresh(&self) -> Result<u16> {
        // Acquire: what the device wrote before the index (elements, and data in the buffers) is visible after this.
        let index = self.memory.load_u16(self.used_index(), Ordering::Acquire)?;
        let fresh = index.wrapping_sub(self.reaped);
        if usize::from(fresh) > self.order.len() {
            return Err(self.bug(format!(
                "its used index is {index}, {fresh} beyond what was reaped, but {} chains are in flight",
                self.order.len()
            )));
        }
        Ok(fresh)
    }

    pub(super) fn reap(&mut self) -> Result<Option<Used>> {
        if let Some(used) = self.pending.pop_front() {
            return Ok(Some(used));
        }
        let fresh = self.fresh()?;
        if fresh == 0 {
            return Ok(None);
        }
        let entry = self.used_entry(self.reaped);
        let id = self.memory.load_u32(entry, Ordering::Relaxed)?;
        let written = self.memory.load_u32(offset(entry, 4), Ordering::Relaxed)?;
        let place = self.order.iter().position(|&head| u32::from(head) == id);
        let Some(place) = place else {
            return Err(self.bug(format!("it used chain {id}, which is not in flight")));
        };
        if self.options.in_order {
            // One element may stand for a batch that ends with its chain (virtio 1.3, 2.7.9).
            if place >= fresh.into() {
                return Err(self.bug(format!("it used chain {id} out of order")));
            }
            for _ in 0..place {
                let Some(head) = self.order.pop_front() else { break };
                self.recycle(head);
                self.pending.push_back(Used { id: head, written: 0 });
            }
            self.reaped = self.reaped.wrapping_add(place as u16);
            self.order.pop_front();
        } else {
            self.order.remove(place);
        }
        self.reaped = self.reaped.wrapping_add(1);
        let head = id as u16;
        self.recycle(head);
        self.pending.push_back(Used { id: head, written });
        Ok(self.pending.pop_front())
    }

    fn recycle(&mut self, head: u16) {
        let mut here = head;
        for _ in 0..std::mem::take(&mut self.lengths[usize::from(head)]) {
            self.free.push_back(here);
            here = self.behind[usize::from(here)];
        }
    }

    pub(super) fn suppress_calls(&mut self) -> Result<()> {
        if self.options.event_index {
            // As far ahead as the index can be from what the device uses next.
            let far = self.reaped.wrapping_sub(1);
            self.memory.store_u16(self.used_event(), far, Ordering::Relaxed)?;
        } else {
            self.memory.store_u16(self.available_flags(), NO_INTERRUPT, Ordering::Relaxed)?;
        }
        Ok(())
    }

    pub(super) fn arm_calls(&mut self) -> Result<bool> {
        if self.options.event_index {
            self.memory.store_u16(self.used_event(), self.reaped, Ordering::Relaxed)?;
        } else {
            self.memory.store_u16(self.available_flags(), 0, Ordering::Relaxed)?;
        }
        // The counterpart of the fence in the device's decision to call: store the wish, then look again.
        fence(Ordering::SeqCst);
        self.has_used()
    }

    pub(super) fn free(&self) -> u16 {
        self.free.len() as u16
    }

    pub(super) fn in_flight(&self) -> usize {
        self.order.len()
    }

    pub(super) fn base(&self) -> u32 {
        let used = self.memory.load_u16(self.used_index(), Ordering::Acquire);
        used.unwrap_or(self.reaped).into()
    }

    pub(super) fn layout(&self) -> RingLayout {
        self.layout
    }

    pub(super) fn next_slot(&self) -> (u16, bool) {
        (self.available % self.layout.size, true)
    }

    fn bug(&self, problem: String) -> Error {
        Error::DeviceBug { ring: self.index, problem }
    }
}
