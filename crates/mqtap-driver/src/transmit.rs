//! The transmit half of a queue pair.

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

use crate::error::{Error, Result};
use crate::events::RingEvents;
use crate::header::VirtioNetHeader;
use crate::options::DriverOptions;
use crate::ram::GuestRam;
use crate::ring::{Buffer, DESC_SIZE, DriverRing, IndirectTables, RingLayout, RingOptions, offset};

/// What a transmit ring has done.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct TransmitCounters {
    /// Frames put into the ring.
    pub frames: u64,
    /// Their bytes, without virtio headers.
    pub bytes: u64,
    /// Frames the device has given back.
    pub completed: u64,
    /// Times the ring, or the pool behind it, was full.
    pub full: u64,
    /// Kicks sent.
    pub kicks: u64,
}

/// A transmit ring with its buffers.
#[derive(Debug)]
pub struct Transmitter {
    pub(crate) ring: DriverRing,
    pub(crate) events: RingEvents,
    memory: GuestMemory,
    index: u16,
    options: RingOptions,
    tables: Option<IndirectTables>,
    header_size: usize,
    split_header: bool,
    pool: GuestAddress,
    slot_size: usize,
    slots: u32,
    free: Vec<u32>,
    /// For each chain in flight, the slots it takes.
    taken: Vec<Vec<u32>>,
    chain: Vec<Buffer>,
    pub(crate) counters: TransmitCounters,
}

impl Transmitter {
    pub(crate) fn new(
        index: u16,
        ram: &mut GuestRam,
        layout: RingLayout,
        options: &DriverOptions,
        ring_options: RingOptions,
        header_size: usize,
    ) -> Result<Transmitter> {
        let tables = if ring_options.indirect {
            Some(allocate_tables(ram, layout.size, options.largest_transmit_chain())?)
        } else {
            None
        };
        let slots = options.transmit_buffers();
        let slot_size = options.transmit_buffer_size;
        let pool = ram.allocate(u64::from(slots) * u64::from(slot_size), 64)?;
        Ok(Transmitter {
            ring: DriverRing::new(index, ram.memory(), layout, ring_options, tables)?,
            events: RingEvents::new()?,
            memory: ram.memory().clone(),
            index,
            options: ring_options,
            tables,
            header_size,
            split_header: options.split_header,
            pool,
            slot_size: slot_size as usize,
            slots,
            free: (0..slots).rev().collect(),
            taken: vec![Vec::new(); layout.size.into()],
            chain: Vec::new(),
            counters: TransmitCounters::default(),
        })
    }

    /// What this ring has done so far.
    #[must_use]
    pub fn counters(&self) -> TransmitCounters {
        self.counters
    }

    /// The ring's eventfds.
    #[must_use]
    pub fn events(&self) -> &RingEvents {
        &self.events
    }

    /// Frames the device has not given back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ring.in_flight()
    }

    /// Puts a frame into the ring without showing it to the device. [`Error::Full`] is the back-pressure.
    pub fn queue(&mut self, header: &VirtioNetHeader, frame: &[u8]) -> Result<()> {
        match self.try_queue(header, frame) {
            Err(Error::Full) => {
                self.reap()?;
                self.try_queue(header, frame).inspect_err(|error| {
                    if matches!(error, Error::Full) {
                        self.counters.full += 1;
                    }
                })
            }
            done => done,
        }
    }

    fn try_queue(&mut self, header: &VirtioNetHeader, frame: &[u8]) -> Result<()> {
        let header = &header.to_bytes()[..self.header_size];
        let room_behind_header = if self.split_header { 0 } else { self.slot_size - header.len() };
        let behind = frame.len().min(room_behind_header);
        let needed = 1 + (frame.len() - behind).div_ceil(self.slot_size);
        if needed > self.slots as usize {
            let bytes = header.len() + frame.len();
            return Err(Error::TooLong { bytes, ring_size: self.ring.layout().size });
        }
        if needed > self.free.len() {
            return Err(Error::Full);
        }
        let slots = self.free.split_off(self.free.len() - needed);
        self.chain.clear();
        let (first, rest) = frame.split_at(behind);
        let pieces = std::iter::once(first).chain(rest.chunks(self.slot_size));
        for (i, (slot, piece)) in slots.iter().zip(pieces).enumerate() {
            let at = offset(self.pool, u64::from(*slot) * self.slot_size as u64);
            let before = if i == 0 { header.len() } else { 0 };
            if i == 0 {
                self.memory.write(at, header)?;
            }
            self.memory.write(offset(at, before as u64), piece)?;
            self.chain.push(Buffer { at, len: (before + piece.len()) as u32 });
        }
        match self.ring.add(&self.chain, &[]) {
            Ok(id) => {
                self.taken[usize::from(id)] = slots;
                self.counters.frames += 1;
                self.counters.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.free.extend(slots);
                Err(error)
            }
        }
    }

    /// Shows the device what was queued, and kicks it if it wants that.
    pub fn flush(&mut self) -> Result<()> {
        self.ring.publish()?;
        if self.ring.needs_kick()? {
            self.counters.kicks += 1;
            self.events.kick()?;
        }
        Ok(())
    }

    /// Takes back what the device is done with; returns how many frames.
    pub fn reap(&mut self) -> Result<usize> {
        let mut reaped = 0;
        while let Some(used) = self.ring.reap()? {
            let slots = std::mem::take(&mut self.taken[usize::from(used.id)]);
            self.free.extend(slots);
            reaped += 1;
        }
        self.counters.completed += reaped as u64;
        Ok(reaped)
    }

    /// An empty ring in the same place.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let layout = self.ring.layout();
        self.ring = DriverRing::new(self.index, &self.memory, layout, self.options, self.tables)?;
        self.free = (0..self.slots).rev().collect();
        self.taken.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}

pub(crate) fn allocate_tables(ram: &mut GuestRam, ring_size: u16, entries: u16) -> Result<IndirectTables> {
    let length = u64::from(ring_size) * u64::from(entries) * DESC_SIZE;
    Ok(IndirectTables { at: ram.allocate_whole(length, 16)?, entries })
}
