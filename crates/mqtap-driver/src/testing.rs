//! A device for the tests of this crate: `mqtap_virtio`'s rings in the same process, no socket and no tap.

use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::ring::{Batch, Chain, Direction, Ring, RingAddresses, RingBase, RingConfig, RingFeatures};

use crate::ring::{DriverRing, RingLayout, RingOptions};

/// The device's side of a ring.
pub(crate) struct TestDevice {
    memory: GuestMemory,
    pub(crate) ring: Ring,
    pub(crate) batch: Batch,
}

impl TestDevice {
    pub(crate) fn new(
        ring: &DriverRing,
        options: RingOptions,
        memory: &GuestMemory,
        direction: Direction,
    ) -> TestDevice {
        let base = ring.base();
        TestDevice::at(ring.layout(), options, memory, direction, base)
    }

    pub(crate) fn at(
        layout: RingLayout,
        options: RingOptions,
        memory: &GuestMemory,
        direction: Direction,
        base: u32,
    ) -> TestDevice {
        let config = RingConfig {
            size: layout.size,
            addresses: RingAddresses {
                descriptors: layout.descriptors,
                driver: layout.driver,
                device: layout.device,
                log: None,
            },
            features: RingFeatures {
                packed: layout.packed,
                event_index: options.event_index,
                indirect: options.indirect,
                in_order: options.in_order,
            },
            direction,
            base: RingBase(base),
        };
        TestDevice {
            memory: memory.clone(),
            ring: Ring::new(&config, memory).expect("the ring is good"),
            batch: Batch::with_capacity(256, 4096),
        }
    }

    /// Takes up to `max` chains that are available.
    pub(crate) fn pop(&mut self, max: usize) -> Vec<Chain> {
        self.batch.clear();
        self.ring.pop_batch(&mut self.batch, max).expect("the driver is honest");
        self.batch.chains().to_vec()
    }

    /// Guest addresses and lengths of a popped chain's buffers, from its host pointers.
    fn buffers(&self, chain: &Chain) -> Vec<(GuestAddress, usize)> {
        let regions: Vec<_> = self.memory.regions().iter().map(|r| r.layout()).collect();
        let host_of = |guest: u64| {
            self.memory.host_slice(GuestAddress(guest), 1).expect("mapped").as_ptr().addr().get()
        };
        let guest_of = |host: usize| {
            regions.iter().find_map(|r| {
                let by = host.checked_sub(host_of(r.guest_address))? as u64;
                (by < r.size).then_some(GuestAddress(r.guest_address + by))
            })
        };
        self.batch
            .iovecs(chain)
            .iter()
            .map(|v| (guest_of(v.ptr().addr()).expect("in a region"), v.len()))
            .collect()
    }

    pub(crate) fn read(&self, chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, length) in self.buffers(chain) {
            let from = bytes.len();
            bytes.resize(from + length, 0);
            self.memory.read(at, &mut bytes[from..]).expect("mapped");
        }
        bytes
    }

    /// Writes as much as fits; returns how much that was.
    pub(crate) fn write(&self, chain: &Chain, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        for (at, length) in self.buffers(chain) {
            let (now, later) = rest.split_at(length.min(rest.len()));
            self.memory.write(at, now).expect("mapped");
            rest = later;
        }
        bytes.len() - rest.len()
    }
}
