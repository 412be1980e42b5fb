//! Every lie a driver can tell with a split ring.

use super::driver::{INDIRECT, NEXT, WRITE};
use super::*;

fn bed(direction: Direction) -> Bed {
    Bed::simple(8, false, direction)
}

/// Descriptor `index` as `(address, len, flags, next)`.
fn set(bed: &Bed, index: u16, buffer: Buffer, flags: u16, next: u16) {
    bed.driver.descriptor(DESCRIPTORS, index, buffer, flags, next);
}

/// Makes head 0 available and returns what is wrong with it. The ring must stay broken.
#[track_caller]
fn lie(bed: &mut Bed) -> Error {
    bed.driver.make_available(0);
    broken(bed)
}

#[track_caller]
fn broken(bed: &mut Bed) -> Error {
    let error = bed.pop().expect_err("a lie was believed");
    assert!(bed.batch.is_empty());
    // Repaired memory does not repair the ring.
    set(bed, 0, (DATA, 1), 0, 0);
    assert_eq!(bed.pop(), Err(error));
    assert_eq!(bed.ring.arm_kicks(), Err(error));
    assert_eq!(bed.ring.complete_batch(&[Completion::default()]), Err(error));
    assert_eq!(bed.ring.update_memory(&bed.memory), Err(error));
    assert!(!bed.ring.must_notify());
    assert!(!bed.ring.has_available());
    error
}

#[test]
fn available_index_jumps() {
    for (index, good) in [(8, true), (9, false), (0x8000, false), (0xffff, false)] {
        let mut bed = bed(Direction::Transmit);
        for n in 0..8 {
            set(&bed, n, (DATA, 1), 0, 0);
            bed.driver.set16(DRIVER + 4 + u64::from(n) * 2, n);
        }
        bed.driver.set16(DRIVER + 2, index);
        if good {
            assert_eq!(bed.pop(), Ok(8));
        } else {
            let error = broken(&mut bed);
            assert_eq!(error, Error::IndexJump { available: index, completed: 0, size: 8 });
        }
    }
}

#[test]
fn more_chains_than_the_ring_has_while_some_are_outstanding() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 1), 0, 0);
    (0..6).for_each(|_| bed.driver.make_available(0));
    assert_eq!(bed.pop(), Ok(6));
    // Within a ring's size of what was popped, not of what was completed.
    (0..3).for_each(|_| bed.driver.make_available(0));
    let error = broken(&mut bed);
    assert_eq!(error, Error::IndexJump { available: 9, completed: 0, size: 8 });
}

#[test]
fn an_index_that_goes_back() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 1), 0, 0);
    (0..6).for_each(|_| bed.driver.make_available(0));
    assert_eq!(bed.pop(), Ok(6));
    bed.driver.set16(DRIVER + 2, 5);
    assert!(matches!(broken(&mut bed), Error::IndexJump { available: 5, .. }));
}

#[test]
fn arming_meets_the_jump_too() {
    let mut bed = bed(Direction::Transmit);
    bed.driver.set16(DRIVER + 2, 100);
    let error = bed.ring.arm_kicks().unwrap_err();
    assert!(matches!(error, Error::IndexJump { available: 100, .. }));
    assert_eq!(broken(&mut bed), error);
}

#[test]
fn head_outside_the_table() {
    for head in [8, 0xffff] {
        let mut bed = bed(Direction::Transmit);
        bed.driver.make_available(head);
        assert_eq!(broken(&mut bed), Error::Head { position: 0, head, size: 8 });
    }
}

#[test]
fn next_outside_the_table() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 1), NEXT, 5);
    set(&bed, 5, (DATA, 1), NEXT, 8);
    assert_eq!(lie(&mut bed), Error::Next { descriptor: 5, next: 8, size: 8 });
}

#[test]
fn loops() {
    let mut one = bed(Direction::Transmit);
    set(&one, 0, (DATA, 1), NEXT, 0);
    assert_eq!(lie(&mut one), Error::ChainTooLong { head: 0, limit: 8 });
    let mut two = bed(Direction::Transmit);
    set(&two, 0, (DATA, 1), NEXT, 1);
    set(&two, 1, (DATA, 0), NEXT, 0);
    assert_eq!(lie(&mut two), Error::ChainTooLong { head: 0, limit: 8 });
    // Empty buffers make no pieces, but they are counted.
    let mut empty = bed(Direction::Transmit);
    set(&empty, 0, (DATA, 0), NEXT, 0);
    assert_eq!(lie(&mut empty), Error::ChainTooLong { head: 0, limit: 8 });
}

#[test]
fn the_longest_chain_is_as_long_as_the_ring() {
    let mut bed = bed(Direction::Transmit);
    for n in 0..7 {
        set(&bed, n, (DATA, 1), NEXT, n + 1);
    }
    set(&bed, 7, (DATA, 1), 0, 0);
    bed.driver.make_available(0);
    assert_eq!(bed.pop(), Ok(1));
    assert_eq!(bed.batch.chains()[0].count, 8);
}

#[test]
fn wild_addresses() {
    for buffer in [
        (0, 1),
        (LOW - 1, 2),
        (SEAM + 0xffff, 2),
        (SEAM + 0x1_0000, 1),
        (LOW, 0x11_0001),
        (HIGH - 1, 1),
        (HIGH + 0xffff, 2),
        (LOW, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX - 1, 2),
        // The end wraps around into guest memory.
        (u64::MAX - 1, 0x2_0000),
        (u64::MAX, u32::MAX),
    ] {
        for direction in [Direction::Transmit, Direction::Receive] {
            let mut bed = bed(direction);
            let write = if direction == Direction::Receive { WRITE } else { 0 };
            set(&bed, 0, buffer, write, 0);
            assert_eq!(
                lie(&mut bed),
                Error::Buffer { descriptor: 0, at: GuestAddress(buffer.0), len: buffer.1 }
            );
        }
    }
}

#[test]
fn empty_buffer_to_receive_into() {
    let mut bed = bed(Direction::Receive);
    set(&bed, 0, (DATA, 5), WRITE | NEXT, 3);
    set(&bed, 3, (DATA, 0), WRITE, 0);
    assert_eq!(lie(&mut bed), Error::EmptyBuffer { descriptor: 3, at: GuestAddress(DATA) });
}

#[test]
fn wrong_direction() {
    let mut transmit = bed(Direction::Transmit);
    set(&transmit, 0, (DATA, 5), NEXT, 3);
    set(&transmit, 3, (DATA, 1), WRITE, 0);
    assert_eq!(lie(&mut transmit), Error::Direction { descriptor: 3, writable: true });
    let mut receive = bed(Direction::Receive);
    set(&receive, 0, (DATA, 5), 0, 0);
    assert_eq!(lie(&mut receive), Error::Direction { descriptor: 0, writable: false });
}

#[test]
fn four_gigabytes_in_one_chain() {
    // A region of 2 GiB, which costs nothing until it is touched.
    let ram = SharedMemory::create(1 << 31).unwrap();
    let memory = GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap())]).unwrap();
    let config = config(8, features(false, false), Direction::Transmit);
    for (last, good) in [(0x7fff_ffff, true), (0x8000_0000, false)] {
        let mut bed = Bed {
            driver: Driver::new(&config, &memory),
            ring: Ring::new(&config, &memory).unwrap(),
            batch: Batch::with_capacity(8, 64),
            memory: memory.clone(),
        };
        set(&bed, 0, (0, 1 << 31), NEXT, 1);
        set(&bed, 1, (0, last), 0, 0);
        bed.driver.make_available(0);
        if good {
            assert_eq!(bed.pop(), Ok(1));
            assert_eq!(bed.batch.chains()[0].bytes, 0xffff_ffff);
        } else {
            assert_eq!(bed.pop(), Err(Error::TooManyBytes { head: 0, bytes: 1 << 32 }));
        }
    }
}

#[test]
fn indirect_without_the_feature() {
    let mut config = config(8, features(false, false), Direction::Transmit);
    config.features.indirect = false;
    let mut bed = Bed::new(&config);
    set(&bed, 0, (TABLES, 16), INDIRECT, 0);
    assert_eq!(lie(&mut bed), Error::IndirectNotNegotiated { descriptor: 0 });
}

#[test]
fn indirect_and_next() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (TABLES, 16), INDIRECT | NEXT, 1);
    assert_eq!(lie(&mut bed), Error::ChainedIndirect { descriptor: 0 });
}

#[test]
fn indirect_lengths() {
    for len in [0, 1, 15, 17, 31, 32768 * 16 + 16, u32::MAX, 0xffff_fff0] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (TABLES, len), INDIRECT, 0);
        assert_eq!(lie(&mut bed), Error::IndirectLength { descriptor: 0, len });
    }
}

#[test]
fn indirect_tables_that_are_nowhere() {
    for at in [0, LOW - 16, TABLES + 1, TABLES + 4, SEAM - 16, HIGH + 0xfff8, u64::MAX - 7, u64::MAX - 15] {
        let mut bed = bed(Direction::Transmit);
        set(&bed, 0, (at, 32), INDIRECT, 0);
        assert_eq!(lie(&mut bed), Error::IndirectTable { descriptor: 0, at: GuestAddress(at), len: 32 });
    }
}

#[test]
fn indirect_in_indirect() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (TABLES, 32), INDIRECT, 0);
    bed.driver.descriptor(TABLES, 0, (DATA, 1), NEXT, 1);
    bed.driver.descriptor(TABLES, 1, (TABLES + 64, 16), INDIRECT, 0);
    assert_eq!(lie(&mut bed), Error::NestedIndirect { descriptor: 0, entry: 1 });
}

#[test]
fn indirect_loop_and_wild_next() {
    let mut round = bed(Direction::Transmit);
    set(&round, 0, (TABLES, 32), INDIRECT, 0);
    round.driver.descriptor(TABLES, 0, (DATA, 1), NEXT, 1);
    round.driver.descriptor(TABLES, 1, (DATA, 1), NEXT, 0);
    assert_eq!(lie(&mut round), Error::ChainTooLong { head: 0, limit: 2 });
    let mut wild = bed(Direction::Transmit);
    set(&wild, 0, (TABLES, 32), INDIRECT, 0);
    wild.driver.descriptor(TABLES, 0, (DATA, 1), NEXT, 2);
    assert_eq!(lie(&mut wild), Error::Next { descriptor: 0, next: 2, size: 2 });
}

#[test]
fn a_giant_table_is_walked_so_far_and_no_further() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (TABLES, 32768 * 16), INDIRECT, 0);
    for n in 0..1024 {
        bed.driver.descriptor(TABLES, n, (DATA, 0), NEXT, n + 1);
    }
    bed.driver.descriptor(TABLES, 1024, (DATA, 1), 0, 0);
    assert_eq!(lie(&mut bed), Error::ChainTooLong { head: 0, limit: 1024 });
}

#[test]
fn the_write_flag_of_a_table_is_ignored_and_chains_may_end_in_one() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 7), NEXT, 6);
    set(&bed, 6, (TABLES, 16), INDIRECT | WRITE, 0);
    bed.driver.descriptor(TABLES, 0, (DATA + 7, 1), 0, 0);
    bed.driver.make_available(0);
    assert_eq!(bed.pop(), Ok(1));
    assert_eq!(bed.buffers(0), [(DATA, 7), (DATA + 7, 1)]);
}

#[test]
fn good_chains_before_a_bad_one_come_out_first() {
    let mut bed = bed(Direction::Transmit);
    set(&bed, 0, (DATA, 1), 0, 0);
    bed.driver.make_available(0);
    bed.driver.make_available(0);
    bed.driver.make_available(77);
    assert_eq!(bed.pop(), Ok(2));
    // They can still be completed, and the driver hears of them.
    bed.complete(2, 0).unwrap();
    assert!(bed.ring.must_notify());
    assert_eq!(bed.driver.get16(DEVICE + 2), 2);
    assert_eq!(broken(&mut bed), Error::Head { position: 2, head: 77, size: 8 });
    // Where another device would meet the same.
    assert_eq!(bed.ring.base(), RingBase(2));
}
