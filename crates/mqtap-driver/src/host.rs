//! The smallest host that is worth talking to: ARP, neighbour discovery, ping, UDP echo, UDP sink.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frames::{
    Addresses, Arp, ETHERTYPE_ARP, Frame, Mac, Path, Payload, arp_reply, arp_request, complete, icmp_echo,
    neighbour_advertisement, parse, udp,
};
use crate::header::{NEEDS_CSUM, VirtioNetHeader};
use crate::traffic::{Sink, SinkCounters};

/// UDP port that sends everything back (RFC 862).
pub const ECHO_PORT: u16 = 7;
/// UDP port that takes everything (RFC 863), and checks what is numbered.
pub const DISCARD_PORT: u16 = 9;

/// What a host has seen.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct HostCounters {
    /// Frames for us or for everybody.
    pub frames: u64,
    /// Frames for somebody else.
    pub foreign: u64,
    /// Frames that are cut off or whose checksums are wrong.
    pub bad: u64,
    /// Frames we answered.
    pub answered: u64,
}

/// A host with one interface.
#[derive(Clone, Debug)]
pub struct Host {
    mac: Mac,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    neighbours: HashMap<IpAddr, Mac>,
    sink: Sink,
    counters: HostCounters,
}

impl Host {
    /// A host with these addresses.
    #[must_use]
    pub fn new(mac: Mac, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Host {
        Host {
            mac,
            v4,
            v6,
            neighbours: HashMap::new(),
            sink: Sink::default(),
            counters: HostCounters::default(),
        }
    }

    /// What has been seen.
    #[must_use]
    pub fn counters(&self) -> HostCounters {
        self.counters
    }

    /// What came to the discard port.
    #[must_use]
    pub fn sink(&self) -> SinkCounters {
        self.sink.counters()
    }

    /// The Ethernet address of a neighbour, if it has told.
    #[must_use]
    pub fn neighbour(&self, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&address).copied()
    }

    /// The question for the Ethernet address of an IPv4 neighbour, if we have an IPv4 address ourselves.
    #[must_use]
    pub fn ask_for(&self, neighbour: Ipv4Addr) -> Option<Vec<u8>> {
        Some(arp_request((self.mac, self.v4?), neighbour))
    }

    /// The way to an IPv4 neighbour that has told its Ethernet address.
    #[must_use]
    pub fn path_to(&self, neighbour: Ipv4Addr) -> Option<Path> {
        Some(Path {
            source_mac: self.mac,
            destination_mac: self.neighbour(neighbour.into())?,
            addresses: Addresses::V4(self.v4?, neighbour),
        })
    }

    /// Takes a frame as it came from a ring, and returns the answer to it, if there is one.
    pub fn handle(&mut self, header: &VirtioNetHeader, frame: &[u8]) -> Option<Vec<u8>> {
        let mut completed;
        let mut bytes = frame;
        if header.flags & NEEDS_CSUM != 0 {
            completed = frame.to_vec();
            if !complete(&mut completed, header.csum_start, header.csum_offset) {
                self.counters.bad += 1;
                return None;
            }
            bytes = &completed;
        }
        let Some(parsed) = parse(bytes).filter(|f| f.checksums_good) else {
            self.counters.bad += 1;
            return None;
        };
        if parsed.destination != self.mac && parsed.destination[0] & 1 == 0 {
            self.counters.foreign += 1;
            return None;
        }
        self.counters.frames += 1;
        let answer = self.answer(&parsed);
        self.counters.answered += u64::from(answer.is_some());
        answer
    }

    fn answer(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        match &frame.payload {
            Payload::Arp(arp) if frame.ethertype == ETHERTYPE_ARP => self.answer_arp(*arp),
            Payload::NeighbourSolicitation(wanted) if self.v6 == Some(*wanted) => {
                let Some(Addresses::V6(asker, _)) = frame.addresses else { return None };
                self.neighbours.insert(asker.into(), frame.source);
                Some(neighbour_advertisement((self.mac, *wanted), (frame.source, asker)))
            }
            Payload::Echo(echo) if echo.request && self.is_for_us(frame) => {
                let back = frame.path()?.reversed();
                Some(icmp_echo(back, false, echo.identifier, echo.sequence, &echo.data))
            }
            Payload::Udp(datagram) if self.is_for_us(frame) => match datagram.destination_port {
                ECHO_PORT => {
                    let ports = (datagram.destination_port, datagram.source_port);
                    Some(udp(frame.path()?.reversed(), ports, &datagram.payload))
                }
                DISCARD_PORT => {
                    self.sink.accept(&datagram.payload);
                    None
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn answer_arp(&mut self, arp: Arp) -> Option<Vec<u8>> {
        self.neighbours.insert(arp.sender.1.into(), arp.sender.0);
        let ours = self.v4.filter(|ours| *ours == arp.target.1)?;
        (arp.operation == 1).then(|| arp_reply((self.mac, ours), arp.sender))
    }

    fn is_for_us(&self, frame: &Frame) -> bool {
        match frame.addresses {
            Some(Addresses::V4(_, to)) => self.v4 == Some(to),
            Some(Addresses::V6(_, to)) => self.v6 == Some(to),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::partial;

    const ME: (Mac, Ipv4Addr) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 1));
    const YOU: (Mac, Ipv4Addr) = ([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 0, 2));

    fn host() -> Host {
        Host::new(ME.0, Some(ME.1), Some("fd00::1".parse().unwrap()))
    }

    fn to_me(v6: bool) -> Path {
        let addresses = if v6 {
            Addresses::V6("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap())
        } else {
            Addresses::V4(YOU.1, ME.1)
        };
        Path { source_mac: YOU.0, destination_mac: ME.0, addresses }
    }

    fn handle(host: &mut Host, frame: &[u8]) -> Option<Vec<u8>> {
        host.handle(&VirtioNetHeader::default(), frame)
    }

    #[test]
    fn it_answers_arp_and_remembers_who_asked() {
        let mut host = host();
        assert_eq!(host.path_to(YOU.1), None);
        let answer = handle(&mut host, &arp_request(YOU, ME.1));
        assert_eq!(answer, Some(arp_reply(ME, YOU)));
        assert_eq!(host.path_to(YOU.1), Some(to_me(false).reversed()));
        assert_eq!(handle(&mut host, &arp_request(YOU, Ipv4Addr::new(10, 0, 0, 3))), None);
    }

    #[test]
    fn it_answers_ping_and_udp_echo() {
        let mut host = host();
        for v6 in [false, true] {
            let back = to_me(v6).reversed();
            let answer = handle(&mut host, &icmp_echo(to_me(v6), true, 3, 4, b"data"));
            assert_eq!(answer, Some(icmp_echo(back, false, 3, 4, b"data")));
            assert_eq!(handle(&mut host, &icmp_echo(to_me(v6), false, 3, 4, b"data")), None);
            let answer = handle(&mut host, &udp(to_me(v6), (99, ECHO_PORT), b"data"));
            assert_eq!(answer, Some(udp(back, (ECHO_PORT, 99), b"data")));
        }
        assert_eq!(host.counters(), HostCounters { frames: 6, answered: 4, ..HostCounters::default() });
    }

    #[test]
    fn it_takes_partial_checksums_only_with_the_header_that_says_so() {
        let mut host = host();
        let mut frame = udp(to_me(false), (99, ECHO_PORT), b"data");
        let header = partial(&mut frame, None).unwrap();
        assert_eq!(handle(&mut host, &frame), None);
        assert_eq!(host.counters().bad, 1);
        assert!(host.handle(&header, &frame).is_some());
    }

    #[test]
    fn frames_for_others_are_not_answered() {
        let mut host = host();
        let path = Path { destination_mac: [2, 9, 9, 9, 9, 9], ..to_me(false) };
        assert_eq!(handle(&mut host, &icmp_echo(path, true, 3, 4, b"data")), None);
        assert_eq!(host.counters().foreign, 1);
    }
}
