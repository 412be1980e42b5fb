//! Where the headers of a super-frame are.

use mqtap::VnetHeader;
use mqtap::vnet_header::Gso;

use super::super::checksum::Sum;
use super::super::headers::{
    ETHERTYPE_IPV6, Headers, Network, Transport, get_u16, ipv4, ipv6, network_header, tcp, udp,
};
use super::MAX_HEAD;

/// Where the headers of a super-frame are, in bytes from the beginning of the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) network: Network,
    pub(super) transport: Transport,
    pub(super) network_at: usize,
    pub(super) transport_at: usize,
    pub(super) payload_at: usize,
}

impl Layout {
    pub(super) fn find(frame: &[u8], header: &VnetHeader) -> Option<Self> {
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

    /// The sum of the pseudo header without the length. A partial checksum holds it, with the length that the kernel takes out again as
    /// well; the addresses in the header need not be those that it sums (a routing header of IPv6 has another destination).
    pub(super) fn pseudo_sum(&self, frame: &[u8], header: &VnetHeader) -> Option<Sum> {
        if !is_partial(header) {
            let addresses = match self.network {
                Network::V4 => self.network_at + ipv4::ADDRESSES..self.network_at + ipv4::HEADER,
                Network::V6 => self.network_at + ipv6::ADDRESSES..self.network_at + ipv6::HEADER,
            };
            return Some(Sum::pseudo_header(frame.get(addresses)?, self.transport.protocol(), 0));
        }
        let length = match self.transport {
            // Frames are shorter than 4 GiB.
            Transport::Tcp => (frame.len() - self.transport_at) as u32,
            Transport::Udp => u32::from(get_u16(frame, self.transport_at + udp::LENGTH)?),
        };
        let mut sum = Sum::default();
        sum.add_word(get_u16(frame, self.transport_at + self.transport.checksum())?);
        sum.remove_word((length >> 16) as u16);
        sum.remove_word(length as u16);
        Some(sum)
    }
}

fn is_partial(header: &VnetHeader) -> bool {
    header.flags & VnetHeader::NEEDS_CSUM != 0
}
