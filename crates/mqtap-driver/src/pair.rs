//! One queue pair of the driver: receive ring 2i and transmit ring 2i + 1.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::events::wait_readable;
use crate::header::VirtioNetHeader;
use crate::receive::{ReceiveCounters, Received, Receiver};
use crate::transmit::{TransmitCounters, Transmitter};

/// How long a blocked wait sleeps at most before it looks again, when both sides poll.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// What a queue pair has done.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct PairCounters {
    /// Guest to tap.
    pub transmit: TransmitCounters,
    /// Tap to guest.
    pub receive: ReceiveCounters,
}

/// One queue pair. Pairs are independent of each other and can be moved to threads of their own.
#[derive(Debug)]
pub struct Pair {
    /// Ring 2i.
    pub receiver: Receiver,
    /// Ring 2i + 1.
    pub transmitter: Transmitter,
    polling: bool,
    /// Repost once this many chains have come back, so that posting costs little per frame.
    repost_at: usize,
}

impl Pair {
    pub(crate) fn new(receiver: Receiver, transmitter: Transmitter, polling: bool) -> Pair {
        let repost_at = usize::from(receiver.ring.layout().size / 4).max(1);
        Pair { receiver, transmitter, polling, repost_at }
    }

    /// What this pair has done so far.
    #[must_use]
    pub fn counters(&self) -> PairCounters {
        PairCounters { transmit: self.transmitter.counters(), receive: self.receiver.counters() }
    }

    /// Transmits one frame behind a header that asks for nothing.
    pub fn transmit(&mut self, frame: &[u8]) -> Result<()> {
        self.transmit_with_header(&VirtioNetHeader::default(), frame)
    }

    /// Transmits one frame. [`Error::Full`] says to wait; see [`Pair::transmit_waiting`].
    pub fn transmit_with_header(&mut self, header: &VirtioNetHeader, frame: &[u8]) -> Result<()> {
        self.transmitter.queue(header, frame)?;
        self.transmitter.flush()
    }

    /// Transmits as many of the frames as there is room for, with one index update and at most one kick. Returns how
    /// many.
    pub fn transmit_batch<F: AsRef<[u8]>>(&mut self, frames: &[F]) -> Result<usize> {
        let header = VirtioNetHeader::default();
        self.transmit_all(frames.iter().map(|frame| (&header, frame.as_ref())))
    }

    /// The same with a header for each frame.
    pub fn transmit_batch_with_headers(&mut self, frames: &[(VirtioNetHeader, Vec<u8>)]) -> Result<usize> {
        self.transmit_all(frames.iter().map(|(header, frame)| (header, &frame[..])))
    }

    fn transmit_all<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a VirtioNetHeader, &'a [u8])>,
    ) -> Result<usize> {
        let mut sent = 0;
        for (header, frame) in frames {
            match self.transmitter.queue(header, frame) {
                Ok(()) => sent += 1,
                Err(Error::Full) => break,
                Err(error) => {
                    self.transmitter.flush()?;
                    return Err(error);
                }
            }
        }
        if sent > 0 {
            self.transmitter.flush()?;
        }
        Ok(sent)
    }

    /// Transmits one frame, and waits for room as long as `timeout` allows: then [`Error::Full`].
    pub fn transmit_waiting(
        &mut self,
        header: &VirtioNetHeader,
        frame: &[u8],
        timeout: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.transmit_with_header(header, frame) {
                Err(Error::Full) => {}
                done => return done,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait_for_completions(left)? {
                return Err(Error::Full);
            }
        }
    }

    /// Waits until the device has given back everything transmitted. False if it does not in time.
    pub fn drain(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            self.transmitter.reap()?;
            if self.transmitter.in_flight() == 0 {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.wait_for_completions(left)?;
        }
    }

    /// Takes the next frame, if one has come, and keeps the ring filled.
    pub fn receive(&mut self) -> Result<Option<Received>> {
        let received = self.receiver.take()?;
        if received.is_none() || self.receiver.idle() >= self.repost_at {
            self.receiver.post(usize::MAX)?;
        }
        Ok(received)
    }

    /// Takes the next frame, and waits for it as long as `timeout` allows.
    pub fn receive_waiting(&mut self, timeout: Duration) -> Result<Option<Received>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(received) = self.receive()? {
                return Ok(Some(received));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left)?;
        }
    }

    /// Waits until a frame can be received. False if none comes in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.receiver.ring.arm_calls()? {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.receiver.ring.suppress_calls()?;
                return Ok(false);
            }
            let sleep = if self.polling { left.min(POLL_INTERVAL) } else { left };
            wait_readable(&[self.receiver.events.call_fd()], Some(sleep))?;
            self.receiver.events.take_calls()?;
        }
        self.receiver.ring.suppress_calls()?;
        Ok(true)
    }

    /// Waits until the device has given back a frame we have not reaped. False if it does not in time.
    pub fn wait_for_completions(&mut self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.transmitter.ring.arm_calls()? {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.transmitter.ring.suppress_calls()?;
                return Ok(false);
            }
            let sleep = if self.polling { left.min(POLL_INTERVAL) } else { left };
            wait_readable(&[self.transmitter.events.call_fd()], Some(sleep))?;
            self.transmitter.events.take_calls()?;
        }
        self.transmitter.ring.suppress_calls()?;
        Ok(true)
    }

    /// Asks to be called when a frame comes, for those who wait on [`crate::RingEvents::call_fd`] themselves. True if
    /// one has come already: then receive before sleeping.
    pub fn arm_receive(&mut self) -> Result<bool> {
        self.receiver.events.take_calls()?;
        self.receiver.ring.arm_calls()
    }

    /// Asks to be called when a frame comes back, for those who look after the eventfd themselves. True if one has come back
    /// already that was not reaped.
    pub fn arm_transmit(&mut self) -> Result<bool> {
        self.transmitter.ring.arm_calls()
    }
}
