use proptest::prelude::*;

use super::super::testing::{Frame, any_network, any_transport};
use super::{Sum, complete, update};

/// RFC 1071 to the letter: big-endian words, one after the other, the carry added at once.
fn naive(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[test]
fn lengths_around_a_block_and_bytes_of_all_ones() {
    for length in 0..300 {
        let bytes = vec![0xff; length];
        assert_eq!(Sum::of(&bytes).fold(), naive(&bytes), "{length} bytes of 0xff");
        let bytes: Vec<u8> = (0..length).map(|i| (i * 37 + 11) as u8).collect();
        assert_eq!(Sum::of(&bytes).fold(), naive(&bytes), "{length} bytes");
    }
    let long = vec![0xff; 65_536];
    assert_eq!(Sum::of(&long).fold(), 0xffff);
}

#[test]
fn a_sum_is_zero_only_of_zeros() {
    assert_eq!(Sum::of(&[]).fold(), 0);
    assert_eq!(Sum::of(&[0; 99]).fold(), 0);
    assert_eq!(Sum::of(&[0xff, 0xff]).fold(), 0xffff);
    assert_eq!(Sum::of(&[0x12, 0x34, 0xed, 0xcb]).fold(), 0xffff);
}

#[test]
fn pseudo_headers_of_both_kinds() {
    let v4 = [10, 0, 0, 1, 192, 168, 255, 254];
    let mut bytes = v4.to_vec();
    bytes.extend_from_slice(&[0, 17, 0x05, 0xdc]);
    assert_eq!(Sum::pseudo_header(&v4, 17, 0x5dc).fold(), naive(&bytes));

    let v6: Vec<u8> = (0..32).map(|i| i * 8 + 7).collect();
    let mut bytes = v6.clone();
    bytes.extend_from_slice(&[0, 1, 0xff, 0xfe, 0, 0, 0, 6]);
    assert_eq!(Sum::pseudo_header(&v6, 6, 0x1_fffe).fold(), naive(&bytes));
}

#[test]
fn udp_has_no_checksum_of_zero() {
    let ones = Sum::of(&[0xff, 0xff]);
    assert_eq!((ones.checksum(), ones.udp_checksum()), (0, 0xffff));
    let other = Sum::of(&[0x12, 0x34]);
    assert_eq!(other.udp_checksum(), other.checksum());
}

#[test]
fn a_checksum_that_is_not_inside_the_frame_is_not_made() {
    let frame = [7; 20];
    for (start, offset) in [(21, 0), (20, 0), (19, 0), (10, 9), (0, 19), (usize::MAX, 1), (1, usize::MAX)] {
        let mut bytes = frame;
        assert_eq!((complete(&mut bytes, start, offset), bytes), (None, frame), "{start} + {offset}");
    }
    assert_eq!(complete(&mut frame.to_vec(), 10, 8), Some(()));
}

proptest! {
    #[test]
    fn partial_checksums_are_completed(
        network in any_network(),
        transport in any_transport(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let frame = Frame::new(network, transport, &payload);
        let mut bytes = frame.partial();
        complete(&mut bytes, frame.transport_at(), transport.checksum()).unwrap();
        // TCP has both zeros, and whoever completes a checksum does not look at the protocol.
        let mut expected = frame.bytes();
        let at = frame.transport_at() + transport.checksum();
        if expected[at..at + 2] == [0, 0] {
            expected[at..at + 2].fill(0xff);
        }
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn any_bytes_in_any_pieces(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cuts in proptest::collection::vec(0_usize..400, 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut added, mut appended, mut start) = (Sum::default(), Sum::default(), 0);
        for cut in cuts {
            added.add(&bytes[start..cut]);
            appended.append(Sum::of(&bytes[start..cut]));
            start = cut;
        }
        prop_assert_eq!(Sum::of(&bytes).fold(), naive(&bytes));
        prop_assert_eq!(added.fold(), naive(&bytes));
        prop_assert_eq!(appended.fold(), naive(&bytes));
    }

    /// Pieces appended to each other in any order of operations, as when sums of payloads are kept.
    #[test]
    fn appending_is_associative(
        a in proptest::collection::vec(any::<u8>(), 0..9),
        b in proptest::collection::vec(any::<u8>(), 0..9),
        c in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut tail = Sum::of(&b);
        tail.append(Sum::of(&c));
        let mut sum = Sum::of(&a);
        sum.append(tail);
        prop_assert_eq!(sum.fold(), naive(&[a, b, c].concat()));
    }

    #[test]
    fn words_in_and_out(mut bytes in proptest::collection::vec(any::<u8>(), 4..64), word in any::<u16>()) {
        let old = u16::from_be_bytes([bytes[2], bytes[3]]);
        let before = Sum::of(&bytes);
        bytes[2..4].copy_from_slice(&word.to_be_bytes());
        let mut changed = before;
        changed.remove_word(old);
        changed.add_word(word);
        // Once not all is zero, the sum of zeros is never met again.
        let expected = naive(&bytes);
        prop_assert!(changed.fold() == expected || (changed.fold() == 0xffff && expected == 0));
        let updated = update(before.checksum(), old, word);
        prop_assert!(updated == !expected || (updated == 0 && expected == 0));
    }
}
