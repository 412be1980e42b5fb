//! The head of a super-frame.

use mqtap::{VnetHeader, VnetHeaderSize};

use super::super::checksum::Sum;
use super::super::headers::{Network, Transport, ipv4, ipv6, put_u16, tcp, udp};
use super::{Group, HEAD};

/// Turns the head of the first member of a group into that of the super-frame: what the kernel's GRO makes of it (`inet_gro_complete`,
/// `ipv6_gro_complete`, `tcp_gro_complete`, `udp_gro_complete`), and in the virtio-net header what
/// `virtio_net_hdr_to_skb` wants to see (include/linux/virtio_net.h).
pub(super) fn write_head(head: &mut [u8; HEAD], size: VnetHeaderSize, group: &Group) -> Option<()> {
    let headers = group.headers?;
    let (network_at, transport_at) = (headers.network_at(), headers.transport_at());
    let payload = group.payload as usize;
    let transport_len = headers.payload_at() - transport_at + payload;
    let header = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: match (headers.transport(), headers.network()) {
            (Transport::Tcp, Network::V4) => VnetHeader::GSO_TCPV4,
            (Transport::Tcp, Network::V6) => VnetHeader::GSO_TCPV6,
            (Transport::Udp, _) => VnetHeader::GSO_UDP_L4,
        },
        // All below 65536: the packet is.
        hdr_len: headers.payload_at() as u16,
        gso_size: headers.payload_len() as u16,
        csum_start: transport_at as u16,
        csum_offset: headers.transport().checksum() as u16,
        num_buffers: 0,
    };
    let frame = header.write_to(head, size)?;
    let pseudo = |addresses: &[u8]| {
        Sum::pseudo_header(addresses, headers.transport().protocol(), transport_len as u32).fold()
    };
    let (ip, transport) = frame.get_mut(network_at..)?.split_at_mut_checked(transport_at - network_at)?;
    let pseudo = match headers.network() {
        Network::V4 => {
            put_u16(ip, ipv4::TOTAL_LENGTH, (ip.len() + transport_len) as u16)?;
            put_u16(ip, ipv4::CHECKSUM, 0)?;
            let checksum = Sum::of(ip).checksum();
            put_u16(ip, ipv4::CHECKSUM, checksum)?;
            pseudo(ip.get(ipv4::ADDRESSES..ipv4::HEADER)?)
        }
        Network::V6 => {
            put_u16(ip, ipv6::PAYLOAD_LENGTH, transport_len as u16)?;
            pseudo(ip.get(ipv6::ADDRESSES..ipv6::HEADER)?)
        }
    };
    match headers.transport() {
        Transport::Tcp => *transport.get_mut(tcp::FLAGS)? |= group.last_flags & (tcp::PSH | tcp::FIN),
        Transport::Udp => put_u16(transport, udp::LENGTH, transport_len as u16)?,
    }
    put_u16(transport, headers.transport().checksum(), pseudo)
}
