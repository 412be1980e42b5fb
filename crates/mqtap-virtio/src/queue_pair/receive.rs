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
use crate::memory::GuestMemory;
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
    /// The first chain that is not used.
    next: usize,
    /// One past the last chain of the window.
    end: usize,
    window_bytes: usize,
    window_iovecs: usize,
}

impl Posted {
    fn new() -> Self {
        Self {
            batch: Batch::with_capacity(WINDOW_IOVECS + 1, 4 * WINDOW_IOVECS),
            next: 0,
            end: 0,
            window_bytes: 0,
            window_iovecs: 0,
        }
    }

    /// Chains not used yet.
    fn len(&self) -> usize {
        self.batch.len() - self.next
    }

    /// Grows the window towards `bytes` and `chains` with what is posted, then with what the ring has.
    fn grow(&mut self, ring: &mut Ring, bytes: usize, chains: usize) -> Result<(), ring::Error> {
        loop {
            while self.window_bytes < bytes && self.end - self.next < chains {
                let Some(chain) = self.batch.chains().get(self.end) else { break };
                if self.end > self.next && self.window_iovecs + chain.count > WINDOW_IOVECS {
                    return Ok(());
                }
                self.window_bytes += chain.bytes as usize;
                self.window_iovecs += chain.count;
                self.end += 1;
            }
            if self.window_bytes >= bytes || self.end - self.next >= chains {
                return Ok(());
            }
            if self.next > 0 {
                self.batch.remove_front(self.next);
                self.end -= self.next;
                self.next = 0;
            }
            if ring.pop_batch(&mut self.batch, 2 * BURST)? == 0 {
                return Ok(());
            }
        }
    }

    /// The first chain of the window is used.
    fn advance(&mut self, chain: &Chain) {
        self.window_bytes -= chain.bytes as usize;
        self.window_iovecs -= chain.count;
        self.next += 1;
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.next = 0;
        self.end = 0;
        self.window_bytes = 0;
        self.window_iovecs = 0;
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
        }
    }

    pub(crate) fn set_notifier(&mut self, notifier: Notifier) {
        self.options.notifier = notifier;
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
        self.publish()?;
        result
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
            if self.posted.len() == 0 {
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
        let window_bytes = self.posted.window_bytes;
        let skip = self.options.header - self.options.tap_header;
        // Only a window that cannot hold every frame needs the overflow buffer behind it.
        let overflow = if window_bytes < self.options.header + MAX_FRAME {
            &mut self.overflow[..]
        } else {
            &mut []
        };
        let window = self.posted.next..self.posted.end;
        let length =
            skip + self.reader.read(self.options.tap.as_fd(), &self.posted.batch, window, skip, overflow)?;
        if length <= window_bytes {
            self.deliver(length);
        } else if self.options.mergeable {
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
        if self.posted.window_bytes >= waiting.length {
            let mut rest = &self.overflow[..waiting.length - waiting.in_window];
            let mut offset = waiting.in_window;
            for chain in &self.posted.batch.chains()[self.posted.next..self.posted.end] {
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
        // The window has all it may have, or the driver has posted all that its ring can hold: waiting is in vain.
        let all_posted = self.posted.len() + self.completions.len() >= usize::from(self.ring.size());
        if self.posted.end < self.posted.batch.len() || (all_posted && self.completions.is_empty()) {
            self.waiting = None;
            self.options.counters.receive.dropped_size.add(1);
            return Ok(true);
        }
        self.publish()?;
        Ok(false)
    }

    /// Uses up the chains that hold the `length` bytes at the front of the window.
    fn deliver(&mut self, length: usize) {
        let first = self.posted.next;
        let mut rest = length;
        let mut used: u16 = 0;
        while rest > 0 && self.posted.next < self.posted.end {
            let chain = self.posted.batch.chains()[self.posted.next];
            let written = rest.min(chain.bytes as usize);
            rest -= written;
            used += 1;
            if self.options.memory.is_logging() {
                self.mark_dirty(&chain, written);
            }
            // A chain is shorter than 4 GiB.
            let written = written as u32;
            self.completions.push(Completion { id: chain.id, descriptors: chain.descriptors, written });
            self.posted.advance(&chain);
        }
        let chain = self.posted.batch.chains()[first];
        if self.options.tap_header == 0 {
            copy_to_chain(&self.posted.batch, &chain, 0, &[0; HEADER_WITH_NUM_BUFFERS][..self.options.header]);
        }
        if self.options.header >= HEADER_WITH_NUM_BUFFERS {
            copy_to_chain(&self.posted.batch, &chain, NUM_BUFFERS_OFFSET, &used.to_le_bytes());
        }
        let counters = &self.options.counters.receive;
        counters.frames.add(1);
        counters.bytes.add(length.saturating_sub(self.options.header) as u64);
    }

    #[cold]
    fn mark_dirty(&self, chain: &Chain, written: usize) {
        let mut rest = written;
        for iovec in self.posted.batch.iovecs(chain) {
            let n = rest.min(iovec.len());
            self.options.memory.mark_dirty_host(iovec.ptr(), n);
            rest -= n;
        }
    }

    /// Gives the driver what was delivered, and tells it if it wants to know.
    fn publish(&mut self) -> Result<(), ring::Error> {
        if !self.completions.is_empty() {
            self.ring.complete_batch(&self.completions)?;
            self.completions.clear();
            if self.ring.must_notify() {
                self.options.notifier.notify(&self.options.counters.receive.calls);
            }
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
