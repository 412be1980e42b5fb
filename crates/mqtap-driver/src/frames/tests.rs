use std::net::Ipv4Addr;

use super::*;

fn path(v6: bool) -> Path {
    let addresses = if v6 {
        Addresses::V6("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
    } else {
        Addresses::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
    };
    Path { source_mac: [2, 0, 0, 0, 0, 1], destination_mac: [2, 0, 0, 0, 0, 2], addresses }
}

#[test]
fn known_frames_have_known_bytes() {
    // RFC 1071, section 3.
    assert_eq!(checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    // Taken from a capture: an IPv4 header whose checksum is 0xb861.
    let header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];
    assert_eq!(checksum(0, &header), 0xb861);
}

#[test]
fn what_is_built_is_parsed_back() {
    for v6 in [false, true] {
        for length in [0, 1, 2, 18, 1400, 9000] {
            let data: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let frame = parse(&udp(path(v6), (1000, 2000), &data)).unwrap();
            assert!(frame.checksums_good);
            assert_eq!(frame.path(), Some(path(v6)));
            let expected = Udp { source_port: 1000, destination_port: 2000, payload: data.clone() };
            assert_eq!(frame.payload, Payload::Udp(expected));

            let segment = Tcp {
                source_port: 1,
                destination_port: 2,
                sequence: 0x0102_0304,
                acknowledgement: 0x0506_0708,
                flags: 0x18,
                payload: data.clone(),
            };
            let frame = parse(&tcp(path(v6), &segment)).unwrap();
            assert!(frame.checksums_good);
            assert_eq!(frame.payload, Payload::Tcp(segment));

            let frame = parse(&icmp_echo(path(v6), true, 7, 8, &data)).unwrap();
            assert!(frame.checksums_good);
            let expected = Echo { request: true, identifier: 7, sequence: 8, data };
            assert_eq!(frame.payload, Payload::Echo(expected));
        }
    }
}

#[test]
fn one_changed_bit_is_noticed() {
    for v6 in [false, true] {
        let good = udp(path(v6), (1000, 2000), b"payload");
        let from = if v6 { ETHERNET_HEADER + 40 } else { ETHERNET_HEADER };
        for at in from..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(parse(&bad).is_none_or(|f| !f.checksums_good || f.payload == Payload::Other), "{at}");
        }
    }
}

#[test]
fn a_partial_checksum_is_wrong_until_it_is_completed() {
    for v6 in [false, true] {
        let segment = Tcp { payload: vec![5; 3000], ..Tcp::default() };
        for good in [udp(path(v6), (1, 2), &[9; 101]), tcp(path(v6), &segment)] {
            let mut frame = good.clone();
            let header = partial(&mut frame, Some(1000)).unwrap();
            assert!(!parse(&frame).unwrap().checksums_good);
            assert_eq!(header.gso_size, 1000);
            assert!(complete(&mut frame, header.csum_start, header.csum_offset));
            assert_eq!(frame, good);
        }
    }
    let mut echo = icmp_echo(path(false), true, 1, 1, b"");
    assert_eq!(partial(&mut echo, None), None);
    assert!(!complete(&mut [0; 10], 8, 6));
}

#[test]
fn arp_goes_both_ways() {
    let me = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 1));
    let you = ([2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 0, 2));
    let request = parse(&arp_request(me, you.1)).unwrap();
    assert_eq!(request.destination, BROADCAST);
    let expected = Arp { operation: 1, sender: me, target: ([0; 6], you.1) };
    assert_eq!(request.payload, Payload::Arp(expected));
    let reply = parse(&arp_reply(you, me)).unwrap();
    assert_eq!(reply.destination, me.0);
    assert_eq!(reply.payload, Payload::Arp(Arp { operation: 2, sender: you, target: me }));
}

#[test]
fn a_cut_frame_is_none() {
    let whole = udp(path(true), (1, 2), b"abc");
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_none(), "{length}");
    }
}
