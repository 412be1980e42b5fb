//! Guest to tap.

use std::os::fd::AsFd;
use std::sync::Arc;

use mqtap::TapQueue;
use rustix::io::Errno;

use super::{BURST, BYTE_BUDGET, ETHERNET_HEADER, FRAME_BUDGET, Halt, MAX_FRAME, Notifier, Progress};
use crate::counters::{PairCounters, TransmitCounters};
use crate::engine::FrameWriter;
use crate::memory::{GuestAddress, GuestMemory};
use crate::ring::{self, Batch, Completion, Ring, RingBase};

/// Iovecs that a batch of transmit chains has room for: four for each chain of a burst, and enough for one chain of
/// the longest kind.
const BATCH_IOVECS: usize = 1024 + 4 * BURST;

/// What a transmit ring needs besides the ring.
#[derive(Debug)]
pub(crate) struct TransmitOptions {
    pub(crate) tap: Arc<TapQueue>,
    pub(crate) counters: Arc<PairCounters>,
    pub(crate) notifier: Notifier,
    /// Bytes of the virtio-net header in front of each frame in guest memory.
    pub(crate) header: usize,
    /// Bytes of that header which the tap takes: all, or none where the tap has no virtio-net header.
    pub(crate) tap_header: usize,
    pub(crate) enabled: bool,
}

/// A started transmit ring.
#[derive(Debug)]
pub(crate) struct Transmit {
    ring: Ring,
    options: TransmitOptions,
    writer: FrameWriter,
    /// Chains popped from the ring and not dealt with.
    batch: Batch,
    completions: Vec<Completion>,
}

/// What became of one frame.
enum Outcome {
    Done,
    Blocked,
}

impl Transmit {
    pub(crate) fn new(ring: Ring, options: TransmitOptions) -> Self {
        Self {
            ring,
            options,
            writer: FrameWriter::default(),
            batch: Batch::with_capacity(BURST, BATCH_IOVECS),
            completions: Vec::with_capacity(BURST),
        }
    }

    pub(crate) fn set_enabled(&mut self, enabled: bool) {
        self.options.enabled = enabled;
    }

    pub(crate) fn set_notifier(&mut self, notifier: Notifier) {
        notifier.notify(&self.options.counters.transmit.calls);
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

    /// Moves frames until the ring is empty, the tap would block, or the budget is used up.
    pub(crate) fn run(&mut self) -> Result<Progress, Halt> {
        let mut bytes = 0;
        let mut frames = 0;
        self.ring.suppress_kicks();
        loop {
            if self.batch.is_empty() {
                let popped = self.ring.pop_batch(&mut self.batch, BURST)?;
                if popped == 0 {
                    if self.ring.arm_kicks()? {
                        continue;
                    }
                    return Ok(Progress::AwaitKick);
                }
            }
            let result = self.write_batch(&mut bytes);
            frames += self.completions.len();
            self.publish()?;
            match result? {
                Outcome::Blocked => return Ok(Progress::AwaitTap),
                Outcome::Done if frames >= FRAME_BUDGET || bytes >= BYTE_BUDGET => return Ok(Progress::More),
                Outcome::Done => {}
            }
        }
    }

    /// Writes what is left of the batch.
    fn write_batch(&mut self, bytes: &mut usize) -> Result<Outcome, Halt> {
        let counters = Arc::clone(&self.options.counters);
        let counters = &counters.transmit;
        while let Some(&chain) = self.batch.chains().first() {
            // A chain is at most 4 GiB long, and `usize` has 64 bits wherever taps do.
            let length = chain.bytes as usize;
            if !self.options.enabled {
                counters.dropped_disabled.add(1);
            } else if length < self.options.header + ETHERNET_HEADER
                || length > self.options.header + MAX_FRAME
            {
                counters.dropped_size.add(1);
            } else {
                let skip = self.options.header - self.options.tap_header;
                match self.writer.write(self.options.tap.as_fd(), &self.batch, &chain, skip) {
                    Ok(_) => {
                        counters.frames.add(1);
                        counters.bytes.add((length - self.options.header) as u64);
                    }
                    Err(Errno::AGAIN) => {
                        counters.blocked.add(1);
                        return Ok(Outcome::Blocked);
                    }
                    Err(Errno::INTR) => continue,
                    Err(errno @ Errno::BADFD) => return Err(Halt::Tap(errno)),
                    Err(Errno::FAULT) => {
                        counters.dropped_error.add(1);
                        return Err(Halt::Ring(ring::Error::MemoryTruncated));
                    }
                    Err(errno) => count_failure(counters, errno),
                }
            }
            *bytes += length;
            self.completions.push(chain.completion(0));
            self.batch.remove_front(1);
        }
        Ok(Outcome::Done)
    }

    /// Gives the driver back what was dealt with, and tells it if it wants to know.
    fn publish(&mut self) -> Result<(), ring::Error> {
        if !self.completions.is_empty() {
            self.ring.complete_batch(&self.completions)?;
            self.completions.clear();
            if self.ring.must_notify() {
                self.options.notifier.notify(&self.options.counters.transmit.calls);
            }
        }
        Ok(())
    }

    /// Goes on in another memory table. Chains that wait for the tap are popped again.
    pub(crate) fn update_memory(&mut self, memory: &GuestMemory) -> Result<(), ring::Error> {
        self.batch.clear();
        self.ring.update_memory(memory)
    }

    /// Whether the driver has made chains available that were not looked at yet.
    pub(crate) fn has_available(&self) -> bool {
        self.ring.has_available()
    }

    /// Where the ring stands: chains not yet written are the driver's again.
    pub(crate) fn stop(mut self) -> RingBase {
        self.ring.rewind();
        self.ring.base()
    }
}

fn count_failure(counters: &TransmitCounters, errno: Errno) {
    match errno {
        Errno::INVAL => counters.dropped_rejected.add(1),
        Errno::IO => counters.dropped_link_down.add(1),
        _ => counters.dropped_error.add(1),
    }
}
