//! Tap to guest.
//!
//! A frame is read into a buffer of our own, looked at there, and copied into the chains that the driver has posted: for
//! frames of an ordinary size that costs less than a `readv` into those chains, whose buffers the kernel has to be told one
//! by one, and nothing that is looked at is where the guest could change it. The tap gives us super-frames and partial
//! checksums whatever the driver takes; what it does not take is segmented, and completed, before it is copied.
//!
//! Large frames that a driver takes as they are come one after another. While they do, they are read straight into its chains.
//!
//! A frame for which the driver has not posted enough waits, if more can help, and with it all that are behind it.

mod inbox;
mod posted;

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use mqtap::{Offloads, TapQueue, VnetHeaderSize};
use rustix::io::Errno;

use super::{BURST, BYTE_BUDGET, FRAME_BUDGET, Halt, Notifier, Progress};
use crate::counters::PairCounters;
use crate::engine::{FrameReader, copy_from_chains, copy_to_chain, write_to_chain};
use crate::memory::{GuestAddress, GuestMemory};
use crate::ring::{self, Batch, Chain, Completion, Ring, RingBase};
use inbox::{Arrival, Form, Inbox, LONGEST_HEADER, NUM_BUFFERS};
use posted::{Posted, Room};

/// Frames from this length on are read straight into the driver's buffers, in bytes. Below, a copy costs less than it does to tell the
/// kernel of the buffers: with buffers of 1.5 to 4 KiB the two meet between 9 and 16 KiB.
const DIRECT_FROM: usize = 12 * 1024;
/// The most frames that are counted out of a tap queue when its ring is disabled. The kernel holds `txqueuelen`
/// frames for a queue (1000 for a tap, drivers/net/tun.c); more than this are frames that came in since.
const DRAIN_LIMIT: usize = 4096;

/// What a receive ring needs besides the ring.
#[derive(Debug)]
pub(crate) struct ReceiveOptions {
    pub(crate) tap: Arc<TapQueue>,
    pub(crate) counters: Arc<PairCounters>,
    pub(crate) notifier: Notifier,
    pub(crate) memory: GuestMemory,
    /// The virtio-net header in front of each frame in guest memory.
    pub(crate) header: VnetHeaderSize,
    /// Whether the tap gives that header; else it is all zeros.
    pub(crate) tap_has_header: bool,
    /// Whether a frame may span several chains.
    pub(crate) mergeable: bool,
    /// What the driver takes as it is.
    pub(crate) accepted: Offloads,
    pub(crate) enabled: bool,
}

/// A started receive ring.
#[derive(Debug)]
pub(crate) struct Receive {
    ring: Ring,
    options: ReceiveOptions,
    reader: FrameReader,
    posted: Posted,
    /// Where frames are read to, and segmented.
    inbox: Inbox,
    /// The frame there, header included, that waits for chains.
    waiting: Option<Range<usize>>,
    /// Whether the last frame was a large one that the driver took as it was.
    direct: bool,
    completions: Vec<Completion>,
    /// Frames and bytes in `completions`, which count once the driver can see them.
    unpublished: (u64, u64),
}

impl Receive {
    pub(crate) fn new(ring: Ring, options: ReceiveOptions) -> Self {
        let ReceiveOptions { header, tap_has_header, accepted, .. } = options;
        let inbox = Inbox::new(Form { header, tap_has_header, accepted });
        Self {
            ring,
            options,
            reader: FrameReader::default(),
            posted: Posted::new(),
            inbox,
            waiting: None,
            direct: false,
            completions: Vec::with_capacity(2 * BURST),
            unpublished: (0, 0),
        }
    }

    pub(crate) fn set_notifier(&mut self, notifier: Notifier) {
        notifier.notify(&self.options.counters.receive.calls);
        self.options.notifier = notifier;
    }

    /// Moves where used-ring writes are logged.
    pub(crate) fn set_log(
        &mut self,
        log: Option<GuestAddress>,
        memory: &GuestMemory,
    ) -> Result<(), ring::Error> {
        self.ring.set_log(log);
        self.update_memory(memory)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.options.enabled
    }

    pub(crate) fn enable(&mut self) {
        self.options.enabled = true;
    }

    /// Delivers nothing from now on, and counts what the tap queue still holds: detaching the queue would drop those
    /// frames without a trace.
    pub(crate) fn disable(&mut self) {
        self.options.enabled = false;
        self.drop_pending();
        for _ in 0..DRAIN_LIMIT {
            match self.inbox.read(&self.options.tap) {
                Ok(length) => {
                    self.accept(length);
                    self.drop_pending();
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Counts what was read and not delivered, as many frames as the driver would have got.
    fn drop_pending(&mut self) {
        let waiting = u64::from(self.waiting.take().is_some());
        let segments = self.inbox.segments_left() as u64;
        self.inbox.clear_segments();
        self.options.counters.receive.dropped_disabled.add(waiting + segments);
    }

    /// Moves frames until the tap queue is empty, the driver's buffers are used up, or the budget is.
    pub(crate) fn run(&mut self) -> Result<Progress, Halt> {
        if !self.options.enabled {
            return Ok(Progress::AwaitKick);
        }
        self.ring.suppress_kicks();
        let result = self.move_frames();
        let published = self.publish();
        result.and_then(|progress| published.map(|()| progress).map_err(Halt::from))
    }

    fn move_frames(&mut self) -> Result<Progress, Halt> {
        let mut bytes = 0;
        let mut frames = 0;
        while frames < FRAME_BUDGET && bytes < BYTE_BUDGET {
            if self.completions.len() >= BURST {
                self.publish()?;
            }
            if let Some(frame) = self.waiting.clone() {
                if !self.place(frame.clone())? {
                    self.publish()?;
                    if self.ring.arm_kicks()? {
                        continue;
                    }
                    return Ok(Progress::AwaitKick);
                }
                self.waiting = None;
                bytes += frame.len();
                continue;
            }
            if self.inbox.has_segments() {
                bytes += self.move_segment()?;
                frames += 1;
                continue;
            }
            // A frame for which there is no buffer at all had better wait in the tap.
            if !self.posted.any(&mut self.ring)? {
                self.publish()?;
                if self.ring.arm_kicks()? {
                    continue;
                }
                self.options.counters.receive.starved.add(1);
                return Ok(Progress::AwaitKick);
            }
            // What is read into chains and then not left there would have to be marked as well.
            let direct = self.direct && !self.options.memory.is_logging();
            let result = if direct {
                self.read_direct()?
            } else {
                // Comes while the kernel is busy.
                self.posted.batch().prefetch_first();
                self.inbox.read(&self.options.tap).map(Read::Buffered)
            };
            frames += 1;
            match result {
                Ok(Read::Buffered(length)) => self.accept(length),
                Ok(Read::Delivered(length)) => bytes += length,
                Err(Errno::AGAIN) => return Ok(Progress::AwaitTap),
                Err(Errno::INTR) => {}
                Err(errno @ (Errno::BADFD | Errno::BADF)) => return Err(Halt::Tap(errno)),
                Err(Errno::FAULT) if direct => {
                    self.options.counters.receive.dropped_error.add(1);
                    return Err(Halt::Ring(ring::Error::MemoryTruncated));
                }
                Err(_) => self.options.counters.receive.dropped_error.add(1),
            }
        }
        Ok(Progress::More)
    }

    /// Reads one frame into the driver's buffers. What the driver does not take as it is, or has posted too few for, is in our
    /// buffer then.
    fn read_direct(&mut self) -> Result<Result<Read, Errno>, ring::Error> {
        let longest = self.inbox.longest();
        let window = self.posted.window(&mut self.ring, longest, self.options.mergeable)?;
        let (batch, chains) = (self.posted.batch(), self.posted.front(window.chains));
        let rest = self.inbox.from(window.bytes);
        let length = match self.reader.read(self.options.tap.as_fd(), batch, window, rest) {
            Ok(length) => length,
            Err(errno) => return Ok(Err(errno)),
        };
        let mut header = [0; LONGEST_HEADER];
        copy_from_chains(batch, chains, &mut header);
        if length > window.bytes.min(longest) || !self.inbox.takes(&header) {
            // From here on the frame is what we have read of it, whatever the driver writes.
            copy_from_chains(batch, chains, self.inbox.up_to(length.min(window.bytes)));
            return Ok(Ok(Read::Buffered(length)));
        }
        self.direct = length >= DIRECT_FROM;
        let mut room = 0;
        let before_last = chains.iter().take_while(|chain| {
            // A chain is shorter than 4 GiB.
            room += chain.bytes as usize;
            room < length
        });
        let used = before_last.count() + 1;
        if let Some(first) = chains.first()
            && self.inbox.header() > NUM_BUFFERS
        {
            // At most the chains that are kept.
            copy_to_chain(batch, first, NUM_BUFFERS, &(used as u16).to_le_bytes());
        }
        self.complete(used, length);
        Ok(Ok(Read::Delivered(length)))
    }

    /// Looks at the frame of `length` bytes, header included, that was read into our buffer: it waits for chains, or
    /// its segments do.
    #[inline]
    fn accept(&mut self, length: usize) {
        let counters = &self.options.counters.receive;
        self.direct = false;
        match self.inbox.open(length) {
            Arrival::Frame => {
                self.direct = length >= DIRECT_FROM && self.options.tap_has_header;
                self.waiting = Some(0..length);
            }
            Arrival::SuperFrame => {}
            Arrival::TooLong => counters.dropped_size.add(1),
            Arrival::Unusable => counters.dropped_offload.add(1),
        }
    }

    /// Delivers the next segment of the super-frame, or has it wait. Returns its length, header included.
    #[inline]
    fn move_segment(&mut self) -> Result<usize, ring::Error> {
        let counters = &self.options.counters.receive;
        let length = self.inbox.next_len();
        let room = self.posted.room(&mut self.ring, length, self.options.mergeable)?;
        counters.segments.add(1);
        if room == Room::Chains(1)
            && let Some(chain) = self.posted.front(1).first()
        {
            if let Some(payload) = self.inbox.next_segment() {
                let (head, payload, changes) = self.inbox.parts(payload);
                write_to_chain(self.posted.batch(), chain, (head, payload), changes);
            }
            self.complete(1, length);
        } else {
            self.waiting = self.inbox.next_segment_in_place();
        }
        if !self.inbox.has_segments() {
            self.options.counters.receive.segmented.add(1);
        }
        Ok(length)
    }

    /// Copies a frame of the buffer into chains. False while there are too few; a frame for which there can never be
    /// enough is dropped.
    #[inline]
    fn place(&mut self, frame: Range<usize>) -> Result<bool, ring::Error> {
        let length = frame.len();
        let used = match self.posted.room(&mut self.ring, length, self.options.mergeable)? {
            Room::Chains(used) => used,
            Room::Later => return Ok(false),
            Room::Never => {
                self.options.counters.receive.dropped_size.add(1);
                return Ok(true);
            }
        };
        // At most the chains that are kept.
        self.inbox.set_chains(&frame, used as u16);
        let mut rest = self.inbox.bytes(frame);
        for chain in self.posted.front(used) {
            rest = &rest[copy_to_chain(self.posted.batch(), chain, 0, rest)..];
        }
        self.complete(used, length);
        Ok(true)
    }

    /// Uses up the first `used` chains, which hold the `length` bytes of a frame.
    #[inline]
    fn complete(&mut self, used: usize, length: usize) {
        let chains = self.posted.front(used);
        let mut rest = length;
        for chain in chains {
            let written = rest.min(chain.bytes as usize);
            rest -= written;
            // A chain is shorter than 4 GiB.
            self.completions.push(chain.completion(written as u32));
        }
        // After the last byte was written: whoever collects the marks copies the page right away.
        if self.options.memory.is_logging() {
            mark_dirty(&self.options.memory, self.posted.batch(), chains, length);
        }
        self.posted.remove_front(used);
        self.unpublished.0 += 1;
        self.unpublished.1 += length.saturating_sub(self.inbox.header()) as u64;
    }

    /// Gives the driver what was delivered, and tells it if it wants to know.
    fn publish(&mut self) -> Result<(), ring::Error> {
        if self.completions.is_empty() {
            return Ok(());
        }
        let result = self.ring.complete_batch(&self.completions);
        self.completions.clear();
        let (frames, bytes) = std::mem::take(&mut self.unpublished);
        let counters = &self.options.counters.receive;
        if let Err(error) = result {
            counters.dropped_error.add(frames);
            return Err(error);
        }
        counters.frames.add(frames);
        counters.bytes.add(bytes);
        if self.ring.must_notify() {
            self.options.notifier.notify(&counters.calls);
        }
        Ok(())
    }

    /// Goes on in another memory table. Posted chains are popped again; what waits for more is in memory of our own.
    pub(crate) fn update_memory(&mut self, memory: &GuestMemory) -> Result<(), ring::Error> {
        self.posted.clear();
        self.options.memory = memory.clone();
        self.ring.update_memory(memory)
    }

    /// Whether the driver has posted chains that were not looked at yet.
    pub(crate) fn has_available(&self) -> bool {
        self.ring.has_available()
    }

    /// Where the ring stands: chains that no frame has used are the driver's again.
    pub(crate) fn stop(mut self) -> RingBase {
        self.drop_pending();
        self.ring.rewind();
        self.ring.base()
    }
}

/// Where a frame is that was read.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// In the buffer. The length includes the header.
    Buffered(usize),
    /// In the driver's chains, used up. The length includes the header.
    Delivered(usize),
}

#[cold]
fn mark_dirty(memory: &GuestMemory, batch: &Batch, chains: &[Chain], mut written: usize) {
    for iovec in chains.iter().flat_map(|chain| batch.iovecs(chain)) {
        let n = written.min(iovec.len());
        memory.mark_dirty_host(iovec.ptr(), n);
        written -= n;
    }
}
