use super::*;
use crate::frames::{Payload, complete, parse};
use crate::header::{NEEDS_CSUM, VirtioNetHeader};

fn generator(shape: &str) -> Generator {
    Generator::new(shape.parse().unwrap())
}

/// The frame as the far end would have it: checksum complete.
fn arrived(generator: &Generator) -> Vec<u8> {
    let (header, frame) = generator.frame().split_at(VirtioNetHeader::SIZE);
    let header = VirtioNetHeader::from_bytes(header).unwrap();
    let mut frame = frame.to_vec();
    if header.flags & NEEDS_CSUM != 0 {
        assert!(complete(&mut frame, header.csum_start, header.csum_offset));
    }
    frame
}

#[test]
fn every_frame_has_right_checksums() {
    for shape in
        ["udp,size=60", "udp,size=1514,flows=64", "tcp,size=1514,flows=3", "udp,size=61,checksum=partial"]
    {
        let mut generator = generator(shape);
        for turn in 0..66_000 {
            generator.stamp();
            // All numbers wrap somewhere; in between they are much of a muchness.
            if (1000..65_000).contains(&turn) {
                continue;
            }
            let frame = arrived(&generator);
            assert!(parse(&frame).unwrap().checksums_good, "{shape}: {frame:02x?}");
        }
    }
}

#[test]
fn flows_take_turns_and_each_goes_on_where_it_was() {
    let mut generator = generator("tcp,size=1514,flows=2");
    let mut expected = [0u32; 2];
    for turn in 0..8u16 {
        generator.stamp();
        let frame = arrived(&generator);
        let flow = turn % 2;
        assert_eq!(u16::from_be_bytes([frame[18], frame[19]]), turn / 2);
        let Payload::Tcp(segment) = parse(&frame).unwrap().payload else { panic!("{frame:?}") };
        assert_eq!(segment.source_port, 10000 + flow);
        assert_eq!(segment.sequence, expected[usize::from(flow)]);
        expected[usize::from(flow)] += segment.payload.len() as u32;
    }
}

#[test]
fn a_super_frame_is_whole_segments_and_each_has_a_number() {
    let mut generator = generator("tcp,size=65000,checksum=partial,segment=1448");
    assert_eq!(generator.shape().chunks(), 44);
    let mut checker = Checker::default();
    for whole in [true, false, true] {
        generator.stamp();
        let frame = generator.frame();
        assert_eq!(checker.frame(frame, frame.len(), whole), 44);
    }
    assert_eq!(checker.counters(), CheckCounters { payloads: 132, ..CheckCounters::default() });
}

#[test]
fn cut_up_it_is_still_known() {
    let mut generator = generator("udp,size=10000,checksum=partial,segment=1472");
    generator.stamp();
    let mut checker = Checker::default();
    let payload = &generator.frame()[VirtioNetHeader::SIZE + 42..];
    payload.chunks(1472).for_each(|segment| checker.payload(segment));
    assert_eq!(checker.counters(), CheckCounters { payloads: 6, ..CheckCounters::default() });
}

#[test]
fn loss_reordering_and_damage_are_told_apart() {
    let mut generator = generator("udp,size=100,flows=2");
    let mut frames: Vec<Vec<u8>> = (0..20)
        .map(|_| {
            generator.stamp();
            generator.frame().to_vec()
        })
        .collect();
    frames.remove(4);
    frames.swap(10, 12);
    let last = frames[18].len() - 1;
    frames[18][last] ^= 1;
    frames.push(vec![0; 80]);
    let mut checker = Checker::default();
    for frame in &frames {
        checker.frame(frame, frame.len(), true);
    }
    let expected = CheckCounters { payloads: 19, out_of_order: 1, missing: 2, corrupt: 1, others: 1 };
    assert_eq!(checker.counters(), expected);
}

#[test]
fn nonsense_is_no_shape() {
    for text in
        ["", "icmp", "udp,size=50", "tcp,size=60", "udp,size=70000", "udp,flows=0", "udp,segment=1000"]
    {
        assert!(text.parse::<Shape>().is_err(), "{text}");
    }
    for text in ["udp,flows=60000", "udp,to=10.0.0.1", "udp,mac=02:00", "udp,segment=8,checksum=partial"] {
        assert!(text.parse::<Shape>().is_err(), "{text}");
    }
}
