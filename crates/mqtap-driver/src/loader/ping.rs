//! Round trips: an echo request through the tap to the host's kernel, and its answer.

use std::time::{Duration, Instant};

use mqtap_driver::Error;
use mqtap_driver::load::{RoundTrips, echo_request, is_answer};
use serde_json::{Value, json};

use super::{BoxError, Loader, STUCK};

impl Loader {
    /// Sends requests one after the other on the first pair, and beside them `rate` frames a second.
    pub(super) fn ping(&mut self, count: u64, gap: Duration, rate: u64) -> Result<Value, BoxError> {
        let shape = self.echo;
        let mut times = RoundTrips::default();
        let mut load = Load { start: Instant::now(), rate, due: 0, sent: 0 };
        // What is left of earlier frames is no answer.
        while self.collector.next(&mut self.driver.pair(0).receiver)?.is_some() {}
        for number in 0..count {
            let sequence = number as u16;
            let request = echo_request(&shape, sequence);
            let sent = self.send_request(&request, &mut load)?;
            self.await_answer(sequence, sent, &mut load)?;
            let now = Instant::now();
            times.add(now - sent);
            while now.elapsed() < gap {
                load.go_on(self)?;
                std::hint::spin_loop();
            }
        }
        self.drain(super::SOON)?;
        let round_trips = times.count();
        let [p50, p99, p999] = times.quantiles().map(|time| time.as_nanos() as u64);
        Ok(json!({
            "ok": true,
            "wall_ns": load.start.elapsed().as_nanos() as u64,
            "round_trips": round_trips,
            "tx_frames": load.sent,
            "p50_ns": p50,
            "p99_ns": p99,
            "p99.9_ns": p999,
        }))
    }

    /// Sends a request as soon as the ring has room for it, and says when. The one before it may not have come back yet, though its
    /// answer has.
    fn send_request(&mut self, request: &[u8], load: &mut Load) -> Result<Instant, BoxError> {
        let begin = Instant::now();
        loop {
            let now = Instant::now();
            match self.senders[0].send_other(&mut self.driver, request) {
                Ok(()) => return Ok(now),
                Err(Error::Full) if begin.elapsed() < STUCK => load.go_on(self)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn await_answer(&mut self, sequence: u16, sent: Instant, load: &mut Load) -> Result<(), BoxError> {
        loop {
            if let Some(frame) = self.collector.next(&mut self.driver.pair(0).receiver)? {
                if is_answer(frame, sequence) {
                    return Ok(());
                }
                continue;
            }
            if sent.elapsed() > STUCK {
                return Err(format!("request {sequence} was not answered").into());
            }
            if self.sleep && load.rate == 0 {
                self.driver.wait(0, STUCK)?;
            } else {
                load.go_on(self)?;
                std::hint::spin_loop();
            }
        }
    }
}

/// Frames at a steady rate.
struct Load {
    start: Instant,
    rate: u64,
    /// Frames that should have been sent when last looked.
    due: u64,
    sent: u64,
}

impl Load {
    /// Sends what is due, when it is a burst. What finds no room is not made up for.
    fn go_on(&mut self, loader: &mut Loader) -> Result<(), BoxError> {
        let due = (self.start.elapsed().as_nanos() * u128::from(self.rate) / 1_000_000_000) as u64;
        if due >= self.due + loader.burst as u64 {
            self.due = due;
            self.sent += loader.senders[0].send(&mut loader.driver, loader.burst)? as u64;
        }
        Ok(())
    }
}
