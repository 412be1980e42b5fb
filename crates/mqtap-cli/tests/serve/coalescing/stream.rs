//! What a guest might send: several flows at once, most of it in order and alike, and some of it odd.

use std::net::{Ipv4Addr, Ipv6Addr};

use mqtap_driver::frames::{
    self, Addresses, BROADCAST, ETHERNET_HEADER, Mac, Path, Tcp, checksum, complete, partial,
};
use mqtap_driver::{NEEDS_CSUM, VirtioNetHeader};

use super::super::daemon::GUEST_MAC;

/// A frame with the header in front of it.
pub(super) type Packet = (VirtioNetHeader, Vec<u8>);

/// Numbers that are the same whenever they begin the same (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

#[derive(Clone, Debug)]
struct Flow {
    path: Path,
    ports: (u16, u16),
    tcp: bool,
    vlans: usize,
    size: usize,
    options: Vec<u8>,
    partial: bool,
    id: u16,
    sequence: u32,
    acknowledgement: u32,
}

/// Where a stream goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) mac: Mac,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    /// Whether VLAN tags get there.
    pub(super) vlans: bool,
}

/// A stream of frames, of which no two are the same.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    random: Random,
    flows: Vec<Flow>,
}

impl Stream {
    pub(super) fn new(seed: u64, to: Destination) -> Self {
        let mut random = Random(seed);
        let count = 1 + random.below(6);
        let flows = (0..count).map(|number| Flow::new(number, to, &mut random)).collect();
        Self { random, flows }
    }

    /// The next frames, often several of a flow.
    pub(super) fn burst(&mut self, frames: usize) -> Vec<Packet> {
        let mut burst = Vec::new();
        while burst.len() < frames {
            let flow = self.random.below(self.flows.len());
            for _ in 0..1 + self.random.below(12) {
                burst.push(self.flows[flow].next(&mut self.random));
            }
        }
        burst.truncate(frames);
        burst
    }
}

impl Flow {
    fn new(number: usize, to: Destination, random: &mut Random) -> Self {
        let host = random.below(3) as u8;
        let addresses = if random.one_in(2) {
            Addresses::V4(Ipv4Addr::new(10, 9, 1, 10 + host), to.v4)
        } else {
            Addresses::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 16 + u16::from(host)), to.v6)
        };
        let tcp = random.one_in(2);
        let options = [0, 12, 12, 32][random.below(4)];
        let option_bytes = random.bytes(options);
        let size = match random.below(3) {
            0 => 1 + random.below(60),
            1 => 100 + random.below(400),
            _ => 1400 - options,
        };
        Self {
            path: Path { source_mac: GUEST_MAC, destination_mac: to.mac, addresses },
            ports: (5000 + number as u16, 9000),
            tcp,
            vlans: if to.vlans && random.one_in(4) { 1 + random.below(2) } else { 0 },
            size,
            options: if tcp { option_bytes } else { Vec::new() },
            partial: random.one_in(2),
            id: random.below(65536) as u16,
            sequence: (random.below(1 << 32)) as u32,
            acknowledgement: 7,
        }
    }

    fn is_v4(&self) -> bool {
        matches!(self.path.addresses, Addresses::V4(..))
    }

    fn transport_at(&self) -> usize {
        ETHERNET_HEADER + if self.is_v4() { 20 } else { 40 }
    }

    /// The next frame; one in eight is odd.
    fn next(&mut self, random: &mut Random) -> Packet {
        let oddity = if random.one_in(8) { 1 + random.below(20) } else { 0 };
        let mut flow = self.clone();
        let mut length = self.size;
        let mut segments = None;
        let mut flags = 0x10;
        match oddity {
            1 => length = 1 + length / 2,
            2 => length += 1,
            3 => length = 0,
            4 => flow.id = flow.id.wrapping_add(1),
            5 => flow.sequence = flow.sequence.wrapping_add(1),
            6 => self.acknowledgement += 100,
            7 => flags |= 1 << random.below(8),
            8 => flags |= 0x08,
            9 => flow.partial = !flow.partial,
            10 => {
                segments = Some(length as u16);
                length *= 3;
                flow.partial = true;
            }
            11 if random.one_in(2) => flow.options.clear(),
            11 => flow.options.iter_mut().take(8).for_each(|byte| *byte ^= 1),
            _ => {}
        }
        let payload = random.bytes(length);
        let mut frame = flow.frame(flags, &payload);
        let ip = ETHERNET_HEADER;
        match oddity {
            // ECN, TTL or hop limit, "do not fragment" or flow label, window.
            12 => frame[ip + 1] ^= if self.is_v4() { 2 } else { 0x20 },
            13 => frame[ip + if self.is_v4() { 8 } else { 7 }] ^= 1,
            14 => frame[ip + if self.is_v4() { 6 } else { 2 }] ^= 0x40,
            15 if self.tcp => frame[flow.transport_at() + 14] ^= 1,
            _ => {}
        }
        let mut header = flow.sums(&mut frame, segments);
        self.id = self.id.wrapping_add(if segments.is_some() { 3 } else { 1 });
        self.sequence = self.sequence.wrapping_add(length as u32);
        match oddity {
            // A wrong checksum or another payload, padding, a fragment, something else altogether.
            16 => {
                let last = frame.len() - 1;
                frame[last] ^= 1;
            }
            17 => frame.extend([0; 5]),
            18 if self.is_v4() => {
                frame[ip + 6] |= 0x20;
                ip_checksum(&mut frame);
            }
            19 => return self.other(random),
            20 if header.flags & NEEDS_CSUM != 0 => header.csum_offset = 2,
            _ => {}
        }
        for _ in 0..flow.vlans {
            frame.splice(12..12, [0x81, 0, 0, 5]);
        }
        if header.flags & NEEDS_CSUM != 0 {
            let tags = 4 * flow.vlans as u16;
            header.csum_start += tags;
            header.hdr_len += tags;
        }
        (header, frame)
    }

    fn frame(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = if self.tcp {
            let segment = Tcp {
                source_port: self.ports.0,
                destination_port: self.ports.1,
                sequence: self.sequence,
                acknowledgement: self.acknowledgement,
                flags,
                payload: [&self.options, payload].concat(),
            };
            let mut frame = frames::tcp(self.path, &segment);
            frame[self.transport_at() + 12] = (5 + self.options.len() as u8 / 4) << 4;
            frame
        } else {
            frames::udp(self.path, self.ports, payload)
        };
        if self.is_v4() {
            identify(&mut frame, self.id);
        }
        frame
    }

    /// Makes the sums right again, and the header for them.
    fn sums(&self, frame: &mut [u8], segment: Option<u16>) -> VirtioNetHeader {
        if self.is_v4() {
            ip_checksum(frame);
        }
        let mut header = partial(frame, segment).unwrap();
        header.hdr_len += self.options.len() as u16;
        if self.partial {
            return header;
        }
        assert!(complete(frame, header.csum_start, header.csum_offset));
        VirtioNetHeader::default()
    }

    /// A frame of no flow.
    fn other(&self, random: &mut Random) -> Packet {
        let frame = if random.one_in(2) {
            let mut frame =
                frames::arp_request((GUEST_MAC, Ipv4Addr::new(10, 9, 1, 10)), Ipv4Addr::new(10, 9, 1, 99));
            frame[..6].copy_from_slice(&BROADCAST);
            frame.extend(random.bytes(18));
            frame
        } else {
            frames::icmp_echo(self.path, false, 7, random.below(65536) as u16, &random.bytes(40))
        };
        (VirtioNetHeader::default(), frame)
    }
}

/// Sets the identification of an IPv4 packet.
pub(super) fn identify(frame: &mut [u8], id: u16) {
    frame[ETHERNET_HEADER + 4..ETHERNET_HEADER + 6].copy_from_slice(&id.to_be_bytes());
    ip_checksum(frame);
}

fn ip_checksum(frame: &mut [u8]) {
    let ip = &mut frame[ETHERNET_HEADER..ETHERNET_HEADER + 20];
    ip[10..12].fill(0);
    let sum = checksum(0, ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
}
