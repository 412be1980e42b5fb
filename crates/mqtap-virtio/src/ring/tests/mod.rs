//! A driver for each layout, written against the specification in safe code, and what it finds.

mod batch;
mod concurrency;
mod config;
mod dirty;
mod driver;
mod hostile_packed;
mod hostile_split;
mod notify;
mod order;
mod property;

use std::sync::Arc;

use super::*;
use crate::memory::{Region, RegionLayout, SharedMemory};
use driver::{Buffer, Driver};

/// Where things are in the test guest's memory. Two regions meet at `SEAM`; a third is far away.
const LOW: u64 = 0x1_0000;
const DESCRIPTORS: u64 = LOW;
const DRIVER: u64 = LOW + 0x1_0000;
const DEVICE: u64 = LOW + 0x2_0000;
const TABLES: u64 = LOW + 0x3_0000;
const DATA: u64 = LOW + 0x8_0000;
const SEAM: u64 = LOW + 0x10_0000;
const HIGH: u64 = 0x1_0000_0000;

fn ram() -> GuestMemory {
    let region = |guest_address, size| -> Arc<Region> {
        let ram = SharedMemory::create(size).unwrap();
        Arc::new(ram.region(guest_address, guest_address + 0x7000_0000).unwrap())
    };
    GuestMemory::new(vec![region(HIGH, 0x1_0000), region(LOW, SEAM - LOW), region(SEAM, 0x1_0000)]).unwrap()
}

fn config(size: u16, features: RingFeatures, direction: Direction) -> RingConfig {
    RingConfig {
        size,
        addresses: RingAddresses {
            descriptors: GuestAddress(DESCRIPTORS),
            driver: GuestAddress(DRIVER),
            device: GuestAddress(DEVICE),
            log: None,
        },
        features,
        direction,
        base: RingBase(if features.packed { 0x8000_8000 } else { 0 }),
    }
}

fn features(packed: bool, event_index: bool) -> RingFeatures {
    RingFeatures { packed, event_index, indirect: true, in_order: false }
}

/// A ring with a driver at its other end.
struct Bed {
    memory: GuestMemory,
    driver: Driver,
    ring: Ring,
    batch: Batch,
}

impl Bed {
    fn new(config: &RingConfig) -> Bed {
        let memory = ram();
        let driver = Driver::new(config, &memory);
        Bed {
            driver,
            ring: Ring::new(config, &memory).unwrap(),
            batch: Batch::with_capacity(64, 1024),
            memory,
        }
    }

    fn simple(size: u16, packed: bool, direction: Direction) -> Bed {
        Bed::new(&config(size, features(packed, false), direction))
    }

    /// Pops one batch into an empty `self.batch`.
    fn pop(&mut self) -> Result<usize, Error> {
        self.batch.clear();
        self.ring.pop_batch(&mut self.batch, 64)
    }

    /// What the iovecs of the `n`th chain point to, as guest addresses and lengths.
    fn buffers(&self, n: usize) -> Vec<(u64, usize)> {
        self.batch
            .iovecs(&self.batch.chains()[n])
            .iter()
            .map(|iovec| (guest(&self.memory, iovec), iovec.len()))
            .collect()
    }

    /// Completes the first `n` chains of the batch.
    fn complete(&mut self, n: usize, written: u32) -> Result<(), Error> {
        let done: Vec<_> = self.batch.chains()[..n].iter().map(|chain| chain.completion(written)).collect();
        self.ring.complete_batch(&done)?;
        self.batch.remove_front(n);
        Ok(())
    }
}

/// The guest address of an iovec, which must lie inside one region.
fn guest(memory: &GuestMemory, iovec: &IoVec) -> u64 {
    memory
        .regions()
        .iter()
        .find_map(|region| {
            let layout: RegionLayout = region.layout();
            let offset = iovec.ptr().addr().checked_sub(region.host().addr().get())? as u64;
            (offset < layout.size && iovec.len() as u64 <= layout.size - offset)
                .then_some(layout.guest_address + offset)
        })
        .expect("an iovec outside guest memory")
}
