//! The regions of guest memory the frontend shared.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mqtap_virtio::memory::{self, Budget, GuestMemory, Region, RegionLayout};

use super::RequestError;

/// Memory slots a frontend may fill one by one (`GET_MAX_MEM_SLOTS`); as many as the kernel's vhost and
/// rust-vmm allow.
pub(super) const MAX_SLOTS: usize = 509;

/// Which file a region is in.
type FileId = (u32, u32, u64);

/// One region.
#[derive(Clone, Debug)]
struct Slot {
    region: Arc<Region>,
    file: FileId,
}

impl Slot {
    fn map(layout: RegionLayout, fd: OwnedFd, budget: &Budget) -> Result<Slot, RequestError> {
        let file = file_id(layout, &fd)?;
        Ok(Slot { region: Arc::new(Region::map(fd, layout, budget)?), file })
    }

    /// Whether this is the same memory at the same place, still whole.
    fn is(&self, layout: RegionLayout, file: FileId) -> bool {
        self.region.layout() == layout && self.file == file && !self.region.is_poisoned()
    }

    fn matches(&self, removed: RegionLayout) -> bool {
        same_place(self.region.layout(), removed)
    }
}

/// All regions, and those that went. A change makes a new table, to be kept when the device took it.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryTable {
    slots: Vec<Slot>,
    /// QEMU 7.2 removes a region once for each queue pair; these were removed and may be again.
    removed: VecDeque<RegionLayout>,
    /// What the frontend may have mapped, in all of its tables.
    budget: Budget,
}

impl MemoryTable {
    /// A table with these regions (`SET_MEM_TABLE`). Those that did not change stay mapped.
    pub(super) fn replaced(&self, layouts: &[RegionLayout], fds: Vec<OwnedFd>) -> Result<Self, RequestError> {
        let slots = layouts.iter().zip(fds).map(|(layout, fd)| {
            let file = file_id(*layout, &fd)?;
            match self.slots.iter().find(|slot| slot.is(*layout, file)) {
                Some(slot) => Ok(slot.clone()),
                None => Slot::map(*layout, fd, &self.budget),
            }
        });
        Ok(MemoryTable {
            slots: slots.collect::<Result<_, _>>()?,
            removed: VecDeque::new(),
            budget: self.budget.clone(),
        })
    }

    /// A table with one region more (`ADD_MEM_REG`), or `None` if it is there already.
    pub(super) fn with(&self, layout: RegionLayout, fd: OwnedFd) -> Result<Option<Self>, RequestError> {
        let file = file_id(layout, &fd)?;
        if self.slots.iter().any(|slot| slot.is(layout, file)) {
            return Ok(None);
        }
        if self.slots.len() >= MAX_SLOTS {
            return Err(RequestError::NoFreeSlot { max: MAX_SLOTS });
        }
        let mut table = self.clone();
        table.slots.push(Slot::map(layout, fd, &self.budget)?);
        table.removed.retain(|removed| !same_place(*removed, layout));
        Ok(Some(table))
    }

    /// A table with one region less (`REM_MEM_REG`), or `None` if it was removed before.
    pub(super) fn without(&self, layout: RegionLayout) -> Result<Option<Self>, RequestError> {
        let Some(position) = self.slots.iter().position(|slot| slot.matches(layout)) else {
            let before = self.removed.iter().any(|removed| same_place(*removed, layout));
            return if before { Ok(None) } else { Err(RequestError::NoSuchRegion { layout }) };
        };
        let mut table = self.clone();
        table.slots.remove(position);
        table.removed.push_back(layout);
        if table.removed.len() > MAX_SLOTS {
            table.removed.pop_front();
        }
        Ok(Some(table))
    }

    /// What the frontend may have mapped.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The memory of the table; `None` if there is none.
    pub(super) fn memory(&self) -> Result<Option<GuestMemory>, RequestError> {
        if self.slots.is_empty() {
            return Ok(None);
        }
        let regions = self.slots.iter().map(|slot| Arc::clone(&slot.region)).collect();
        Ok(Some(GuestMemory::new(regions)?))
    }
}

/// How `REM_MEM_REG` names a region: the offset in the file does not count.
fn same_place(a: RegionLayout, b: RegionLayout) -> bool {
    (a.guest_address, a.size, a.user_address) == (b.guest_address, b.size, b.user_address)
}

fn file_id(layout: RegionLayout, fd: &OwnedFd) -> Result<FileId, RequestError> {
    memory::file_id(fd).map_err(|errno| RequestError::RegionFile { layout, errno })
}

#[cfg(test)]
mod tests {
    use mqtap_virtio::memory::{GuestAddress, SharedMemory};

    use super::*;

    fn ram() -> SharedMemory {
        SharedMemory::create(0x4000).unwrap()
    }

    fn fd(ram: &SharedMemory) -> OwnedFd {
        ram.fd().try_clone_to_owned().unwrap()
    }

    fn layout(guest_address: u64) -> RegionLayout {
        RegionLayout {
            guest_address,
            size: 0x2000,
            user_address: guest_address + 0x7000_0000,
            mmap_offset: 0x1000,
        }
    }

    fn with(table: &MemoryTable, at: u64, ram: &SharedMemory) -> MemoryTable {
        table.with(layout(at), fd(ram)).unwrap().unwrap()
    }

    #[test]
    fn adding_the_same_region_again_changes_nothing() {
        let ram = ram();
        let table = with(&MemoryTable::default(), 0x10_0000, &ram);
        assert!(table.with(layout(0x10_0000), fd(&ram)).unwrap().is_none());
    }

    #[test]
    fn another_file_at_the_same_place_is_not_the_same_region() {
        let table = with(&MemoryTable::default(), 0x10_0000, &ram());
        // It overlaps, which shows when the memory is put together.
        let table = table.with(layout(0x10_0000), fd(&ram())).unwrap().unwrap();
        assert!(matches!(table.memory(), Err(RequestError::Memory(_))));
    }

    #[test]
    fn removing_twice_is_fine_removing_what_never_was_is_not() {
        let ram = ram();
        let table = with(&MemoryTable::default(), 0x10_0000, &ram);
        let other_offset = RegionLayout { mmap_offset: 0, ..layout(0x10_0000) };
        let table = table.without(other_offset).unwrap().unwrap();
        assert!(table.memory().unwrap().is_none());
        assert!(table.without(layout(0x10_0000)).unwrap().is_none());
        assert!(matches!(table.without(layout(0x20_0000)), Err(RequestError::NoSuchRegion { .. })));
        // Added again it is there, and is removed for real.
        let table = with(&table, 0x10_0000, &ram);
        assert!(table.without(layout(0x10_0000)).unwrap().is_some());
    }

    #[test]
    fn slots_are_limited() {
        let ram = ram();
        let mut table = MemoryTable::default();
        for slot in 0..MAX_SLOTS as u64 {
            table = with(&table, slot * 0x10_0000, &ram);
        }
        assert!(matches!(
            table.with(layout(0x10_0000_0000), fd(&ram)),
            Err(RequestError::NoFreeSlot { max: MAX_SLOTS })
        ));
    }

    #[test]
    fn unchanged_regions_stay_mapped() {
        let (first, second) = (ram(), ram());
        let table = with(&MemoryTable::default(), 0x10_0000, &first);
        let layouts = [layout(0x20_0000), layout(0x10_0000)];
        let table2 = table.replaced(&layouts, vec![fd(&second), fd(&first)]).unwrap();
        let memory = table2.memory().unwrap().unwrap();
        assert!(Arc::ptr_eq(&memory.regions()[0], &table.slots[0].region));
        assert!(memory.host_slice(GuestAddress(0x20_0000), 0x2000).is_some());
    }
}
