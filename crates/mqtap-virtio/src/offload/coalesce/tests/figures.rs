//! What the look at a frame costs. Not a test: run it with
//! `cargo test --release -p mqtap-virtio --lib coalesce::tests::figures -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

const BURST: usize = 64;
const ROUNDS: usize = 20_000;

/// Nanoseconds for each frame of a burst, heads copied as from guest memory.
fn measure(name: &str, burst: &[Packet]) {
    let mut coalescer = Coalescer::new(OPTIONS, burst.len());
    let mut best = f64::MAX;
    let mut written = 0;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            written = 0;
            coalescer.begin();
            for (position, packet) in burst.iter().enumerate() {
                let packet = black_box(&packet[..]);
                let head = packet.len().min(HEAD);
                match packet.first_chunk::<HEAD>() {
                    Some(bytes) => *coalescer.head() = *bytes,
                    None => coalescer.head()[..head].copy_from_slice(packet),
                }
                let frame = Frame { position: position as u16, head, length: packet.len(), pieces: 1 };
                coalescer.push(frame, |position, from| Sum::of(&burst[usize::from(position)][from..]));
            }
            for outgoing in coalescer.finish() {
                written += 1;
                match outgoing {
                    Outgoing::Frame(position) => _ = black_box(position),
                    Outgoing::SuperFrame(frame) => frame.members.for_each(|member| _ = black_box(member)),
                }
            }
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (ROUNDS * burst.len()) as f64);
    }
    println!("{name:44} {best:6.1} ns a frame, {} frames as {written}", burst.len());
}

#[test]
#[ignore = "measures"]
fn nanoseconds_for_each_frame() {
    for (network, transport) in KINDS {
        for size in [18, 1448] {
            let first = Spec::new(network, transport, &vec![7; size]);
            let name = |what| format!("{network:?} {transport:?} {size:4} bytes, {what}");
            let specs = flow(&first, BURST);
            measure(&name("one flow, partial"), &specs.iter().map(partial).collect::<Vec<_>>());
            measure(&name("one flow, complete"), &specs.iter().map(complete).collect::<Vec<_>>());
            let four: Vec<_> = (0..BURST as u16)
                .map(|i| {
                    let (flow, number) = (i % 4, i / 4);
                    Spec {
                        ports: (2000 + flow, 80),
                        id: number,
                        sequence: u32::from(number) * size as u32,
                        ..first.clone()
                    }
                })
                .collect();
            measure(&name("4 flows, partial"), &four.iter().map(partial).collect::<Vec<_>>());
            let distinct: Vec<_> =
                (0..BURST as u16).map(|i| Spec { ports: (2000 + i, 80), ..first.clone() }).collect();
            measure(&name("distinct flows"), &distinct.iter().map(partial).collect::<Vec<_>>());
            let same_id: Vec<_> =
                specs.iter().map(|spec| Spec { id: 0, tos: spec.id as u8 & 1, ..spec.clone() }).collect();
            measure(&name("one flow, never like before"), &same_id.iter().map(partial).collect::<Vec<_>>());
        }
    }
    let mut arp = complete(&Spec::new(Network::V4, Transport::Udp, &[0; 18]));
    arp[12 + 13] = 6;
    measure("ARP", &vec![arp; BURST]);
}
