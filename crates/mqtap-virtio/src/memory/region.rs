//! Mapping what the frontend shares.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;
use super::budget::{Budget, Lease, Limit};
use super::file::{MemoryFile, NotMemory};
use super::truncation::{self, Slot};

/// Where a region is for the guest, for the frontend, and in its file: one entry of the vhost-user
/// memory table. All in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionLayout {
    /// Guest physical address of the first byte.
    pub guest_address: u64,
    /// Size.
    pub size: u64,
    /// Address of the first byte in the frontend's process. A number to us, never a pointer.
    pub user_address: u64,
    /// Offset of the first byte in the file.
    pub mmap_offset: u64,
}

impl fmt::Display for RegionLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#x}+{:#x} (user {:#x}, file offset {:#x})",
            self.guest_address, self.size, self.user_address, self.mmap_offset
        )
    }
}

/// A shared mapping of part of a file; unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Start of the mapping: a multiple of the file's page.
    base: NonNull<u8>,
    /// Length of the mapping: a multiple of the file's page.
    len: usize,
    /// Where the asked-for offset is in the mapping.
    skip: usize,
    /// Our entry in the table of the SIGBUS handler.
    slot: Option<&'static Slot>,
    /// What it takes of its frontend's budget, as long as it is mapped.
    _lease: Lease,
}

/// Why there is no mapping.
#[derive(Debug)]
pub(super) enum NoMapping {
    /// The numbers do not fit an address space.
    Wraps,
    /// It is more than a frontend, or all of them, may have.
    Budget(Limit),
    /// The SIGBUS handler's table is full.
    Unguarded,
    /// The kernel refuses.
    Refused(Errno),
}

impl Mapping {
    /// Maps `size` bytes from `offset`, in pages of the file's size ([`MemoryFile::page`](super::file::MemoryFile)).
    pub(super) fn new(
        fd: impl AsFd,
        page: u64,
        offset: u64,
        size: u64,
        budget: &Budget,
    ) -> Result<Mapping, NoMapping> {
        let start = offset & !(page - 1);
        let len = offset
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(page))
            .map(|end| end - start)
            .filter(|len| *len <= isize::MAX as u64 && start <= i64::MAX as u64);
        let len = len.ok_or(NoMapping::Wraps)?;
        let lease = budget.lease(len).map_err(NoMapping::Budget)?;
        let (len, page, skip) = (len as usize, page as usize, (offset - start) as usize);
        // SAFETY: a new mapping at an address the kernel chooses touches no memory of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                fd,
                start,
            )
        }
        .map_err(NoMapping::Refused)?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(NoMapping::Refused(Errno::NOMEM))?;
        let mut mapping = Mapping { base, len, skip, slot: None, _lease: lease };
        // What the SIGBUS handler relies on. The kernel places huge pages so.
        if !base.addr().get().is_multiple_of(page) {
            return Err(NoMapping::Refused(Errno::INVAL));
        }
        let slot = truncation::register(base.addr().get(), len, page).ok_or(NoMapping::Unguarded)?;
        mapping.slot = Some(slot);
        Ok(mapping)
    }

    /// The byte at the asked-for offset.
    pub(super) fn host(&self) -> NonNull<u8> {
        // SAFETY: `skip` is the distance from the mapping's start to the asked-for offset, inside it.
        unsafe { self.base.add(self.skip) }
    }

    fn is_poisoned(&self) -> bool {
        self.slot.is_some_and(Slot::is_poisoned)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            truncation::unregister(slot);
        }
        // SAFETY: our own mapping; whoever had a pointer into it promised to hold its owner.
        // It cannot fail: base and length are those of the mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and everything behind it is accessed
// atomically or through raw pointers whose users answer for it.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; `&Mapping` gives no plain reference to the memory.
unsafe impl Sync for Mapping {}

/// One region of guest memory, mapped here. Unmapped when the last [`super::GuestMemory`] that has it
/// is gone.
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
    layout: RegionLayout,
}

impl Region {
    /// Maps a region shared and writable. The descriptor is not needed afterwards and closed.
    ///
    /// The file must be large enough now; a frontend that truncates it later is what
    /// [`super::guard_against_truncation`] is for.
    ///
    /// # Errors
    /// Sizes and addresses that are empty, wrap or exceed the file; a descriptor that is not memory, or is a file of FUSE or of
    /// a network; more than the budget has; whatever `mmap(2)` says (`EACCES` for a read-only descriptor, for one).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the descriptor is closed here: the mapping keeps the memory"
    )]
    pub fn map(fd: OwnedFd, layout: RegionLayout, budget: &Budget) -> Result<Region, Error> {
        if layout.size == 0 {
            return Err(Error::EmptyRegion { layout });
        }
        let wraps = [layout.guest_address, layout.user_address, layout.mmap_offset]
            .iter()
            .any(|start| start.checked_add(layout.size - 1).is_none());
        if wraps {
            return Err(Error::RegionWraps { layout });
        }
        let MemoryFile { page, size } = MemoryFile::of(&fd).map_err(|why| match why {
            NotMemory::Type(kind) => Error::NotMemory { layout, kind },
            NotMemory::FileSystem => Error::FileSystem { layout },
            NotMemory::Unknown(errno) => Error::Inspect { layout, errno },
        })?;
        let end = layout.mmap_offset.checked_add(layout.size);
        if let Some(file_size) = size.filter(|&size| end.is_none_or(|end| end > size)) {
            return Err(Error::BeyondFile { layout, file_size });
        }
        let mapping = Mapping::new(&fd, page, layout.mmap_offset, layout.size, budget);
        let mapping = mapping.map_err(|why| match why {
            NoMapping::Wraps => Error::RegionWraps { layout },
            NoMapping::Budget(Limit { bytes, mappings }) => Error::OverBudget { layout, bytes, mappings },
            NoMapping::Unguarded => Error::TooManyRegions { layout, limit: truncation::SLOTS },
            NoMapping::Refused(errno) => Error::Map { layout, errno },
        })?;
        Ok(Region { mapping, layout })
    }

    /// The region as it was announced.
    #[must_use]
    pub fn layout(&self) -> RegionLayout {
        self.layout
    }

    /// Whether the file was truncated under us and an access met the hole. The contents are lost;
    /// whoever uses the region should stop.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.mapping.is_poisoned()
    }

    /// Where the first byte is in this process.
    pub(crate) fn host(&self) -> NonNull<u8> {
        self.mapping.host()
    }
}

/// Memory of our own that can be shared like a guest's RAM: for the test driver and for tests.
#[derive(Debug)]
pub struct SharedMemory {
    fd: OwnedFd,
    size: u64,
}

impl SharedMemory {
    /// Makes `size` bytes of zeroed memory (a memfd).
    ///
    /// # Errors
    /// [`Error::Create`] with what the kernel said.
    pub fn create(size: u64) -> Result<SharedMemory, Error> {
        let create = |errno| Error::Create { size, errno };
        let fd = memfd_create(c"mqtap-memory", MemfdFlags::CLOEXEC).map_err(create)?;
        ftruncate(&fd, size).map_err(create)?;
        Ok(SharedMemory { fd, size })
    }

    /// The descriptor, to be sent to a backend.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Maps all of it as a region at the given addresses.
    ///
    /// # Errors
    /// As [`Region::map`].
    pub fn region(&self, guest_address: u64, user_address: u64) -> Result<Region, Error> {
        self.map(RegionLayout { guest_address, size: self.size, user_address, mmap_offset: 0 })
    }

    /// Maps a part of it.
    ///
    /// # Errors
    /// As [`Region::map`].
    pub fn map(&self, layout: RegionLayout) -> Result<Region, Error> {
        let fd = self.fd.try_clone().map_err(|error| Error::Create {
            size: self.size,
            errno: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
        })?;
        Region::map(fd, layout, &Budget::new())
    }
}
