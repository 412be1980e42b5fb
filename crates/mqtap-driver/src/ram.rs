//! Guest memory of our own: shared regions, and room handed out from them.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use mqtap_virtio::memory::{GuestAddress, GuestMemory, SharedMemory};

use crate::error::{Error, Result};
use crate::frontend::MemoryRegion;

/// Regions are whole pages.
const PAGE: u64 = 4096;
/// Not zero, so that a backend that forgets to translate is found out.
const FIRST_GUEST_ADDRESS: u64 = 1 << 20;
/// Where we claim to see the memory; nowhere near where it really is, for the same reason.
const FIRST_USER_ADDRESS: u64 = 0x5500_0000_0000;
/// Distance of the regions in the space of user addresses.
const USER_STRIDE: u64 = 1 << 36;

/// The memory of the guest we play.
#[derive(Debug)]
pub struct GuestRam {
    memory: GuestMemory,
    regions: Vec<(MemoryRegion, SharedMemory)>,
    next: u64,
}

impl GuestRam {
    /// Makes `size` bytes in `regions` regions: side by side as the guest sees them, so that a buffer can begin in one
    /// and end in the next, and in the opposite order and far apart in user addresses.
    pub fn create(size: u64, regions: u16) -> Result<GuestRam> {
        let count = u64::from(regions.max(1));
        let each = size.div_ceil(count).next_multiple_of(PAGE);
        let mut files = Vec::new();
        let mut mapped = Vec::new();
        for i in 0..count {
            let shared = SharedMemory::create(each)?;
            let guest_address = FIRST_GUEST_ADDRESS + i * each;
            let user_address = FIRST_USER_ADDRESS + (count - i) * USER_STRIDE;
            mapped.push(Arc::new(shared.region(guest_address, user_address)?));
            let region = MemoryRegion { guest_address, size: each, user_address, mmap_offset: 0 };
            files.push((region, shared));
        }
        let memory = GuestMemory::new(mapped)?;
        Ok(GuestRam { memory, regions: files, next: FIRST_GUEST_ADDRESS })
    }

    /// The memory, to read and write.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The regions, as a backend has to hear of them.
    pub fn regions(&self) -> impl Iterator<Item = (MemoryRegion, BorrowedFd<'_>)> {
        self.regions.iter().map(|(region, shared)| (*region, shared.fd()))
    }

    /// First guest address after the memory.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.regions.iter().map(|(r, _)| r.guest_address + r.size).max().unwrap_or(0)
    }

    /// Hands out `length` bytes; they may lie in two regions.
    pub fn allocate(&mut self, length: u64, alignment: u64) -> Result<GuestAddress> {
        let at = self.next.next_multiple_of(alignment.max(1));
        if at + length > self.end() {
            return Err(Error::Options(format!(
                "{length} more bytes do not fit the guest's memory of {} bytes",
                self.end() - FIRST_GUEST_ADDRESS
            )));
        }
        self.next = at + length;
        Ok(GuestAddress(at))
    }

    /// Hands out `length` bytes of one region, as rings need.
    pub fn allocate_whole(&mut self, length: u64, alignment: u64) -> Result<GuestAddress> {
        let at = self.next.next_multiple_of(alignment.max(1));
        let region_end =
            self.regions.iter().map(|(r, _)| r.guest_address + r.size).find(|&end| at < end).unwrap_or(0);
        if at + length > region_end {
            self.next = region_end;
        }
        self.allocate(length, alignment)
    }

    /// Where we claim to see guest address `at`.
    pub fn user_address(&self, at: GuestAddress) -> Result<u64> {
        self.regions
            .iter()
            .find(|(r, _)| at.0 >= r.guest_address && at.0 - r.guest_address < r.size)
            .map(|(r, _)| at.0 - r.guest_address + r.user_address)
            .ok_or_else(|| Error::Options(format!("{:#x} is not guest memory", at.0)))
    }
}
