//! Guest to tap.

use std::sync::Arc;

use mqtap::TapQueue;
use rustix::io::Errno;

use super::{
    BURST, BYTE_BUDGET, Coalescing, ETHERNET_HEADER, FRAME_BUDGET, Halt, MAX_FRAME, Notifier, Progress,
};
use crate::counters::{PairCounters, TransmitCounters};
use crate::engine::{FrameWriter, PlanStore};
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
    /// What puts frames together, if anything does. It needs a tap that takes the whole header.
    pub(crate) coalescing: Option<Coalescing>,
    pub(crate) enabled: bool,
}

/// A started transmit ring.
#[derive(Debug)]
pub(crate) struct Transmit {
    ring: Ring,
    options: TransmitOptions,
    /// Chains popped from the ring and not completed.
    batch: Batch,
    /// For each of them, whether it has been dealt with.
    done: Vec<bool>,
    plan: PlanStore,
    completions: Vec<Completion>,
}

impl Transmit {
    pub(crate) fn new(ring: Ring, options: TransmitOptions) -> Self {
        Self {
            ring,
            options,
            batch: Batch::with_capacity(BURST, BATCH_IOVECS),
            done: Vec::with_capacity(BURST),
            plan: PlanStore::default(),
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

    /// Moves frames until the ring is empty, the tap would block, or the budget is used up. An empty ring is left with
    /// kicks asked for if `arm` says so.
    pub(crate) fn run(&mut self, writer: &mut FrameWriter, arm: bool) -> Result<Progress, Halt> {
        let mut bytes = 0;
        let mut frames = 0;
        self.ring.suppress_kicks();
        loop {
            if self.batch.is_empty() && self.ring.pop_batch(&mut self.batch, BURST)? == 0 {
                if !arm {
                    return Ok(Progress::Idle);
                }
                if self.ring.arm_kicks()? {
                    continue;
                }
                return Ok(Progress::AwaitKick);
            }
            self.done.resize(self.batch.len(), false);
            let written = self.write_batch(writer, &mut bytes);
            frames += self.complete()?;
            if !written? {
                self.options.counters.transmit.blocked.add(1);
                return Ok(Progress::AwaitTap);
            }
            if frames >= FRAME_BUDGET || bytes >= BYTE_BUDGET {
                return Ok(Progress::More);
            }
        }
    }

    /// Deals with the chains of the batch that were not dealt with yet, except those of a super-frame that the kernel refuses, which are
    /// left for the next time. False if the tap would block.
    fn write_batch(&mut self, writer: &mut FrameWriter, bytes: &mut usize) -> Result<bool, Halt> {
        let Self { options, batch, done, .. } = self;
        let TransmitOptions { tap, counters, coalescing, header, tap_header, enabled, .. } = options;
        let counters = &counters.transmit;
        let least = *header + ETHERNET_HEADER;
        let most = *header + MAX_FRAME;
        let skip = *header - *tap_header;
        let mut coalescing = coalescing.as_mut().filter(|_| *enabled);
        let look = coalescing.as_mut().is_some_and(|coalescing| coalescing.begin(batch.len()));
        let mut plan = self.plan.plan(batch);
        // A batch holds BURST chains.
        for (position, (chain, done)) in (0..).zip(batch.chains().iter().zip(&mut *done)) {
            // A chain is at most 4 GiB long, and `usize` has 64 bits wherever taps do.
            let length = chain.bytes as usize;
            if *done {
                continue;
            }
            if !*enabled {
                counters.dropped_disabled.add(1);
                *done = true;
            } else if !(least..=most).contains(&length) {
                counters.dropped_size.add(1);
                *done = true;
            } else if let Some(coalescing) = coalescing.as_mut().filter(|_| look) {
                coalescing.push(batch, position, chain);
            } else {
                plan.push_chain(position, skip);
            }
            *bytes += length;
        }
        if let Some(coalescing) = coalescing.as_mut().filter(|_| look) {
            // Where a write may have to wait, what is written must be what comes first in the ring.
            coalescing.plan(&mut plan, || !matches!(tap.send_buffer_limit(), Ok(None)));
        }
        let mut halt = None;
        let mut refused = false;
        let chains = batch.chains();
        let complete = writer.write(tap, &plan, |frame, outcome| {
            let members = plan.members(frame);
            let mut failure = None;
            match outcome {
                Ok(_) => {}
                // These say something about the tap and about guest memory, not about the frame.
                Err(errno @ Errno::BADFD) => {
                    halt.get_or_insert(Halt::Tap(errno));
                    return;
                }
                Err(Errno::FAULT) => {
                    counters.dropped_error.add(1);
                    halt.get_or_insert(Halt::Ring(ring::Error::MemoryTruncated));
                    return;
                }
                // What was made here is refused, and not what the driver made: its frames are written one by one, next.
                Err(Errno::INVAL) if members.len() > 1 => {
                    refused = true;
                    return;
                }
                Err(errno) => failure = Some(errno),
            }
            if members.len() > 1 && failure.is_none() {
                counters.super_frames.add(1);
                counters.coalesced_frames.add(members.len() as u64);
            }
            for &position in members {
                let position = usize::from(position);
                done[position] = true;
                match failure {
                    None => {
                        counters.frames.add(1);
                        counters.bytes.add(chains[position].bytes - *header as u64);
                    }
                    Some(Errno::INVAL) if plan.has_too_many_pieces(frame) => counters.dropped_size.add(1),
                    Some(errno) => count_failure(counters, errno),
                }
            }
        });
        if let Some(coalescing) = coalescing.filter(|_| refused) {
            coalescing.refuse();
        }
        halt.map_or(Ok(complete), Err)
    }

    /// Gives the driver back what was dealt with, as far as nothing before it waits, and tells it if it wants to know. The
    /// answer is how many chains that were.
    fn complete(&mut self) -> Result<usize, ring::Error> {
        let count = self.done.iter().position(|done| !done).unwrap_or(self.done.len());
        if count > 0 {
            self.completions.clear();
            self.completions.extend(self.batch.chains()[..count].iter().map(|chain| chain.completion(0)));
            self.batch.remove_front(count);
            self.done.drain(..count);
            self.ring.complete_batch(&self.completions)?;
            if self.ring.must_notify() {
                self.options.notifier.notify(&self.options.counters.transmit.calls);
            }
        }
        Ok(count)
    }

    /// Goes on in another memory table. Chains that wait for the tap are popped again.
    pub(crate) fn update_memory(&mut self, memory: &GuestMemory) -> Result<(), ring::Error> {
        self.batch.clear();
        self.done.clear();
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
