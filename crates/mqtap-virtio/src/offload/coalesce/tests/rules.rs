//! Each rule by itself.

use super::super::super::headers::{get_u16, put_u16, tcp};
use super::*;

/// Five frames of a flow, of which the third is changed.
fn third(network: Network, transport: Transport, change: impl Fn(&mut Spec)) -> Vec<Spec> {
    let mut specs = flow(&Spec::new(network, transport, &[9; 100]), 5);
    change(&mut specs[2]);
    specs
}

fn both(specs: &[Spec]) -> Vec<Vec<usize>> {
    let partial = groups(&specs.iter().map(partial).collect::<Vec<_>>());
    let complete = groups(&specs.iter().map(complete).collect::<Vec<_>>());
    assert_eq!(partial, complete);
    partial
}

/// The third is neither like those before it nor like those behind it.
const APART: [&[usize]; 3] = [&[0, 1], &[2], &[3, 4]];
/// The third is the last of its group.
const LAST: [&[usize]; 2] = [&[0, 1, 2], &[3, 4]];
const TOGETHER: [&[usize]; 1] = [&[0, 1, 2, 3, 4]];

#[test]
fn frames_of_a_flow_go_together() {
    for (network, transport) in KINDS {
        assert_eq!(both(&third(network, transport, |_| ())), TOGETHER);
        assert_eq!(
            both(&third(network, transport, |spec| spec.payload[5] ^= 1)),
            TOGETHER,
            "payload is free"
        );
    }
}

#[test]
fn partial_and_complete_checksums_go_together() {
    for (network, transport) in KINDS {
        let specs = third(network, transport, |_| ());
        let burst =
            specs.iter().enumerate().map(|(i, spec)| if i % 2 == 0 { partial(spec) } else { complete(spec) });
        assert_eq!(groups(&burst.collect::<Vec<_>>()), TOGETHER);
    }
}

#[test]
fn what_every_header_must_have_the_same() {
    for (network, transport) in KINDS {
        let apart = |change: fn(&mut Spec), why: &str| {
            assert_eq!(both(&third(network, transport, change)), APART, "{network:?} {transport:?} {why}");
        };
        apart(|spec| spec.tos ^= 1, "ECN");
        apart(|spec| spec.tos ^= 4, "DSCP");
        apart(|spec| spec.ttl -= 1, "TTL");
        apart(|spec| spec.vlans = vec![1], "VLAN");
        apart(|spec| spec.payload.clear(), "no payload");
        if network == Network::V6 {
            apart(|spec| spec.label ^= 1, "flow label");
        } else {
            apart(|spec| spec.df = !spec.df, "DF");
            apart(|spec| spec.id += 1, "ID ahead");
            apart(|spec| spec.id = 1, "ID repeated");
            apart(|spec| spec.ip_options = vec![1; 4], "IP options");
        }
    }
}

#[test]
fn what_tcp_headers_must_have_the_same() {
    for network in [Network::V4, Network::V6] {
        let specs = |change: fn(&mut Spec)| both(&third(network, Transport::Tcp, change));
        assert_eq!(specs(|spec| spec.acknowledgement += 1), APART);
        assert_eq!(specs(|spec| spec.window += 1), APART);
        assert_eq!(specs(|spec| spec.urgent += 1), APART);
        assert_eq!(specs(|spec| spec.sequence += 1), APART, "gap");
        assert_eq!(specs(|spec| spec.sequence -= 100), APART, "sent again");
        assert_eq!(specs(|spec| spec.tcp_options = vec![1; 12]), APART);
        for flag in [tcp::SYN, tcp::RST, tcp::URG, tcp::ECE, tcp::CWR, tcp::ACK] {
            let mut burst = third(network, Transport::Tcp, |_| ());
            burst[2].flags ^= flag;
            assert_eq!(both(&burst), APART, "flag {flag:#x}");
            if flag != tcp::ECE {
                burst.iter_mut().for_each(|spec| spec.flags = tcp::ACK ^ flag);
                assert_eq!(both(&burst).len(), burst.len(), "flag {flag:#x} in all");
            }
        }
        let mut burst = third(network, Transport::Tcp, |_| ());
        burst.iter_mut().for_each(|spec| spec.flags |= tcp::ECE);
        assert_eq!(both(&burst), TOGETHER);
        burst.iter_mut().for_each(|spec| spec.tcp_options = [[1, 1, 8, 10], [3; 4], [4; 4]].concat());
        assert_eq!(both(&burst), TOGETHER);
        burst[2].tcp_options[11] += 1;
        assert_eq!(both(&burst), APART, "timestamps");
    }
}

#[test]
fn push_and_fin_end_a_super_frame() {
    for (network, flag) in [(Network::V4, tcp::PSH), (Network::V6, tcp::FIN)] {
        let burst = third(network, Transport::Tcp, |spec| spec.flags |= flag);
        assert_eq!(both(&burst), LAST);
        let first = third(network, Transport::Tcp, |_| ());
        let mut first = first[..3].to_vec();
        first[0].flags |= flag;
        assert_eq!(both(&first), [&[0][..], &[1, 2]], "nothing comes behind it");
    }
}

#[test]
fn a_shorter_payload_ends_a_super_frame_and_a_longer_one_begins_one() {
    for (network, transport) in KINDS {
        let shape = |sizes: &[usize]| {
            let mut spec = Spec::new(network, transport, &vec![1; sizes[0]]);
            let mut specs = vec![spec.clone()];
            for &size in &sizes[1..] {
                spec = next(&spec, size);
                specs.push(spec.clone());
            }
            both(&specs)
        };
        assert_eq!(shape(&[100, 100, 99, 100, 100]), LAST);
        assert_eq!(shape(&[100, 100, 1, 1, 1]), LAST);
        assert_eq!(shape(&[100, 100, 101, 101, 101]), [&[0, 1][..], &[2, 3, 4]]);
        assert_eq!(shape(&[1, 1, 1, 1, 1]), TOGETHER);
    }
}

#[test]
fn numbers_wrap() {
    let mut first = Spec::new(Network::V4, Transport::Tcp, &[9; 100]);
    (first.id, first.sequence) = (0xfffe, u32::MAX - 150);
    assert_eq!(both(&flow(&first, 5)), TOGETHER);
}

#[test]
fn frames_with_ip_options_are_left_alone() {
    for transport in [Transport::Tcp, Transport::Udp] {
        // Of which the sum is zero, so that the checksum of the header without them is right too.
        let first = Spec { ip_options: vec![0; 4], ..Spec::new(Network::V4, transport, &[9; 100]) };
        assert_eq!(both(&flow(&first, 5)).len(), 5);
    }
}

#[test]
fn each_frame_is_summed_once() {
    let burst: Vec<_> = third(Network::V4, Transport::Tcp, |_| ()).iter().map(complete).collect();
    let mut coalescer = Coalescer::new(OPTIONS, burst.len());
    let mut summed = Vec::new();
    coalescer.begin();
    for (position, packet) in burst.iter().enumerate() {
        coalescer.head().copy_from_slice(&packet[..HEAD]);
        let frame = Frame { position: position as u16, head: HEAD, length: packet.len(), pieces: 1 };
        coalescer.push(frame, |position, from| {
            summed.push((usize::from(position), from));
            Sum::of(&burst[usize::from(position)][from..])
        });
    }
    assert_eq!(summed, [0, 1, 2, 3, 4].map(|position| (position, 12 + 54)));
}

/// What a super-frame of this many frames at most is made of.
fn most(transport: Transport, payload: usize, frames: usize) -> Vec<usize> {
    let burst = flow(&Spec::new(Network::V4, transport, &vec![1; payload]), frames);
    both(&burst).iter().map(Vec::len).collect()
}

#[test]
fn a_super_frame_is_no_longer_than_a_packet_may_be() {
    // 20 and 8 or 20 bytes of headers.
    assert_eq!(most(Transport::Udp, 65_507 / 7, 14), [7, 7]);
    assert_eq!(most(Transport::Udp, 65_507 / 7 + 1, 12), [6, 6]);
    assert_eq!(most(Transport::Tcp, 65_495 / 5, 10), [5, 5]);
    assert_eq!(most(Transport::Tcp, 65_495 / 5 + 1, 8), [4, 4]);
    let v6 = flow(&Spec::new(Network::V6, Transport::Udp, &[1; 9357]), 8);
    assert_eq!(both(&v6).iter().map(Vec::len).collect::<Vec<_>>(), [6, 2], "40 + 8 + 7 * 9357 = 65547");
}

#[test]
fn a_super_frame_has_64_segments_at_most() {
    assert_eq!(most(Transport::Udp, 10, 130), [64, 64, 2]);
    assert_eq!(most(Transport::Tcp, 10, 130), [64, 64, 2]);
}

#[test]
fn a_super_frame_has_no_more_pieces_than_are_allowed() {
    let burst: Vec<_> =
        flow(&Spec::new(Network::V4, Transport::Udp, &[1; 10]), 7).iter().map(partial).collect();
    let groups = groups_with(Options { pieces: 4, ..OPTIONS }, &burst);
    assert_eq!(groups, [&[0, 1, 2][..], &[3, 4, 5], &[6]], "and one piece for the head");
}

#[test]
fn without_uso_only_tcp_is_merged() {
    for (network, transport) in KINDS {
        let burst: Vec<_> = third(network, transport, |_| ()).iter().map(partial).collect();
        let groups = groups_with(Options { udp: false, ..OPTIONS }, &burst);
        assert_eq!(groups.len(), if transport == Transport::Tcp { 1 } else { 5 });
    }
}

#[test]
fn frames_to_a_group_address_are_left_alone() {
    for (network, transport) in KINDS {
        let mut burst: Vec<_> = third(network, transport, |_| ()).iter().map(partial).collect();
        burst.iter_mut().for_each(|packet| packet[12] |= 1);
        assert_eq!(groups(&burst).len(), 5);
    }
}

/// As [`third`], and the bytes are changed.
fn third_packet(
    network: Network,
    transport: Transport,
    change: impl Fn(&Spec, &mut Packet),
) -> [Vec<Vec<usize>>; 2] {
    let specs = third(network, transport, |_| ());
    [partial, complete].map(|make: fn(&Spec) -> Packet| {
        let mut burst: Vec<_> = specs.iter().map(make).collect();
        change(&specs[2], &mut burst[2]);
        let groups = groups(&burst);
        // The same at the beginning of a burst.
        assert!(self::groups(&burst[2..]).iter().any(|group| group[..] == [0]), "does not lead either");
        groups
    })
}

#[test]
fn frames_that_ask_for_something_else_are_left_alone() {
    type Change = fn(&Spec, &mut Packet);
    let changes: [(&str, Change); 9] = [
        ("GSO", |_, packet| (packet[1], packet[4]) = (5, 50)),
        ("DATA_VALID", |_, packet| packet[0] |= 2),
        ("unknown flag", |_, packet| packet[0] |= 8),
        ("gso_size", |_, packet| packet[5] = 1),
        ("hdr_len", |_, packet| packet[3] = 1),
        ("num_buffers", |_, packet| packet[10] = 2),
        ("padding", |_, packet| packet.extend([0; 2])),
        ("cut off", |_, packet| packet.truncate(packet.len() - 1)),
        ("checksum", |spec, packet| packet[12 + spec.transport_at() + spec.transport.checksum()] ^= 1),
    ];
    for (network, transport) in KINDS {
        for (why, change) in changes {
            for groups in third_packet(network, transport, change) {
                assert_eq!(groups, APART, "{network:?} {transport:?} {why}");
            }
        }
        let [partial, complete] = third_packet(network, transport, |spec, packet| {
            if packet[0] == 1 {
                packet[6] += 1;
            } else {
                packet[12 + spec.payload_at() + 50] ^= 1;
            }
        });
        assert_eq!(
            (&partial[..], &complete[..]),
            (&APART.map(<[_]>::to_vec)[..], &APART.map(<[_]>::to_vec)[..])
        );
        let [partial, _] = third_packet(network, transport, |spec, packet| {
            packet[8] += 1;
            let _ = spec;
            packet[0] = 1;
        });
        assert_eq!(partial, APART, "csum_offset");
    }
}

#[test]
fn hints_that_change_nothing_are_ignored() {
    for (network, transport) in KINDS {
        let specs = third(network, transport, |_| ());
        let mut burst: Vec<_> = specs.iter().map(complete).collect();
        // Not used without NEEDS_CSUM; a length of headers; one buffer.
        (burst[2][6], burst[2][8], burst[2][2], burst[2][10]) = (34, 6, 54, 1);
        assert_eq!(groups(&burst), TOGETHER);
    }
}

#[test]
fn an_ipv4_header_with_a_wrong_checksum_is_left_alone() {
    for transport in [Transport::Tcp, Transport::Udp] {
        for groups in third_packet(Network::V4, transport, |_, packet| packet[12 + 14 + 10] ^= 1) {
            assert_eq!(groups, APART);
        }
    }
}

#[test]
fn zeros_that_the_kernel_would_write_otherwise_are_left_alone() {
    // The word at `word` is changed so that the right checksum is zero, which then is written as `value`.
    let zero = |at: usize, checksum: usize, word: usize, value: u16| {
        move |_: &Spec, packet: &mut Packet| {
            let bytes = &mut packet[12 + at..];
            let mut sum = Sum::default();
            sum.add_word(get_u16(bytes, word).unwrap());
            sum.add_word(get_u16(bytes, checksum).unwrap());
            put_u16(bytes, word, sum.fold()).unwrap();
            put_u16(bytes, checksum, value).unwrap();
        }
    };
    let zero_of = |transport, at, checksum, word, value| {
        let [_, complete] = third_packet(Network::V6, transport, zero(at, checksum, word, value));
        complete
    };
    assert_eq!(zero_of(Transport::Tcp, 54, 16, 20, 0xffff), APART);
    assert_eq!(zero_of(Transport::Udp, 54, 6, 8, 0), APART);

    let ip = |value| {
        // All have the identification that makes the checksum zero, and count on from there.
        let mut first = Spec::new(Network::V4, Transport::Udp, &[1; 50]);
        let bytes = first.bytes();
        let mut sum = Sum::default();
        sum.add_word(first.id);
        sum.add_word(get_u16(&bytes, 24).unwrap());
        first.id = sum.fold();
        let mut burst: Vec<_> = flow(&first, 3).iter().map(partial).collect();
        assert_eq!(get_u16(&burst[0], 12 + 24), Some(0));
        put_u16(&mut burst[0], 12 + 24, value).unwrap();
        groups(&burst)
    };
    assert_eq!(ip(0), [[0, 1, 2]]);
    assert_eq!(ip(0xffff), [&[0][..], &[1, 2]]);
}

#[test]
fn a_udp_length_that_contradicts_ip_is_left_alone() {
    for network in [Network::V4, Network::V6] {
        // With the checksum mended.
        let mended = |by: i32| {
            move |spec: &Spec, packet: &mut Packet| {
                let at = 12 + spec.transport_at();
                packet[at + 5] = packet[at + 5].wrapping_add_signed(by as i8);
                if packet[0] == 0 {
                    let mut sum = Sum::default();
                    sum.add_word(!u16::from_be_bytes([packet[at + 6], packet[at + 7]]));
                    sum.add_word(if by > 0 { by as u16 } else { !(-by) as u16 });
                    put_u16(packet, at + 6, sum.checksum()).unwrap();
                }
            }
        };
        for by in [-1, 1] {
            for groups in third_packet(network, Transport::Udp, mended(by)) {
                assert_eq!(groups, APART);
            }
        }
    }
}

#[test]
fn a_udp_frame_without_checksum_is_left_alone() {
    let specs = third(Network::V4, Transport::Udp, |_| ());
    let mut burst: Vec<_> = specs.iter().map(complete).collect();
    put_u16(&mut burst[2], 12 + 34 + 6, 0).unwrap();
    assert_eq!(groups(&burst), APART);
}

#[test]
fn flows_are_kept_apart_and_interleave() {
    for (network, transport) in KINDS {
        let first = Spec::new(network, transport, &[1; 50]);
        let others = [
            Spec { hosts: (3, 2), ..first.clone() },
            Spec { hosts: (1, 3), ..first.clone() },
            Spec { ports: (1025, 80), ..first.clone() },
            Spec { ports: (1024, 81), ..first.clone() },
        ];
        for other in others {
            let (a, b) = (flow(&first, 3), flow(&other, 3));
            let burst: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
            assert_eq!(both(&burst), [[0, 2, 4], [1, 3, 5]]);
        }
    }
    let specs: Vec<_> =
        KINDS.iter().map(|&(network, transport)| flow(&Spec::new(network, transport, &[1; 50]), 2)).collect();
    let burst: Vec<_> = (0..2).flat_map(|i| specs.iter().map(move |flow| flow[i].clone())).collect();
    assert_eq!(both(&burst), [[0, 4], [1, 5], [2, 6], [3, 7]]);
}

#[test]
fn flows_of_one_number_are_kept_apart() {
    // Some of these get the same place in the flow table.
    for (network, transport) in KINDS {
        let first = Spec::new(network, transport, &[1; 50]);
        let mut others = Vec::new();
        for i in 3..=255 {
            others.push(Spec { hosts: (i, 2), ..first.clone() });
            others.push(Spec { hosts: (1, i), ..first.clone() });
            others.push(Spec { ports: (1024 + u16::from(i), 80), ..first.clone() });
            others.push(Spec { ports: (1024, 80 + u16::from(i)), ..first.clone() });
            others.push(Spec { ports: (1024, 80 + 256 * u16::from(i)), ..first.clone() });
        }
        for other in others {
            let burst = [&first, &next(&other, 50)].map(|spec| {
                let mut packet = partial(spec);
                packet[12..24].fill(2);
                packet
            });
            assert_eq!(groups(&burst), [[0], [1]]);
        }
    }
}

#[test]
fn many_flows_interleave() {
    let flows: Vec<_> = (0..16)
        .map(|i| flow(&Spec { ports: (5000 + i, 80), ..Spec::new(Network::V4, Transport::Udp, &[1; 50]) }, 4))
        .collect();
    let burst: Vec<_> = (0..4).flat_map(|i| flows.iter().map(move |flow| flow[i].clone())).collect();
    let merged = both(&burst).iter().filter(|group| group.len() == 4).count();
    assert!(merged >= 14, "{merged}: only few flows get in each other's way");
}

#[test]
fn nothing_is_overtaken_by_what_came_behind_it() {
    type Change = fn(&mut Packet);
    let changes: [(&str, Change); 5] = [
        ("ARP", |packet| packet[12 + 13] = 6),
        ("first fragment", |packet| packet[12 + 14 + 6] |= 0x20),
        ("last fragment", |packet| packet[12 + 14 + 7] |= 1),
        ("ICMP", |packet| packet[12 + 14 + 9] = 1),
        ("a stump", |packet| packet.truncate(12 + 14)),
    ];
    for (network, transport) in KINDS {
        let specs = flow(&Spec::new(network, transport, &[1; 50]), 4);
        let mut burst: Vec<_> = specs.iter().map(partial).collect();
        burst.insert(2, partial(&Spec::new(Network::V4, Transport::Udp, &[1; 50])));
        assert!(groups(&burst).contains(&if network == Network::V4 && transport == Transport::Udp {
            vec![0, 1]
        } else {
            vec![0, 1, 3, 4]
        }));
        for (why, change) in changes {
            let mut burst = burst.clone();
            change(&mut burst[2]);
            assert_eq!(groups(&burst), APART, "{why}");
        }
    }
}

#[test]
fn it_is_known_whether_frames_change_places() {
    let a = flow(&Spec::new(Network::V6, Transport::Udp, &[1; 50]), 2);
    let b = flow(&Spec { ports: (9, 9), ..a[0].clone() }, 2);
    let mut coalescer = Coalescer::new(OPTIONS, 4);
    for (order, saved, reorders) in [
        ([&a[0], &a[1], &b[0], &b[1]], 2, false),
        ([&a[0], &b[0], &b[1], &a[1]], 2, true),
        ([&a[0], &b[0], &a[1], &b[1]], 2, true),
        ([&a[1], &b[0], &Spec { ttl: 1, ..a[0].clone() }, &b[1]], 1, true),
        ([&a[0], &Spec { ttl: 1, ..a[0].clone() }, &b[0], &b[1]], 1, false),
    ] {
        let groups = coalesce(&mut coalescer, &order.map(partial));
        assert_eq!((coalescer.saved(), coalescer.reorders()), (saved, reorders));
        let positions: Vec<usize> = groups.into_iter().flat_map(|group| group.members).collect();
        assert_eq!(positions != [0, 1, 2, 3], reorders);
        assert_eq!(coalescer.positions().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

#[test]
fn a_burst_remembers_nothing_of_the_one_before() {
    let mut coalescer = Coalescer::new(OPTIONS, 2);
    let specs = flow(&Spec::new(Network::V4, Transport::Udp, &[1; 50]), 40);
    let burst: Vec<_> = specs.iter().map(partial).collect();
    for part in burst.chunks(10) {
        let groups = coalesce(&mut coalescer, part);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].members, (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_header_of_ten_bytes_is_as_good() {
    let options = Options { header: VnetHeaderSize::Legacy10, ..OPTIONS };
    for (network, transport) in KINDS {
        let specs = third(network, transport, |_| ());
        let burst: Vec<Packet> =
            specs.iter().map(|spec| [&partial(spec)[..10], &partial(spec)[12..]].concat()).collect();
        let groups = coalesce(&mut Coalescer::new(options, 5), &burst);
        assert_eq!(groups.len(), 1);
        let twelve =
            coalesce(&mut Coalescer::new(OPTIONS, 5), &specs.iter().map(partial).collect::<Vec<_>>());
        let (ten, twelve) = (groups[0].head.as_ref().unwrap(), twelve[0].head.as_ref().unwrap());
        assert_eq!((&ten[..10], &ten[10..]), (&twelve[..10], &twelve[12..]));
    }
}
