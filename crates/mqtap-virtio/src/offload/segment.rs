//! One super-frame taken apart into frames, for a driver that does not take it whole.
//!
//! The frames are those that the kernel makes of it where a device cannot segment (net/ipv4/tcp_offload.c:
//! `tcp_gso_segment`; udp_offload.c: `__udp_gso_segment`; af_inet.c: `inet_gso_segment`; net/ipv6/ip6_offload.c:
//! `ipv6_gso_segment`; Linux 6.18), byte for byte.
//!
//! ```
//! use mqtap::VnetHeader;
//! use mqtap_virtio::offload::segment::{Checksums, Segments};
//!
//! # fn demo(frame: &mut [u8], header: &VnetHeader) -> Option<()> {
//! let mut segments = Segments::new(frame, header, Checksums::Complete)?;
//! while let Some(segment) = segments.next_in_place(frame) {
//!     let frame_without_offload = &frame[segment];
//! }
//! # Some(()) }
//! ```

mod layout;
#[cfg(test)]
mod tests;

use std::ops::Range;

use mqtap::VnetHeader;

use super::checksum::Sum;
use super::headers::{MAX_HEADERS, Network, Transport, get_u16, get_u32, ipv4, ipv6, tcp, udp};
use layout::Layout;

/// The longest headers of a super-frame that is segmented, in bytes: the longest that are understood, with room
/// for extension headers of IPv6.
pub const MAX_HEAD: usize = 384;
const _: () = assert!(MAX_HEAD > MAX_HEADERS + ipv6::HEADER);

/// What becomes of the checksums of TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// They stay partial: whoever gets the frames completes them, or believes them.
    Partial,
    /// They are made.
    Complete,
}

/// Bytes in which a segment's headers differ from those of the super-frame, in pieces of four.
///
/// A piece is written and read as one number: a processor does not pass on to a wide load what narrow stores have just
/// written, and waits until they, and all stores before them, are in the cache.
#[derive(Clone, Debug, Default)]
struct Changes {
    pieces: [(u16, u32); MAX_CHANGES],
    count: usize,
}

/// IPv4: length and identification, checksum. TCP: sequence number, flags, checksum.
const MAX_CHANGES: usize = 5;

impl Changes {
    #[inline]
    fn push(&mut self, at: usize, first: u16, second: u16) {
        // All of them are in the first bytes of a frame, and there are no more than the array has.
        self.pieces[self.count] = (at as u16, u32::from(first) << 16 | u32::from(second));
        self.count += 1;
    }
}

/// A super-frame on its way to be frames.
#[derive(Clone, Debug)]
pub struct Segments {
    layout: Layout,
    checksums: Checksums,
    head: [u8; MAX_HEAD],
    changes: Changes,
    /// Payload of a segment that is not the last, in bytes.
    size: usize,
    /// Where the payload of the next segment begins.
    at: usize,
    /// Length of the super-frame.
    end: usize,
    /// IPv4: the identification of the next segment.
    id: u16,
    /// TCP: the sequence number of the next segment.
    sequence: u32,
    /// What does not change, and shares four bytes with something that does. IPv4: time to live and protocol. IPv6: next header
    /// and hop limit.
    network_word: u16,
    /// TCP: data offset and flags of the super-frame, window, urgent pointer.
    flags: u16,
    window: u16,
    urgent: u16,
    /// Sums of what does not change: of the IPv4 header; of the pseudo header; of that and the TCP or UDP header.
    network_sum: Sum,
    pseudo_sum: Sum,
    transport_sum: Sum,
}

impl Segments {
    /// Begins to segment `frame`, which comes with `header` (and without it: at the Ethernet header).
    ///
    /// `None` for what is not a super-frame of TCP or UDP segments, for headers that are not understood, contradict each
    /// other or `header`, or are longer than [`MAX_HEAD`], and where there is no payload.
    #[must_use]
    pub fn new(frame: &[u8], header: &VnetHeader, checksums: Checksums) -> Option<Self> {
        let layout = Layout::find(frame, header)?;
        let size = usize::from(header.gso_size);
        if size == 0 || frame.len() <= layout.payload_at {
            return None;
        }
        let mut head = [0; MAX_HEAD];
        head[..layout.payload_at].copy_from_slice(&frame[..layout.payload_at]);
        let mut segments = Self {
            layout,
            checksums,
            head,
            changes: Changes::default(),
            size,
            at: layout.payload_at,
            end: frame.len(),
            id: 0,
            sequence: 0,
            network_word: 0,
            flags: 0,
            window: 0,
            urgent: 0,
            network_sum: Sum::default(),
            pseudo_sum: layout.pseudo_sum(frame, header)?,
            transport_sum: Sum::default(),
        };
        segments.find_constants()?;
        Some(segments)
    }

    /// Takes what does not change out of the headers.
    fn find_constants(&mut self) -> Option<()> {
        let Layout { network, transport, network_at, transport_at, payload_at } = self.layout;
        let head = &self.head[..payload_at];
        // The sums of all, without the words that change.
        let without = |range: Range<usize>, fields: &[usize]| {
            let mut sum = Sum::of(head.get(range)?);
            fields.iter().try_for_each(|&at| get_u16(head, at).map(|word| sum.remove_word(word)))?;
            Some(sum)
        };
        match network {
            Network::V4 => {
                self.id = get_u16(head, network_at + ipv4::ID)?;
                self.network_word = get_u16(head, network_at + ipv4::TTL)?;
                let changing = [ipv4::TOTAL_LENGTH, ipv4::ID, ipv4::CHECKSUM].map(|field| network_at + field);
                self.network_sum = without(network_at..transport_at, &changing)?;
            }
            Network::V6 => self.network_word = get_u16(head, network_at + ipv6::NEXT_HEADER)?,
        }
        let field = |field| get_u16(head, transport_at + field);
        let changing: &[usize] = match transport {
            Transport::Tcp => {
                self.sequence = get_u32(head, transport_at + tcp::SEQUENCE)?;
                self.flags = field(tcp::DATA_OFFSET)?;
                self.window = field(tcp::WINDOW)?;
                self.urgent = field(tcp::URGENT)?;
                &[tcp::SEQUENCE, tcp::SEQUENCE + 2, tcp::DATA_OFFSET, tcp::CHECKSUM]
            }
            Transport::Udp => &[udp::LENGTH, udp::CHECKSUM],
        };
        let mut places = [0; 4];
        places.iter_mut().zip(changing).for_each(|(place, field)| *place = transport_at + field);
        self.transport_sum = self.pseudo_sum;
        self.transport_sum.append(without(transport_at..payload_at, &places[..changing.len()])?);
        Some(())
    }

    /// Whether no segment is to come.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// How many segments are to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        (self.end - self.at).div_ceil(self.size)
    }

    /// Bytes of the next segment, headers included.
    #[inline]
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.layout.payload_at + self.size.min(self.end - self.at)
    }

    /// The headers of the super-frame.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head[..self.layout.payload_at]
    }

    /// What stands in front of each segment: whether its checksum is partial, and where it is.
    #[must_use]
    pub fn vnet_header(&self) -> VnetHeader {
        match self.checksums {
            Checksums::Complete => VnetHeader::default(),
            // Both are in the first bytes of a frame.
            Checksums::Partial => VnetHeader {
                flags: VnetHeader::NEEDS_CSUM,
                csum_start: self.layout.transport_at as u16,
                csum_offset: self.layout.transport.checksum() as u16,
                ..VnetHeader::default()
            },
        }
    }

    /// How the headers of the segment that [`next`](Self::next) gave last differ from [`head`](Self::head): where, in
    /// bytes from the beginning of the frame, and what is there instead.
    #[inline]
    pub fn changes(&self) -> impl Iterator<Item = (usize, [u8; 4])> {
        let pieces = self.changes.pieces[..self.changes.count].iter();
        pieces.map(|&(at, piece)| (usize::from(at), piece.to_be_bytes()))
    }

    /// Goes on to the next segment of `frame`, which is the super-frame: what is to come must be as it was. Returns
    /// where its payload is.
    #[inline]
    pub fn next(&mut self, frame: &[u8]) -> Option<Range<usize>> {
        let payload = self.at..self.end.min(self.at + self.size);
        if payload.is_empty() {
            return None;
        }
        let first = payload.start == self.layout.payload_at;
        let last = payload.end == self.end;
        // The super-frame had headers of the same length and more payload, and a length of 16 bits.
        let from_network = (self.layout.payload_at - self.layout.network_at + payload.len()) as u16;
        let from_transport = (self.layout.payload_at - self.layout.transport_at + payload.len()) as u16;
        self.changes.count = 0;
        self.change_network(from_network);
        let bytes = match self.checksums {
            Checksums::Partial => None,
            Checksums::Complete => Some(frame.get(payload.clone())?),
        };
        match self.layout.transport {
            Transport::Tcp => self.change_tcp(from_transport, first, last, bytes),
            Transport::Udp => self.change_udp(from_transport, bytes),
        }
        self.at = payload.end;
        Some(payload)
    }

    /// As [`next`](Self::next), and writes the headers in front of the payload, over payload of segments that came before:
    /// where the whole segment is in `frame`.
    pub fn next_in_place(&mut self, frame: &mut [u8]) -> Option<Range<usize>> {
        let payload = self.next(frame)?;
        // Headers were in front of the payload of the first segment, and that of others lies further behind.
        let start = payload.start - self.layout.payload_at;
        let head = &mut frame[start..payload.start];
        head.copy_from_slice(self.head());
        for (at, piece) in self.changes() {
            head.get_mut(at..at + piece.len())?.copy_from_slice(&piece);
        }
        Some(start..payload.end)
    }

    #[inline]
    fn change_network(&mut self, length: u16) {
        let at = self.layout.network_at;
        match self.layout.network {
            Network::V4 => {
                let mut sum = self.network_sum;
                sum.add_word(length);
                sum.add_word(self.id);
                self.changes.push(at + ipv4::TOTAL_LENGTH, length, self.id);
                self.changes.push(at + ipv4::TTL, self.network_word, sum.checksum());
                self.id = self.id.wrapping_add(1);
            }
            Network::V6 => {
                let length = length.wrapping_sub(ipv6::HEADER as u16);
                self.changes.push(at + ipv6::PAYLOAD_LENGTH, length, self.network_word);
            }
        }
    }

    /// `payload` for a complete checksum.
    #[inline]
    fn change_tcp(&mut self, length: u16, first: bool, last: bool, payload: Option<&[u8]>) {
        let at = self.layout.transport_at;
        let mut flags = self.flags;
        if !last {
            flags &= !u16::from(tcp::FIN | tcp::PSH);
        }
        if !first {
            flags &= !u16::from(tcp::CWR);
        }
        let sequence = ((self.sequence >> 16) as u16, self.sequence as u16);
        self.changes.push(at + tcp::SEQUENCE, sequence.0, sequence.1);
        self.changes.push(at + tcp::DATA_OFFSET, flags, self.window);
        let checksum = match payload {
            Some(payload) => {
                let mut sum = self.transport_sum;
                for word in [length, sequence.0, sequence.1, flags] {
                    sum.add_word(word);
                }
                sum.add(payload);
                sum.checksum()
            }
            None => self.partial_checksum(length),
        };
        self.changes.push(at + tcp::CHECKSUM, checksum, self.urgent);
        // Below 2^16.
        self.sequence = self.sequence.wrapping_add(self.size as u32);
    }

    /// `payload` for a complete checksum.
    #[inline]
    fn change_udp(&mut self, length: u16, payload: Option<&[u8]>) {
        let checksum = match payload {
            Some(payload) => {
                let mut sum = self.transport_sum;
                sum.add_word(length);
                sum.add_word(length);
                sum.add(payload);
                sum.udp_checksum()
            }
            None => self.partial_checksum(length),
        };
        self.changes.push(self.layout.transport_at + udp::LENGTH, length, checksum);
    }

    #[inline]
    fn partial_checksum(&self, length: u16) -> u16 {
        let mut sum = self.pseudo_sum;
        sum.add_word(length);
        sum.fold()
    }
}
