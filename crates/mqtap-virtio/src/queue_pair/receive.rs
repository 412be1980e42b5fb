//! Tap to guest.
//!
//! Chains that the driver has posted form a window of iovecs, never longer than the largest frame that can come, and
//! each frame is read straight into it. A frame that is longer than the window (the driver has posted few buffers, or
//! posts buffers that are too small) goes on into an overflow buffer of our own, since a tap cuts off silently what a
//! read has no room for. It waits there for the driver to post more, if more can help.

use std::os::fd::AsFd;
use std::sync::Arc;

use mqtap::TapQueue;
use rustix::io::Errno;

use super::{BURST, BYTE_BUDGET, FRAME_BUDGET, Halt, MAX_FRAME, Notifier, Progress};
use crate::counters::PairCounters;
use crate::engine::{FrameReader, copy_to_chain};
use crate::memory::{GuestAddress, GuestMemory};
use crate::ring::{self, Batch, Chain, Completion, Ring, RingBase};

/// The most iovecs of a window: one call takes 1024, and one is kept for the overflow buffer.
const WINDOW_IOVECS: usize = 1023;
/// Where `num_buffers` is in the virtio-net header (virtio 1.3, 5.1.6).
const NUM_BUFFERS_OFFSET: usize = 10;
/// Bytes of a virtio-net header that has `num_buffers`.
const HEADER_WITH_NUM_BUFFERS: usize = 12;
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
    /// Bytes of the virtio-net header in front of each frame in guest memory.
    pub(crate) header: usize,
    /// Bytes of that header which the tap gives: all, or none where the tap has no virtio-net header.
    pub(crate) tap_header: usize,
    /// Whether a frame may span several chains.
    pub(crate) mergeable: bool,
    /// The largest frame expected, without a header. A larger one still arrives, more slowly.
    pub(crate) largest_frame: usize,
    pub(crate) enabled: bool,
}

/// A started receive ring.
#[derive(Debug)]
pub(crate) struct Receive {
    ring: Ring,
    options: ReceiveOptions,
    reader: FrameReader,
    posted: Posted,
    /// What a frame has beyond the window.
    overflow: Vec<u8>,
    waiting: Option<Waiting>,
    completions: Vec<Completion>,
    /// Frames and bytes in `completions`, which count once the driver can see them.
    unpublished: (u64, u64),
}

/// A frame, part of which waits in the overflow buffer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Bytes of the frame, header included.
    length: usize,
    /// Bytes of it that are in guest memory already.
    in_window: usize,
}

/// The chains that the driver has posted and no frame has used yet, of which the first form the window.
#[derive(Debug)]
struct Posted {
    batch: Batch,
    /// Chains, iovecs and bytes of the window.
    chains: usize,
    iovecs: usize,
    bytes: usize,
    /// The most chains that were posted at once.
    most: usize,
}

impl Posted {
    fn new() -> Self {
        Self {
            batch: Batch::with_capacity(WINDOW_IOVECS + 1, 4 * WINDOW_IOVECS),
            chains: 0,
            iovecs: 0,
            bytes: 0,
            most: 0,
        }
    }

    /// Grows the window towards `bytes` and `chains` with what is posted, then with what the ring has.
    fn grow(&mut self, ring: &mut Ring, bytes: usize, chains: usize) -> Result<(), ring::Error> {
        while self.bytes < bytes && self.chains < chains {
            if let Some(chain) = self.batch.chains().get(self.chains) {
                if self.chains > 0 && self.iovecs + chain.count > WINDOW_IOVECS {
                    break;
                }
                self.chains += 1;
                self.iovecs += chain.count;
                // A chain is shorter than 4 GiB.
                self.bytes += chain.bytes as usize;
            } else if ring.pop_batch(&mut self.batch, 2 * BURST)? == 0 {
                break;
            }
        }
        self.most = self.most.max(self.batch.len());
        Ok(())
    }

    /// The first chains of the window are used.
    fn remove_front(&mut self, chains: usize) {
        for chain in &self.batch.chains()[..chains] {
            self.iovecs -= chain.count;
            self.bytes -= chain.bytes as usize;
        }
        self.chains -= chains;
        self.batch.remove_front(chains);
    }

    fn clear(&mut self) {
        self.batch.clear();
        (self.chains, self.iovecs, self.bytes) = (0, 0, 0);
    }
}

impl Receive {
    pub(crate) fn new(ring: Ring, options: ReceiveOptions) -> Self {
        Self {
            ring,
            overflow: vec![0; HEADER_WITH_NUM_BUFFERS + MAX_FRAME],
            options,
            reader: FrameReader::default(),
            posted: Posted::new(),
            waiting: None,
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
        if self.waiting.take().is_some() {
            self.options.counters.receive.dropped_disabled.add(1);
        }
        for _ in 0..DRAIN_LIMIT {
            match self.options.tap.read(&mut self.overflow) {
                Ok(_) => self.options.counters.receive.dropped_disabled.add(1),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
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
        let wanted = self.options.header + self.options.largest_frame;
        let chains = if self.options.mergeable { usize::MAX } else { 1 };
        let mut bytes = 0;
        let mut frames = 0;
        while frames < FRAME_BUDGET && bytes < BYTE_BUDGET {
            if let Some(waiting) = self.waiting {
                if !self.place(waiting)? {
                    if self.ring.arm_kicks()? {
                        continue;
                    }
                    return Ok(Progress::AwaitKick);
                }
                continue;
            }
            self.posted.grow(&mut self.ring, wanted, chains)?;
            if self.posted.chains == 0 {
                self.publish()?;
                if self.ring.arm_kicks()? {
                    continue;
                }
                self.options.counters.receive.starved.add(1);
                return Ok(Progress::AwaitKick);
            }
            match self.read_frame() {
                Ok(length) => {
                    bytes += length;
                    frames += 1;
                }
                Err(Errno::AGAIN) => return Ok(Progress::AwaitTap),
                Err(Errno::INTR) => {}
                Err(errno @ (Errno::BADFD | Errno::BADF)) => return Err(Halt::Tap(errno)),
                Err(Errno::FAULT) => {
                    self.options.counters.receive.dropped_error.add(1);
                    return Err(Halt::Ring(ring::Error::MemoryTruncated));
                }
                Err(_) => {
                    self.options.counters.receive.dropped_error.add(1);
                    frames += 1;
                }
            }
            if self.completions.len() >= BURST {
                self.publish()?;
            }
        }
        Ok(Progress::More)
    }

    /// Reads one frame and delivers it, or leaves it waiting for buffers. Returns its length.
    fn read_frame(&mut self) -> Result<usize, Errno> {
        let window_bytes = self.posted.bytes;
        let skip = self.options.header - self.options.tap_header;
        // Only a window that cannot hold every frame needs the overflow buffer behind it.
        let overflow =
            if window_bytes < self.options.header + MAX_FRAME { &mut self.overflow[..] } else { &mut [] };
        let tap = self.options.tap.as_fd();
        let length = skip + self.reader.read(tap, &self.posted.batch, self.posted.iovecs, skip, overflow)?;
        // A chain of as many buffers as one call takes leaves no room for the overflow buffer; what fills it to the
        // brim may have been cut off.
        let cut_off = length == window_bytes && self.posted.iovecs > WINDOW_IOVECS;
        if length <= window_bytes && !cut_off {
            self.deliver(length);
        } else if self.options.mergeable && !cut_off {
            self.waiting = Some(Waiting { length, in_window: window_bytes });
        } else {
            self.options.counters.receive.dropped_size.add(1);
        }
        Ok(length)
    }

    /// Puts the rest of a waiting frame into chains posted since. False while there are too few; a frame for which
    /// there can never be enough is dropped.
    fn place(&mut self, waiting: Waiting) -> Result<bool, ring::Error> {
        self.posted.grow(&mut self.ring, waiting.length, usize::MAX)?;
        if self.posted.bytes >= waiting.length {
            let mut rest = &self.overflow[..waiting.length - waiting.in_window];
            let mut offset = waiting.in_window;
            for chain in &self.posted.batch.chains()[..self.posted.chains] {
                let chain_bytes = chain.bytes as usize;
                if offset >= chain_bytes {
                    offset -= chain_bytes;
                    continue;
                }
                rest = &rest[copy_to_chain(&self.posted.batch, chain, offset, rest)..];
                offset = 0;
            }
            self.waiting = None;
            self.deliver(waiting.length);
            return Ok(true);
        }
        self.publish()?;
        // The window has all it may have; or the driver has as much posted as it ever had, or so much that it may see no
        // reason to post more (Linux is content with all but 32 buffers of a ring of 64): waiting is in vain.
        let posted = self.posted.batch.len();
        if self.posted.chains < posted
            || posted >= self.posted.most
            || 2 * posted >= usize::from(self.ring.size())
        {
            self.waiting = None;
            self.options.counters.receive.dropped_size.add(1);
            return Ok(true);
        }
        Ok(false)
    }

    /// Uses up the chains that hold the `length` bytes at the front of the window.
    fn deliver(&mut self, length: usize) {
        let batch = &self.posted.batch;
        let window = &batch.chains()[..self.posted.chains];
        let mut rest = length;
        let mut used: u16 = 0;
        for chain in window {
            let written = rest.min(chain.bytes as usize);
            rest -= written;
            used += 1;
            // A chain is shorter than 4 GiB.
            self.completions.push(chain.completion(written as u32));
            if rest == 0 {
                break;
            }
        }
        if let Some(first) = window.first() {
            if self.options.tap_header == 0 {
                let header = &[0; HEADER_WITH_NUM_BUFFERS][..self.options.header];
                copy_to_chain(batch, first, 0, header);
            }
            if self.options.header >= HEADER_WITH_NUM_BUFFERS {
                copy_to_chain(batch, first, NUM_BUFFERS_OFFSET, &used.to_le_bytes());
            }
        }
        // After the last byte was written: whoever collects the marks copies the page right away.
        if self.options.memory.is_logging() {
            mark_dirty(&self.options.memory, batch, &window[..usize::from(used)], length);
        }
        self.posted.remove_front(usize::from(used));
        self.unpublished.0 += 1;
        self.unpublished.1 += length.saturating_sub(self.options.header) as u64;
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

    /// Goes on in another memory table. Posted chains are popped again; a frame that waited for more is dropped, since
    /// part of it is in memory that may be gone.
    pub(crate) fn update_memory(&mut self, memory: &GuestMemory) -> Result<(), ring::Error> {
        self.posted.clear();
        if self.waiting.take().is_some() {
            self.options.counters.receive.dropped_error.add(1);
        }
        self.options.memory = memory.clone();
        self.ring.update_memory(memory)
    }

    /// Whether the driver has posted chains that were not looked at yet.
    pub(crate) fn has_available(&self) -> bool {
        self.ring.has_available()
    }

    /// Where the ring stands: chains that no frame has used are the driver's again.
    pub(crate) fn stop(mut self) -> RingBase {
        if self.waiting.is_some() {
            self.options.counters.receive.dropped_disabled.add(1);
        }
        self.ring.rewind();
        self.ring.base()
    }
}

#[cold]
fn mark_dirty(memory: &GuestMemory, batch: &Batch, chains: &[Chain], mut written: usize) {
    for iovec in chains.iter().flat_map(|chain| batch.iovecs(chain)) {
        let n = written.min(iovec.len());
        memory.mark_dirty_host(iovec.ptr(), n);
        written -= n;
    }
}
