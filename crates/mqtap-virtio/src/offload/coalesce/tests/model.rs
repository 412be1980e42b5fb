//! The kernel, as far as it matters here: what a frame is on a wire behind the tap.

use mqtap::{VnetHeader, VnetHeaderSize};

use super::super::super::headers::{
    Headers, Network, Transport, get_u16, get_u32, ipv4, ipv6, put_u16, put_u32, tcp, udp,
};
use super::super::super::testing::sum;

/// Frames on the wire.
pub(super) fn wire(packet: &[u8]) -> Vec<Vec<u8>> {
    let header = VnetHeader::from_bytes(packet, VnetHeaderSize::Modern12).unwrap();
    let frame = &packet[12..];
    if header.gso_type == VnetHeader::GSO_NONE {
        let mut frame = frame.to_vec();
        if header.flags & VnetHeader::NEEDS_CSUM != 0 {
            complete(&mut frame, &header);
        }
        return vec![frame];
    }
    segment(frame, &header)
}

/// `skb_checksum_help` (net/core/dev.c).
fn complete(frame: &mut [u8], header: &VnetHeader) {
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    if at + 2 <= frame.len() {
        let value = !sum(&frame[start..]);
        put_u16(frame, at, if value == 0 { 0xffff } else { value }).unwrap();
    }
}

/// `inet_gso_segment`, `ipv6_gso_segment`, `tcp_gso_segment`, `__udp_gso_segment`.
fn segment(frame: &[u8], header: &VnetHeader) -> Vec<Vec<u8>> {
    assert_eq!(header.flags, VnetHeader::NEEDS_CSUM);
    let headers = Headers::parse(frame).unwrap();
    let gso_type = match (headers.network(), headers.transport()) {
        (Network::V4, Transport::Tcp) => VnetHeader::GSO_TCPV4,
        (Network::V6, Transport::Tcp) => VnetHeader::GSO_TCPV6,
        (_, Transport::Udp) => VnetHeader::GSO_UDP_L4,
    };
    assert_eq!(header.gso_type, gso_type);
    assert_eq!(usize::from(header.hdr_len), headers.payload_at());
    assert_eq!(usize::from(header.csum_start), headers.transport_at());
    assert_eq!(usize::from(header.csum_offset), headers.transport().checksum());
    assert_eq!(headers.end(), frame.len());
    let (head, payload) = frame.split_at(headers.payload_at());
    let size = usize::from(header.gso_size);
    assert!(payload.len() > size, "one segment is not a super-frame");
    assert!(payload.len() <= 64 * size);
    let (network_at, transport_at) = (headers.network_at(), headers.transport_at());
    if headers.network() == Network::V4 {
        assert_eq!(sum(&frame[network_at..transport_at]), 0xffff, "ip_rcv checks this");
    }
    let old_length = headers.transport_len();
    let count = payload.len().div_ceil(size);
    let mut segments = Vec::new();
    for (number, part) in payload.chunks(size).enumerate() {
        let mut segment = [head, part].concat();
        let length = segment.len() - transport_at;
        if headers.network() == Network::V4 {
            let ip = &mut segment[network_at..transport_at];
            put_u16(ip, ipv4::TOTAL_LENGTH, (ip.len() + length) as u16).unwrap();
            let id = get_u16(ip, ipv4::ID).unwrap().wrapping_add(number as u16);
            put_u16(ip, ipv4::ID, id).unwrap();
            put_u16(ip, ipv4::CHECKSUM, 0).unwrap();
            let value = !sum(ip);
            put_u16(ip, ipv4::CHECKSUM, value).unwrap();
        } else {
            put_u16(&mut segment, network_at + ipv6::PAYLOAD_LENGTH, length as u16).unwrap();
        }
        let transport = &mut segment[transport_at..];
        if headers.transport() == Transport::Tcp {
            let sequence = get_u32(transport, tcp::SEQUENCE).unwrap();
            put_u32(transport, tcp::SEQUENCE, sequence.wrapping_add((number * size) as u32)).unwrap();
            if number + 1 < count {
                transport[tcp::FLAGS] &= !(tcp::FIN | tcp::PSH);
            }
        } else {
            put_u16(transport, udp::LENGTH, length as u16).unwrap();
        }
        let at = headers.transport().checksum();
        let partial = get_u16(transport, at).unwrap();
        let delta = sum(&[(length as u16).to_be_bytes(), (!(old_length as u16)).to_be_bytes()].concat());
        let partial = sum(&[partial.to_be_bytes(), delta.to_be_bytes()].concat());
        put_u16(transport, at, partial).unwrap();
        let value = match (!sum(transport), headers.transport()) {
            (0, Transport::Udp) => 0xffff,
            (value, _) => value,
        };
        put_u16(transport, at, value).unwrap();
        segments.push(segment);
    }
    segments
}
