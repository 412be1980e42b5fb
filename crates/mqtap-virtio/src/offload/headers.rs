//! The protocol headers at the head of a frame: Ethernet, VLAN tags, IPv4 or IPv6, TCP or UDP.
//!
//! [`Headers::parse`] finds where they are; the modules [`ipv4`], [`ipv6`], [`tcp`] and [`udp`] have the places of
//! the fields in them; [`get_u16`] and its like read and write those.

#[cfg(test)]
mod tests;

/// Bytes of an Ethernet header without VLAN tags.
pub const ETHERNET_HEADER: usize = 14;
/// Bytes that a VLAN tag adds to it.
pub const VLAN_TAG: usize = 4;
/// The most VLAN tags that are looked behind.
pub const MAX_VLAN_TAGS: usize = 2;
/// `ETH_P_IP`.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_IPV6`.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `ETH_P_8021Q`: a VLAN tag follows.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// `ETH_P_8021AD`: a service VLAN tag follows.
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// `IPPROTO_TCP`.
pub const PROTOCOL_TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const PROTOCOL_UDP: u8 = 17;

/// The longest headers that are understood: two VLAN tags, IPv4 with all its options, TCP with all its options.
pub const MAX_HEADERS: usize = ETHERNET_HEADER + MAX_VLAN_TAGS * VLAN_TAG + 60 + 60;

/// Places of the fields of an IPv4 header (RFC 791, 3.1), in bytes from its beginning.
pub mod ipv4 {
    /// Bytes without options.
    pub const HEADER: usize = 20;
    /// Version (4) and length of the header in words of 4 bytes; 0x45 without options.
    pub const VERSION_IHL: usize = 0;
    /// Type of service: DSCP and ECN.
    pub const TOS: usize = 1;
    /// Bytes of the packet, header included.
    pub const TOTAL_LENGTH: usize = 2;
    /// Identification.
    pub const ID: usize = 4;
    /// Flags and fragment offset.
    pub const FLAGS: usize = 6;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Checksum of the header.
    pub const CHECKSUM: usize = 10;
    /// Source address; the destination follows.
    pub const ADDRESSES: usize = 12;
    /// "More fragments", and the offset: what only a fragment has.
    pub const FRAGMENT: u16 = 0x3fff;
}

/// Places of the fields of an IPv6 header (RFC 8200, 3), in bytes from its beginning.
pub mod ipv6 {
    /// Bytes without extension headers.
    pub const HEADER: usize = 40;
    /// Version (6), traffic class, flow label.
    pub const VERSION_CLASS_LABEL: usize = 0;
    /// Bytes of the packet behind this header.
    pub const PAYLOAD_LENGTH: usize = 4;
    /// What follows this header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address; the destination follows.
    pub const ADDRESSES: usize = 8;
}

/// Places of the fields of a TCP header (RFC 9293, 3.1), in bytes from its beginning.
pub mod tcp {
    /// Bytes without options.
    pub const HEADER: usize = 20;
    /// Source and destination port.
    pub const PORTS: usize = 0;
    /// Sequence number.
    pub const SEQUENCE: usize = 4;
    /// Acknowledgement number.
    pub const ACKNOWLEDGEMENT: usize = 8;
    /// In the high half, bytes of the header in words of 4.
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Window.
    pub const WINDOW: usize = 14;
    /// Checksum over pseudo header, header and payload.
    pub const CHECKSUM: usize = 16;
    /// Urgent pointer.
    pub const URGENT: usize = 18;

    /// Flag: no more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Flag: the beginning of a connection.
    pub const SYN: u8 = 0x02;
    /// Flag: the connection is reset.
    pub const RST: u8 = 0x04;
    /// Flag: push.
    pub const PSH: u8 = 0x08;
    /// Flag: the acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// Flag: the urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Flag: ECN echo.
    pub const ECE: u8 = 0x40;
    /// Flag: congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// Places of the fields of a UDP header (RFC 768), in bytes from its beginning.
pub mod udp {
    /// Bytes.
    pub const HEADER: usize = 8;
    /// Source and destination port.
    pub const PORTS: usize = 0;
    /// Bytes of header and payload.
    pub const LENGTH: usize = 4;
    /// Checksum over pseudo header, header and payload; 0: there is none.
    pub const CHECKSUM: usize = 6;
}

/// Which Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// IPv4, perhaps with options.
    V4,
    /// IPv6 without extension headers.
    V6,
}

/// Which transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, perhaps with options.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its number in IP headers.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    /// Where its checksum is, in bytes from the beginning of its header: the `csum_offset` of a virtio-net header.
    #[must_use]
    pub const fn checksum(self) -> usize {
        match self {
            Self::Tcp => tcp::CHECKSUM,
            Self::Udp => udp::CHECKSUM,
        }
    }
}

/// Where the headers of a TCP or UDP frame are. All places are in bytes from the beginning of the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    network: Network,
    transport: Transport,
    network_at: u8,
    transport_at: u8,
    payload_at: u8,
    end: u32,
}

impl Headers {
    /// Finds the headers at the beginning of `head`: a whole frame or as much of one as holds its headers
    /// ([`MAX_HEADERS`] always do), from the Ethernet header on.
    ///
    /// `None` for what is not TCP or UDP, directly behind IPv4 or IPv6, behind two VLAN tags at most; for fragments,
    /// IPv6 extension headers and jumbograms; and where the headers contradict each other or go on beyond `head`. Sums are not checked, nor
    /// whether the frame is as long as the IP header says: see [`end`](Self::end).
    #[inline]
    #[must_use]
    pub fn parse(head: &[u8]) -> Option<Self> {
        let (ethertype, at) = network_header(head)?;
        match ethertype {
            ETHERTYPE_IPV4 => Self::parse_ipv4(head, at),
            ETHERTYPE_IPV6 => Self::parse_ipv6(head, at),
            _ => None,
        }
    }

    #[inline]
    fn parse_ipv4(head: &[u8], at: usize) -> Option<Self> {
        let ip: &[u8; ipv4::HEADER] = chunk(head, at)?;
        let length = usize::from(ip[ipv4::VERSION_IHL] & 0xf) * 4;
        let fragment = be16(ip[ipv4::FLAGS], ip[ipv4::FLAGS + 1]) & ipv4::FRAGMENT;
        if ip[ipv4::VERSION_IHL] >> 4 != 4 || length < ipv4::HEADER || fragment != 0 {
            return None;
        }
        let total = usize::from(be16(ip[ipv4::TOTAL_LENGTH], ip[ipv4::TOTAL_LENGTH + 1]));
        Self::parse_transport(head, Network::V4, ip[ipv4::PROTOCOL], at, at + length, at + total)
    }

    #[inline]
    fn parse_ipv6(head: &[u8], at: usize) -> Option<Self> {
        let ip: &[u8; ipv6::HEADER] = chunk(head, at)?;
        if ip[ipv6::VERSION_CLASS_LABEL] >> 4 != 6 {
            return None;
        }
        let payload = usize::from(be16(ip[ipv6::PAYLOAD_LENGTH], ip[ipv6::PAYLOAD_LENGTH + 1]));
        let transport_at = at + ipv6::HEADER;
        let protocol = ip[ipv6::NEXT_HEADER];
        Self::parse_transport(head, Network::V6, protocol, at, transport_at, transport_at + payload)
    }

    #[inline]
    fn parse_transport(
        head: &[u8],
        network: Network,
        protocol: u8,
        network_at: usize,
        transport_at: usize,
        end: usize,
    ) -> Option<Self> {
        let (transport, length) = match protocol {
            PROTOCOL_TCP => {
                let header: &[u8; tcp::HEADER] = chunk(head, transport_at)?;
                (Transport::Tcp, usize::from(header[tcp::DATA_OFFSET] >> 4) * 4)
            }
            PROTOCOL_UDP => (Transport::Udp, udp::HEADER),
            _ => return None,
        };
        let payload_at = transport_at + length;
        if payload_at > end || payload_at > head.len() {
            return None;
        }
        if transport == Transport::Tcp && length < tcp::HEADER {
            return None;
        }
        // At most `MAX_HEADERS`, which fits 8 bits; and a 16-bit length behind them.
        let (network_at, transport_at, payload_at) = (network_at as u8, transport_at as u8, payload_at as u8);
        Some(Self { network, transport, network_at, transport_at, payload_at, end: end as u32 })
    }

    /// IPv4 or IPv6.
    #[inline]
    #[must_use]
    pub const fn network(&self) -> Network {
        self.network
    }

    /// TCP or UDP.
    #[inline]
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the IP header begins.
    #[inline]
    #[must_use]
    pub const fn network_at(&self) -> usize {
        self.network_at as usize
    }

    /// Where the TCP or UDP header begins: the `csum_start` of a virtio-net header.
    #[inline]
    #[must_use]
    pub const fn transport_at(&self) -> usize {
        self.transport_at as usize
    }

    /// Where the payload begins, behind TCP's options: also the length of all headers.
    #[inline]
    #[must_use]
    pub const fn payload_at(&self) -> usize {
        self.payload_at as usize
    }

    /// Where the IP packet ends, by its own header. A frame may be longer (it is padded to 60 bytes on a wire) or
    /// shorter (it was cut off).
    #[inline]
    #[must_use]
    pub const fn end(&self) -> usize {
        self.end as usize
    }

    /// Bytes of payload, by the IP header.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.end() - self.payload_at()
    }

    /// Bytes of the TCP or UDP header and the payload, by the IP header: the length in the pseudo header.
    #[inline]
    #[must_use]
    pub const fn transport_len(&self) -> usize {
        self.end() - self.transport_at()
    }
}

/// Looks behind VLAN tags: the ethertype of what follows them, and where it begins. `None` behind more than
/// [`MAX_VLAN_TAGS`], or beyond the end.
#[inline]
#[must_use]
pub fn network_header(head: &[u8]) -> Option<(u16, usize)> {
    let mut at = ETHERNET_HEADER;
    let mut ethertype = get_u16(head, at - 2)?;
    while matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) {
        if at == ETHERNET_HEADER + MAX_VLAN_TAGS * VLAN_TAG {
            return None;
        }
        at += VLAN_TAG;
        ethertype = get_u16(head, at - 2)?;
    }
    Some((ethertype, at))
}

/// The `N` bytes from `at` on. `None` if there are fewer.
#[inline]
#[must_use]
pub fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Two bytes in network order. `None` beyond the end.
#[inline]
#[must_use]
pub fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    chunk(bytes, at).copied().map(u16::from_be_bytes)
}

/// Four bytes in network order. `None` beyond the end.
#[inline]
#[must_use]
pub fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    chunk(bytes, at).copied().map(u32::from_be_bytes)
}

/// Writes two bytes in network order. `None`, and nothing is written, beyond the end.
#[inline]
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

/// Writes four bytes in network order. `None`, and nothing is written, beyond the end.
#[inline]
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

#[inline]
const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
