//! Round trips: an echo request to the host's kernel, and its answer.

use std::time::Duration;

use super::shape::Shape;
use crate::frames::{self, Addresses, Path, Payload};
use crate::header::VirtioNetHeader;

/// Bytes of data in each request.
const DATA: [u8; 18] = [0; 18];

/// An echo request to the receiver of frames of this shape.
#[must_use]
pub fn echo_request(shape: &Shape, sequence: u16) -> Vec<u8> {
    let path = Path {
        source_mac: shape.source_mac,
        destination_mac: shape.destination_mac,
        addresses: Addresses::V4(*shape.from.ip(), *shape.to.ip()),
    };
    frames::icmp_echo(path, true, 1, sequence, &DATA)
}

/// Whether a frame, behind its virtio header, answers the request of this number.
#[must_use]
pub fn is_answer(frame: &[u8], sequence: u16) -> bool {
    frame.get(VirtioNetHeader::SIZE..).and_then(frames::parse).is_some_and(
        |frame| matches!(&frame.payload, Payload::Echo(echo) if !echo.request && echo.sequence == sequence),
    )
}

/// How long round trips took.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips(Vec<Duration>);

impl RoundTrips {
    /// Takes down one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The times that half, 99 of 100 and 999 of 1000 stay below.
    #[must_use]
    pub fn quantiles(mut self) -> [Duration; 3] {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        [0.5, 0.99, 0.999].map(|part| {
            let at = ((self.0.len() as f64 * part) as usize).min(last);
            self.0.get(at).copied().unwrap_or_default()
        })
    }
}
