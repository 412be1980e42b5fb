//! Frames from their parts.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::{checksum, pseudo_header};
use super::{
    Addresses, BROADCAST, ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac, Path, Tcp,
    protocol_number,
};
use crate::header::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VirtioNetHeader};

fn ethernet(destination: Mac, source: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1514);
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

fn arp(to: Mac, operation: u16, source: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(to, source.0, ETHERTYPE_ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(&operation.to_be_bytes());
    for (mac, address) in [source, target] {
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&address.octets());
    }
    frame
}

/// Who has `wanted`? Tell `source`.
#[must_use]
pub fn arp_request(source: (Mac, Ipv4Addr), wanted: Ipv4Addr) -> Vec<u8> {
    arp(BROADCAST, 1, source, ([0; 6], wanted))
}

/// `source` has it, `target`.
#[must_use]
pub fn arp_reply(source: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    arp(target.0, 2, source, target)
}

/// Ethernet and IP headers in front of a transport header and its payload.
fn ip(path: Path, protocol: u8, transport: &[u8]) -> Vec<u8> {
    match path.addresses {
        Addresses::V4(source, destination) => {
            let mut frame = ethernet(path.destination_mac, path.source_mac, ETHERTYPE_IPV4);
            let length = (20 + transport.len()) as u16;
            frame.extend_from_slice(&[0x45, 0]);
            frame.extend_from_slice(&length.to_be_bytes());
            // Identification 0, do not fragment.
            frame.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&destination.octets());
            let sum = checksum(0, &frame[ETHERNET_HEADER..]);
            frame[ETHERNET_HEADER + 10..ETHERNET_HEADER + 12].copy_from_slice(&sum.to_be_bytes());
            frame.extend_from_slice(transport);
            frame
        }
        Addresses::V6(source, destination) => {
            let mut frame = ethernet(path.destination_mac, path.source_mac, ETHERTYPE_IPV6);
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&(transport.len() as u16).to_be_bytes());
            frame.extend_from_slice(&[protocol, 64]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&destination.octets());
            frame.extend_from_slice(transport);
            frame
        }
    }
}

fn with_checksum(path: Path, protocol: u8, mut transport: Vec<u8>, at: usize) -> Vec<u8> {
    let pseudo = pseudo_header(path.addresses, protocol, transport.len());
    let sum = checksum(pseudo, &transport);
    let sum = if sum == 0 && protocol == protocol_number::UDP { 0xffff } else { sum };
    transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    ip(path, protocol, &transport)
}

/// A UDP datagram.
#[must_use]
pub fn udp(path: Path, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut transport = Vec::with_capacity(8 + payload.len());
    transport.extend_from_slice(&ports.0.to_be_bytes());
    transport.extend_from_slice(&ports.1.to_be_bytes());
    transport.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
    transport.extend_from_slice(&[0, 0]);
    transport.extend_from_slice(payload);
    with_checksum(path, protocol_number::UDP, transport, 6)
}

/// A TCP segment without options. `segment.payload` is what it carries.
#[must_use]
pub fn tcp(path: Path, segment: &Tcp) -> Vec<u8> {
    let mut transport = Vec::with_capacity(20 + segment.payload.len());
    transport.extend_from_slice(&segment.source_port.to_be_bytes());
    transport.extend_from_slice(&segment.destination_port.to_be_bytes());
    transport.extend_from_slice(&segment.sequence.to_be_bytes());
    transport.extend_from_slice(&segment.acknowledgement.to_be_bytes());
    transport.extend_from_slice(&[0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    transport.extend_from_slice(&segment.payload);
    with_checksum(path, protocol_number::TCP, transport, 16)
}

/// An ICMP or ICMPv6 echo request or reply.
#[must_use]
pub fn icmp_echo(path: Path, request: bool, identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let v4 = matches!(path.addresses, Addresses::V4(..));
    let kind = match (v4, request) {
        (true, true) => 8,
        (true, false) => 0,
        (false, true) => 128,
        (false, false) => 129,
    };
    let mut transport = vec![kind, 0, 0, 0];
    transport.extend_from_slice(&identifier.to_be_bytes());
    transport.extend_from_slice(&sequence.to_be_bytes());
    transport.extend_from_slice(data);
    if v4 {
        // No pseudo header in ICMP for IPv4.
        let sum = checksum(0, &transport);
        transport[2..4].copy_from_slice(&sum.to_be_bytes());
        ip(path, protocol_number::ICMP, &transport)
    } else {
        with_checksum(path, protocol_number::ICMPV6, transport, 2)
    }
}

/// `source` has its address, `asker` (RFC 4861, 4.4).
#[must_use]
pub fn neighbour_advertisement(source: (Mac, Ipv6Addr), asker: (Mac, Ipv6Addr)) -> Vec<u8> {
    // Solicited and override.
    let mut transport = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    transport.extend_from_slice(&source.1.octets());
    // Option: target link-layer address, one unit of eight bytes.
    transport.extend_from_slice(&[2, 1]);
    transport.extend_from_slice(&source.0);
    let path =
        Path { source_mac: source.0, destination_mac: asker.0, addresses: Addresses::V6(source.1, asker.1) };
    let mut frame = with_checksum(path, protocol_number::ICMPV6, transport, 2);
    // Neighbours drop advertisements that could have crossed a router.
    frame[ETHERNET_HEADER + 7] = 255;
    frame
}

/// Makes the checksum of a UDP or TCP frame partial, and returns the header that asks the device to complete it; with
/// `segment`, also to cut the payload into pieces of so many bytes. `None` if the frame is neither UDP nor TCP.
pub fn partial(frame: &mut [u8], segment: Option<u16>) -> Option<VirtioNetHeader> {
    let parsed = super::parse(frame)?;
    let addresses = parsed.addresses?;
    let v4 = matches!(addresses, Addresses::V4(..));
    let start = ETHERNET_HEADER + if v4 { 20 } else { 40 };
    let (protocol, offset, header, gso) = match parsed.payload {
        super::Payload::Udp(_) => (protocol_number::UDP, 6, 8, GSO_UDP_L4),
        super::Payload::Tcp(_) if v4 => (protocol_number::TCP, 16, 20, GSO_TCPV4),
        super::Payload::Tcp(_) => (protocol_number::TCP, 16, 20, GSO_TCPV6),
        _ => return None,
    };
    let sum = pseudo_header(addresses, protocol, frame.len() - start);
    frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    Some(VirtioNetHeader {
        flags: NEEDS_CSUM,
        gso_type: if segment.is_some() { gso } else { GSO_NONE },
        hdr_len: (start + header) as u16,
        gso_size: segment.unwrap_or(0),
        csum_start: start as u16,
        csum_offset: offset as u16,
        num_buffers: 0,
    })
}
