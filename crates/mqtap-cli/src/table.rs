//! The counters of a NIC as a table for people.

use std::fmt::Write;

use mqtap_virtio::nic::NicSnapshot;

use crate::output::{Align, Columns, harmless};

/// One line for each queue pair, and one for all together.
pub(crate) fn render(id: &str, nic: &NicSnapshot) -> String {
    let pairs = nic.pairs.len();
    let attached = nic.pairs.iter().filter(|pair| pair.attached).count();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} on {}: {pairs} queue pairs ({} virtqueues), {attached} attached",
        harmless(id),
        harmless(&nic.interface),
        2 * pairs
    );
    let mut columns = Columns::new([
        ("pair", Align::Right),
        ("queue", Align::Left),
        ("|", Align::Left),
        ("guest->tap", Align::Right),
        ("bytes", Align::Right),
        ("dropped", Align::Right),
        ("|", Align::Left),
        ("tap->guest", Align::Right),
        ("bytes", Align::Right),
        ("dropped", Align::Right),
    ])
    .narrow();
    let mut line = |pair: String, state: &str, row: [u64; 6]| {
        let [frames, bytes, dropped, received, received_bytes, not_received] =
            row.map(|count| count.to_string());
        let bar = || "|".to_owned();
        columns.row([
            pair,
            state.to_owned(),
            bar(),
            frames,
            bytes,
            dropped,
            bar(),
            received,
            received_bytes,
            not_received,
        ]);
    };
    let mut sum = [0u64; 6];
    for (index, pair) in nic.pairs.iter().enumerate() {
        let (transmit, receive) = (&pair.transmit, &pair.receive);
        let row = [
            transmit.frames,
            transmit.bytes,
            transmit.dropped(),
            receive.frames,
            receive.bytes,
            receive.dropped(),
        ];
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value;
        }
        let state = match (pair.attached, nic.kernel) {
            (false, _) => "detached",
            (true, None) => "attached",
            (true, Some(_)) => "kernel",
        };
        line(index.to_string(), state, row);
    }
    let mut state = "";
    if let Some(kernel) = &nic.kernel {
        state = "kernel";
        let moved = [
            kernel.transmit_frames,
            kernel.transmit_bytes,
            kernel.transmit_dropped,
            kernel.receive_frames,
            kernel.receive_bytes,
            kernel.receive_dropped,
        ];
        for (sum, value) in sum.iter_mut().zip(moved) {
            *sum += value;
        }
    }
    line("all".to_owned(), state, sum);
    text.push_str(&columns.render("  "));
    if nic.kernel.is_some() {
        text.push_str("  the kernel moves the frames and counts them for the interface, not for each pair\n");
    }
    for (index, pair) in nic.pairs.iter().enumerate() {
        for (name, count) in reasons(pair) {
            let _ = writeln!(text, "  pair {index}: {count} {name}");
        }
    }
    text
}

/// How frames went out, why they were dropped, what went wrong, and what made frames wait: only what happened.
fn reasons(pair: &mqtap_virtio::counters::PairSnapshot) -> Vec<(&'static str, u64)> {
    let (transmit, receive) = (&pair.transmit, &pair.receive);
    [
        ("frames from the guest that were coalesced with others of their flow", transmit.coalesced_frames),
        ("super-frames that they became", transmit.super_frames),
        ("from the guest dropped: ring not enabled", transmit.dropped_disabled),
        ("from the guest dropped: too short, too long or in too many pieces", transmit.dropped_size),
        ("from the guest dropped: refused by the kernel (bad virtio-net header)", transmit.dropped_rejected),
        ("from the guest dropped: interface down", transmit.dropped_link_down),
        ("from the guest dropped: error of the tap", transmit.dropped_error),
        ("times the send buffer of the tap was full, and the guest waited", transmit.blocked),
        ("to the guest dropped: ring disabled while they waited", receive.dropped_disabled),
        ("to the guest dropped: larger than its buffers", receive.dropped_size),
        (
            "to the guest dropped: an offload that it does not take and that makes no sense",
            receive.dropped_offload,
        ),
        ("to the guest dropped: error of the tap", receive.dropped_error),
        ("super-frames segmented, since the guest does not take them", receive.segmented),
        ("frames to the guest made of them", receive.segments),
        ("times the guest had no buffer posted, and frames may have waited in the tap", receive.starved),
        ("times a ring was stopped because the driver broke its rules", pair.broken),
    ]
    .into_iter()
    .filter(|&(_, count)| count > 0)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtap_virtio::counters::PairSnapshot;
    use mqtap_virtio::nic::KernelCounters;

    #[test]
    fn the_table_has_a_line_for_each_pair_and_names_the_reason_of_a_drop() {
        let mut pairs = vec![PairSnapshot::default(); 2];
        pairs[0].attached = true;
        pairs[0].transmit.frames = 7;
        pairs[1].transmit.frames = 5;
        pairs[1].receive.dropped_size = 3;
        pairs[1].receive.segmented = 2;
        pairs[1].receive.segments = 88;
        let text = render("hn0", &NicSnapshot { interface: "tap0".into(), kernel: None, pairs });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "hn0 on tap0: 2 queue pairs (4 virtqueues), 1 attached");
        assert!(lines[2].trim_start().starts_with("0 attached"), "{text}");
        assert!(lines[3].trim_start().starts_with("1 detached"), "{text}");
        assert!(lines[4].trim_start().starts_with("all") && lines[4].contains(" 12 "), "{text}");
        assert_eq!(lines[5], "  pair 1: 3 to the guest dropped: larger than its buffers");
        assert_eq!(lines[6], "  pair 1: 2 super-frames segmented, since the guest does not take them");
        assert_eq!(lines[7], "  pair 1: 88 frames to the guest made of them");
        assert_eq!(lines.len(), 8, "{text}");
    }

    #[test]
    fn what_the_kernel_moved_is_in_the_line_of_all_pairs() {
        let mut pairs = vec![PairSnapshot::default(); 2];
        pairs[0].attached = true;
        pairs[1].transmit.dropped_disabled = 2;
        let kernel = KernelCounters { transmit_frames: 7, receive_frames: 35, ..KernelCounters::default() };
        let text = render("hn0", &NicSnapshot { interface: "tap0".into(), kernel: Some(kernel), pairs });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].trim_start().starts_with("0 kernel"), "{text}");
        assert!(lines[3].trim_start().starts_with("1 detached"), "{text}");
        let numbers: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(numbers, ["all", "kernel", "|", "7", "0", "2", "|", "35", "0", "0"], "{text}");
        assert!(lines[5].contains("not for each pair"), "{text}");
        assert_eq!(lines[6], "  pair 1: 2 from the guest dropped: ring not enabled");
    }
}
