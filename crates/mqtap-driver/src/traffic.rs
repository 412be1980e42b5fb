//! UDP traffic that can be verified: a source of numbered flows, and a sink that knows what is missing.

use std::collections::HashMap;

use crate::frames::{Path, udp};

/// Begins every numbered payload.
const MAGIC: [u8; 4] = *b"mqTP";
/// Magic, flow, sequence number.
const NUMBERED: usize = 4 + 4 + 8;
/// First source port of the flows.
const FIRST_PORT: u16 = 10000;

/// Makes the frames of a number of UDP flows, which differ in their source port, in turn.
#[derive(Clone, Debug)]
pub struct Source {
    path: Path,
    port: u16,
    payload: usize,
    next: Vec<u64>,
    turn: usize,
}

impl Source {
    /// `flows` flows to `port`; each frame has `size` bytes in all, or as few as the headers and the number take.
    #[must_use]
    pub fn new(path: Path, port: u16, flows: u16, size: usize) -> Source {
        let empty = udp(path, (0, 0), &[]).len();
        let payload = size.saturating_sub(empty).max(NUMBERED);
        Source { path, port, payload, next: vec![0; flows.max(1).into()], turn: 0 }
    }

    /// The next frame, and the flow it belongs to.
    pub fn next_frame(&mut self) -> (u16, Vec<u8>) {
        let flow = self.turn;
        self.turn = (self.turn + 1) % self.next.len();
        let sequence = self.next[flow];
        self.next[flow] += 1;
        let flow = flow as u16;
        let payload = numbered(flow.into(), sequence, self.payload);
        (flow, udp(self.path, (FIRST_PORT.wrapping_add(flow), self.port), &payload))
    }
}

/// The payload with this number: magic, flow, sequence, then bytes that depend on all of them.
#[must_use]
pub fn numbered(flow: u32, sequence: u64, length: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(length.max(NUMBERED));
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&flow.to_be_bytes());
    payload.extend_from_slice(&sequence.to_be_bytes());
    let seed = flow.wrapping_mul(31).wrapping_add(sequence as u32);
    payload.extend((NUMBERED..length).map(|i| seed.wrapping_add(i as u32) as u8));
    payload
}

/// What a [`Sink`] has seen.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct SinkCounters {
    /// Numbered payloads.
    pub received: u64,
    /// Numbers below one that came earlier in the same flow: reordered or repeated.
    pub out_of_order: u64,
    /// Numbers that have been skipped and did not come later.
    pub missing: u64,
    /// Payloads whose bytes do not match their number.
    pub corrupt: u64,
    /// Payloads that carry no number.
    pub unnumbered: u64,
}

/// Takes numbered payloads, of any number of flows, and checks them.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    counters: SinkCounters,
    /// For each flow, the number expected next.
    next: HashMap<u32, u64>,
}

impl Sink {
    /// What has been seen.
    #[must_use]
    pub fn counters(&self) -> SinkCounters {
        self.counters
    }

    /// Takes the payload of one datagram.
    pub fn accept(&mut self, payload: &[u8]) {
        let Some((flow, sequence)) = number_of(payload) else {
            self.counters.unnumbered += 1;
            return;
        };
        self.counters.received += 1;
        if numbered(flow, sequence, payload.len()) != payload {
            self.counters.corrupt += 1;
            return;
        }
        let next = self.next.entry(flow).or_insert(0);
        if sequence < *next {
            // Late is not lost, unless it is here for the second time, which costs nothing to forgive.
            self.counters.out_of_order += 1;
            self.counters.missing = self.counters.missing.saturating_sub(1);
        } else {
            self.counters.missing += sequence - *next;
            *next = sequence + 1;
        }
    }
}

fn number_of(payload: &[u8]) -> Option<(u32, u64)> {
    let rest = payload.strip_prefix(&MAGIC)?;
    let (flow, rest) = rest.split_first_chunk::<4>()?;
    let (sequence, _) = rest.split_first_chunk::<8>()?;
    Some((u32::from_be_bytes(*flow), u64::from_be_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::frames::{Addresses, Payload, parse};

    fn payloads(flows: u16, count: usize) -> Vec<Vec<u8>> {
        let addresses = Addresses::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let path = Path { source_mac: [2; 6], destination_mac: [4; 6], addresses };
        let mut source = Source::new(path, 9, flows, 100);
        (0..count)
            .map(|i| {
                let (flow, frame) = source.next_frame();
                assert_eq!(usize::from(flow), i % usize::from(flows));
                assert_eq!(frame.len(), 100);
                match parse(&frame).unwrap().payload {
                    Payload::Udp(udp) => {
                        assert_eq!(udp.source_port, FIRST_PORT + flow);
                        udp.payload
                    }
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    #[test]
    fn a_whole_stream_is_whole() {
        let mut sink = Sink::default();
        payloads(3, 30).iter().for_each(|p| sink.accept(p));
        assert_eq!(sink.counters(), SinkCounters { received: 30, ..SinkCounters::default() });
    }

    #[test]
    fn loss_reordering_and_corruption_are_told_apart() {
        let mut stream = payloads(1, 10);
        stream.remove(3);
        stream.swap(5, 6);
        stream[8][20] ^= 1;
        stream.push(b"something else".to_vec());
        let mut sink = Sink::default();
        stream.iter().for_each(|p| sink.accept(p));
        let expected = SinkCounters { received: 9, out_of_order: 1, missing: 1, corrupt: 1, unnumbered: 1 };
        assert_eq!(sink.counters(), expected);
    }
}
