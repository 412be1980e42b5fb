//! The three parts of a ring, found in guest memory once; and where writes to them are logged.

use std::ptr::NonNull;
use std::sync::Arc;

use super::chain::{DESCRIPTOR_SIZE, Table};
use super::{Error, RingConfig};
use crate::memory::{DirtyLog, GuestAddress, GuestMemory};

/// Most entries of a ring, both layouts.
const MAX_SIZE: u16 = 32768;

/// Where the parts of a ring are in this process.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) table: Table,
    /// Available ring, or driver event suppression.
    pub(super) driver: NonNull<u8>,
    /// Used ring, or device event suppression.
    pub(super) device: NonNull<u8>,
    pub(super) log: Option<RingLog>,
}

impl Parts {
    /// Checks size, alignment and place. The parts stay valid while the caller holds `memory`.
    pub(super) fn find(config: &RingConfig, memory: &GuestMemory) -> Result<Parts, Error> {
        let size = usize::from(config.size);
        let addresses = &config.addresses;
        let good = if config.features.packed {
            (1..=MAX_SIZE).contains(&config.size)
        } else {
            config.size.is_power_of_two()
        };
        if !good {
            return Err(Error::Size { layout: config.layout_name(), size: config.size });
        }
        let table = find(memory, "descriptor area", addresses.descriptors, DESCRIPTOR_SIZE * size, 16)?;
        let (driver, device) = if config.features.packed {
            (
                find(memory, "driver event area", addresses.driver, 4, 4)?,
                find(memory, "device event area", addresses.device, 4, 4)?,
            )
        } else {
            // The event index behind each ring is there only when it was negotiated.
            let event = if config.features.event_index { 2 } else { 0 };
            (
                find(memory, "available ring", addresses.driver, 4 + 2 * size + event, 2)?,
                find(memory, "used ring", addresses.device, 4 + 8 * size + event, 4)?,
            )
        };
        Ok(Parts {
            // SAFETY: `size` descriptors in one region, aligned; the caller holds the memory.
            table: unsafe { Table::new(table, config.size) },
            driver,
            device,
            log: memory.log().map(|log| RingLog {
                log: Arc::clone(log),
                descriptors: addresses.descriptors.0,
                device: addresses.log.unwrap_or(addresses.device).0,
            }),
        })
    }
}

fn find(
    memory: &GuestMemory,
    part: &'static str,
    at: GuestAddress,
    len: usize,
    alignment: usize,
) -> Result<NonNull<u8>, Error> {
    let slice = memory.host_slice(at, len).ok_or(Error::PartOutOfRange { part, at, len })?;
    // The host's address counts for our accesses, the guest's for the specification.
    let aligned =
        slice.as_ptr().addr().get().is_multiple_of(alignment) && at.0.is_multiple_of(alignment as u64);
    if !aligned {
        return Err(Error::PartMisaligned { part, at, alignment });
    }
    Ok(slice.as_ptr())
}

/// The dirty log, with the addresses this ring's parts are logged at.
///
/// A frontend that logs gives the address for the used ring (`log_guest_addr`), which may be none of
/// guest memory. If it gave none, the used ring's own guest address is marked: too many marks harm
/// nobody, too few corrupt the migrated guest.
#[derive(Debug)]
pub(super) struct RingLog {
    log: Arc<DirtyLog>,
    descriptors: u64,
    device: u64,
}

impl RingLog {
    /// Marks bytes of the used ring or the device event suppression.
    pub(super) fn device(&self, offset: usize, len: usize) {
        self.log.mark(self.device.saturating_add(offset as u64), len as u64);
    }

    /// Marks descriptors of a packed ring: `count` from `index`, around the end.
    ///
    /// They are not in the used ring, which `log_guest_addr` is about, so they are logged where they are.
    pub(super) fn descriptors(&self, index: u16, count: u16, size: u16) {
        for (index, count) in around(index, count, size) {
            let offset = u64::from(index) * DESCRIPTOR_SIZE as u64;
            let len = u64::from(count) * DESCRIPTOR_SIZE as u64;
            self.log.mark(self.descriptors.saturating_add(offset), len);
        }
    }
}

/// `count` entries from `index` of a ring, as one or two (else empty) stretches.
pub(super) fn around(index: u16, count: u16, size: u16) -> [(u16, u16); 2] {
    let first = count.min(size - index);
    [(index, first), (0, count - first)]
}
