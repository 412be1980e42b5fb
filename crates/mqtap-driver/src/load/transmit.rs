//! Numbered frames into a transmit ring, as fast as the ring takes them.

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

use super::generate::{Generator, STAMP};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::header::VirtioNetHeader;
use crate::ring::{Buffer, offset};
use crate::transmit::Transmitter;

/// Puts the frames of a [`Generator`] into a transmit ring. The frames lie ready in guest memory; only their numbers
/// are written for each.
#[derive(Debug)]
pub struct Sender {
    pair: u16,
    generator: Generator,
    memory: GuestMemory,
    slots: Vec<GuestAddress>,
    /// Slots that are free, and the slot of each chain in flight.
    free: Vec<u16>,
    taken: Vec<u16>,
    pieces: usize,
    chain: Vec<Buffer>,
    /// A slot for one frame of somebody else's, and whether it is free.
    guest_slot: GuestAddress,
    guest_slot_free: bool,
}

/// Bytes of the slot for a frame of somebody else's, virtio header included.
const GUEST_SLOT: u64 = 2048;
/// What stands for it in the list of slots in flight.
const GUEST: u16 = u16::MAX;

impl Sender {
    /// Bytes of guest memory that a sender of frames of this shape takes, for [`crate::DriverOptions::spare_memory`].
    #[must_use]
    pub fn memory(generator: &Generator, ring_size: u16) -> u64 {
        u64::from(ring_size) * (generator.frame().len() as u64).next_multiple_of(64) + 4096 + GUEST_SLOT
    }

    /// Prepares the frames for the transmit ring of a pair that has not transmitted yet, each in a chain of
    /// `pieces` descriptors.
    pub fn new(driver: &mut Driver, pair: u16, generator: Generator, pieces: u16) -> Result<Sender> {
        let length = generator.frame().len();
        let pieces = usize::from(pieces.max(1));
        if length.div_ceil(pieces) < generator.head_length().min(length) && pieces > 1 {
            return Err(Error::Options(format!("{length} bytes are too few to cut into {pieces} pieces")));
        }
        let ring_size = driver.pair(pair).transmitter.ring.layout().size;
        let mut slots = Vec::with_capacity(ring_size.into());
        for _ in 0..ring_size {
            let at = driver.ram_mut().allocate(length as u64, 64)?;
            driver.ram().memory().write(at, generator.frame())?;
            slots.push(at);
        }
        let guest_slot = driver.ram_mut().allocate(GUEST_SLOT, 64)?;
        Ok(Sender {
            pair,
            guest_slot,
            guest_slot_free: true,
            memory: driver.ram().memory().clone(),
            free: (0..ring_size).rev().collect(),
            taken: vec![0; ring_size.into()],
            slots,
            generator,
            pieces,
            chain: Vec::with_capacity(pieces),
        })
    }

    /// The pair it sends on.
    #[must_use]
    pub fn pair(&self) -> u16 {
        self.pair
    }

    /// What it sends.
    #[must_use]
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Queues up to `limit` frames, as many as there is room for, shows them to the device together and kicks it if it
    /// wants that. Returns how many.
    pub fn send(&mut self, driver: &mut Driver, limit: usize) -> Result<usize> {
        let transmitter = &mut driver.pair(self.pair).transmitter;
        self.reap(transmitter)?;
        let mut sent = 0;
        while sent < limit && self.queue(transmitter)? {
            sent += 1;
        }
        if sent > 0 {
            transmitter.flush()?;
        }
        Ok(sent)
    }

    /// Queues a frame that is not of the generator, and shows it to the device. [`Error::Full`] while the one before it
    /// has not come back.
    pub fn send_other(&mut self, driver: &mut Driver, frame: &[u8]) -> Result<()> {
        let transmitter = &mut driver.pair(self.pair).transmitter;
        self.reap(transmitter)?;
        if !self.guest_slot_free {
            return Err(Error::Full);
        }
        let length = VirtioNetHeader::SIZE + frame.len();
        if length as u64 > GUEST_SLOT {
            return Err(Error::Options(format!("{} bytes are more than such a frame may have", frame.len())));
        }
        self.memory.write(self.guest_slot, &VirtioNetHeader::default().to_bytes())?;
        self.memory.write(offset(self.guest_slot, VirtioNetHeader::SIZE as u64), frame)?;
        let id = transmitter.ring.add(&[Buffer { at: self.guest_slot, len: length as u32 }], &[])?;
        self.taken[usize::from(id)] = GUEST;
        self.guest_slot_free = false;
        transmitter.flush()
    }

    /// Takes back what the device is done with, and says how much is still in flight.
    pub fn in_flight(&mut self, driver: &mut Driver) -> Result<usize> {
        let transmitter = &mut driver.pair(self.pair).transmitter;
        self.reap(transmitter)?;
        Ok(transmitter.in_flight())
    }

    fn queue(&mut self, transmitter: &mut Transmitter) -> Result<bool> {
        let Some(&slot) = self.free.last() else { return Ok(false) };
        if usize::from(transmitter.ring.free()) < self.descriptors() {
            return Ok(false);
        }
        let at = self.slots[usize::from(slot)];
        self.generator.stamp();
        let frame = self.generator.frame();
        self.memory.write(at, &frame[..self.generator.head_length()])?;
        if self.generator.shape().chunks() > 1 {
            for stamp in self.generator.further_stamps() {
                self.memory.write(offset(at, stamp as u64), &frame[stamp..stamp + STAMP])?;
            }
        }
        self.chain.clear();
        let piece = frame.len().div_ceil(self.pieces);
        for from in (0..frame.len()).step_by(piece) {
            let len = piece.min(frame.len() - from) as u32;
            self.chain.push(Buffer { at: offset(at, from as u64), len });
        }
        let id = transmitter.ring.add(&self.chain, &[])?;
        self.free.pop();
        self.taken[usize::from(id)] = slot;
        transmitter.counters.frames += 1;
        transmitter.counters.bytes += self.generator.shape().frame_length() as u64;
        Ok(true)
    }

    /// Descriptors of the ring that a frame takes at most.
    fn descriptors(&self) -> usize {
        self.pieces
    }

    fn reap(&mut self, transmitter: &mut Transmitter) -> Result<()> {
        while let Some(used) = transmitter.ring.reap()? {
            match self.taken[usize::from(used.id)] {
                GUEST => self.guest_slot_free = true,
                slot => {
                    self.free.push(slot);
                    transmitter.counters.completed += 1;
                }
            }
        }
        Ok(())
    }
}
