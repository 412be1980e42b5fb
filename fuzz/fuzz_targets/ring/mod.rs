//! What the two ring targets share: guest memory, a ring, and a driver that does whatever the input
//! says, between and during the device's calls.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mqtap_virtio::memory::{Budget, DirtyLog, GuestAddress, GuestMemory, SharedMemory};
use mqtap_virtio::ring::{
    Batch, Completion, Direction, Error, IoVec, Ring, RingAddresses, RingBase, RingConfig, RingFeatures,
};

/// Two regions that meet, and one behind the fourth gigabyte: guest address and size.
const REGIONS: [(u64, u64); 3] = [(0x1000, 0x2000), (0x3000, 0x1000), (1 << 32, 0x1000)];

/// Where the descriptors are, and what lies around them.
const DESCRIPTORS: u64 = 0x1000;
const DRIVER: u64 = 0x2000;
const DEVICE: u64 = 0x2400;
/// Room for indirect tables.
const TABLE: u64 = 0x3800;

/// The input, byte for byte; zeroes when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let n = N.min(self.0.len());
        bytes[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        bytes
    }

    fn u8(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// An address: often one that means something, or lies near the edge of a region.
    fn address(&mut self) -> u64 {
        let offset = u64::from(self.u8());
        match self.u8() % 8 {
            0 => self.u64(),
            1 => 0x3000 - offset % 32,
            2 => 0x4000 - offset % 32,
            3 => (1 << 32) - 16 + offset % 32,
            4 => (1 << 32) + 0x1000 - offset % 32,
            5 => u64::MAX - offset,
            6 => TABLE + offset * 8,
            _ => 0x1000 + offset * 0x30,
        }
    }

    /// A length: often one that ends near an edge, or that a table could have.
    fn len(&mut self) -> u32 {
        match self.u8() {
            0 => self.u32(),
            1 => u32::MAX,
            n @ 2..64 => u32::from(n % 34),
            n @ 64..128 => u32::from(n % 20) * 16,
            n => u32::from(n - 128) * 64 + 1,
        }
    }
}

pub struct World {
    memory: GuestMemory,
    logging: GuestMemory,
}

impl World {
    pub fn new() -> World {
        let map = |(at, size)| {
            let ram = SharedMemory::create(size).expect("a memfd");
            Arc::new(ram.region(at, at).expect("a mapping"))
        };
        let memory = GuestMemory::new(REGIONS.into_iter().map(map).collect()).expect("regions");
        let log = SharedMemory::create(0x4_0000).expect("a memfd");
        let fd = log.fd().as_fd().try_clone_to_owned().expect("a descriptor");
        let log = DirtyLog::map(fd, 0, 0x4_0000, &Budget::new()).expect("a log");
        World { logging: memory.with_log(Some(Arc::new(log))), memory }
    }

    /// An iovec lies inside one region, or this is the finding.
    fn check(&self, iovec: &IoVec) {
        let inside = REGIONS.iter().any(|(at, size)| {
            let start = self.memory.host_slice(GuestAddress(*at), 1).expect("mapped");
            let start = start.as_ptr().addr().get();
            let offset = iovec.ptr().addr().wrapping_sub(start);
            offset < *size as usize && iovec.len() <= *size as usize - offset
        });
        assert!(inside && !iovec.is_empty(), "a wild iovec: {iovec:?}");
    }

    pub fn run(&self, packed: bool, input: &[u8]) {
        let mut input = Input(input);
        for (at, size) in REGIONS {
            let zeroes = vec![0; size as usize];
            self.memory.write(GuestAddress(at), &zeroes).expect("mapped");
        }
        let flags = input.u8();
        let features = RingFeatures {
            packed,
            event_index: flags & 1 != 0,
            indirect: flags & 2 != 0,
            in_order: flags & 4 != 0,
        };
        let mut config = RingConfig {
            size: match input.u8() % 4 {
                0 => u16::from(input.u8()) + 1,
                n => 4 << n,
            },
            addresses: RingAddresses {
                descriptors: GuestAddress(DESCRIPTORS),
                driver: GuestAddress(DRIVER),
                device: GuestAddress(DEVICE),
                log: (flags & 8 != 0).then_some(GuestAddress(0x9000)),
            },
            features,
            direction: if flags & 16 != 0 { Direction::Transmit } else { Direction::Receive },
            base: RingBase(if packed { 0x8000_8000 } else { 0 }),
        };
        if flags & 32 != 0 {
            config.base = RingBase(input.u32());
        }
        if flags & 64 != 0 {
            config.size = input.u16();
            config.addresses.descriptors = GuestAddress(input.address());
            config.addresses.driver = GuestAddress(input.address());
            config.addresses.device = GuestAddress(input.address());
        }
        if !packed {
            let _ = self.memory.store_u16(config.addresses.driver, config.base.0 as u16, Ordering::Relaxed);
        }
        let Ok(ring) = Ring::new(&config, &self.memory) else {
            return;
        };
        let (chains, iovecs) = (1 + input.u8() % 16, 1 + input.u8() % 64);
        Play {
            world: self,
            input,
            ring,
            batch: Batch::with_capacity(chains.into(), iovecs.into()),
            capacity: (chains.into(), iovecs.into()),
            pushed: config.base.0 as u16,
            config,
            broken: None,
            overlapping: flags & 64 != 0,
        }
        .play();
    }
}

struct Play<'a> {
    world: &'a World,
    input: Input<'a>,
    config: RingConfig,
    ring: Ring,
    batch: Batch,
    capacity: (usize, usize),
    /// The driver's own available index or position.
    pushed: u16,
    broken: Option<Error>,
    /// The parts of the ring are anywhere.
    overlapping: bool,
}

impl Play<'_> {
    fn play(&mut self) {
        while !self.input.0.is_empty() {
            match self.input.u8() % 16 {
                0..3 => self.pop(),
                3..5 => self.complete(),
                5 => self.arm(),
                6 => self.ring.suppress_kicks(),
                7 => {
                    let notify = self.ring.must_notify();
                    assert!(!(notify && self.broken.is_some()));
                    assert!(!self.ring.must_notify());
                }
                8 => {
                    self.ring.rewind();
                    self.batch.clear();
                }
                9 => self.restart(),
                10 => self.change_memory(),
                11 => {
                    let (at, value) = (self.input.address(), self.input.u64());
                    let _ = self.world.memory.write(GuestAddress(at), &value.to_le_bytes());
                }
                12..14 => self.descriptor(),
                14 => self.push(),
                _ => self.batch.remove_front((self.input.u8() % 8).into()),
            }
        }
    }

    fn pop(&mut self) {
        let max = usize::from(self.input.u8() % 32);
        let before = self.batch.len();
        let result = self.ring.pop_batch(&mut self.batch, max);
        let came = self.batch.len() - before;
        match result {
            Ok(n) => assert!(n == came && n <= max && self.broken.is_none()),
            Err(error) => {
                assert_eq!(came, 0);
                self.break_with(error);
            }
        }
        assert!(self.batch.len() <= self.capacity.0);
        assert!(self.batch.all_iovecs().len() <= self.capacity.1);
        let mut total = 0;
        for chain in self.batch.chains() {
            let iovecs = self.batch.iovecs(chain);
            assert_eq!(iovecs.len(), chain.count);
            total += iovecs.len();
            let mut bytes = 0;
            for iovec in iovecs {
                self.world.check(iovec);
                bytes += iovec.len() as u64;
            }
            assert_eq!(bytes, chain.bytes);
            assert!(bytes < 1 << 32);
            assert!(chain.descriptors >= 1 && chain.descriptors <= self.config.size);
            assert!(self.config.features.packed || chain.id < self.config.size);
        }
        assert_eq!(total, self.batch.all_iovecs().len());
    }

    fn complete(&mut self) {
        let n = usize::from(self.input.u8()).min(self.batch.len());
        let written = u32::from(self.input.u16());
        let done: Vec<Completion> =
            self.batch.chains()[..n].iter().map(|chain| chain.completion(written)).collect();
        match self.ring.complete_batch(&done) {
            // What is in the batch was popped: there cannot be too much of it.
            Ok(()) => {
                assert!(self.broken.is_none());
                self.batch.remove_front(n);
            }
            Err(error) => assert_eq!(self.broken, Some(error)),
        }
    }

    fn arm(&mut self) {
        match self.ring.arm_kicks() {
            // Where parts overlap, telling the driver may have made or unmade chains.
            Ok(more) => assert!(self.overlapping || more == self.ring.has_available()),
            Err(error) => self.break_with(error),
        }
    }

    fn break_with(&mut self, error: Error) {
        assert!(self.broken.is_none_or(|broken| broken == error));
        assert!(!matches!(error, Error::CompletedTooMany { .. }));
        assert!(!error.to_string().is_empty());
        assert!(!self.ring.has_available());
        self.broken = Some(error);
    }

    /// Another device goes on from the base, which is always one it can take.
    fn restart(&mut self) {
        self.config.base = self.ring.base();
        self.ring = Ring::new(&self.config, &self.world.memory).expect("a base of our own");
        // An empty upper half of a packed base stands for the lower one, as frontends with 16 bits send it.
        let RingBase(base) = self.config.base;
        let packed = self.config.features.packed;
        let expected = if packed && base >> 16 == 0 { base | base << 16 } else { base };
        assert_eq!(self.ring.base(), RingBase(expected));
        self.broken = None;
        self.batch.clear();
    }

    fn change_memory(&mut self) {
        let memory = if self.input.u8() & 1 == 0 { &self.world.memory } else { &self.world.logging };
        let base = self.ring.base();
        match self.ring.update_memory(memory) {
            Ok(()) => assert_eq!(self.ring.base(), base),
            Err(error) => assert_eq!(self.broken, Some(error)),
        }
        self.batch.clear();
    }

    /// A descriptor that looks like one, in the ring or in a table.
    fn descriptor(&mut self) {
        let place = self.input.u8();
        let (table, index) = if place & 1 == 0 {
            (self.config.addresses.descriptors.0, self.pushed.wrapping_add(u16::from(place >> 5)))
        } else {
            (TABLE, u16::from(place >> 1 & 7))
        };
        let slot = u64::from(index % self.config.size.max(1));
        let (address, len) = (self.input.address(), self.input.len());
        let flags = self.input.u8();
        let other = u16::from(self.input.u8());
        // Direction and lap are right unless the input insists.
        let mut bits = u16::from(flags & 7);
        if self.config.direction == Direction::Receive {
            bits ^= 2;
        }
        let (third, fourth) = if self.config.features.packed {
            // AVAIL and USED.
            bits |= u16::from(!flags & 8) << 4 | u16::from(flags & 16) << 11;
            (other, bits)
        } else {
            (bits, if flags & 32 == 0 { index % self.config.size.max(1) + 1 } else { other })
        };
        let rest = u64::from(len) | u64::from(third) << 32 | u64::from(fourth) << 48;
        let at = table.wrapping_add(slot * 16);
        let _ = self.world.memory.write(GuestAddress(at), &address.to_le_bytes());
        let at = at.wrapping_add(8);
        let _ = self.world.memory.write(GuestAddress(at), &rest.to_le_bytes());
    }

    /// Split: makes chains available. Packed: moves on to another descriptor.
    fn push(&mut self) {
        let (head, more) = (u16::from(self.input.u8()), u16::from(self.input.u8() % 16));
        if !self.config.features.packed {
            let ring = self.config.addresses.driver.0;
            for n in 0..more {
                let slot = u64::from(self.pushed.wrapping_add(n) % self.config.size.max(1));
                let at = GuestAddress(ring.wrapping_add(4 + slot * 2));
                let head = head % (self.config.size + 1);
                let _ = self.world.memory.store_u16(at, head, Ordering::Relaxed);
            }
        }
        self.pushed = self.pushed.wrapping_add(more);
        if !self.config.features.packed {
            let at = GuestAddress(self.config.addresses.driver.0.wrapping_add(2));
            let _ = self.world.memory.store_u16(at, self.pushed, Ordering::Release);
        }
    }
}
