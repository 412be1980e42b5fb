//! The receive half of a queue pair.

use mqtap_virtio::memory::{GuestAddress, GuestMemory};

use crate::error::{Error, Result};
use crate::events::RingEvents;
use crate::header::VirtioNetHeader;
use crate::options::DriverOptions;
use crate::protocol::feature;
use crate::ram::GuestRam;
use crate::ring::{Buffer, DriverRing, IndirectTables, RingLayout, RingOptions, Used, offset};
use crate::transmit::allocate_tables;

/// What a receive ring has done.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ReceiveCounters {
    /// Frames taken out of the ring.
    pub frames: u64,
    /// Their bytes, without virtio headers.
    pub bytes: u64,
    /// Chains they took (with mergeable buffers, one frame may take several).
    pub chains: u64,
    /// Kicks sent.
    pub kicks: u64,
}

/// A frame as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The header in front of it.
    pub header: VirtioNetHeader,
    /// The frame.
    pub frame: Vec<u8>,
    /// Chains it took.
    pub chains: u16,
}

/// A receive ring with its buffers.
#[derive(Debug)]
pub struct Receiver {
    pub(crate) ring: DriverRing,
    pub(crate) events: RingEvents,
    memory: GuestMemory,
    index: u16,
    options: RingOptions,
    tables: Option<IndirectTables>,
    header_size: usize,
    features: u64,
    zero_num_buffers: bool,
    /// The buffers of each chain we can post.
    chains: Vec<Vec<Buffer>>,
    /// Which of them has which id in the ring.
    posted: Vec<usize>,
    /// Those that are not posted.
    idle: Vec<usize>,
    counters: ReceiveCounters,
}

impl Receiver {
    pub(crate) fn new(
        index: u16,
        ram: &mut GuestRam,
        layout: RingLayout,
        options: &DriverOptions,
        ring_options: RingOptions,
        features: u64,
        header_size: usize,
    ) -> Result<Receiver> {
        let mut sizes = vec![options.buffer_size; options.receive_chain(features).into()];
        if options.split_header {
            sizes.insert(0, header_size as u32);
        }
        let indirect = sizes.len() > 1 && ring_options.indirect;
        let tables =
            if indirect { Some(allocate_tables(ram, layout.size, sizes.len() as u16)?) } else { None };
        let slots = if indirect { 1 } else { sizes.len() };
        let count = usize::from(layout.size) / slots;
        if count == 0 {
            return Err(Error::Options(format!(
                "a receive chain of {} buffers does not fit a ring of {}",
                sizes.len(),
                layout.size
            )));
        }
        let mut chains = Vec::with_capacity(count);
        for _ in 0..count {
            let mut chain = Vec::with_capacity(sizes.len());
            for &len in &sizes {
                chain.push(Buffer { at: ram.allocate(len.into(), 16)?, len });
            }
            chains.push(chain);
        }
        Ok(Receiver {
            ring: DriverRing::new(index, ram.memory(), layout, ring_options, tables)?,
            events: RingEvents::new()?,
            memory: ram.memory().clone(),
            index,
            options: ring_options,
            tables,
            header_size,
            features,
            zero_num_buffers: options.zero_num_buffers,
            idle: (0..chains.len()).rev().collect(),
            chains,
            posted: vec![0; layout.size.into()],
            counters: ReceiveCounters::default(),
        })
    }

    /// What this ring has done so far.
    #[must_use]
    pub fn counters(&self) -> ReceiveCounters {
        self.counters
    }

    /// The ring's eventfds.
    #[must_use]
    pub fn events(&self) -> &RingEvents {
        &self.events
    }

    /// Chains posted and not yet used.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ring.in_flight()
    }

    /// Chains we hold and could post.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Posts up to `limit` of the chains we hold, and kicks if the device wants that. Returns how many.
    pub fn post(&mut self, limit: usize) -> Result<usize> {
        let mut posted = 0;
        while posted < limit {
            let Some(chain) = self.idle.pop() else { break };
            let id = self.ring.add(&[], &self.chains[chain])?;
            self.posted[usize::from(id)] = chain;
            posted += 1;
        }
        if posted > 0 {
            self.ring.publish()?;
            if self.ring.needs_kick()? {
                self.counters.kicks += 1;
                self.events.kick()?;
            }
        }
        Ok(posted)
    }

    /// Takes the next frame, if there is one, and leaves its buffers with us: see [`Receiver::post`].
    pub fn take(&mut self) -> Result<Option<Received>> {
        let Some(used) = self.ring.reap()? else { return Ok(None) };
        let written = used.written as usize;
        if written < self.header_size {
            return Err(self.bug(format!("it wrote {written} bytes, less than a virtio header")));
        }
        let mut bytes = Vec::with_capacity(written);
        self.append(used, &mut bytes)?;
        let Some(header) = VirtioNetHeader::from_bytes(&bytes[..self.header_size]) else {
            return Err(self.bug("it wrote no header".to_owned()));
        };
        let chains = self.buffers_of(&header)?;
        for n in 1..chains {
            // All of them at once: a driver need not wait for the rest of a frame.
            let Some(used) = self.ring.reap()? else {
                return Err(self.bug(format!("a frame in {chains} buffers, and only {n} of them used")));
            };
            self.append(used, &mut bytes)?;
        }
        bytes.drain(..self.header_size);
        self.counters.frames += 1;
        self.counters.chains += u64::from(chains);
        self.counters.bytes += bytes.len() as u64;
        Ok(Some(Received { header, frame: bytes, chains }))
    }

    /// `num_buffers`, held to the rules of virtio 1.3, 5.1.6.4.
    fn buffers_of(&self, header: &VirtioNetHeader) -> Result<u16> {
        let mergeable = self.features & feature::MRG_RXBUF != 0;
        if self.header_size < VirtioNetHeader::SIZE {
            return Ok(1);
        }
        match header.num_buffers {
            0 if self.zero_num_buffers && !mergeable => Ok(1),
            0 => Err(self.bug("num_buffers is 0".to_owned())),
            1 => Ok(1),
            n if mergeable => Ok(n),
            n => Err(self.bug(format!("num_buffers is {n} without mergeable buffers"))),
        }
    }

    /// Takes a used chain back; returns which it is.
    pub(crate) fn give_back(&mut self, used: Used) -> usize {
        let chain = self.posted[usize::from(used.id)];
        self.idle.push(chain);
        chain
    }

    /// The buffers of a chain.
    pub(crate) fn buffers(&self, chain: usize) -> &[Buffer] {
        &self.chains[chain]
    }

    pub(crate) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Number of the virtqueue.
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// Counts a frame that was taken without [`Receiver::take`].
    pub(crate) fn count(&mut self, bytes: usize, chains: u16) {
        self.counters.frames += 1;
        self.counters.chains += u64::from(chains);
        self.counters.bytes += bytes as u64;
    }

    fn append(&mut self, used: Used, bytes: &mut Vec<u8>) -> Result<()> {
        let chain = self.give_back(used);
        let mut rest = used.written as usize;
        for buffer in &self.chains[chain] {
            let length = rest.min(buffer.len as usize);
            let from = bytes.len();
            bytes.resize(from + length, 0);
            self.memory.read(buffer.at, &mut bytes[from..])?;
            rest -= length;
        }
        if rest > 0 {
            return Err(self.bug(format!("it wrote {} bytes, {rest} more than the chain has", used.written)));
        }
        Ok(())
    }

    /// An empty ring in the same place; nothing is posted.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let layout = self.ring.layout();
        self.ring = DriverRing::new(self.index, &self.memory, layout, self.options, self.tables)?;
        self.idle = (0..self.chains.len()).rev().collect();
        Ok(())
    }

    /// The buffer that chain `n` begins with, for tests that look into memory.
    #[must_use]
    pub fn first_buffer(&self, n: usize) -> Option<Buffer> {
        self.chains.get(n).and_then(|chain| chain.first()).copied()
    }

    /// Address `by` bytes into the first buffer of chain `n`.
    #[must_use]
    pub fn address(&self, n: usize, by: u64) -> Option<GuestAddress> {
        self.first_buffer(n).map(|buffer| offset(buffer.at, by))
    }

    fn bug(&self, problem: String) -> Error {
        Error::DeviceBug { ring: self.index, problem }
    }
}
