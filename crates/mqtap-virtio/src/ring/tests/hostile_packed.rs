//! Every lie a driver can tell with a packed ring.

use super::driver::{AVAIL, INDIRECT, NEXT, USED, WRITE};
use super::*;

fn bed(direction: Direction) -> Bed {
    Bed::simple(8, true, direction)
}

/// Descriptor `index` with flags as they are to be in memory.
fn set(bed: &Bed, index: u16, buffer: Buffer, flags: u16) {
    bed.driver.descriptor(DESCRIPTORS, index, buffer, 7, flags);
}

/// Returns what is wrong with the ring. It must stay broken.
#[track_caller]
fn lie(bed: &mut Bed) -> Error {
    let error = bed.pop().expect_err("a lie was believed");
    assert!(bed.batch.is_empty());
    // Repaired memory does not repair the ring.
    set(bed, 0, (DATA, 1), AVAIL);
    assert_eq!(bed.pop(), Err(error));
    assert_eq!(bed.ring.arm_kicks(), Err(error));
    assert_eq!(bed.ring.complete_batch(&[Completion::default()]), Err(error));
    assert_eq!(bed.ring.update_memory(&bed.memory), Err(error));
    assert!(!bed.ring.must_notify());
    assert!(!bed.ring.has_available());
    error
}

#[test]
fn wrap_bits_that_are_not_this_lap() {
    for flags in [0, AVAIL | USED, USED] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (DATA, 1), flags);
        assert_eq!(bed.pop(), Ok(0));
        assert_eq!(bed.ring.arm_kicks(), Ok(false));
    }
}

#[test]
fn a_later_descriptor_that_is_not_available() {
    for flags in [0, USED, AVAIL | USED] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (DATA, 1), AVAIL | NEXT);
        set(&bed, 1, (DATA, 1), AVAIL | NEXT);
        set(&bed, 2, (DATA, 1), flags);
        assert_eq!(lie(&mut bed), Error::NotAvailable { head: 0, descriptor: 2, flags });
    }
}

#[test]
fn a_chain_around_the_end_changes_its_wrap_bits() {
    let mut bed = bed(Direction::Transmit);
    for _ in 0..7 {
        bed.driver.add(&[(DATA, 1)], false).unwrap();
    }
    assert_eq!(bed.pop(), Ok(7));
    bed.complete(7, 0).unwrap();
    set(&bed, 7, (DATA, 1), AVAIL | NEXT);
    set(&bed, 0, (DATA, 1), AVAIL);
    assert!(matches!(lie(&mut bed), Error::NotAvailable { head: 7, descriptor: 0, flags: AVAIL }));
}

#[test]
fn chained_without_end() {
    let mut bed = bed(Direction::Transmit);
    for n in 0..8 {
        set(&bed, n, (DATA, 1), AVAIL | NEXT);
    }
    assert_eq!(lie(&mut bed), Error::ChainTooLong { head: 0, limit: 8 });
}

#[test]
fn the_longest_chain_is_as_long_as_the_ring() {
    let mut bed = bed(Direction::Transmit);
    for n in 0..7 {
        set(&bed, n, (DATA, 1), AVAIL | NEXT);
    }
    set(&bed, 7, (DATA, 1), AVAIL);
    assert_eq!(bed.pop(), Ok(1));
    assert_eq!(bed.batch.chains()[0].descriptors, 8);
    assert_eq!(bed.batch.chains()[0].count, 8);
    assert_eq!(bed.pop(), Ok(0));
}

#[test]
fn over_what_is_still_in_use() {
    let mut bed = bed(Direction::Transmit);
    for n in 0..6 {
        set(&bed, n, (DATA, 1), AVAIL);
    }
    assert_eq!(bed.pop(), Ok(6));
    // Two are free; this chain has three, around the end.
    set(&bed, 6, (DATA, 1), AVAIL | NEXT);
    set(&bed, 7, (DATA, 1), AVAIL | NEXT);
    set(&bed, 0, (DATA, 1), USED);
    assert_eq!(lie(&mut bed), Error::Overrun { head: 6 });

    // The whole ring is in use, and its first descriptor says it is available in the next lap.
    let mut bed = self::bed(Direction::Transmit);
    for n in 0..8 {
        set(&bed, n, (DATA, 1), AVAIL);
    }
    assert_eq!(bed.pop(), Ok(8));
    set(&bed, 0, (DATA, 1), USED);
    assert_eq!(lie(&mut bed), Error::Overrun { head: 0 });
}

#[test]
fn wild_addresses() {
    for buffer in [(0, 1), (SEAM + 0xffff, 2), (LOW, u32::MAX), (u64::MAX, 1), (u64::MAX - 1, 0x2_0000)] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, buffer, AVAIL);
        assert_eq!(lie(&mut bed), Error::Buffer { descriptor: 0, at: GuestAddress(buffer.0), len: buffer.1 });
    }
}

#[test]
fn empty_buffer_to_receive_into() {
    let mut bed = bed(Direction::Receive);
    set(&bed, 0, (DATA, 0), AVAIL | WRITE);
    assert_eq!(lie(&mut bed), Error::EmptyBuffer { descriptor: 0, at: GuestAddress(DATA) });
}

#[test]
fn wrong_direction() {
    let mut transmit = bed(Direction::Transmit);
    set(&transmit, 0, (DATA, 5), AVAIL | WRITE);
    assert_eq!(lie(&mut transmit), Error::Direction { descriptor: 0, writable: true });
    let mut receive = bed(Direction::Receive);
    set(&receive, 0, (DATA, 5), AVAIL);
    assert_eq!(lie(&mut receive), Error::Direction { descriptor: 0, writable: false });
}

#[test]
fn indirect_without_the_feature() {
    let mut config = config(8, features(true, false), Direction::Transmit);
    config.features.indirect = false;
    let mut bed = Bed::new(&config);
    set(&bed, 0, (TABLES, 16), AVAIL | INDIRECT);
    assert_eq!(lie(&mut bed), Error::IndirectNotNegotiated { descriptor: 0 });
}

#[test]
fn indirect_is_alone() {
    let mut first = bed(Direction::Transmit);
    set(&first, 0, (TABLES, 16), AVAIL | INDIRECT | NEXT);
    assert_eq!(lie(&mut first), Error::ChainedIndirect { descriptor: 0 });
    let mut last = bed(Direction::Transmit);
    set(&last, 0, (DATA, 1), AVAIL | NEXT);
    set(&last, 1, (TABLES, 16), AVAIL | INDIRECT);
    assert_eq!(lie(&mut last), Error::ChainedIndirect { descriptor: 1 });
}

#[test]
fn indirect_tables_that_are_nowhere_or_of_no_size() {
    for (at, len) in [(TABLES, 0), (TABLES, 17), (TABLES, u32::MAX)] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (at, len), AVAIL | INDIRECT);
        assert_eq!(lie(&mut bed), Error::IndirectLength { descriptor: 0, len });
    }
    for at in [0, TABLES + 4, SEAM - 16, u64::MAX - 7] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (at, 32), AVAIL | INDIRECT);
        let at = GuestAddress(at);
        assert_eq!(lie(&mut bed), Error::IndirectTable { descriptor: 0, at, len: 32 });
    }
    let mut giant = bed(Direction::Transmit);
    set(&giant, 0, (TABLES, 1025 * 16), AVAIL | INDIRECT);
    assert_eq!(lie(&mut giant), Error::ChainTooLong { head: 0, limit: 1024 });
}

#[test]
fn reserved_flags_in_an_indirect_table_are_ignored() {
    // There is no nesting: an entry marked indirect is a buffer like the others (2.8.7).
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (TABLES, 32), AVAIL | INDIRECT | WRITE);
    bed.driver.descriptor(TABLES, 0, (DATA, 3), 0xffff, INDIRECT | USED);
    bed.driver.descriptor(TABLES, 1, (DATA + 3, 4), 0xffff, NEXT | AVAIL);
    assert_eq!(bed.pop(), Ok(1));
    assert_eq!(bed.buffers(0), [(DATA, 3), (DATA + 3, 4)]);
}

#[test]
fn good_chains_before_a_bad_one_come_out_first() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 1), AVAIL);
    set(&bed, 1, (DATA, 1), AVAIL);
    set(&bed, 2, (0, 1), AVAIL);
    assert_eq!(bed.pop(), Ok(2));
    bed.complete(2, 0).unwrap();
    assert!(bed.ring.must_notify());
    assert!(matches!(bed.pop(), Err(Error::Buffer { descriptor: 2, .. })));
    assert_eq!(bed.ring.base(), RingBase(0x8002_8002));
}

#[test]
fn nonsense_in_the_event_suppression_notifies() {
    // Reserved flags; a position outside the ring; a position although there is no event index.
    for (event_index, bits, flags, notify) in [
        (true, 0, 3, true),
        (true, 0x0008, 2, true),
        (true, 0x7fff, 2, true),
        (true, 0xffff, 2, true),
        (true, 0x8005, 2, false),
        (true, 0x8005, 2 | 0xfff0, false),
        (false, 0x8005, 2, true),
        (false, 0, 0xfffc, true),
        (false, 0, 0xfffd, false),
    ] {
        let mut bed = Bed::new(&config(8, features(true, event_index), Direction::Transmit));
        for round in 0..2 {
            bed.driver.add(&[(DATA, 1)], false).unwrap();
            bed.pop().unwrap();
            bed.complete(1, 0).unwrap();
            bed.driver.set16(DRIVER, bits);
            bed.driver.set16(DRIVER + 2, flags);
            let notified = bed.ring.must_notify();
            if round == 1 {
                assert_eq!(notified, notify, "{event_index} {bits:#x} {flags:#x}");
            }
        }
    }
}
