//! Ethernet frames: builders with right checksums (or partial ones, for offloads), and a parser that checks them.

mod build;
mod checksum;
mod parse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use build::{arp_reply, arp_request, icmp_echo, neighbour_advertisement, partial, tcp, udp};
pub use checksum::{checksum, complete, pseudo_header};
pub use parse::{Arp, Echo, Frame, Payload, Tcp, Udp, parse};

/// An Ethernet address.
pub type Mac = [u8; 6];
/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// `ETH_P_IP`.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_ARP`.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `ETH_P_IPV6`.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `ETH_P_RARP`.
pub const ETHERTYPE_RARP: u16 = 0x8035;
/// Length of an Ethernet header.
pub const ETHERNET_HEADER: usize = 14;

/// Protocol numbers of IP.
pub mod protocol_number {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Both ends of a frame: who sends it and who shall have it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Path {
    /// Sender.
    pub source_mac: Mac,
    /// Receiver.
    pub destination_mac: Mac,
    /// Sender and receiver, both of one family.
    pub addresses: Addresses,
}

/// A pair of addresses of one family.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Addresses {
    /// Source, destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source, destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    /// The other way.
    #[must_use]
    pub fn reversed(self) -> Addresses {
        match self {
            Addresses::V4(a, b) => Addresses::V4(b, a),
            Addresses::V6(a, b) => Addresses::V6(b, a),
        }
    }

    /// The sender.
    #[must_use]
    pub fn source(self) -> IpAddr {
        match self {
            Addresses::V4(a, _) => a.into(),
            Addresses::V6(a, _) => a.into(),
        }
    }

    /// The receiver.
    #[must_use]
    pub fn destination(self) -> IpAddr {
        self.reversed().source()
    }
}

impl Path {
    /// The way back.
    #[must_use]
    pub fn reversed(self) -> Path {
        Path {
            source_mac: self.destination_mac,
            destination_mac: self.source_mac,
            addresses: self.addresses.reversed(),
        }
    }
}
