//! Walking one descriptor chain: every descriptor is read once, every word of it is checked, and what
//! comes out are iovecs inside guest memory.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::batch::IoVec;
use super::{Direction, Error};
use crate::memory::{GuestAddress, GuestMemory, prefetch};

/// `VIRTQ_DESC_F_NEXT`: the chain goes on.
pub(super) const NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`: the buffer is device-writable.
pub(super) const WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`: the buffer is a table of descriptors.
pub(super) const INDIRECT: u16 = 4;

/// Bytes of a descriptor, in both layouts.
pub(super) const DESCRIPTOR_SIZE: usize = 16;

/// Descriptors we take in one chain, as many as `readv` and `writev` take pieces (`UIO_MAXIOV`).
///
/// A chain in the ring is bounded by the ring's size too. An indirect table is not: drivers with small rings
/// (Linux does) put more entries in a table than the ring has, although the specification forbids it.
pub(super) const MAX_CHAIN: usize = 1024;

/// Longest indirect table: the largest ring there is.
const MAX_TABLE: u32 = 32768 * DESCRIPTOR_SIZE as u32;

/// Why a walk ended early.
pub(super) enum Stop {
    /// The iovecs do not fit what is free in the batch.
    Full,
    /// The driver lied.
    Lie(Error),
}

impl From<Error> for Stop {
    #[cold]
    fn from(error: Error) -> Stop {
        Stop::Lie(error)
    }
}

/// A table of descriptors in guest memory.
///
/// Invariant: `base` points to `len` descriptors, aligned to 8 bytes, in memory that stays mapped while
/// the table is used: its owner holds the [`GuestMemory`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    base: NonNull<u64>,
    len: u16,
}

impl Table {
    /// # Safety
    /// The invariant of the type.
    pub(super) unsafe fn new(base: NonNull<u8>, len: u16) -> Table {
        Table { base: base.cast(), len }
    }

    pub(super) fn len(&self) -> u16 {
        self.len
    }

    /// The two words of a descriptor: its address, and the rest. `None` beyond the table.
    ///
    /// The loads are atomic: the driver may write at the same time, and a compiler must neither
    /// repeat nor split them. That is what makes "read once, then check" hold.
    #[inline]
    pub(super) fn load(&self, index: u16) -> Option<(u64, u64)> {
        Some((self.word(index, 0)?, self.word(index, 1)?))
    }

    #[inline]
    fn word(&self, index: u16, word: usize) -> Option<u64> {
        let cell = self.cell(index, word)?;
        Some(u64::from_le(cell.load(Ordering::Relaxed)))
    }

    /// Has a descriptor fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self, index: u16) {
        prefetch(self.base.as_ptr().wrapping_add(usize::from(index) * 2).cast());
    }

    /// One of the two words of a descriptor.
    #[inline]
    pub(super) fn cell(&self, index: u16, word: usize) -> Option<&AtomicU64> {
        debug_assert!(word < 2);
        if index >= self.len {
            return None;
        }
        // SAFETY: `index` is inside the table, whose memory is mapped and aligned (invariant), and
        // accessed atomically only.
        Some(unsafe { AtomicU64::from_ptr(self.base.add(usize::from(index) * 2 + word).as_ptr()) })
    }
}

/// A descriptor of a split ring or of an indirect table.
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    #[inline]
    fn from_words((address, rest): (u64, u64)) -> Descriptor {
        Descriptor { address, len: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }
}

/// One region, as translation wants it.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    size: u64,
    host: NonNull<u8>,
}

impl Span {
    const NONE: Span = Span { start: 0, size: 0, host: NonNull::dangling() };

    /// Where `len` bytes from `address` are mapped, if they are all in this region.
    #[inline]
    fn translate(&self, address: u64, len: u32) -> Option<NonNull<u8>> {
        let offset = address.wrapping_sub(self.start);
        if offset < self.size && u64::from(len) <= self.size - offset {
            // SAFETY: `offset` is inside the region, which is mapped from `host` on.
            return Some(unsafe { self.host.add(offset as usize) });
        }
        None
    }
}

/// Where the iovecs of one chain go.
pub(super) struct Pieces<'a> {
    free: &'a mut [IoVec],
    pub(super) count: usize,
    pub(super) bytes: u64,
}

impl<'a> Pieces<'a> {
    #[inline]
    pub(super) fn new(free: &'a mut [IoVec]) -> Pieces<'a> {
        Pieces { free, count: 0, bytes: 0 }
    }

    /// How many iovecs a chain can have.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    /// The rule for the whole chain: its length fits what used elements and io calls can say.
    #[inline]
    pub(super) fn check_bytes(&self, head: u16) -> Result<(), Stop> {
        if self.bytes > u64::from(u32::MAX) {
            return Err(Error::TooManyBytes { head, bytes: self.bytes }.into());
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, ptr: NonNull<u8>, len: u32) -> Result<(), Stop> {
        let Some(slot) = self.free.get_mut(self.count) else {
            return Err(Stop::Full);
        };
        *slot = IoVec::new(ptr, len as usize);
        self.count += 1;
        self.bytes += u64::from(len);
        Ok(())
    }
}

/// What a walk needs to know of the ring, besides its descriptors.
#[derive(Debug)]
pub(super) struct Walker {
    /// The region hit last: nearly always the one hit next.
    last: Span,
    /// All regions, by address.
    spans: Box<[Span]>,
    /// `WRITE` if buffers must be device-writable, else 0.
    direction: u16,
    /// Whether `VIRTIO_F_INDIRECT_DESC` was negotiated.
    indirect: bool,
}

impl Walker {
    /// A walker over a memory that its owner keeps.
    pub(super) fn new(memory: &GuestMemory, direction: Direction, indirect: bool) -> Walker {
        let spans: Box<[Span]> = memory
            .regions()
            .iter()
            .map(|region| Span {
                start: region.layout().guest_address,
                size: region.layout().size,
                host: region.host(),
            })
            .collect();
        Walker {
            last: spans.first().copied().unwrap_or(Span::NONE),
            spans,
            direction: match direction {
                Direction::Transmit => 0,
                Direction::Receive => WRITE,
            },
            indirect,
        }
    }

    /// Whether what the buffers hold is to be read.
    #[inline]
    pub(super) fn reads(&self) -> bool {
        self.direction == 0
    }

    /// Adds one buffer. `descriptor` is only for the error.
    #[inline]
    pub(super) fn buffer(
        &mut self,
        descriptor: u16,
        flags: u16,
        address: u64,
        len: u32,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Stop> {
        if flags & WRITE != self.direction {
            return Err(direction_error(descriptor, flags));
        }
        match self.last.translate(address, len) {
            Some(ptr) if len != 0 => pieces.push(ptr, len),
            _ => self.buffer_slow(descriptor, address, len, pieces),
        }
    }

    /// Empty buffers, other regions than the last, and buffers over several regions.
    #[cold]
    fn buffer_slow(
        &mut self,
        descriptor: u16,
        address: u64,
        len: u32,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Stop> {
        let at = GuestAddress(address);
        if len == 0 {
            if self.direction == WRITE {
                return Err(Error::EmptyBuffer { descriptor, at }.into());
            }
            // Nothing to send: legal, if odd.
            return Ok(());
        }
        let wild = || Error::Buffer { descriptor, at, len };
        address.checked_add(u64::from(len) - 1).ok_or_else(wild)?;
        let (mut address, mut left) = (address, len);
        while left > 0 {
            let after = self.spans.partition_point(|span| span.start <= address);
            let span = after.checked_sub(1).map(|index| self.spans[index]);
            let span = span.ok_or_else(wild)?;
            let offset = address - span.start;
            if offset >= span.size {
                return Err(wild().into());
            }
            // At most `left`, so it fits 32 bits.
            let piece = (span.size - offset).min(u64::from(left)) as u32;
            let ptr = span.translate(address, piece).ok_or_else(wild)?;
            pieces.push(ptr, piece)?;
            self.last = span;
            left -= piece;
            // Cannot wrap while something is left: the sum was checked.
            address = address.wrapping_add(u64::from(piece));
        }
        Ok(())
    }

    /// Walks the chain that starts at `head` of a split ring's table.
    #[inline]
    pub(super) fn split_chain(
        &mut self,
        table: Table,
        head: u16,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Stop> {
        let limit = usize::from(table.len()).min(MAX_CHAIN);
        let (mut index, mut previous) = (head, head);
        for _ in 0..limit {
            let Some(words) = table.load(index) else {
                return Err(next_error(previous, index, table.len()));
            };
            let descriptor = Descriptor::from_words(words);
            if descriptor.flags & INDIRECT != 0 {
                return self.split_indirect(index, descriptor, pieces);
            }
            self.buffer(index, descriptor.flags, descriptor.address, descriptor.len, pieces)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            (previous, index) = (index, descriptor.next);
        }
        Err(Error::ChainTooLong { head, limit }.into())
    }

    /// Walks an indirect table whose entries are linked by `next` (split ring).
    fn split_indirect(
        &mut self,
        head: u16,
        descriptor: Descriptor,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Stop> {
        let table = self.table(head, descriptor.flags, descriptor.address, descriptor.len)?;
        let limit = usize::from(table.len()).min(MAX_CHAIN);
        let (mut index, mut previous) = (0, 0);
        for _ in 0..limit {
            let Some(words) = table.load(index) else {
                return Err(next_error(previous, index, table.len()));
            };
            let entry = Descriptor::from_words(words);
            if entry.flags & INDIRECT != 0 {
                return Err(Error::NestedIndirect { descriptor: head, entry: index }.into());
            }
            self.buffer(index, entry.flags, entry.address, entry.len, pieces)?;
            if entry.flags & NEXT == 0 {
                return Ok(());
            }
            (previous, index) = (index, entry.next);
        }
        Err(Error::ChainTooLong { head, limit }.into())
    }

    /// Walks an indirect table of a packed ring: all of its entries, one after the other. Flags other
    /// than `WRITE` are reserved there and ignored by the device (2.8.7), so there is no nesting to refuse.
    pub(super) fn packed_indirect(
        &mut self,
        descriptor: u16,
        flags: u16,
        address: u64,
        len: u32,
        pieces: &mut Pieces<'_>,
    ) -> Result<(), Stop> {
        let table = self.table(descriptor, flags, address, len)?;
        if usize::from(table.len()) > MAX_CHAIN {
            return Err(Error::ChainTooLong { head: descriptor, limit: MAX_CHAIN }.into());
        }
        for index in 0..table.len() {
            let Some((address, rest)) = table.load(index) else {
                break;
            };
            self.buffer(index, (rest >> 48) as u16, address, rest as u32, pieces)?;
        }
        Ok(())
    }

    /// Checks the descriptor that refers to an indirect table (its `WRITE` flag is to be ignored).
    fn table(&mut self, descriptor: u16, flags: u16, address: u64, len: u32) -> Result<Table, Error> {
        if !self.indirect {
            return Err(Error::IndirectNotNegotiated { descriptor });
        }
        if flags & NEXT != 0 {
            return Err(Error::ChainedIndirect { descriptor });
        }
        if len == 0 || !(len as usize).is_multiple_of(DESCRIPTOR_SIZE) || len > MAX_TABLE {
            return Err(Error::IndirectLength { descriptor, len });
        }
        let ptr = self.last.translate(address, len).or_else(|| {
            let after = self.spans.partition_point(|span| span.start <= address);
            self.spans[after.checked_sub(1)?].translate(address, len)
        });
        let ptr = ptr.filter(|ptr| ptr.addr().get().is_multiple_of(8));
        let Some(ptr) = ptr else {
            return Err(Error::IndirectTable { descriptor, at: GuestAddress(address), len });
        };
        let entries = (len as usize / DESCRIPTOR_SIZE) as u16;
        // SAFETY: `len` bytes inside one region, aligned, at most 32768 descriptors; used during
        // this walk only, while the ring holds the memory.
        Ok(unsafe { Table::new(ptr, entries) })
    }
}

#[cold]
fn direction_error(descriptor: u16, flags: u16) -> Stop {
    Stop::Lie(Error::Direction { descriptor, writable: flags & WRITE != 0 })
}

#[cold]
fn next_error(descriptor: u16, next: u16, size: u16) -> Stop {
    Stop::Lie(Error::Next { descriptor, next, size })
}
