//! What the frames of a load look like.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use thiserror::Error;

use super::STAMP;
use crate::frames::{Addresses, ETHERNET_HEADER, Mac, Path, Tcp, tcp, udp};

/// The transport that carries the payload.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// UDP datagrams.
    Udp,
    /// TCP segments of an established connection, sequence numbers on end.
    Tcp,
}

/// What the frames of a load look like: all are the same but for their numbers.
///
/// As text: `udp,size=60,flows=64,checksum=partial,mac=02:00:00:00:00:01,from=10.0.0.2:10000,to=10.0.0.1:9`; what is
/// left out is as [`Shape::default`] has it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Shape {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Bytes of a frame from the Ethernet header on. Super-frames are rounded down to whole segments.
    pub size: usize,
    /// Flows, which differ in their source port, in turn.
    pub flows: u16,
    /// Leave the transport checksum to the device (`NEEDS_CSUM`).
    pub partial_checksum: bool,
    /// Make super-frames with this many bytes of payload in each segment; needs a partial checksum.
    pub segment: Option<u16>,
    /// Sender's Ethernet address.
    pub source_mac: Mac,
    /// Receiver's Ethernet address.
    pub destination_mac: Mac,
    /// Sender, with the port of the first flow.
    pub from: SocketAddrV4,
    /// Receiver.
    pub to: SocketAddrV4,
}

/// As many flows as there are source ports above the first: within a ring, no two frames are of one flow.
const DISTINCT: u16 = 32768;

impl Default for Shape {
    fn default() -> Self {
        Shape {
            protocol: Protocol::Udp,
            size: 60,
            flows: 1,
            partial_checksum: false,
            segment: None,
            source_mac: [0x02, 0, 0, 0, 0, 0x02],
            destination_mac: [0x02, 0, 0, 0, 0, 0x01],
            from: SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 10000),
            to: SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 9),
        }
    }
}

/// Why a text is no [`Shape`].
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is no part of a shape: {1}")]
pub struct ParseShapeError(String, &'static str);

impl FromStr for Shape {
    type Err = ParseShapeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut shape = Shape::default();
        for part in text.split(',') {
            shape.apply(part).map_err(|why| ParseShapeError(part.to_owned(), why))?;
        }
        if shape.segment.is_some() && !shape.partial_checksum {
            return Err(ParseShapeError(text.to_owned(), "super-frames need checksum=partial"));
        }
        if shape.size < shape.headers() + STAMP {
            return Err(ParseShapeError(text.to_owned(), "the frames have no room for headers and a number"));
        }
        if shape.size > 65535 + ETHERNET_HEADER {
            return Err(ParseShapeError(text.to_owned(), "an IPv4 packet has at most 65535 bytes"));
        }
        if shape.segment.is_some_and(|bytes| usize::from(bytes) < STAMP) {
            return Err(ParseShapeError(text.to_owned(), "segments have no room for a number"));
        }
        if shape.from.port().checked_add(shape.flows).is_none() {
            return Err(ParseShapeError(text.to_owned(), "there are not that many source ports"));
        }
        Ok(shape)
    }
}

impl Shape {
    fn apply(&mut self, part: &str) -> Result<(), &'static str> {
        let number = "expected a number";
        match part.split_once('=') {
            None if part == "udp" => self.protocol = Protocol::Udp,
            None if part == "tcp" => self.protocol = Protocol::Tcp,
            Some(("size", bytes)) => self.size = bytes.parse().map_err(|_| number)?,
            Some(("flows", "distinct")) => self.flows = DISTINCT,
            Some(("flows", count)) => {
                self.flows = count.parse().ok().filter(|count| *count > 0).ok_or("expected 1 or more")?;
            }
            Some(("checksum", "complete")) => self.partial_checksum = false,
            Some(("checksum", "partial")) => self.partial_checksum = true,
            Some(("segment", bytes)) => self.segment = Some(bytes.parse().map_err(|_| number)?),
            Some(("mac", mac)) => self.destination_mac = parse_mac(mac)?,
            Some(("source-mac", mac)) => self.source_mac = parse_mac(mac)?,
            Some(("from", address)) => self.from = address.parse().map_err(|_| "expected ADDRESS:PORT")?,
            Some(("to", address)) => self.to = address.parse().map_err(|_| "expected ADDRESS:PORT")?,
            _ => return Err("see Shape for what there is"),
        }
        Ok(())
    }

    /// Bytes of all headers, from the Ethernet header on.
    pub(super) fn headers(&self) -> usize {
        ETHERNET_HEADER + 20 + if self.protocol == Protocol::Udp { 8 } else { 20 }
    }

    /// Bytes of the payload.
    pub(super) fn payload(&self) -> usize {
        let payload = self.size - self.headers();
        match self.segment {
            None => payload,
            Some(segment) => (payload / usize::from(segment)).max(1) * usize::from(segment),
        }
    }

    /// Bytes of payload that carry one number: a segment, or all there is.
    #[must_use]
    pub fn chunk(&self) -> usize {
        self.segment.map_or(self.payload(), usize::from)
    }

    /// Numbered payloads in each frame: the segments of a super-frame, else 1.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        (self.payload() / self.chunk()) as u64
    }

    /// Bytes of a frame as it is made, from the Ethernet header on.
    #[must_use]
    pub fn frame_length(&self) -> usize {
        self.headers() + self.payload()
    }

    /// A frame of the first flow with this payload.
    pub(super) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let path = Path {
            source_mac: self.source_mac,
            destination_mac: self.destination_mac,
            addresses: Addresses::V4(*self.from.ip(), *self.to.ip()),
        };
        match self.protocol {
            Protocol::Udp => udp(path, (self.from.port(), self.to.port()), payload),
            Protocol::Tcp => {
                const ACK: u8 = 0x10;
                let segment = Tcp {
                    source_port: self.from.port(),
                    destination_port: self.to.port(),
                    sequence: 0,
                    acknowledgement: 1,
                    flags: ACK,
                    payload: payload.to_vec(),
                };
                tcp(path, &segment)
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        })
    }
}

fn parse_mac(text: &str) -> Result<Mac, &'static str> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = parts
            .next()
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or("expected a MAC address")?;
    }
    if parts.next().is_some() { Err("expected a MAC address") } else { Ok(mac) }
}
