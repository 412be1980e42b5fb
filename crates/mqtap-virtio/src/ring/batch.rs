//! Where popped chains go: a fixed store of chains and of iovecs, used again and again.

use std::ptr::NonNull;

use crate::memory::{CACHE_LINE, Scratch, Zero, prefetch, prefetch_for_writing};

/// A piece of guest memory as `readv(2)`, `writev(2)` and io_uring take it.
///
/// Points into guest memory that the ring checked. It does not keep that memory mapped: whoever uses it
/// holds the [`GuestMemory`](crate::memory::GuestMemory) the ring has, and drops its batches when the
/// memory changes.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoVec(libc::iovec);

impl IoVec {
    /// A piece of no bytes.
    pub const EMPTY: IoVec = IoVec(libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });

    /// A piece of `len` bytes at `ptr`.
    #[must_use]
    pub fn new(ptr: NonNull<u8>, len: usize) -> IoVec {
        IoVec(libc::iovec { iov_base: ptr.as_ptr().cast(), iov_len: len })
    }

    /// First byte; null only in a piece of no bytes.
    #[must_use]
    pub fn ptr(&self) -> *mut u8 {
        self.0.iov_base.cast()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iov_len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iov_len == 0
    }
}

// SAFETY: an address and a length; guest memory belongs to no thread, and using the address is the
// user's own unsafe.
unsafe impl Send for IoVec {}
// SAFETY: as for Send; a shared IoVec can only be read.
unsafe impl Sync for IoVec {}

/// One descriptor chain, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// What to complete it with: the head's index (split) or the buffer id (packed).
    pub id: u16,
    /// How many slots it takes in a packed ring; 1 in a split ring.
    pub descriptors: u16,
    /// How many iovecs it has. A transmit chain of empty buffers has none.
    pub count: usize,
    /// Sum of the lengths of its iovecs, below 2^32.
    pub bytes: u64,
    /// Position of the first iovec, counted from the batch's first ever: removing chains in front
    /// of it changes nothing.
    pub(super) first: usize,
}

impl Chain {
    /// The completion of this chain, with so many bytes written into it.
    #[must_use]
    pub fn completion(&self, written: u32) -> Completion {
        Completion { id: self.id, descriptors: self.descriptors, written }
    }
}

/// A chain given back to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// [`Chain::id`].
    pub id: u16,
    /// [`Chain::descriptors`].
    pub descriptors: u16,
    /// Bytes written into the chain from its start; 0 for transmit.
    pub written: u32,
}

/// Chains popped from a ring and not done with, in ring order, with their iovecs one after the other.
///
/// Allocated once, and used no further than it must be: what a ring never needs of it, the system never provides. The store
/// is twice the capacity, so that [`remove_front`](Self::remove_front) need not move the rest each time.
#[derive(Debug)]
pub struct Batch {
    chains: Scratch<Chain>,
    /// Live chains: `chains[chain_start..chain_end]`.
    chain_start: usize,
    chain_end: usize,
    iovecs: Scratch<IoVec>,
    /// Live iovecs: `iovecs[iovec_start..iovec_end]`.
    iovec_start: usize,
    iovec_end: usize,
    /// Position (as in [`Chain::first`]) of `iovecs[0]`. Wraps.
    origin: usize,
}

/// Entries that are not worth moving.
const LITTLE: usize = 64;

// SAFETY: numbers only.
unsafe impl Zero for Chain {}
// SAFETY: a null pointer and a length of 0, which is `IoVec::EMPTY`.
unsafe impl Zero for IoVec {}

impl Batch {
    /// Room for so many chains with so many iovecs together, at least one each.
    #[must_use]
    pub fn with_capacity(chains: usize, iovecs: usize) -> Batch {
        Batch {
            chains: Scratch::new(chains.max(1) * 2),
            chain_start: 0,
            chain_end: 0,
            iovecs: Scratch::new(iovecs.max(1) * 2),
            iovec_start: 0,
            iovec_end: 0,
            origin: 0,
        }
    }

    /// The chains, oldest first.
    #[must_use]
    pub fn chains(&self) -> &[Chain] {
        &self.chains[self.chain_start..self.chain_end]
    }

    /// The iovecs of a chain of this batch; none for a chain that is not in it.
    #[must_use]
    pub fn iovecs(&self, chain: &Chain) -> &[IoVec] {
        let start = chain.first.wrapping_sub(self.origin);
        start
            .checked_add(chain.count)
            .and_then(|end| self.iovecs[..self.iovec_end].get(start..end))
            .unwrap_or(&[])
    }

    /// The iovecs of all chains in a row: a window for one `readv`.
    #[must_use]
    pub fn all_iovecs(&self) -> &[IoVec] {
        &self.iovecs[self.iovec_start..self.iovec_end]
    }

    /// How many chains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chain_end - self.chain_start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chain_start == self.chain_end
    }

    /// How many more chains fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.chains.len() / 2 - self.len()
    }

    /// Drops all chains.
    pub fn clear(&mut self) {
        self.remove_front(self.len());
    }

    /// Drops the first `n` chains (all, if there are fewer). [`Chain`]s of the others stay valid.
    pub fn remove_front(&mut self, n: usize) {
        if n >= self.len() {
            self.origin = self.origin.wrapping_add(self.iovec_end);
            (self.chain_start, self.chain_end) = (0, 0);
            (self.iovec_start, self.iovec_end) = (0, 0);
            return;
        }
        self.chain_start += n;
        // The first chain left is where the iovecs left begin.
        self.iovec_start = self.chains[self.chain_start].first.wrapping_sub(self.origin);
    }

    /// Makes room for appending up to the capacity.
    pub(super) fn prepare(&mut self) {
        // Once as many were removed as are left, so that each is moved once at most for each that was removed.
        let live = self.len();
        if self.chain_start > live.max(LITTLE).min(self.chains.len() / 2) {
            self.chains.copy_within(self.chain_start..self.chain_end, 0);
            self.chain_end = live;
            self.chain_start = 0;
        }
        let live = self.iovec_end - self.iovec_start;
        if self.iovec_start > live.max(LITTLE).min(self.iovecs.len() / 2) {
            self.iovecs.copy_within(self.iovec_start..self.iovec_end, 0);
            self.origin = self.origin.wrapping_add(self.iovec_start);
            self.iovec_end = live;
            self.iovec_start = 0;
        }
    }

    /// Where the iovecs of the next chain go. Only after [`prepare`](Self::prepare).
    #[inline]
    pub(super) fn free_iovecs(&mut self) -> &mut [IoVec] {
        let limit = self.iovec_start + self.iovecs.len() / 2;
        &mut self.iovecs[self.iovec_end..limit]
    }

    /// Adds a chain whose `count` iovecs were written to [`free_iovecs`](Self::free_iovecs). Only
    /// after [`prepare`](Self::prepare) and while there is [`room`](Self::room).
    #[inline]
    pub(super) fn push(&mut self, id: u16, descriptors: u16, count: usize, bytes: u64) {
        self.chains[self.chain_end] =
            Chain { id, descriptors, count, bytes, first: self.origin.wrapping_add(self.iovec_end) };
        self.chain_end += 1;
        self.iovec_end += count;
    }

    /// Has the beginning of the chain added last fetched into the cache: the headers of a frame, and a short frame whole.
    #[inline]
    pub(super) fn prefetch_last(&self) {
        if let Some(chain) = self.chains().last()
            && let Some(first) = self.iovecs(chain).first()
        {
            prefetch(first.ptr());
            if first.len() > CACHE_LINE {
                prefetch(first.ptr().wrapping_add(CACHE_LINE));
            }
        }
    }

    /// Has the beginning of the oldest chain fetched into the cache, to be written: as much as a short frame takes.
    #[inline]
    pub(crate) fn prefetch_first(&self) {
        if let Some(chain) = self.chains().first()
            && let Some(first) = self.iovecs(chain).first()
        {
            prefetch_for_writing(first.ptr());
            prefetch_for_writing(first.ptr().wrapping_add(CACHE_LINE));
        }
    }
}
