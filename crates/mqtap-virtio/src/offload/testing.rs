//! Frames for the tests of this module, field by field.

use proptest::prelude::*;

use super::headers::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Network, Transport, ipv4, ipv6, put_u16, tcp, udp,
};

/// What a frame is made of. Its sums are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) vlans: Vec<u16>,
    pub(crate) network: Network,
    pub(crate) transport: Transport,
    /// Source and destination address: their first bytes.
    pub(crate) hosts: (u8, u8),
    pub(crate) ports: (u16, u16),
    /// Type of service or traffic class.
    pub(crate) tos: u8,
    /// Time to live or hop limit.
    pub(crate) ttl: u8,
    /// IPv6: the flow label.
    pub(crate) label: u16,
    /// IPv4: identification.
    pub(crate) id: u16,
    /// IPv4: "do not fragment".
    pub(crate) df: bool,
    /// IPv4: a multiple of 4 bytes of options.
    pub(crate) ip_options: Vec<u8>,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// TCP: a multiple of 4 bytes of options.
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(network: Network, transport: Transport, payload: &[u8]) -> Self {
        Self {
            vlans: Vec::new(),
            network,
            transport,
            hosts: (1, 2),
            ports: (1024, 80),
            tos: 0,
            ttl: 64,
            label: 0,
            id: 1,
            df: true,
            ip_options: Vec::new(),
            sequence: 1,
            acknowledgement: 1,
            flags: tcp::ACK,
            window: 512,
            urgent: 0,
            tcp_options: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    /// Where the IP header begins.
    pub(crate) fn network_at(&self) -> usize {
        14 + 4 * self.vlans.len()
    }

    /// Where the TCP or UDP header begins.
    pub(crate) fn transport_at(&self) -> usize {
        self.network_at()
            + match self.network {
                Network::V4 => ipv4::HEADER + self.ip_options.len(),
                Network::V6 => ipv6::HEADER,
            }
    }

    /// Where the payload begins.
    pub(crate) fn payload_at(&self) -> usize {
        self.transport_at()
            + match self.transport {
                Transport::Tcp => tcp::HEADER + self.tcp_options.len(),
                Transport::Udp => udp::HEADER,
            }
    }

    /// The sum of the pseudo header.
    pub(crate) fn pseudo_sum(&self) -> u16 {
        let mut pseudo = self.addresses();
        let length = (self.payload_at() - self.transport_at() + self.payload.len()) as u32;
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, self.transport.protocol()]);
        sum(&pseudo)
    }

    fn addresses(&self) -> Vec<u8> {
        let length = match self.network {
            Network::V4 => 4,
            Network::V6 => 16,
        };
        let host = |first| std::iter::once(first).chain(std::iter::repeat(7)).take(length);
        host(self.hosts.0).chain(host(self.hosts.1)).collect()
    }

    /// The frame with its checksum complete.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.partial();
        let at = self.transport_at();
        let value = match (!sum(&bytes[at..]), self.transport) {
            (0, Transport::Udp) => 0xffff,
            (value, _) => value,
        };
        put_u16(&mut bytes, at + self.transport.checksum(), value).unwrap();
        bytes
    }

    /// The frame with the sum of the pseudo header in place of its checksum.
    pub(crate) fn partial(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, self.hosts.1, 2, 0, 0, 0, 0, self.hosts.0];
        for vlan in &self.vlans {
            bytes.extend(ETHERTYPE_VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        self.push_network(&mut bytes);
        self.push_transport(&mut bytes);
        bytes.extend(&self.payload);
        bytes
    }

    fn push_network(&self, bytes: &mut Vec<u8>) {
        let behind = (self.payload_at() - self.transport_at() + self.payload.len()) as u16;
        match self.network {
            Network::V4 => {
                bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
                let words = (ipv4::HEADER + self.ip_options.len()) / 4;
                let mut ip = vec![0x40 | words as u8, self.tos];
                ip.extend((4 * words as u16 + behind).to_be_bytes());
                ip.extend(self.id.to_be_bytes());
                ip.extend([u8::from(self.df) << 6, 0, self.ttl, self.transport.protocol(), 0, 0]);
                ip.extend(self.addresses());
                ip.extend(&self.ip_options);
                let value = !sum(&ip);
                put_u16(&mut ip, ipv4::CHECKSUM, value).unwrap();
                bytes.extend(ip);
            }
            Network::V6 => {
                bytes.extend(ETHERTYPE_IPV6.to_be_bytes());
                bytes.extend([0x60 | self.tos >> 4, self.tos << 4]);
                bytes.extend(self.label.to_be_bytes());
                bytes.extend(behind.to_be_bytes());
                bytes.extend([self.transport.protocol(), self.ttl]);
                bytes.extend(self.addresses());
            }
        }
    }

    fn push_transport(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        match self.transport {
            Transport::Tcp => {
                bytes.extend(self.sequence.to_be_bytes());
                bytes.extend(self.acknowledgement.to_be_bytes());
                let words = (tcp::HEADER + self.tcp_options.len()) / 4;
                bytes.extend([(words as u8) << 4, self.flags]);
                bytes.extend(self.window.to_be_bytes());
                bytes.extend(self.pseudo_sum().to_be_bytes());
                bytes.extend(self.urgent.to_be_bytes());
                bytes.extend(&self.tcp_options);
            }
            Transport::Udp => {
                bytes.extend((udp::HEADER as u16 + self.payload.len() as u16).to_be_bytes());
                bytes.extend(self.pseudo_sum().to_be_bytes());
            }
        }
    }
}

/// The folded sum of `bytes` (RFC 1071), the slow and plain way.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(crate) fn any_network() -> impl Strategy<Value = Network> {
    prop_oneof![Just(Network::V4), Just(Network::V6)]
}

pub(crate) fn any_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)]
}
