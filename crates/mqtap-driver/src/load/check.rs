//! Knows the numbers of a [`super::Generator`] again.

use std::ops::Sub;

use super::generate::{MAGIC, STAMP, pattern};
use crate::frames::{ETHERNET_HEADER, protocol_number};
use crate::header::{GSO_NONE, VirtioNetHeader};

/// What a [`Checker`] has seen.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckCounters {
    /// Numbered payloads: a super-frame has several.
    pub payloads: u64,
    /// Numbers below one that came earlier in the same flow.
    pub out_of_order: u64,
    /// Numbers that were skipped.
    pub missing: u64,
    /// Payloads whose bytes are not what they were.
    pub corrupt: u64,
    /// Frames without a number.
    pub others: u64,
}

/// What has been seen since an earlier moment.
impl Sub for CheckCounters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            payloads: self.payloads - earlier.payloads,
            out_of_order: self.out_of_order - earlier.out_of_order,
            missing: self.missing - earlier.missing,
            corrupt: self.corrupt - earlier.corrupt,
            others: self.others - earlier.others,
        }
    }
}

/// Checks numbered payloads, of flows as many as there may be.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    counters: CheckCounters,
    /// For each flow, the number expected next.
    next: Vec<u64>,
}

/// Where the payload of a frame begins, counted from its virtio header; at its end, if it is no UDP or TCP over IPv4. The
/// header's own `hdr_len` is of no use: the kernel says there how much of the frame lies in one piece.
fn payload_at(bytes: &[u8]) -> usize {
    const IP: usize = VirtioNetHeader::SIZE + ETHERNET_HEADER;
    match (bytes.get(IP), bytes.get(IP + 9)) {
        (Some(0x45), Some(&protocol_number::UDP)) => IP + 20 + 8,
        (Some(0x45), Some(&protocol_number::TCP)) => IP + 20 + 20,
        _ => bytes.len(),
    }
}

/// Segments of a super-frame with its virtio header; 1 of any other frame.
#[must_use]
pub fn segments_of(frame: &[u8]) -> u64 {
    match VirtioNetHeader::from_bytes(frame) {
        Some(header) if header.gso_type != GSO_NONE && header.gso_size > 0 => {
            frame.len().saturating_sub(payload_at(frame)).div_ceil(header.gso_size.into()) as u64
        }
        _ => 1,
    }
}

impl Checker {
    /// What has been seen.
    #[must_use]
    pub fn counters(&self) -> CheckCounters {
        self.counters
    }

    /// Takes the payload of one datagram or segment.
    pub fn payload(&mut self, payload: &[u8]) {
        self.number(payload);
        let behind = payload.iter().enumerate().skip(STAMP);
        // One look at the end: this is the fast path, and a mismatch the exception.
        self.counters.corrupt +=
            u64::from(behind.fold(0, |wrong, (at, byte)| wrong | (byte ^ pattern(at))) != 0);
    }

    /// Looks at the number only.
    fn number(&mut self, payload: &[u8]) {
        let number = payload.strip_prefix(&MAGIC).and_then(|rest| {
            let (flow, rest) = rest.split_first_chunk::<4>()?;
            let (sequence, _) = rest.split_first_chunk::<8>()?;
            Some((u32::from_be_bytes(*flow) as usize, u64::from_be_bytes(*sequence)))
        });
        let Some((flow, sequence)) = number.filter(|(flow, _)| *flow <= usize::from(u16::MAX)) else {
            self.counters.others += 1;
            return;
        };
        self.counters.payloads += 1;
        if flow >= self.next.len() {
            self.next.resize(flow + 1, 0);
        }
        let next = &mut self.next[flow];
        if sequence < *next {
            self.counters.out_of_order += 1;
        } else {
            self.counters.missing += sequence - *next;
            *next = sequence + 1;
        }
    }

    /// Takes a frame behind its virtio header, or as much of it as there is. `whole` checks every byte and every
    /// segment, else it is the first number only. Returns how many numbered payloads it carries.
    pub fn frame(&mut self, bytes: &[u8], length: usize, whole: bool) -> u64 {
        let header = VirtioNetHeader::from_bytes(bytes);
        let start = payload_at(bytes);
        let (Some(header), Some(payload)) = (header, bytes.get(start..).filter(|bytes| !bytes.is_empty()))
        else {
            self.counters.others += 1;
            return 0;
        };
        let others = self.counters.others;
        let total = length - start.min(length);
        let chunk = if header.gso_type == GSO_NONE { total } else { usize::from(header.gso_size) }.max(1);
        if whole {
            payload.chunks(chunk).for_each(|payload| self.payload(payload));
        } else {
            self.number(payload);
            // The segments behind the first belong to it.
            let further = (total.div_ceil(chunk) as u64).saturating_sub(1);
            if self.counters.others == others {
                self.counters.payloads += further;
                self.skip(payload, further);
            }
        }
        if self.counters.others == others { total.div_ceil(chunk) as u64 } else { 0 }
    }

    /// Takes `further` payloads of the flow that `payload` is of as seen.
    fn skip(&mut self, payload: &[u8], further: u64) {
        if let Some(flow) = payload.get(MAGIC.len()..).and_then(|rest| rest.first_chunk::<4>())
            && let Some(next) = self.next.get_mut(u32::from_be_bytes(*flow) as usize)
        {
            *next += further;
        }
    }

    /// Forgets what the flows have come to, as after frames lost on purpose.
    pub fn reset(&mut self) {
        *self = Checker::default();
    }
}
