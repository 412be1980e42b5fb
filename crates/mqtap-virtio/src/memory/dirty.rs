//! The dirty log of vhost-user live migration.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::Errno;

use super::Error;
use super::budget::Budget;
use super::file::{MemoryFile, NotMemory};
use super::region::{Mapping, NoMapping};

/// log2 of `VHOST_LOG_PAGE`, the bytes one bit stands for, whatever the machine's page size.
const LOG_PAGE_SHIFT: u32 = 12;

/// One bit per 4 KiB of guest memory, shared with the frontend, which collects and clears the bits
/// while we set them (vhost-user specification, "Migration").
#[derive(Debug)]
pub struct DirtyLog {
    mapping: Mapping,
    pub(super) size: usize,
}

impl DirtyLog {
    /// Maps the log: `size` bytes (8 pages each) from `offset` in the file.
    ///
    /// # Errors
    /// [`Error::LogBeyondFile`] if the file does not hold it; [`Error::MapLog`] if the kernel refuses, with ENOMEM if the budget
    /// does, and EACCES if it is not memory.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the descriptor is closed here: the mapping keeps the memory"
    )]
    pub fn map(fd: OwnedFd, offset: u64, size: u64, budget: &Budget) -> Result<DirtyLog, Error> {
        let map_error = |errno| Error::MapLog { offset, size, errno };
        let file = MemoryFile::of(&fd).map_err(|why| match why {
            NotMemory::Unknown(errno) => map_error(errno),
            NotMemory::Type(_) | NotMemory::FileSystem => map_error(Errno::ACCESS),
        })?;
        let file_size = file.size.unwrap_or(0);
        let fits = size > 0 && offset.checked_add(size).is_some_and(|end| end <= file_size);
        if !fits {
            return Err(Error::LogBeyondFile { offset, size, file_size });
        }
        let size_here = usize::try_from(size).map_err(|_| map_error(Errno::OVERFLOW))?;
        let mapping = Mapping::new(&fd, file.page, offset, size, budget).map_err(|why| match why {
            NoMapping::Wraps => Error::LogBeyondFile { offset, size, file_size },
            NoMapping::Budget(_) | NoMapping::Unguarded => map_error(Errno::NOMEM),
            NoMapping::Refused(errno) => map_error(errno),
        })?;
        Ok(DirtyLog { mapping, size: size_here })
    }

    /// Marks the pages of `len` bytes from guest physical address `guest_address`. Pages beyond the
    /// log are ignored, as the frontend said it does not care about them.
    ///
    /// Call it after the bytes were written. The bit is set by a read-modify-write even when it is
    /// set already: it is what orders our data before the bit in the eyes of a frontend that is about to
    /// fetch and clear it.
    pub fn mark(&self, guest_address: u64, len: u64) {
        let Some(last) = len.checked_sub(1) else {
            return;
        };
        let first_page = guest_address >> LOG_PAGE_SHIFT;
        let last_page = guest_address.saturating_add(last) >> LOG_PAGE_SHIFT;
        // The last page the log has, so that a wild range costs no more than the log is long.
        let last_page = last_page.min((self.size as u64).saturating_mul(8) - 1);
        for page in first_page..=last_page {
            // SAFETY: `page / 8` is below `size` as `page` is at most the log's last; mapped while
            // `self` lives; accessed atomically only.
            let byte = unsafe { AtomicU8::from_ptr(self.host().add((page / 8) as usize).as_ptr()) };
            byte.fetch_or(1 << (page % 8), Ordering::AcqRel);
        }
    }

    pub(super) fn host(&self) -> NonNull<u8> {
        self.mapping.host()
    }
}
