//! Guest memory that the kernel is given by address: what is promised of it, and by whom.
//!
//! vhost-net reads and writes this process's memory by numbers. These types are how such numbers come to be: who makes one
//! promises (`unsafe`) that the memory is there for the kernel, and hands over what keeps it there.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Whatever has to live for memory to stay mapped.
type Keep = Arc<dyn Any + Send + Sync>;

/// The bytes that one bit of a dirty bitmap stands for (`VHOST_PAGE_SIZE`), whatever the machine's page size.
const LOG_PAGE: u64 = 0x1000;

/// A piece of guest memory: where it is for the guest, and where in this process. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest physical address of the first byte.
    pub guest_address: u64,
    /// Address of the first byte in this process.
    pub address: u64,
    /// Size.
    pub size: u64,
}

impl MemoryRegion {
    fn guest_end(&self) -> Option<u64> {
        self.guest_address.checked_add(self.size)
    }
}

/// The guest's memory, as the kernel gets it. Cheap to clone; the memory stays mapped while a clone lives.
#[derive(Clone)]
pub struct MemoryTable {
    regions: Arc<[MemoryRegion]>,
    _keep: Keep,
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryTable").field(&self.regions).finish()
    }
}

impl MemoryTable {
    /// Puts regions together. `keep` is dropped when the kernel no longer uses them.
    ///
    /// # Errors
    /// [`BadRegion`] if two regions share a guest address, or one is empty or reaches beyond the last address.
    ///
    /// # Safety
    /// As long as `keep` lives, every region is mapped in this process, readable and writable, and used by this process
    /// only in ways that stand other processes' reads and writes at any moment: no Rust reference points into it.
    pub unsafe fn new(mut regions: Vec<MemoryRegion>, keep: Keep) -> Result<Self, BadRegion> {
        regions.sort_by_key(|region| region.guest_address);
        let broken = |region: &MemoryRegion| {
            region.size == 0
                || region.guest_end().is_none()
                || region.address.checked_add(region.size).is_none_or(|end| usize::try_from(end).is_err())
        };
        if let Some(region) = regions.iter().find(|region| broken(region)) {
            return Err(BadRegion { guest_address: region.guest_address });
        }
        if let Some(pair) = regions.windows(2).find(|pair| pair[0].guest_end() > Some(pair[1].guest_address))
        {
            return Err(BadRegion { guest_address: pair[1].guest_address });
        }
        Ok(Self { regions: regions.into(), _keep: keep })
    }

    /// No memory.
    #[must_use]
    pub fn empty() -> Self {
        Self { regions: Arc::new([]), _keep: Arc::new(()) }
    }

    /// The regions, by ascending guest address.
    #[must_use]
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.regions
    }

    /// Where `len` bytes from a guest address are in this process, if one region has them all.
    pub(crate) fn find(&self, guest_address: u64, len: u64) -> Option<u64> {
        let region = self.regions.iter().rev().find(|region| region.guest_address <= guest_address)?;
        let offset = guest_address - region.guest_address;
        let end = offset.checked_add(len)?;
        (end <= region.size).then(|| region.address + offset)
    }

    /// The end of the last region.
    pub(crate) fn guest_end(&self) -> u64 {
        self.regions.last().and_then(MemoryRegion::guest_end).unwrap_or_default()
    }

    /// The parts of a ring (descriptor table, available ring, used ring) in this process, if each lies in one region.
    pub(crate) fn ring_parts(&self, parts: [GuestRange; 3]) -> Result<RingParts, GuestRange> {
        let find = |part: GuestRange| self.find(part.address, part.len).ok_or(part);
        let [descriptors, available, used] = parts;
        Ok(RingParts { descriptors: find(descriptors)?, available: find(available)?, used: find(used)? })
    }
}

/// A region that is empty, wraps around, or overlaps another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory region at guest address {guest_address:#x} is empty, wraps around, or overlaps another one"
)]
pub struct BadRegion {
    /// Where it begins.
    pub guest_address: u64,
}

/// Some bytes of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestRange {
    pub(crate) name: &'static str,
    pub(crate) address: u64,
    pub(crate) len: u64,
}

/// Where the parts of a ring are in this process. Only a [`MemoryTable`] makes it, so they are guest memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingParts {
    descriptors: u64,
    available: u64,
    used: u64,
}

impl RingParts {
    pub(crate) fn descriptors(self) -> u64 {
        self.descriptors
    }

    pub(crate) fn available(self) -> u64 {
        self.available
    }

    pub(crate) fn used(self) -> u64 {
        self.used
    }
}

/// The bitmap in which the kernel marks what it wrote to guest memory: one bit for each 4 KiB from guest address 0 on, lowest bit
/// of each byte first. Cheap to clone; the bitmap stays mapped while a clone lives.
#[derive(Clone)]
pub struct DirtyBitmap {
    address: u64,
    len: u64,
    _keep: Keep,
}

impl fmt::Debug for DirtyBitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyBitmap").field("address", &self.address).field("len", &self.len).finish()
    }
}

impl DirtyBitmap {
    /// A bitmap of `len` bytes at `address`. `keep` is dropped when the kernel no longer uses it.
    ///
    /// # Safety
    /// As long as `keep` lives, `len` bytes from `address` on are mapped in this process, readable and writable, and used
    /// by this process only in ways that stand other processes' atomic writes at any moment.
    #[must_use]
    pub unsafe fn new(address: u64, len: u64, keep: Keep) -> Self {
        Self { address, len, _keep: keep }
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that a bitmap must have for everything below the guest address `end`.
    pub(crate) fn bytes_for(end: u64) -> u64 {
        end.div_ceil(LOG_PAGE).div_ceil(8)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of regions (guest address, address, size) to look at.
    pub(crate) fn table(regions: &[(u64, u64, u64)]) -> Result<MemoryTable, BadRegion> {
        let regions = regions
            .iter()
            .map(|&(guest_address, address, size)| MemoryRegion { guest_address, address, size })
            .collect();
        // SAFETY: these addresses are looked at and never given to the kernel.
        unsafe { MemoryTable::new(regions, Arc::new(())) }
    }

    #[test]
    fn bytes_are_found_in_the_region_that_has_them_all() {
        let table = table(&[(0x10_0000, 0x7000_0000, 0x1000), (0, 0x6000_0000, 0x1000)]).unwrap();
        assert_eq!(table.find(0, 0x1000), Some(0x6000_0000));
        assert_eq!(table.find(0xfff, 1), Some(0x6000_0fff));
        assert_eq!(table.find(0xfff, 2), None, "beyond the end of a region");
        assert_eq!(table.find(0x10_0010, 0x10), Some(0x7000_0010));
        assert_eq!(table.find(0x10_0000, u64::MAX), None);
        assert_eq!(table.find(0x2000, 1), None, "between two regions");
        assert_eq!(MemoryTable::empty().find(0, 1), None);
    }

    #[test]
    fn regions_that_overlap_or_wrap_are_refused() {
        assert!(table(&[(0, 0x1000, 0x1000), (0x1000, 0x9000, 0x1000)]).is_ok());
        let error = table(&[(0xfff, 0x9000, 0x1000), (0, 0x1000, 0x1000)]).unwrap_err();
        assert_eq!(error.guest_address, 0xfff);
        assert!(table(&[(0x1000, 0x1000, 0)]).is_err(), "an empty region");
        assert!(table(&[(u64::MAX, 0x1000, 2)]).is_err());
        assert!(table(&[(0, u64::MAX, 2)]).is_err());
    }

    #[test]
    fn a_bitmap_has_a_bit_for_each_page() {
        assert_eq!(DirtyBitmap::bytes_for(0), 0);
        assert_eq!(DirtyBitmap::bytes_for(1), 1);
        assert_eq!(DirtyBitmap::bytes_for(8 * 0x1000), 1);
        assert_eq!(DirtyBitmap::bytes_for(8 * 0x1000 + 1), 2);
    }
}
