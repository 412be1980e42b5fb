//! Guest memory: what the frontend shared, where it is mapped here, and how to reach it safely.
//!
//! A [`Region`] is one `mmap` of a file descriptor the frontend sent. A [`GuestMemory`] is an
//! immutable, cheap-to-clone snapshot of all regions, sorted by guest address; a new memory table is
//! a new snapshot. The mapping of a region lives until the last snapshot that has it is gone.
//!
//! Guest memory is written by the guest at any moment. It therefore never becomes a Rust reference to
//! plain data: the accessors here are atomic, and what leaves this module for `readv` and `writev` is
//! a raw pointer ([`HostSlice`]) whose dereferencing is the caller's `unsafe`.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::Ordering;
//! use mqtap_virtio::memory::{GuestAddress, GuestMemory, SharedMemory};
//!
//! let ram = SharedMemory::create(0x10000)?;
//! let memory = GuestMemory::new(vec![Arc::new(ram.region(0x4000_0000, 0)?)])?;
//! memory.store_u16(GuestAddress(0x4000_0010), 7, Ordering::Release)?;
//! assert_eq!(memory.load_u16(GuestAddress(0x4000_0010), Ordering::Acquire)?, 7);
//! assert!(memory.load_u16(GuestAddress(0x10), Ordering::Acquire).is_err());
//! # Ok::<(), mqtap_virtio::memory::Error>(())
//! ```

mod access;
mod budget;
mod dirty;
mod error;
mod file;
mod kernel;
mod region;
mod scratch;
mod truncation;

#[cfg(test)]
mod tests;

pub(crate) use access::{CACHE_LINE, prefetch, prefetch_for_writing};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use access::copy_from_guest;
pub use budget::Budget;
pub use dirty::DirtyLog;
pub use error::Error;
pub use file::file_id;
pub use region::{Region, RegionLayout, SharedMemory};
pub(crate) use scratch::{Scratch, Zero};
pub use truncation::guard_against_truncation;
pub(crate) use truncation::truncations;

/// A guest physical address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestAddress(pub u64);

impl GuestAddress {
    /// The address `offset` bytes further, or `None` beyond 2^64.
    #[must_use]
    pub fn checked_add(self, offset: u64) -> Option<GuestAddress> {
        self.0.checked_add(offset).map(GuestAddress)
    }
}

impl fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Where a piece of guest memory is mapped in this process: contiguous, inside one region.
///
/// A pointer and a length, nothing more: it does not keep the region mapped. Whoever dereferences it
/// holds the [`GuestMemory`] it came from, and reckons with the guest writing there at the same time.
#[derive(Clone, Copy, Debug)]
pub struct HostSlice {
    ptr: NonNull<u8>,
    len: usize,
}

impl HostSlice {
    /// First byte.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

// SAFETY: a pointer and a length, without access of its own; see the type's documentation.
unsafe impl Send for HostSlice {}

#[derive(Debug)]
struct Inner {
    /// Sorted by guest address, disjoint.
    regions: Box<[Arc<Region>]>,
    log: Option<Arc<DirtyLog>>,
}

/// An immutable snapshot of the guest's memory. Cloning it is one reference count.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    inner: Arc<Inner>,
}

impl GuestMemory {
    /// Puts regions together.
    ///
    /// # Errors
    /// [`Error::RegionsOverlap`] if two regions share a guest address. (User addresses may overlap:
    /// a frontend may show the same memory at two places.)
    pub fn new(mut regions: Vec<Arc<Region>>) -> Result<Self, Error> {
        regions.sort_by_key(|region| region.layout().guest_address);
        for pair in regions.windows(2) {
            let (first, second) = (pair[0].layout(), pair[1].layout());
            // `Region::map` refused wrapping layouts, so this cannot overflow.
            if first.guest_address + (first.size - 1) >= second.guest_address {
                return Err(Error::RegionsOverlap { first, second });
            }
        }
        Ok(GuestMemory { inner: Arc::new(Inner { regions: regions.into_boxed_slice(), log: None }) })
    }

    /// The regions, by ascending guest address.
    #[must_use]
    pub fn regions(&self) -> &[Arc<Region>] {
        &self.inner.regions
    }

    /// The same memory with the dirty log switched on, or off with `None`.
    #[must_use]
    pub fn with_log(&self, log: Option<Arc<DirtyLog>>) -> Self {
        GuestMemory { inner: Arc::new(Inner { regions: self.inner.regions.clone(), log }) }
    }

    /// Whether writes are to be marked in a dirty log.
    #[must_use]
    pub fn is_logging(&self) -> bool {
        self.inner.log.is_some()
    }

    /// The dirty log, when it is on.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<DirtyLog>> {
        self.inner.log.as_ref()
    }

    /// Whether the frontend truncated the file of one of the regions, and we noticed
    /// ([`guard_against_truncation`]).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.inner.regions.iter().any(|region| region.is_poisoned())
    }

    /// The guest address of a frontend's user address (vhost-user gives ring addresses so).
    #[must_use]
    pub fn user_to_guest(&self, user: u64) -> Option<GuestAddress> {
        self.inner.regions.iter().find_map(|region| {
            let layout = region.layout();
            let offset = user.checked_sub(layout.user_address)?;
            (offset < layout.size).then(|| GuestAddress(layout.guest_address + offset))
        })
    }

    /// Where `len` bytes from `at` are mapped here, if they lie in one region. An empty slice must
    /// still be at an address inside a region.
    #[must_use]
    pub fn host_slice(&self, at: GuestAddress, len: usize) -> Option<HostSlice> {
        let (region, offset) = self.find(at)?;
        let room = region.layout().size - offset;
        if len as u64 > room {
            return None;
        }
        Some(HostSlice {
            // SAFETY: `offset` is smaller than the region's size, which is mapped from `host()` on.
            ptr: unsafe { region.host().add(usize_of(offset)) },
            len,
        })
    }

    /// Copies guest memory out; the range may span adjacent regions. Every byte is read once; bytes
    /// the guest changes meanwhile may be old or new.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if not all of it is guest memory; nothing is copied then.
    pub fn read(&self, at: GuestAddress, buffer: &mut [u8]) -> Result<(), Error> {
        self.check(at, buffer.len())?;
        let mut done = 0;
        self.for_each_piece(at, buffer.len(), |piece| {
            let end = done + piece.len;
            // SAFETY: the piece is inside a region that `self` keeps mapped.
            unsafe { copy_from_guest(piece.ptr, &mut buffer[done..end]) };
            done = end;
        });
        Ok(())
    }

    /// Copies into guest memory; the range may span adjacent regions. Marks what it wrote in the
    /// dirty log when that is on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if not all of it is guest memory; nothing is copied then.
    pub fn write(&self, at: GuestAddress, bytes: &[u8]) -> Result<(), Error> {
        self.check(at, bytes.len())?;
        let mut done = 0;
        self.for_each_piece(at, bytes.len(), |piece| {
            let end = done + piece.len;
            // SAFETY: the piece is inside a region that `self` keeps mapped.
            unsafe { access::copy_to_guest(piece.ptr, &bytes[done..end]) };
            done = end;
        });
        self.mark_dirty(at, bytes.len() as u64);
        Ok(())
    }

    /// Marks `len` bytes from `at` as written. To be called after the bytes were written: a mark
    /// before could be collected by the frontend together with the old contents.
    #[inline]
    pub fn mark_dirty(&self, at: GuestAddress, len: u64) {
        if let Some(log) = &self.inner.log {
            log.mark(at.0, len);
        }
    }

    /// Like [`mark_dirty`](Self::mark_dirty) for memory known by its address in this process (an
    /// iovec a ring handed out). Memory that is not the guest's is ignored.
    #[inline]
    pub fn mark_dirty_host(&self, ptr: *const u8, len: usize) {
        if let Some(log) = &self.inner.log {
            self.mark_host(log, ptr, len);
        }
    }

    #[cold]
    fn mark_host(&self, log: &DirtyLog, ptr: *const u8, len: usize) {
        for region in &self.inner.regions {
            let Some(offset) = ptr.addr().checked_sub(region.host().addr().get()) else {
                continue;
            };
            let layout = region.layout();
            if (offset as u64) < layout.size {
                let len = (len as u64).min(layout.size - offset as u64);
                log.mark(layout.guest_address + offset as u64, len);
                return;
            }
        }
    }

    /// The region an address is in, and the offset in that region.
    fn find(&self, at: GuestAddress) -> Option<(&Region, u64)> {
        let regions = &self.inner.regions;
        let after = regions.partition_point(|region| region.layout().guest_address <= at.0);
        let region = regions.get(after.checked_sub(1)?)?;
        let offset = at.0 - region.layout().guest_address;
        (offset < region.layout().size).then_some((region, offset))
    }

    fn check(&self, at: GuestAddress, len: usize) -> Result<(), Error> {
        let mut covered = 0;
        self.for_each_piece(at, len, |piece| covered += piece.len);
        if covered == len {
            return Ok(());
        }
        Err(Error::OutOfRange { at, len: len as u64 })
    }

    /// Calls `f` for each contiguous piece, as far as the range is guest memory.
    fn for_each_piece(&self, at: GuestAddress, len: usize, mut f: impl FnMut(HostSlice)) {
        let mut done = 0;
        while done < len {
            let Some(here) = at.checked_add(done as u64) else {
                return;
            };
            let Some((region, offset)) = self.find(here) else {
                return;
            };
            let room = usize_of(region.layout().size - offset);
            let piece = room.min(len - done);
            f(HostSlice {
                // SAFETY: `offset` is smaller than the region's size, mapped from `host()` on.
                ptr: unsafe { region.host().add(usize_of(offset)) },
                len: piece,
            });
            done += piece;
        }
    }
}

/// The atomic accessors of one width. Values in guest memory are little-endian (virtio 1.x).
macro_rules! atomic_accessors {
    ($load:ident, $store:ident, $int:ty, $atomic:ty, $width:literal) => {
        impl GuestMemory {
            #[doc = concat!("Loads a little-endian `", stringify!($int), "` atomically.")]
            ///
            /// An ordering that makes no sense for a load (`Release`, `AcqRel`) is taken as `SeqCst`.
            ///
            /// # Errors
            /// [`Error::OutOfRange`], or [`Error::Misaligned`] if the address is not a multiple of
            /// the width.
            pub fn $load(&self, at: GuestAddress, ordering: Ordering) -> Result<$int, Error> {
                let ptr = self.aligned(at, $width)?.cast::<$int>();
                // SAFETY: in bounds and aligned as just checked, mapped while `self` lives, and only
                // ever accessed atomically by this process.
                let cell = unsafe { <$atomic>::from_ptr(ptr.as_ptr()) };
                let ordering = match ordering {
                    Ordering::Release | Ordering::AcqRel => Ordering::SeqCst,
                    sensible => sensible,
                };
                Ok(<$int>::from_le(cell.load(ordering)))
            }

            #[doc = concat!("Stores a little-endian `", stringify!($int), "` atomically.")]
            ///
            /// An ordering that makes no sense for a store (`Acquire`, `AcqRel`) is taken as
            /// `SeqCst`. Marks what it wrote in the dirty log when that is on.
            ///
            /// # Errors
            /// [`Error::OutOfRange`], or [`Error::Misaligned`] if the address is not a multiple of
            /// the width.
            pub fn $store(&self, at: GuestAddress, value: $int, ordering: Ordering) -> Result<(), Error> {
                let ptr = self.aligned(at, $width)?.cast::<$int>();
                // SAFETY: as for the load.
                let cell = unsafe { <$atomic>::from_ptr(ptr.as_ptr()) };
                let ordering = match ordering {
                    Ordering::Acquire | Ordering::AcqRel => Ordering::SeqCst,
                    sensible => sensible,
                };
                cell.store(value.to_le(), ordering);
                self.mark_dirty(at, $width);
                Ok(())
            }
        }
    };
}

atomic_accessors!(load_u16, store_u16, u16, std::sync::atomic::AtomicU16, 2);
atomic_accessors!(load_u32, store_u32, u32, std::sync::atomic::AtomicU32, 4);
atomic_accessors!(load_u64, store_u64, u64, std::sync::atomic::AtomicU64, 8);

impl GuestMemory {
    fn aligned(&self, at: GuestAddress, width: usize) -> Result<NonNull<u8>, Error> {
        let slice = self.host_slice(at, width).ok_or(Error::OutOfRange { at, len: width as u64 })?;
        // The host address decides: a frontend may map a region so that the two differ.
        if slice.ptr.addr().get() % width != 0 {
            return Err(Error::Misaligned { at, width });
        }
        Ok(slice.ptr)
    }
}

/// Offsets inside a mapping fit a `usize`: the mapping itself did.
fn usize_of(offset: u64) -> usize {
    offset as usize
}
