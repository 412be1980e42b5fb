//! The driver's side of both layouts, for tests: honest unless told otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use super::*;

/// A buffer of guest memory: address and length.
pub(super) type Buffer = (u64, u32);

/// Descriptor flags by the specification's numbers, not by the code under test.
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
pub(super) const AVAIL: u16 = 1 << 7;
pub(super) const USED: u16 = 1 << 15;

/// What the driver wants to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Everything,
    Nothing,
    /// With the event index: when the used position passes so many after the next one to collect.
    After(u16),
}

struct InFlight {
    id: u16,
    slots: u16,
    descriptors: Vec<u16>,
}

pub(super) struct Driver {
    memory: GuestMemory,
    size: u16,
    packed: bool,
    event_index: bool,
    write: u16,
    /// Split: descriptors; packed: buffer ids.
    free: VecDeque<u16>,
    /// Packed: free slots.
    free_slots: u16,
    /// Split: available index. Packed: position of the next descriptor.
    pub(super) next: u16,
    pub(super) wrap: bool,
    /// Split: used index seen. Packed: position of the next used descriptor.
    pub(super) used: u16,
    pub(super) used_wrap: bool,
    /// Where `next` (and `wrap`) stood when a kick was last considered, and how far it went since.
    unkicked: u32,
    in_flight: VecDeque<InFlight>,
    tables: u64,
}

impl Driver {
    pub(super) fn new(config: &RingConfig, memory: &GuestMemory) -> Driver {
        let packed = config.features.packed;
        let base = config.base.0 as u16;
        let (next, wrap) = if packed { (base & 0x7fff, base & 0x8000 != 0) } else { (base, true) };
        let driver = Driver {
            memory: memory.clone(),
            size: config.size,
            packed,
            event_index: config.features.event_index,
            write: match config.direction {
                Direction::Transmit => 0,
                Direction::Receive => WRITE,
            },
            // Anything but ascending.
            free: (0..config.size).map(|n| n ^ (config.size / 2)).filter(|n| *n < config.size).collect(),
            free_slots: config.size,
            next,
            wrap,
            used: next,
            used_wrap: wrap,
            unkicked: 0,
            in_flight: VecDeque::new(),
            tables: 0,
        };
        if packed {
            // In the lap before this, everything was used: nothing looks available.
            for slot in 0..config.size {
                let lap = if slot < next { wrap } else { !wrap };
                let flags = if lap { AVAIL | USED } else { 0 };
                driver.set16(DESCRIPTORS + u64::from(slot) * 16 + 14, flags);
            }
        } else {
            driver.set16(DRIVER + 2, base);
            driver.set16(DEVICE + 2, base);
        }
        driver
    }

    pub(super) fn set16(&self, at: u64, value: u16) {
        self.memory.store_u16(GuestAddress(at), value, Ordering::Release).unwrap();
    }

    pub(super) fn get16(&self, at: u64) -> u16 {
        self.memory.load_u16(GuestAddress(at), Ordering::Acquire).unwrap()
    }

    /// Writes a descriptor: address, length, and the two 16-bit fields as they stand in memory.
    pub(super) fn descriptor(&self, table: u64, index: u16, buffer: Buffer, third: u16, fourth: u16) {
        let at = table + u64::from(index) * 16;
        let rest = u64::from(buffer.1) | u64::from(third) << 32 | u64::from(fourth) << 48;
        self.memory.store_u64(GuestAddress(at), buffer.0, Ordering::Relaxed).unwrap();
        self.memory.store_u64(GuestAddress(at + 8), rest, Ordering::Release).unwrap();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Adds a chain; its id, or `None` if there is no room.
    pub(super) fn add(&mut self, buffers: &[Buffer], indirect: bool) -> Option<u16> {
        let slots = if indirect { 1 } else { buffers.len() as u16 };
        if self.packed {
            self.add_packed(buffers, indirect, slots)
        } else {
            self.add_split(buffers, indirect, slots)
        }
    }

    /// Writes an indirect table and returns the buffer that describes it.
    fn table(&mut self, buffers: &[Buffer]) -> Buffer {
        // One place per chain that can be in flight.
        let at = TABLES + (self.tables % u64::from(self.size)) * 0x400;
        self.tables += 1;
        for (index, buffer) in (0u16..).zip(buffers) {
            if self.packed {
                self.descriptor(at, index, *buffer, 0, self.write);
            } else if usize::from(index) + 1 < buffers.len() {
                self.descriptor(at, index, *buffer, self.write | NEXT, index + 1);
            } else {
                self.descriptor(at, index, *buffer, self.write, 0xffff);
            }
        }
        (at, buffers.len() as u32 * 16)
    }

    fn add_split(&mut self, buffers: &[Buffer], indirect: bool, slots: u16) -> Option<u16> {
        if self.free.len() < usize::from(slots) {
            return None;
        }
        let descriptors: Vec<u16> = self.free.drain(..usize::from(slots)).collect();
        if indirect {
            let table = self.table(buffers);
            self.descriptor(DESCRIPTORS, descriptors[0], table, INDIRECT, 0);
        } else {
            for (n, buffer) in buffers.iter().enumerate() {
                let (flags, next) = match descriptors.get(n + 1) {
                    Some(next) => (self.write | NEXT, *next),
                    None => (self.write, 0xffff),
                };
                self.descriptor(DESCRIPTORS, descriptors[n], *buffer, flags, next);
            }
        }
        let head = descriptors[0];
        self.make_available(head);
        self.in_flight.push_back(InFlight { id: head, slots: 1, descriptors });
        Some(head)
    }

    /// Split: puts a head into the available ring.
    pub(super) fn make_available(&mut self, head: u16) {
        let slot = self.next & (self.size - 1);
        self.set16(DRIVER + 4 + u64::from(slot) * 2, head);
        self.next = self.next.wrapping_add(1);
        self.set16(DRIVER + 2, self.next);
        self.unkicked += 1;
    }

    fn add_packed(&mut self, buffers: &[Buffer], indirect: bool, slots: u16) -> Option<u16> {
        if self.free_slots < slots {
            return None;
        }
        let id = self.free.pop_front()?;
        let table = if indirect { Some(self.table(buffers)) } else { None };
        let buffers = table.as_ref().map_or(buffers, std::slice::from_ref);
        let mut head = None;
        for (n, buffer) in buffers.iter().enumerate() {
            let mut flags = if self.wrap { AVAIL } else { USED };
            if table.is_some() {
                flags |= INDIRECT;
            } else {
                flags |= self.write;
            }
            // The id counts in the last descriptor only.
            let mut this = 0xdead;
            if n + 1 < buffers.len() {
                flags |= NEXT;
            } else {
                this = id;
            }
            if n == 0 {
                head = Some((self.next, *buffer, this, flags));
            } else {
                self.descriptor(DESCRIPTORS, self.next, *buffer, this, flags);
            }
            self.next += 1;
            if self.next == self.size {
                (self.next, self.wrap) = (0, !self.wrap);
            }
        }
        let (at, buffer, this, flags) = head?;
        self.descriptor(DESCRIPTORS, at, buffer, this, flags);
        self.free_slots -= slots;
        self.unkicked += u32::from(slots);
        self.in_flight.push_back(InFlight { id, slots, descriptors: vec![id] });
        Some(id)
    }

    /// Whether the device wants a kick for what was added since the last call.
    pub(super) fn must_kick(&mut self) -> bool {
        let added = std::mem::take(&mut self.unkicked);
        if added == 0 {
            return false;
        }
        fence(Ordering::SeqCst);
        if self.packed {
            let (bits, flags) = (self.get16(DEVICE), self.get16(DEVICE + 2));
            return match flags & 3 {
                0 => true,
                1 => false,
                _ => crossed_packed(bits, self.next, self.wrap, added, self.size),
            };
        }
        if self.event_index {
            let event = self.get16(DEVICE + 4 + u64::from(self.size) * 8);
            return crossed_split(event, self.next, added);
        }
        self.get16(DEVICE) & 1 == 0
    }

    /// Says what the driver wants to hear of from now on.
    pub(super) fn wish(&mut self, wish: Wish) {
        if self.packed {
            let (bits, flags) = match wish {
                Wish::Everything => (0, 0),
                Wish::Nothing => (0, 1),
                Wish::After(more) => {
                    let mut index = self.used + more % self.size;
                    let mut wrap = self.used_wrap;
                    if index >= self.size {
                        index -= self.size;
                        wrap = !wrap;
                    }
                    (index | u16::from(wrap) << 15, 2)
                }
            };
            let word = u32::from(bits) | u32::from(flags as u16) << 16;
            self.memory.store_u32(GuestAddress(DRIVER), word, Ordering::Relaxed).unwrap();
        } else if self.event_index {
            let event = match wish {
                Wish::Everything => self.used,
                Wish::Nothing => self.used.wrapping_sub(1),
                Wish::After(more) => self.used.wrapping_add(more),
            };
            self.set16(DRIVER + 4 + u64::from(self.size) * 2, event);
        } else {
            self.set16(DRIVER, u16::from(wish == Wish::Nothing));
        }
        fence(Ordering::SeqCst);
    }

    /// What the specification makes of the driver's wish after the device used the last `used`
    /// positions, up to `position` (and `wrap`).
    pub(super) fn wants(&self, position: u16, wrap: bool, used: u32) -> bool {
        if used == 0 {
            return false;
        }
        if self.packed {
            let (bits, flags) = (self.get16(DRIVER), self.get16(DRIVER + 2));
            return match flags & 3 {
                0 => true,
                1 => false,
                _ => crossed_packed(bits, position, wrap, used, self.size),
            };
        }
        if self.event_index {
            let event = self.get16(DRIVER + 4 + u64::from(self.size) * 2);
            return crossed_split(event, position, used);
        }
        self.get16(DRIVER) & 1 == 0
    }

    /// The chains the device gave back: id and bytes written. Bytes of chains that were skipped (in
    /// order) are not known.
    pub(super) fn collect(&mut self) -> Vec<(u16, Option<u32>)> {
        let mut done = Vec::new();
        while let Some((id, written)) = self.next_used() {
            // In order: everything before the one named is used too.
            loop {
                let chain = self.in_flight.pop_front().expect("used but never available");
                let last = chain.id == id;
                done.push((chain.id, last.then_some(written)));
                self.advance_used(&chain);
                self.free.extend(chain.descriptors);
                if last {
                    break;
                }
            }
        }
        done
    }

    fn next_used(&self) -> Option<(u16, u32)> {
        let word = |at| self.memory.load_u32(GuestAddress(at), Ordering::Relaxed).unwrap();
        if self.packed {
            let at = DESCRIPTORS + u64::from(self.used) * 16;
            let flags = self.get16(at + 14);
            let wanted = if self.used_wrap { AVAIL | USED } else { 0 };
            return (flags & (AVAIL | USED) == wanted && !self.in_flight.is_empty())
                .then(|| (self.get16(at + 12), word(at + 8)));
        }
        if self.get16(DEVICE + 2) == self.used {
            return None;
        }
        let at = DEVICE + 4 + u64::from(self.used & (self.size - 1)) * 8;
        Some((word(at) as u16, word(at + 4)))
    }

    fn advance_used(&mut self, chain: &InFlight) {
        if self.packed {
            self.free_slots += chain.slots;
            self.used += chain.slots;
            if self.used >= self.size {
                self.used -= self.size;
                self.used_wrap = !self.used_wrap;
            }
        } else {
            self.used = self.used.wrapping_add(1);
        }
    }
}

/// Is `event` one of the `count` indices before `index`? By walking, to be independent of the code
/// under test.
fn crossed_split(event: u16, index: u16, count: u32) -> bool {
    (1..=count.min(65536)).any(|back| index.wrapping_sub(back as u16) == event)
}

fn crossed_packed(event: u16, index: u16, wrap: bool, count: u32, size: u16) -> bool {
    let (mut index, mut wrap) = (index, wrap);
    (0..count).any(|_| {
        if index == 0 {
            (index, wrap) = (size - 1, !wrap);
        } else {
            index -= 1;
        }
        event == index | u16::from(wrap) << 15
    })
}
