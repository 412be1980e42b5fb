//! Random bursts: every frame comes out, exact and in order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::super::headers::{get_u16, put_u16, tcp};
use super::model::wire;
use super::*;

/// What is odd about a frame.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    None,
    Id(u16),
    Sequence(u32),
    Acknowledgement,
    Window,
    Urgent,
    Flags(u8),
    Tos,
    Ttl,
    Label,
    Df,
    TcpOptions,
    IpOptions,
    Vlan,
    Shorter,
    Longer,
    Empty,
    /// One byte of the frame is another.
    Byte(usize, u8),
    /// The virtio-net header is another.
    Header(VnetHeader),
    Padding,
    Cut,
    OtherZero,
    Arp,
    Fragment,
    Icmp,
}

fn any_oddity() -> impl Strategy<Value = Oddity> {
    let header = any::<[u8; 12]>().prop_map(|bytes| VnetHeader {
        flags: bytes[0] % 4,
        gso_type: if bytes[1] < 128 { 0 } else { bytes[1] % 8 },
        hdr_len: u16::from(bytes[2]),
        gso_size: u16::from(bytes[3] % 3) * 100,
        csum_start: 14 + u16::from(bytes[4] % 64),
        csum_offset: u16::from(bytes[5] % 20),
        num_buffers: u16::from(bytes[6] % 3),
    });
    prop_oneof![
        60 => Just(Oddity::None),
        1 => (0..3_u16).prop_map(Oddity::Id),
        1 => (0..3_u32).prop_map(Oddity::Sequence),
        1 => Just(Oddity::Acknowledgement),
        1 => Just(Oddity::Window),
        1 => Just(Oddity::Urgent),
        5 => any::<u8>().prop_map(|bit| Oddity::Flags(1 << (bit % 8))),
        1 => Just(Oddity::Tos),
        1 => Just(Oddity::Ttl),
        1 => Just(Oddity::Label),
        1 => Just(Oddity::Df),
        1 => Just(Oddity::TcpOptions),
        1 => Just(Oddity::IpOptions),
        1 => Just(Oddity::Vlan),
        3 => Just(Oddity::Shorter),
        1 => Just(Oddity::Longer),
        1 => Just(Oddity::Empty),
        4 => (0..160_usize, any::<u8>()).prop_map(|(at, value)| Oddity::Byte(at, value)),
        2 => header.prop_map(Oddity::Header),
        1 => Just(Oddity::Padding),
        1 => Just(Oddity::Cut),
        2 => Just(Oddity::OtherZero),
        1 => Just(Oddity::Arp),
        1 => Just(Oddity::Fragment),
        1 => Just(Oddity::Icmp),
    ]
}

/// A flow, and how its frames are checksummed.
fn any_flow() -> impl Strategy<Value = Spec> {
    let options = prop_oneof![Just(0_usize), Just(12), Just(40)];
    let size = prop_oneof![1..40_usize, 80..120_usize, Just(1448)];
    (0..4_usize, 0..=2_usize, options, size, any::<(u16, u32)>(), 0..3_u8).prop_map(
        |(kind, vlans, options, size, (id, sequence), host)| {
            let (network, transport) = KINDS[kind];
            Spec {
                vlans: vec![7; vlans],
                tcp_options: if transport == Transport::Tcp { vec![1; options] } else { Vec::new() },
                // Numbers that wrap within a few frames, often.
                id: if id < 0x8000 { 0xfff8 | id } else { id },
                sequence: if sequence < 0x8000_0000 { 0xffff_ff00 | sequence } else { sequence },
                hosts: (host, 1),
                ..Spec::new(network, transport, &vec![host; size])
            }
        },
    )
}

#[derive(Clone, Debug)]
struct Step {
    flow: prop::sample::Index,
    oddity: Oddity,
    partial: bool,
}

fn any_burst() -> impl Strategy<Value = Vec<Packet>> {
    let step = (any::<prop::sample::Index>(), any_oddity(), any::<bool>());
    let step = step.prop_map(|(flow, oddity, partial)| Step { flow, oddity, partial });
    (vec(any_flow(), 1..4), vec(step, 1..100), any::<bool>()).prop_map(|(mut flows, steps, mixed)| {
        let mut burst = Vec::new();
        for step in steps {
            let number = step.flow.index(flows.len());
            let is_partial = if mixed { step.partial } else { number % 2 == 0 };
            burst.push(packet(&mut flows[number], step.oddity, is_partial));
        }
        burst
    })
}

/// The next frame of a flow.
fn packet(flow: &mut Spec, oddity: Oddity, is_partial: bool) -> Packet {
    let mut spec = flow.clone();
    match oddity {
        Oddity::Id(by) => spec.id = spec.id.wrapping_sub(by),
        Oddity::Sequence(by) => spec.sequence = spec.sequence.wrapping_sub(by),
        Oddity::Acknowledgement => spec.acknowledgement += 1,
        Oddity::Window => spec.window += 1,
        Oddity::Urgent => spec.urgent += 1,
        Oddity::Flags(bit) => spec.flags ^= bit,
        Oddity::Tos => spec.tos ^= 1,
        Oddity::Ttl => spec.ttl ^= 1,
        Oddity::Label => spec.label ^= 1,
        Oddity::Df => spec.df = !spec.df,
        Oddity::TcpOptions if spec.transport == Transport::Tcp => spec.tcp_options = vec![2; 12],
        Oddity::IpOptions if spec.network == Network::V4 => spec.ip_options = vec![1; 4],
        Oddity::Vlan => spec.vlans = vec![8],
        Oddity::Shorter => spec.payload.truncate(spec.payload.len() / 2),
        Oddity::Longer => spec.payload.push(3),
        Oddity::Empty => spec.payload.clear(),
        _ => {}
    }
    let following = next(&spec, flow.payload.len());
    flow.id = following.id;
    flow.sequence = following.sequence;
    flow.payload = following.payload;
    // These stay as they have become.
    flow.acknowledgement = spec.acknowledgement;
    flow.window = spec.window;
    flow.tcp_options.clone_from(&spec.tcp_options);
    finish(&spec, oddity, is_partial)
}

fn finish(spec: &Spec, oddity: Oddity, is_partial: bool) -> Packet {
    let mut packet = if is_partial { partial(spec) } else { complete(spec) };
    match oddity {
        Oddity::Byte(at, value) if at < packet.len() => packet[at] = value,
        Oddity::Header(header) => packet = with_header(header, &packet[12..]),
        Oddity::Padding => packet.extend([0; 6]),
        Oddity::Cut => packet.truncate(packet.len() - 1),
        Oddity::OtherZero => other_zero(spec, &mut packet, is_partial),
        Oddity::Arp => put_u16(&mut packet, 12 + 12, 0x0806).unwrap(),
        Oddity::Fragment if spec.network == Network::V4 => packet[12 + spec.network_at() + 6] |= 0x20,
        Oddity::Icmp if spec.network == Network::V4 => packet[12 + spec.network_at() + 9] = 1,
        _ => {}
    }
    packet
}

/// A checksum that is 0 is made 0xffff: as right, and not what the kernel makes. One of UDP that is 0 and so
/// written as 0xffff is made 0: there is none then.
fn other_zero(spec: &Spec, packet: &mut [u8], is_partial: bool) {
    let network_at = 12 + spec.network_at();
    if spec.network == Network::V4 && spec.sequence.is_multiple_of(2) {
        let ip = &mut packet[network_at..];
        make_zero(ip, 10, 4);
        put_u16(ip, 10, 0xffff).unwrap();
    } else if !is_partial && spec.payload.len() >= 2 {
        let transport = &mut packet[12 + spec.transport_at()..];
        make_zero(transport, spec.transport.checksum(), spec.payload_at() - spec.transport_at());
        let value = if spec.transport == Transport::Tcp { 0xffff } else { 0 };
        put_u16(transport, spec.transport.checksum(), value).unwrap();
    }
}

/// Changes a word so that the right checksum is zero.
fn make_zero(bytes: &mut [u8], checksum: usize, word: usize) {
    let mut sum = Sum::default();
    sum.add_word(get_u16(bytes, word).unwrap());
    sum.add_word(get_u16(bytes, checksum).unwrap());
    put_u16(bytes, word, sum.fold()).unwrap();
}

/// What must stay in order: nothing (`None`: everything), or addresses, ports and protocol.
fn order_key(packet: &[u8]) -> Option<Vec<u8>> {
    let frame = &packet[12..];
    let headers = Headers::parse(frame)?;
    let (network_at, transport_at) = (headers.network_at(), headers.transport_at());
    let addresses = match headers.network() {
        Network::V4 => network_at + 12..network_at + 20,
        Network::V6 => network_at + 8..network_at + 40,
    };
    let mut key = frame[addresses].to_vec();
    key.extend(&frame[transport_at..transport_at + 4]);
    key.push(headers.transport().protocol());
    Some(key)
}

fn check(burst: &[Packet], groups: &[Group]) {
    let order: Vec<usize> = groups.iter().flat_map(|group| group.members.clone()).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..burst.len()).collect::<Vec<_>>(), "each frame once");

    let keys: Vec<_> = burst.iter().map(|packet| order_key(packet)).collect();
    for (at, &later) in order.iter().enumerate() {
        for &earlier in &order[at..] {
            let in_order = earlier >= later
                || (keys[earlier].is_some() && keys[later].is_some() && keys[earlier] != keys[later]);
            assert!(in_order, "{later} overtakes {earlier}");
        }
    }

    for group in groups {
        assert_eq!(group.head.is_some(), group.members.len() > 1);
        let Some(head) = &group.head else { continue };
        let mut written = head.clone();
        for &member in &group.members {
            written.extend(&burst[member][group.payload_at..]);
        }
        let alone: Vec<_> = group.members.iter().flat_map(|&member| wire(&burst[member])).collect();
        let mut segments = wire(&written);
        assert_eq!(segments.len(), alone.len());
        for ((segment, alone), &member) in segments.iter_mut().zip(alone).zip(&group.members) {
            assert_eq!(zero_is_zero(&burst[member], segment), alone, "frame {member} of {:?}", group.members);
        }
    }
}

/// The kernel makes a TCP checksum of zero into 0xffff when it completes a frame, and not when it segments one.
fn zero_is_zero<'a>(packet: &[u8], segment: &'a mut Vec<u8>) -> &'a [u8] {
    let at = Headers::parse(segment).unwrap().transport_at() + tcp::CHECKSUM;
    let is_tcp = Headers::parse(segment).unwrap().transport() == Transport::Tcp;
    if is_tcp && packet[0] & VnetHeader::NEEDS_CSUM != 0 && get_u16(segment, at) == Some(0) {
        put_u16(segment, at, 0xffff).unwrap();
    }
    segment
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_comes_out_is_what_went_in(bursts in vec(any_burst(), 1..3)) {
        let mut coalescer = Coalescer::new(OPTIONS, 4);
        for burst in bursts {
            let groups = coalesce(&mut coalescer, &burst);
            check(&burst, &groups);
        }
    }
}

#[test]
fn the_random_bursts_are_not_too_odd_to_be_merged() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut frames, mut merged) = (0, 0);
    for _ in 0..300 {
        let burst = any_burst().new_tree(&mut runner).unwrap().current();
        frames += burst.len();
        merged += groups(&burst).iter().filter(|members| members.len() > 1).map(Vec::len).sum::<usize>();
    }
    assert!(merged * 3 > frames, "{merged} of {frames}");
}
