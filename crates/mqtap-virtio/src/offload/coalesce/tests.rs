//! What comes out is segmented as the kernel does it and compared with what went in.

mod exact;
mod model;
mod rules;

use mqtap::{VnetHeader, VnetHeaderSize};

use super::super::headers::{Network, Transport};
use super::super::testing::Frame as Spec;
use super::*;

/// A frame with its virtio-net header.
type Packet = Vec<u8>;

const OPTIONS: Options = Options { header: VnetHeaderSize::Modern12, udp: true, pieces: 1024 };

/// A group that came out: its head, and its members.
#[derive(Debug)]
struct Group {
    head: Option<Vec<u8>>,
    payload_at: usize,
    members: Vec<usize>,
}

/// What a coalescer makes of one burst.
fn coalesce(coalescer: &mut Coalescer, burst: &[Packet]) -> Vec<Group> {
    coalescer.begin();
    for (position, packet) in burst.iter().enumerate() {
        let head = packet.len().min(HEAD);
        coalescer.head()[..head].copy_from_slice(&packet[..head]);
        let frame = Frame { position: position as u16, head, length: packet.len(), pieces: 1 };
        let pushed = coalescer.push(frame, |position, from| Sum::of(&burst[usize::from(position)][from..]));
        assert!(pushed);
    }
    coalescer
        .finish()
        .map(|outgoing| match outgoing {
            Outgoing::Frame(position) => {
                Group { head: None, payload_at: 0, members: vec![usize::from(position)] }
            }
            Outgoing::SuperFrame(SuperFrame { head, payload_at, members }) => {
                Group { head: Some(head.to_vec()), payload_at, members: members.map(usize::from).collect() }
            }
        })
        .collect()
}

/// The members of each group of a burst, by a fresh coalescer.
fn groups(burst: &[Packet]) -> Vec<Vec<usize>> {
    groups_with(OPTIONS, burst)
}

fn groups_with(options: Options, burst: &[Packet]) -> Vec<Vec<usize>> {
    let groups = coalesce(&mut Coalescer::new(options, burst.len()), burst);
    groups.into_iter().map(|group| group.members).collect()
}

/// The frame with a virtio-net header that says nothing.
fn complete(spec: &Spec) -> Packet {
    with_header(VnetHeader::default(), &spec.bytes())
}

/// The frame with a partial checksum.
fn partial(spec: &Spec) -> Packet {
    let header = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        csum_start: spec.transport_at() as u16,
        csum_offset: spec.transport.checksum() as u16,
        ..VnetHeader::default()
    };
    with_header(header, &spec.partial())
}

fn with_header(header: VnetHeader, frame: &[u8]) -> Packet {
    let mut packet = vec![0; 12];
    header.write_to(&mut packet, VnetHeaderSize::Modern12).unwrap();
    packet.extend(frame);
    packet
}

/// The frame that follows in the flow, with a payload of this many bytes.
fn next(spec: &Spec, payload: usize) -> Spec {
    let mut next = spec.clone();
    next.id = spec.id.wrapping_add(1);
    next.sequence = spec.sequence.wrapping_add(spec.payload.len() as u32);
    next.payload = (0..payload).map(|i| (i as u8).wrapping_mul(31) ^ next.id as u8).collect();
    next
}

/// `count` frames of one flow.
fn flow(first: &Spec, count: usize) -> Vec<Spec> {
    let size = first.payload.len();
    std::iter::successors(Some(first.clone()), |spec| Some(next(spec, size))).take(count).collect()
}

const KINDS: [(Network, Transport); 4] = [
    (Network::V4, Transport::Tcp),
    (Network::V4, Transport::Udp),
    (Network::V6, Transport::Tcp),
    (Network::V6, Transport::Udp),
];
