//! Numbered frames out of a receive ring, checked as they come.

use std::time::{Duration, Instant};

use super::check::Checker;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::header::VirtioNetHeader;
use crate::receive::Receiver;
use crate::ring::{Buffer, Used};

/// Of so many frames, one is checked whole; of the others, the first number.
const WHOLE: u64 = 16;
/// Headers and number of any frame.
const HEAD: usize = VirtioNetHeader::SIZE + 14 + 20 + 20 + super::STAMP;

/// Until when to collect.
#[derive(Copy, Clone, Debug)]
pub struct Limit {
    /// So many numbered payloads.
    pub payloads: u64,
    /// Or no frame for so long.
    pub patience: Duration,
}

/// Takes frames out of the receive rings of a driver, checks their numbers, and gives the buffers back at once.
#[derive(Debug, Default)]
pub struct Collector {
    checker: Checker,
    bytes: Vec<u8>,
    frames: u64,
    /// Check every byte of every frame.
    pub whole: bool,
    sleep: bool,
}

impl Collector {
    /// One that sleeps until the device calls, or one that looks again and again.
    #[must_use]
    pub fn new(sleep: bool) -> Collector {
        Collector { sleep, ..Collector::default() }
    }

    /// What has been seen.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// Forgets what has been seen.
    pub fn reset(&mut self) {
        self.checker.reset();
    }

    /// Collects on the active pairs until a limit is reached; returns how long it took from the first frame to the last.
    pub fn collect(&mut self, driver: &mut Driver, limit: Limit) -> Result<Duration> {
        let target = self.checker.counters().payloads + limit.payloads;
        let active = usize::from(driver.active_pairs());
        let mut first = None;
        let mut last = Instant::now();
        while self.checker.counters().payloads < target {
            let mut taken = 0;
            for pair in &mut driver.pairs_mut()[..active] {
                taken += self.drain(&mut pair.receiver)?;
            }
            if taken > 0 {
                last = Instant::now();
                first.get_or_insert(last);
            } else if last.elapsed() > limit.patience {
                break;
            } else if self.sleep && active == 1 {
                driver.wait(0, limit.patience.saturating_sub(last.elapsed()))?;
            } else {
                std::hint::spin_loop();
            }
        }
        Ok(first.map_or(Duration::ZERO, |first| last - first))
    }

    /// Takes the next frame of a ring, if there is one, behind its virtio header, and posts its buffers again.
    pub fn next(&mut self, receiver: &mut Receiver) -> Result<Option<&[u8]>> {
        let Some(used) = receiver.ring.reap()? else { return Ok(None) };
        self.frames = WHOLE - 1;
        self.take(receiver, used)?;
        receiver.post(usize::MAX)?;
        Ok(Some(&self.bytes))
    }

    /// Takes what there is in a ring and posts the buffers again; returns the number of frames.
    pub fn drain(&mut self, receiver: &mut Receiver) -> Result<u64> {
        let mut frames = 0;
        // A little at a time, so that the device gets buffers back before it runs out.
        for _ in 0..64 {
            let Some(used) = receiver.ring.reap()? else { break };
            self.take(receiver, used)?;
            frames += 1;
        }
        if frames > 0 {
            receiver.post(usize::MAX)?;
        }
        Ok(frames)
    }

    fn take(&mut self, receiver: &mut Receiver, used: Used) -> Result<()> {
        self.frames += 1;
        let whole = self.whole || self.frames.is_multiple_of(WHOLE);
        let mut length = used.written as usize;
        let first = receiver.give_back(used);
        self.bytes.clear();
        copy(receiver, first, length, if whole { usize::MAX } else { HEAD }, &mut self.bytes)?;
        let header = VirtioNetHeader::from_bytes(&self.bytes);
        let buffers = header.map_or(1, |header| header.num_buffers.max(1));
        for n in 1..buffers {
            let Some(used) = receiver.ring.reap()? else {
                let problem = format!("a frame in {buffers} buffers, and only {n} of them used");
                return Err(Error::DeviceBug { ring: receiver.index(), problem });
            };
            let chain = receiver.give_back(used);
            if whole {
                copy(receiver, chain, used.written as usize, usize::MAX, &mut self.bytes)?;
            }
            length += used.written as usize;
        }
        receiver.count(length.saturating_sub(VirtioNetHeader::SIZE), buffers);
        self.checker.frame(&self.bytes, length, whole);
        Ok(())
    }
}

/// Appends what the device wrote to a chain, `most` bytes of it.
fn copy(receiver: &Receiver, chain: usize, written: usize, most: usize, bytes: &mut Vec<u8>) -> Result<()> {
    let mut rest = written.min(most);
    for Buffer { at, len } in receiver.buffers(chain) {
        let length = rest.min(*len as usize);
        let from = bytes.len();
        bytes.resize(from + length, 0);
        receiver.memory().read(*at, &mut bytes[from..])?;
        rest -= length;
        if rest == 0 {
            break;
        }
    }
    Ok(())
}
