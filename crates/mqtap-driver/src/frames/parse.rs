//! Parts from frames, with every checksum checked.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::{checksum, pseudo_header};
use super::{
    Addresses, ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_RARP, Mac, Path,
    protocol_number,
};

/// A frame taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Sender.
    pub source: Mac,
    /// Receiver.
    pub destination: Mac,
    /// What is inside.
    pub ethertype: u16,
    /// Who talks to whom, if it is IP.
    pub addresses: Option<Addresses>,
    /// The inside.
    pub payload: Payload,
    /// Whether every checksum in it is right. A partial checksum is not.
    pub checksums_good: bool,
}

impl Frame {
    /// The way the frame came, if it is IP.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        Some(Path { source_mac: self.source, destination_mac: self.destination, addresses: self.addresses? })
    }
}

/// What a frame carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload {
    /// ARP or RARP.
    Arp(Arp),
    /// UDP.
    Udp(Udp),
    /// TCP.
    Tcp(Tcp),
    /// An echo request or reply, of either family.
    Echo(Echo),
    /// An ICMPv6 neighbour solicitation for this address.
    NeighbourSolicitation(Ipv6Addr),
    /// Anything else.
    Other,
}

/// ARP or RARP for IPv4 on Ethernet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Arp {
    /// 1 request, 2 reply, 3 reverse request.
    pub operation: u16,
    /// Who sends it.
    pub sender: (Mac, Ipv4Addr),
    /// Whom it is about.
    pub target: (Mac, Ipv4Addr),
}

/// A UDP datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Udp {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A TCP segment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tcp {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from bit 0.
    pub flags: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// An ICMP echo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Echo {
    /// Request or reply.
    pub request: bool,
    /// Identifier.
    pub identifier: u16,
    /// Sequence number.
    pub sequence: u16,
    /// What is to be sent back.
    pub data: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    bytes.get(at..at + 6)?.try_into().ok()
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    long(bytes, at).map(Ipv4Addr::from)
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

/// Takes a frame apart. `None` if it is cut off.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Frame> {
    let mut frame = Frame {
        destination: mac(bytes, 0)?,
        source: mac(bytes, 6)?,
        ethertype: word(bytes, 12)?,
        addresses: None,
        payload: Payload::Other,
        checksums_good: true,
    };
    let rest = &bytes[ETHERNET_HEADER..];
    match frame.ethertype {
        ETHERTYPE_ARP | ETHERTYPE_RARP => {
            frame.payload = Payload::Arp(Arp {
                operation: word(rest, 6)?,
                sender: (mac(rest, 8)?, v4(rest, 14)?),
                target: (mac(rest, 18)?, v4(rest, 24)?),
            });
        }
        ETHERTYPE_IPV4 => {
            let header = usize::from(*rest.first()? & 0xf) * 4;
            let total = usize::from(word(rest, 2)?);
            frame.checksums_good = checksum(0, rest.get(..header)?) == 0;
            let addresses = Addresses::V4(v4(rest, 12)?, v4(rest, 16)?);
            frame.addresses = Some(addresses);
            // Short frames are padded: the length is the header's.
            let fragment = word(rest, 6)? & 0x3fff != 0;
            if !fragment {
                transport(&mut frame, addresses, *rest.get(9)?, rest.get(header..total)?)?;
            }
        }
        ETHERTYPE_IPV6 => {
            let length = usize::from(word(rest, 4)?);
            let addresses = Addresses::V6(v6(rest, 8)?, v6(rest, 24)?);
            frame.addresses = Some(addresses);
            transport(&mut frame, addresses, *rest.get(6)?, rest.get(40..40 + length)?)?;
        }
        _ => {}
    }
    Some(frame)
}

fn transport(frame: &mut Frame, addresses: Addresses, protocol: u8, bytes: &[u8]) -> Option<()> {
    let pseudo = pseudo_header(addresses, protocol, bytes.len());
    let mut good = checksum(pseudo, bytes) == 0;
    match protocol {
        protocol_number::UDP => {
            // 0 says that there is no checksum, which IPv4 allows.
            good |= word(bytes, 6)? == 0 && matches!(addresses, Addresses::V4(..));
            frame.payload = Payload::Udp(Udp {
                source_port: word(bytes, 0)?,
                destination_port: word(bytes, 2)?,
                payload: bytes.get(8..)?.to_vec(),
            });
        }
        protocol_number::TCP => {
            let header = usize::from(*bytes.get(12)? >> 4) * 4;
            frame.payload = Payload::Tcp(Tcp {
                source_port: word(bytes, 0)?,
                destination_port: word(bytes, 2)?,
                sequence: long(bytes, 4)?,
                acknowledgement: long(bytes, 8)?,
                flags: *bytes.get(13)?,
                payload: bytes.get(header..)?.to_vec(),
            });
        }
        protocol_number::ICMP | protocol_number::ICMPV6 => {
            if protocol == protocol_number::ICMP {
                good = checksum(0, bytes) == 0;
            }
            match (protocol, *bytes.first()?) {
                (protocol_number::ICMP, kind @ (0 | 8)) | (protocol_number::ICMPV6, kind @ (128 | 129)) => {
                    frame.payload = Payload::Echo(Echo {
                        request: matches!(kind, 8 | 128),
                        identifier: word(bytes, 4)?,
                        sequence: word(bytes, 6)?,
                        data: bytes.get(8..)?.to_vec(),
                    });
                }
                (protocol_number::ICMPV6, 135) => {
                    frame.payload = Payload::NeighbourSolicitation(v6(bytes, 8)?);
                }
                _ => {}
            }
        }
        _ => return Some(()),
    }
    frame.checksums_good &= good;
    Some(())
}
