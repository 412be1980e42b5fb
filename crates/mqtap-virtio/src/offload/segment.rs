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

#[cfg(test)]
mod tests;

use std::ops::Range;

use mqtap::VnetHeader;
use mqtap::vnet_header::Gso;

use super::checksum::Sum;
use super::headers::{
    ETHERTYPE_IPV6, Headers, MAX_HEADERS, Network, Transport, get_u16, get_u32, ipv4, ipv6, network_header,
    put_u16, put_u32, tcp, udp,
};

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

/// Where the headers of a super-frame are, in bytes from the beginning of the frame.
#[derive(Clone, Copy, Debug)]
struct Layout {
    network: Network,
    transport: Transport,
    network_at: usize,
    transport_at: usize,
    payload_at: usize,
}

impl Layout {
    fn find(frame: &[u8], header: &VnetHeader) -> Option<Self> {
        let found = Headers::parse(frame).map(|headers| Self {
            network: headers.network(),
            transport: headers.transport(),
            network_at: headers.network_at(),
            transport_at: headers.transport_at(),
            payload_at: headers.payload_at(),
        });
        let layout = found.or_else(|| Self::behind_extension_headers(frame, header))?;
        let kind = match header.gso().ok()? {
            Gso::TcpV4 => (Network::V4, Transport::Tcp),
            Gso::TcpV6 => (Network::V6, Transport::Tcp),
            Gso::UdpL4 => (layout.network, Transport::Udp),
            Gso::None | Gso::Udp => return None,
        };
        let tunnel = header.gso_type & (VnetHeader::GSO_UDP_TUNNEL_IPV4 | VnetHeader::GSO_UDP_TUNNEL_IPV6);
        let fits = !is_partial(header)
            || (usize::from(header.csum_start) == layout.transport_at
                && usize::from(header.csum_offset) == layout.transport.checksum());
        (kind == (layout.network, layout.transport)
            && tunnel == 0
            && fits
            && layout.payload_at <= MAX_HEAD.min(frame.len()))
        .then_some(layout)
    }

    /// Whoever left the checksum partial says where the transport header is: what lies between it and the IPv6 header is copied
    /// as it is.
    fn behind_extension_headers(frame: &[u8], header: &VnetHeader) -> Option<Self> {
        let (ethertype, network_at) = network_header(frame)?;
        let transport_at = usize::from(header.csum_start);
        let is_ipv6 = ethertype == ETHERTYPE_IPV6 && frame.get(network_at)? >> 4 == 6;
        if !is_ipv6 || !is_partial(header) || transport_at < network_at + ipv6::HEADER {
            return None;
        }
        let (transport, length) = match header.gso().ok()? {
            Gso::TcpV6 => (Transport::Tcp, usize::from(frame.get(transport_at + tcp::DATA_OFFSET)? >> 4) * 4),
            Gso::UdpL4 => (Transport::Udp, udp::HEADER),
            Gso::None | Gso::TcpV4 | Gso::Udp => return None,
        };
        let shortest = if transport == Transport::Tcp { tcp::HEADER } else { udp::HEADER };
        let payload_at = transport_at + length;
        (length >= shortest).then_some(Self {
            network: Network::V6,
            transport,
            network_at,
            transport_at,
            payload_at,
        })
    }
}

/// A super-frame on its way to be frames: which segment comes next, and the headers of the last one that came.
#[derive(Clone, Debug)]
pub struct Segments {
    layout: Layout,
    checksums: Checksums,
    /// Headers, those of a segment from the first [`next`](Self::next) on.
    head: [u8; MAX_HEAD],
    /// Payload of a segment that is not the last, in bytes.
    size: usize,
    /// Where the payload of the next segment begins.
    at: usize,
    /// Length of the super-frame.
    end: usize,
    /// IPv4: the identification of the next segment.
    id: u16,
    /// TCP: the sequence number of the next segment, and the flags of the super-frame.
    sequence: u32,
    flags: u8,
    /// What does not change from segment to segment: of the IPv4 header; of the pseudo header; of that and the TCP
    /// or UDP header.
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
            size,
            at: layout.payload_at,
            end: frame.len(),
            id: get_u16(frame, layout.network_at + ipv4::ID)?,
            sequence: 0,
            flags: 0,
            network_sum: Sum::default(),
            pseudo_sum: pseudo_sum(frame, header, layout)?,
            transport_sum: Sum::default(),
        };
        segments.sum_constants(frame)?;
        Some(segments)
    }

    /// Sums the headers without the fields that change, which are zero in `head` from then on.
    fn sum_constants(&mut self, frame: &[u8]) -> Option<()> {
        let Layout { network, transport, network_at, transport_at, payload_at } = self.layout;
        let head = &mut self.head;
        if network == Network::V4 {
            for field in [ipv4::TOTAL_LENGTH, ipv4::ID, ipv4::CHECKSUM] {
                put_u16(head, network_at + field, 0)?;
            }
            self.network_sum = Sum::of(&head[network_at..transport_at]);
        }
        put_u16(head, transport_at + transport.checksum(), 0)?;
        match transport {
            Transport::Tcp => {
                self.sequence = get_u32(frame, transport_at + tcp::SEQUENCE)?;
                self.flags = *frame.get(transport_at + tcp::FLAGS)?;
                put_u32(head, transport_at + tcp::SEQUENCE, 0)?;
                *head.get_mut(transport_at + tcp::FLAGS)? = 0;
            }
            Transport::Udp => put_u16(head, transport_at + udp::LENGTH, 0)?,
        }
        self.transport_sum = self.pseudo_sum;
        self.transport_sum.add(&head[transport_at..payload_at]);
        Some(())
    }

    /// How many segments are to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        (self.end - self.at).div_ceil(self.size)
    }

    /// The headers of the segment that [`next`](Self::next) gave last.
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

    /// Goes on to the next segment: where its payload is in `frame`, which is the super-frame, of which what is to come is as it was.
    /// Its headers are in [`head`](Self::head).
    #[inline]
    pub fn next(&mut self, frame: &[u8]) -> Option<Range<usize>> {
        let payload = self.at..self.end.min(self.at + self.size);
        if payload.is_empty() {
            return None;
        }
        let first = payload.start == self.layout.payload_at;
        let last = payload.end == self.end;
        // The super-frame had headers of the same length and more payload, and a length of 16 bits.
        let behind_network = (self.layout.payload_at - self.layout.network_at + payload.len()) as u16;
        let behind_transport = (self.layout.payload_at - self.layout.transport_at + payload.len()) as u16;
        self.write_network(behind_network)?;
        let mut sum = self.write_transport(behind_transport, first, last)?;
        let checksum = match (self.checksums, self.layout.transport) {
            (Checksums::Partial, _) => {
                let mut sum = self.pseudo_sum;
                sum.add_word(behind_transport);
                sum.fold()
            }
            (Checksums::Complete, transport) => {
                sum.add(frame.get(payload.clone())?);
                if transport == Transport::Udp { sum.udp_checksum() } else { sum.checksum() }
            }
        };
        put_u16(&mut self.head, self.layout.transport_at + self.layout.transport.checksum(), checksum)?;
        self.at = payload.end;
        Some(payload)
    }

    /// As [`next`](Self::next), and writes the headers in front of the payload, over payload of segments that came before:
    /// where the whole segment is in `frame`.
    #[inline]
    pub fn next_in_place(&mut self, frame: &mut [u8]) -> Option<Range<usize>> {
        let payload = self.next(frame)?;
        // Headers were in front of the payload of the first segment, and that of others lies further behind.
        let start = payload.start - self.layout.payload_at;
        frame[start..payload.start].copy_from_slice(self.head());
        Some(start..payload.end)
    }

    #[inline]
    fn write_network(&mut self, length: u16) -> Option<()> {
        let at = self.layout.network_at;
        match self.layout.network {
            Network::V4 => {
                let mut sum = self.network_sum;
                sum.add_word(length);
                sum.add_word(self.id);
                put_u16(&mut self.head, at + ipv4::TOTAL_LENGTH, length)?;
                put_u16(&mut self.head, at + ipv4::ID, self.id)?;
                self.id = self.id.wrapping_add(1);
                put_u16(&mut self.head, at + ipv4::CHECKSUM, sum.checksum())
            }
            Network::V6 => {
                put_u16(&mut self.head, at + ipv6::PAYLOAD_LENGTH, length.wrapping_sub(ipv6::HEADER as u16))
            }
        }
    }

    /// Returns the sum of the pseudo header and this one.
    #[inline]
    fn write_transport(&mut self, length: u16, first: bool, last: bool) -> Option<Sum> {
        let at = self.layout.transport_at;
        let mut sum = self.transport_sum;
        sum.add_word(length);
        match self.layout.transport {
            Transport::Tcp => {
                let mut flags = self.flags;
                if !last {
                    flags &= !(tcp::FIN | tcp::PSH);
                }
                if !first {
                    flags &= !tcp::CWR;
                }
                put_u32(&mut self.head, at + tcp::SEQUENCE, self.sequence)?;
                *self.head.get_mut(at + tcp::FLAGS)? = flags;
                sum.add_word((self.sequence >> 16) as u16);
                sum.add_word(self.sequence as u16);
                sum.add_word(u16::from(flags));
                // Below 2^16.
                self.sequence = self.sequence.wrapping_add(self.size as u32);
            }
            Transport::Udp => {
                put_u16(&mut self.head, at + udp::LENGTH, length)?;
                sum.add_word(length);
            }
        }
        Some(sum)
    }
}

/// The sum of the pseudo header without the length. A partial checksum holds it, with the length that the kernel takes out again as
/// well; the addresses in the header need not be those that it sums (a routing header of IPv6 has another destination).
fn pseudo_sum(frame: &[u8], header: &VnetHeader, layout: Layout) -> Option<Sum> {
    if !is_partial(header) {
        let addresses = match layout.network {
            Network::V4 => layout.network_at + ipv4::ADDRESSES..layout.network_at + ipv4::HEADER,
            Network::V6 => layout.network_at + ipv6::ADDRESSES..layout.network_at + ipv6::HEADER,
        };
        return Some(Sum::pseudo_header(frame.get(addresses)?, layout.transport.protocol(), 0));
    }
    let length = match layout.transport {
        // Frames are shorter than 4 GiB.
        Transport::Tcp => (frame.len() - layout.transport_at) as u32,
        Transport::Udp => u32::from(get_u16(frame, layout.transport_at + udp::LENGTH)?),
    };
    let mut sum = Sum::default();
    sum.add_word(get_u16(frame, layout.transport_at + layout.transport.checksum())?);
    sum.remove_word((length >> 16) as u16);
    sum.remove_word(length as u16);
    Some(sum)
}

fn is_partial(header: &VnetHeader) -> bool {
    header.flags & VnetHeader::NEEDS_CSUM != 0
}
