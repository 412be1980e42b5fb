//! Frames with numbers in them, one after the other.

use super::shape::{Protocol, Shape};
use crate::frames::{ETHERNET_HEADER, partial};
use crate::header::VirtioNetHeader;

/// Bytes of a number: magic, flow, sequence number in the flow.
pub const STAMP: usize = 4 + 4 + 8;
/// Begins every number.
pub(super) const MAGIC: [u8; 4] = *b"mqLd";

/// Offsets behind the virtio header and the Ethernet header.
const IP: usize = VirtioNetHeader::SIZE + ETHERNET_HEADER;
const IP_IDENTIFICATION: usize = IP + 4;
const IP_CHECKSUM: usize = IP + 10;
const TRANSPORT: usize = IP + 20;

/// Numbers frames of one [`Shape`]: the k-th belongs to flow k modulo [`Shape::flows`]. Within a flow, IPv4
/// identifications and TCP sequence numbers go on as a sending kernel's do.
#[derive(Clone, Debug)]
pub struct Generator {
    shape: Shape,
    /// Virtio header and frame, as last stamped.
    bytes: Vec<u8>,
    /// Where the payload begins in them.
    payload: usize,
    /// Sums of the header and of the segment with nothing in the fields that change.
    ip_sum: u32,
    transport_sum: Option<u32>,
    first_flow: u16,
    flow: u16,
    /// Frames of each flow so far.
    round: u64,
}

impl Generator {
    /// Begins with frame 0 of flow 0.
    #[must_use]
    pub fn new(shape: Shape) -> Generator {
        let chunk = shape.chunk();
        let payload: Vec<u8> = (0..shape.payload()).map(|at| pattern(at % chunk)).collect();
        let mut frame = shape.frame(&payload);
        let header = if shape.partial_checksum { partial(&mut frame, shape.segment) } else { None };
        let mut bytes = header.unwrap_or_default().to_bytes().to_vec();
        bytes.extend_from_slice(&frame);
        let payload = VirtioNetHeader::SIZE + shape.headers();
        let mut generator = Generator {
            shape,
            bytes,
            payload,
            ip_sum: 0,
            transport_sum: None,
            first_flow: 0,
            flow: 0,
            round: 0,
        };
        generator.remember_sums();
        generator
    }

    /// Begins with another flow, so that several generators have flows of their own.
    #[must_use]
    pub fn from_flow(self, first_flow: u16) -> Generator {
        Generator { first_flow, ..self }
    }

    fn checksum_offset(&self) -> usize {
        TRANSPORT + if self.shape.protocol == Protocol::Udp { 6 } else { 16 }
    }

    /// The checksum that is there, less what is in the fields that change: [`Generator::stamp`] adds that again.
    fn remember_sums(&mut self) {
        self.ip_sum = sum_without(&self.bytes, IP_CHECKSUM, &[IP_IDENTIFICATION]);
        if !self.shape.partial_checksum {
            let mut fields = vec![TRANSPORT];
            if self.shape.protocol == Protocol::Tcp {
                fields.extend([TRANSPORT + 4, TRANSPORT + 6]);
            }
            fields.extend((0..STAMP / 2).map(|word| self.payload + 2 * word));
            self.transport_sum = Some(sum_without(&self.bytes, self.checksum_offset(), &fields));
        }
    }

    /// What the frames look like.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of virtio header and headers and first number: all that differs between the frames, unless they are
    /// super-frames.
    #[must_use]
    pub fn head_length(&self) -> usize {
        self.payload + STAMP
    }

    /// The frame last numbered, behind its virtio header.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the numbers of a super-frame's further segments are, in [`Generator::frame`].
    pub fn further_stamps(&self) -> impl Iterator<Item = usize> + use<> {
        (self.payload..self.bytes.len()).step_by(self.shape.chunk()).skip(1)
    }

    /// Numbers the next frame.
    pub fn stamp(&mut self) {
        let flow = self.first_flow.wrapping_add(self.flow);
        let first = self.round * self.shape.chunks();
        self.flow += 1;
        if self.flow == self.shape.flows {
            self.flow = 0;
            self.round += 1;
        }
        let identification = first as u16;
        self.put(IP_IDENTIFICATION, identification.to_be_bytes());
        self.put(IP_CHECKSUM, (!fold(self.ip_sum + u32::from(identification))).to_be_bytes());
        let port = self.shape.from.port().wrapping_add(flow);
        self.put(TRANSPORT, port.to_be_bytes());
        let mut number = [0; STAMP];
        number[..4].copy_from_slice(&MAGIC);
        number[4..8].copy_from_slice(&u32::from(flow).to_be_bytes());
        number[8..].copy_from_slice(&first.to_be_bytes());
        self.put(self.payload, number);
        let sequence = (first as u32).wrapping_mul(self.shape.chunk() as u32);
        if self.shape.protocol == Protocol::Tcp {
            self.put(TRANSPORT + 4, sequence.to_be_bytes());
        }
        if let Some(sum) = self.transport_sum {
            let mut sum = sum + u32::from(port) + words(&number);
            if self.shape.protocol == Protocol::Tcp {
                sum += words(&sequence.to_be_bytes());
            }
            let checksum = match !fold(sum) {
                0 if self.shape.protocol == Protocol::Udp => 0xffff,
                checksum => checksum,
            };
            self.put(self.checksum_offset(), checksum.to_be_bytes());
        }
        if self.shape.chunks() > 1 {
            for (at, sequence) in self.further_stamps().zip(first + 1..) {
                self.put(at, number);
                self.put(at + 8, sequence.to_be_bytes());
            }
        }
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.bytes[at..at + N].copy_from_slice(&bytes);
    }
}

/// What a payload has at offset `at` behind its number.
pub(super) fn pattern(at: usize) -> u8 {
    (at as u8).wrapping_mul(31).wrapping_add(7)
}

/// The sum that the checksum at `checksum` covers, without these 16-bit fields.
fn sum_without(bytes: &[u8], checksum: usize, fields: &[usize]) -> u32 {
    let there = !u16::from_be_bytes([bytes[checksum], bytes[checksum + 1]]);
    fields.iter().fold(u32::from(there), |sum, &at| {
        // Adding the complement is to subtract, in one's complement.
        sum + u32::from(!u16::from_be_bytes([bytes[at], bytes[at + 1]]))
    })
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
