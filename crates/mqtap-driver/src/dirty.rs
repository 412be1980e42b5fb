//! The dirty log, from the side of a frontend that migrates its guest.

use std::os::fd::BorrowedFd;

use mqtap_virtio::memory::{GuestAddress, SharedMemory};

use crate::error::{Error, Result};
use crate::protocol::LOG_PAGE;

/// One bit for every page of guest memory, shared with the backend.
#[derive(Debug)]
pub struct DirtyPages {
    log: SharedMemory,
    bytes: u64,
}

impl DirtyPages {
    /// A log that covers guest addresses below `end`.
    pub fn new(end: u64) -> Result<DirtyPages> {
        // Whole words, as the backend may set bits in those.
        let bytes = end.div_ceil(LOG_PAGE).div_ceil(8).next_multiple_of(8);
        Ok(DirtyPages { log: SharedMemory::create(bytes.next_multiple_of(LOG_PAGE))?, bytes })
    }

    /// Bytes of the log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// The file the log is in.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.log.fd()
    }

    /// The numbers (guest address / 4096) of all dirty pages, ascending.
    pub fn pages(&self) -> Result<Vec<u64>> {
        let mut bits = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
        let read = rustix::io::pread(self.log.fd(), &mut bits[..], 0)
            .map_err(Error::system("read the dirty log"))?;
        let mut pages = Vec::new();
        for (i, byte) in bits[..read].iter().enumerate() {
            let set = (0..8).filter(|bit| byte & 1 << bit != 0);
            pages.extend(set.map(|bit| i as u64 * 8 + bit));
        }
        Ok(pages)
    }

    /// Whether the page that holds `at` is dirty.
    pub fn is_dirty(&self, at: GuestAddress) -> Result<bool> {
        Ok(self.pages()?.binary_search(&(at.0 / LOG_PAGE)).is_ok())
    }

    /// Makes every page clean again, as a frontend does between two rounds of copying.
    pub fn clear(&self) -> Result<()> {
        let zeroes = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
        rustix::io::pwrite(self.log.fd(), &zeroes, 0)
            .map(|_| ())
            .map_err(Error::system("clear the dirty log"))
    }
}
