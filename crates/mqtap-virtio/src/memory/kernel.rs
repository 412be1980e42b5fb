//! Guest memory for the kernel's vhost-net.

use std::sync::Arc;

use mqtap::vhost_net::{BadRegion, DirtyBitmap, MemoryRegion, MemoryTable};

use super::{DirtyLog, GuestMemory};

impl GuestMemory {
    /// The memory as vhost-net is told of it, with the addresses of this process. It stays mapped while the kernel has it.
    ///
    /// # Errors
    /// Regions that overlap, of which [`GuestMemory::new`] makes sure that there are none.
    pub fn to_kernel(&self) -> Result<MemoryTable, BadRegion> {
        let regions = self.regions().iter().map(|region| {
            let layout = region.layout();
            MemoryRegion {
                guest_address: layout.guest_address,
                address: region.host().addr().get() as u64,
                size: layout.size,
            }
        });
        let regions = regions.collect();
        // SAFETY: each region is mapped from `host()` on for its size, readable and writable, until its last owner is dropped,
        // and the clone of `self` is one. This process reads guest memory by atomic operations and system calls only, and makes
        // no reference to it (see the module's documentation), since the guest writes there at any moment, too.
        unsafe { MemoryTable::new(regions, Arc::new(self.clone())) }
    }
}

impl DirtyLog {
    /// The log as vhost-net is told of it. It stays mapped while the kernel has it.
    #[must_use]
    pub fn to_kernel(self: &Arc<Self>) -> DirtyBitmap {
        let (address, len) = (self.host().addr().get() as u64, self.size as u64);
        // SAFETY: the log is mapped from `host()` on for its size, readable and writable, until its last owner is dropped, and
        // the clone of `self` is one. This process accesses it by atomic operations only.
        unsafe { DirtyBitmap::new(address, len, Arc::clone(self) as _) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GuestMemory, SharedMemory};
    use super::*;

    #[test]
    fn the_kernel_gets_every_region_where_it_is_mapped() {
        let ram = SharedMemory::create(0x8000).unwrap();
        let regions = vec![Arc::new(ram.region(0x10_0000, 0).unwrap()), Arc::new(ram.region(0, 0).unwrap())];
        let hosts: Vec<u64> = regions.iter().map(|region| region.host().addr().get() as u64).collect();
        let table = GuestMemory::new(regions).unwrap().to_kernel().unwrap();
        assert_eq!(
            table.regions(),
            [
                MemoryRegion { guest_address: 0, address: hosts[1], size: 0x8000 },
                MemoryRegion { guest_address: 0x10_0000, address: hosts[0], size: 0x8000 },
            ]
        );
    }
}
