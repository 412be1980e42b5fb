use proptest::collection::vec;
use proptest::prelude::*;

use super::super::headers::put_u16;
use super::super::testing::{Frame, any_network, any_transport, sum};
use super::*;

fn header(frame: &Frame, size: u16, partial: bool) -> VnetHeader {
    let gso_type = match (frame.network, frame.transport) {
        (Network::V4, Transport::Tcp) => VnetHeader::GSO_TCPV4,
        (Network::V6, Transport::Tcp) => VnetHeader::GSO_TCPV6,
        (_, Transport::Udp) => VnetHeader::GSO_UDP_L4,
    };
    VnetHeader {
        flags: if partial { VnetHeader::NEEDS_CSUM } else { VnetHeader::DATA_VALID },
        gso_type,
        gso_size: size,
        csum_start: if partial { frame.transport_at() as u16 } else { 0 },
        csum_offset: if partial { frame.transport.checksum() as u16 } else { 0 },
        ..VnetHeader::default()
    }
}

/// What the kernel would make of it, written down from the rules: one frame after the other, each built anew.
fn expected(frame: &Frame, size: usize, checksums: Checksums) -> Vec<Vec<u8>> {
    let count = frame.payload.len().div_ceil(size);
    let segment = |(i, payload): (usize, &[u8])| {
        let mut segment = Frame { payload: payload.to_vec(), ..frame.clone() };
        segment.id = frame.id.wrapping_add(i as u16);
        segment.sequence = frame.sequence.wrapping_add((i * size) as u32);
        if i + 1 < count {
            segment.flags &= !(tcp::FIN | tcp::PSH);
        }
        if i > 0 {
            segment.flags &= !tcp::CWR;
        }
        if checksums == Checksums::Complete { segment.bytes() } else { segment.partial() }
    };
    frame.payload.chunks(size).enumerate().map(segment).collect()
}

/// The next segment, from its parts.
fn take(segments: &mut Segments, frame: &[u8]) -> Vec<u8> {
    let payload = segments.next(frame).unwrap();
    let mut head = segments.head().to_vec();
    for (at, piece) in segments.changes() {
        head[at..at + 4].copy_from_slice(&piece);
    }
    [&head, &frame[payload]].concat()
}

fn any_super_frame() -> impl Strategy<Value = (Frame, u16)> {
    let options = (0..=10_usize).prop_flat_map(|words| vec(any::<u8>(), 4 * words));
    let shape = (vec(any::<u16>(), 0..=2), any_network(), any_transport(), options.clone(), options);
    let numbers = (any::<u8>(), any::<u16>(), any::<bool>(), any::<u32>(), any::<u32>(), any::<u8>());
    (shape, numbers, vec(any::<u8>(), 1..600), 1..700_u16).prop_map(
        |((vlans, network, transport, ip_options, tcp_options), numbers, payload, size)| {
            let (tos, id, df, sequence, acknowledgement, flags) = numbers;
            let frame = Frame {
                vlans,
                tos,
                id,
                df,
                sequence,
                acknowledgement,
                flags,
                ip_options: if network == Network::V4 { ip_options } else { Vec::new() },
                tcp_options: if transport == Transport::Tcp { tcp_options } else { Vec::new() },
                ..Frame::new(network, transport, &payload)
            };
            (frame, size)
        },
    )
}

proptest! {
    #[test]
    fn segments_are_those_of_the_kernel(
        (frame, size) in any_super_frame(),
        partial in any::<bool>(),
        complete in any::<bool>(),
    ) {
        let checksums = if complete { Checksums::Complete } else { Checksums::Partial };
        let expected = expected(&frame, size.into(), checksums);
        let header = header(&frame, size, partial);
        let bytes = if partial { frame.partial() } else { frame.bytes() };

        let mut segments = Segments::new(&bytes, &header, checksums).unwrap();
        prop_assert_eq!(segments.remaining(), expected.len());
        let of_segments = segments.vnet_header();
        prop_assert_eq!(of_segments.flags & VnetHeader::NEEDS_CSUM != 0, !complete);
        if !complete {
            prop_assert_eq!(usize::from(of_segments.csum_start), frame.transport_at());
            prop_assert_eq!(usize::from(of_segments.csum_offset), frame.transport.checksum());
        }
        let mut apart = Vec::new();
        while segments.remaining() > 0 {
            let length = segments.next_len();
            apart.push(take(&mut segments, &bytes));
            prop_assert_eq!(apart.last().unwrap().len(), length);
            prop_assert_eq!(segments.remaining(), expected.len() - apart.len());
        }
        prop_assert_eq!(&apart, &expected);

        let mut in_place = bytes;
        let mut segments = Segments::new(&in_place, &header, checksums).unwrap();
        for expected in expected {
            let segment = segments.next_in_place(&mut in_place).unwrap();
            prop_assert_eq!(&in_place[segment], &expected[..]);
        }
        prop_assert_eq!(segments.next_in_place(&mut in_place), None);
    }

    /// Whatever the bytes are: no panic, and no segment outside the frame.
    #[test]
    fn nonsense_is_refused_or_stays_inside(
        (frame, size) in any_super_frame(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        (flags, gso_type, csum_start, csum_offset) in any::<(u8, u8, u16, u16)>(),
        keep in any::<(bool, bool, bool)>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut header = header(&frame, size, flags & 1 != 0);
        if !keep.0 {
            header.gso_type = gso_type;
        }
        if !keep.1 {
            (header.csum_start, header.csum_offset) = (csum_start % 200, csum_offset);
        }
        let mut bytes = frame.partial();
        for (at, value) in changes {
            let at = at.index(bytes.len().min(100));
            bytes[at] = value;
        }
        if !keep.2 {
            bytes.truncate(cut.index(bytes.len()));
        }
        for checksums in [Checksums::Partial, Checksums::Complete] {
            let mut bytes = bytes.clone();
            let Some(mut segments) = Segments::new(&bytes, &header, checksums) else { continue };
            let mut count = segments.remaining();
            while let Some(segment) = segments.next_in_place(&mut bytes) {
                prop_assert!(segment.len() > segments.head().len() && segment.end <= bytes.len());
                count -= 1;
            }
            prop_assert_eq!(count, 0);
        }
    }
}

#[test]
fn a_full_size_frame_of_each_kind() {
    let payload: Vec<u8> = (0..65_000_u32).map(|i| (i * 7) as u8).collect();
    for network in [Network::V4, Network::V6] {
        for transport in [Transport::Tcp, Transport::Udp] {
            let frame = Frame { flags: 0xff, id: 0xfff0, ..Frame::new(network, transport, &payload) };
            let mut bytes = frame.partial();
            let mut segments =
                Segments::new(&bytes, &header(&frame, 1448, true), Checksums::Complete).unwrap();
            for expected in expected(&frame, 1448, Checksums::Complete) {
                let segment = segments.next_in_place(&mut bytes).unwrap();
                assert!(bytes[segment] == expected);
            }
            assert_eq!(segments.remaining(), 0);
        }
    }
}

/// IPv6 with a routing header: the pseudo header has the last destination, which the IPv6 header has not.
#[test]
fn extension_headers_are_copied_and_the_pseudo_header_is_believed() {
    const ROUTING: [u8; 24] = [6, 2, 0, 1, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let plain = Frame::new(Network::V6, Transport::Tcp, &[5; 1000]);
    let insert = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[14 + ipv6::NEXT_HEADER] = 43;
        let length = get_u16(&bytes, 14 + ipv6::PAYLOAD_LENGTH).unwrap() + ROUTING.len() as u16;
        put_u16(&mut bytes, 14 + ipv6::PAYLOAD_LENGTH, length).unwrap();
        bytes.splice(54..54, ROUTING);
        // Another hop's address: not the one of which the sum was made.
        bytes[14 + 24..14 + 40].fill(0xab);
        bytes
    };
    let mut header = header(&plain, 300, true);
    let bytes = insert(&plain.partial());
    assert!(Segments::new(&bytes, &header, Checksums::Complete).is_none(), "csum_start is elsewhere");
    header.csum_start += ROUTING.len() as u16;
    let mut segments = Segments::new(&bytes, &header, Checksums::Complete).unwrap();
    for expected in expected(&plain, 300, Checksums::Complete) {
        assert_eq!(take(&mut segments, &bytes), insert(&expected));
    }
    // Without a partial checksum nobody says where the transport header is.
    header.flags = 0;
    assert!(Segments::new(&bytes, &header, Checksums::Complete).is_none());
}

#[test]
fn what_is_no_super_frame_is_refused() {
    let frame = Frame::new(Network::V4, Transport::Tcp, &[1; 100]);
    let bytes = frame.partial();
    let good = header(&frame, 10, true);
    let refused =
        |bytes: &[u8], header: VnetHeader| Segments::new(bytes, &header, Checksums::Partial).is_none();
    assert!(!refused(&bytes, good));
    assert!(!refused(&bytes, VnetHeader { gso_type: VnetHeader::GSO_TCPV4 | VnetHeader::GSO_ECN, ..good }));
    assert!(refused(&bytes, VnetHeader { gso_size: 0, ..good }));
    for kind in [VnetHeader::GSO_NONE, VnetHeader::GSO_UDP, VnetHeader::GSO_TCPV6, VnetHeader::GSO_UDP_L4, 7]
    {
        assert!(refused(&bytes, VnetHeader { gso_type: kind, ..good }), "{kind}");
    }
    let tunnel = VnetHeader::GSO_TCPV4 | VnetHeader::GSO_UDP_TUNNEL_IPV4;
    assert!(refused(&bytes, VnetHeader { gso_type: tunnel, ..good }));
    assert!(refused(&bytes, VnetHeader { csum_start: good.csum_start + 2, ..good }));
    assert!(refused(&bytes, VnetHeader { csum_offset: 6, ..good }));
    assert!(refused(&bytes[..frame.payload_at()], good), "nothing to segment");
    let mut fragment = frame.partial();
    fragment[14 + ipv4::FLAGS] = 0x20;
    assert!(refused(&fragment, good));
}

#[test]
fn a_tcp_checksum_may_be_zero_and_a_udp_one_may_not() {
    for (transport, zero) in [(Transport::Tcp, 0), (Transport::Udp, 0xffff)] {
        let mut frame = Frame::new(Network::V4, transport, &[0; 4]);
        // The payload makes up for what is missing to the sum of all ones.
        let segment = Frame { payload: vec![0; 2], ..frame.clone() }.partial();
        let missing = !sum(&segment[frame.transport_at()..]);
        frame.payload[..2].copy_from_slice(&missing.to_be_bytes());
        let bytes = frame.partial();
        let mut segments = Segments::new(&bytes, &header(&frame, 2, true), Checksums::Complete).unwrap();
        let segment = take(&mut segments, &bytes);
        let at = frame.transport_at() + transport.checksum();
        assert_eq!(get_u16(&segment, at), Some(zero), "{transport:?}");
    }
}
