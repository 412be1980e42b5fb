//! Chains come out as they went in, and go back as they came.

use super::*;

fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

#[test]
fn a_chain_of_one_buffer() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Transmit);
        assert_eq!(bed.pop().unwrap(), 0);
        let id = bed.driver.add(&[(DATA, 60)], false).unwrap();
        assert!(bed.ring.has_available());
        assert_eq!(bed.pop().unwrap(), 1);
        assert_eq!(bed.buffers(0), [(DATA, 60)]);
        let chain = bed.batch.chains()[0];
        assert_eq!((chain.id, chain.count, chain.bytes, chain.descriptors), (id, 1, 60, 1));
        assert!(!bed.ring.has_available());
        assert_eq!(bed.pop().unwrap(), 0);
        bed.ring.complete_batch(&[chain.completion(0)]).unwrap();
        assert_eq!(bed.driver.collect(), [(id, Some(0))]);
    });
}

#[test]
fn buffers_over_the_seam_of_two_regions_become_two_pieces() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Receive);
        bed.driver.add(&[(SEAM - 100, 300), (HIGH, 5)], false).unwrap();
        assert_eq!(bed.pop().unwrap(), 1);
        assert_eq!(bed.buffers(0), [(SEAM - 100, 100), (SEAM, 200), (HIGH, 5)]);
        assert_eq!(bed.batch.chains()[0].bytes, 305);
    });
}

#[test]
fn buffers_up_to_the_last_byte_of_memory() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Transmit);
        bed.driver.add(&[(HIGH + 0xffff, 1)], false).unwrap();
        bed.driver.add(&[(LOW, 0x11_0000)], false).unwrap();
        assert_eq!(bed.pop().unwrap(), 2);
        assert_eq!(bed.buffers(0), [(HIGH + 0xffff, 1)]);
        assert_eq!(bed.buffers(1), [(LOW, 0x10_0000), (SEAM, 0x1_0000)]);
    });
}

#[test]
fn indirect_tables() {
    both(|packed| {
        let mut bed = Bed::simple(4, packed, Direction::Transmit);
        // Longer than the ring, as Linux makes them.
        let buffers: Vec<Buffer> = (0..19).map(|n| (DATA + n * 0x1000, 100 + n as u32)).collect();
        bed.driver.add(&buffers, true).unwrap();
        assert_eq!(bed.pop().unwrap(), 1);
        let expected: Vec<_> = buffers.iter().map(|(at, len)| (*at, *len as usize)).collect();
        assert_eq!(bed.buffers(0), expected);
        assert_eq!(bed.batch.chains()[0].descriptors, 1);
        bed.complete(1, 0).unwrap();
        assert_eq!(bed.driver.collect().len(), 1);
    });
}

#[test]
fn empty_buffers_of_transmit_are_skipped() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Transmit);
        // The address of an empty buffer means nothing.
        bed.driver.add(&[(DATA, 1), (u64::MAX, 0), (DATA + 1, 2)], false).unwrap();
        bed.driver.add(&[(0, 0)], false).unwrap();
        assert_eq!(bed.pop().unwrap(), 2);
        assert_eq!(bed.buffers(0), [(DATA, 1), (DATA + 1, 2)]);
        assert!(bed.buffers(1).is_empty());
        bed.complete(2, 0).unwrap();
        assert_eq!(bed.driver.collect().len(), 2);
    });
}

#[test]
fn a_full_ring_many_times_around() {
    both(|packed| {
        for direction in [Direction::Transmit, Direction::Receive] {
            let mut bed = Bed::simple(8, packed, direction);
            for round in 0..20_000u32 {
                let mut ids = Vec::new();
                while let Some(id) = bed.driver.add(&[(DATA + u64::from(round % 64), 9)], false) {
                    ids.push((id, Some(round)));
                }
                assert_eq!(ids.len(), 8);
                assert_eq!(bed.pop().unwrap(), 8);
                bed.complete(8, round).unwrap();
                assert_eq!(bed.driver.collect(), ids);
            }
        }
    });
}

#[test]
fn a_packed_ring_of_any_size() {
    for size in [1, 2, 3, 7, 100, 255] {
        let mut bed = Bed::simple(size, true, Direction::Transmit);
        for _ in 0..5 * usize::from(size) {
            let ids: Vec<_> = (0..(usize::from(size) * 2 / 3).max(1))
                .map(|_| (bed.driver.add(&[(DATA, 9)], false).unwrap(), Some(0)))
                .collect();
            let mut collected = Vec::new();
            while bed.pop().unwrap() > 0 {
                bed.complete(bed.batch.len(), 0).unwrap();
                collected.extend(bed.driver.collect());
            }
            assert_eq!(collected, ids);
        }
    }
}

#[test]
fn packed_buffer_ids_may_be_any_number() {
    let mut bed = Bed::simple(4, true, Direction::Transmit);
    bed.driver.descriptor(DESCRIPTORS, 0, (DATA, 1), 0xfffe, driver::AVAIL);
    assert_eq!(bed.pop().unwrap(), 1);
    assert_eq!(bed.batch.chains()[0].id, 0xfffe);
    bed.complete(1, 0).unwrap();
    assert_eq!(bed.driver.get16(DESCRIPTORS + 12), 0xfffe);
}

#[test]
fn packed_used_descriptors_say_whether_something_was_written() {
    let mut bed = Bed::simple(4, true, Direction::Receive);
    bed.driver.add(&[(DATA, 10)], false).unwrap();
    bed.driver.add(&[(DATA, 10)], false).unwrap();
    bed.pop().unwrap();
    bed.complete(1, 7).unwrap();
    bed.complete(1, 0).unwrap();
    let flags = |n: u64| bed.driver.get16(DESCRIPTORS + n * 16 + 14);
    assert_eq!(flags(0) & driver::WRITE, driver::WRITE);
    assert_eq!(flags(1) & driver::WRITE, 0);
}

#[test]
fn in_order_transmit_completes_a_burst_with_one_element() {
    both(|packed| {
        let mut features = features(packed, false);
        features.in_order = true;
        let mut bed = Bed::new(&config(8, features, Direction::Transmit));
        for round in 0..1000 {
            let n = 1 + round % 4;
            let ids: Vec<_> =
                (0..n).map(|_| bed.driver.add(&[(DATA, 9), (DATA + 9, 9)], false).unwrap()).collect();
            assert_eq!(bed.pop().unwrap(), n);
            bed.complete(n, 0).unwrap();
            let done = bed.driver.collect();
            assert_eq!(done.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
            // Only the last was named.
            assert_eq!(done.iter().filter(|(_, written)| written.is_some()).count(), 1);
        }
    });
}

#[test]
fn in_order_receive_tells_the_length_of_every_chain() {
    both(|packed| {
        let mut features = features(packed, false);
        features.in_order = true;
        let mut bed = Bed::new(&config(8, features, Direction::Receive));
        for _ in 0..3 {
            bed.driver.add(&[(DATA, 900)], false).unwrap();
        }
        bed.pop().unwrap();
        bed.complete(3, 77).unwrap();
        let done = bed.driver.collect();
        assert!(done.iter().all(|(_, written)| *written == Some(77)));
        assert_eq!(done.len(), 3);
    });
}

#[test]
fn what_is_not_completed_is_popped_again_after_a_rewind() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Transmit);
        for n in 0..6 {
            bed.driver.add(&[(DATA + n, 1)], false).unwrap();
        }
        assert_eq!(bed.pop().unwrap(), 6);
        bed.complete(2, 0).unwrap();
        bed.ring.rewind();
        assert!(bed.ring.has_available());
        assert_eq!(bed.pop().unwrap(), 4);
        assert_eq!(bed.buffers(0), [(DATA + 2, 1)]);
        assert_eq!(bed.buffers(3), [(DATA + 5, 1)]);
        bed.complete(4, 0).unwrap();
        assert_eq!(bed.driver.collect().len(), 6);
    });
}

#[test]
fn another_device_goes_on_from_the_base() {
    both(|packed| {
        let start = config(8, features(packed, false), Direction::Transmit);
        let mut bed = Bed::new(&start);
        for round in 0..100 {
            for n in 0..5 {
                bed.driver.add(&[(DATA + n, 1)], false).unwrap();
            }
            assert_eq!(bed.pop().unwrap(), 5);
            bed.complete(round % 5, 0).unwrap();
            let left = 5 - round % 5;
            let base = bed.ring.base();
            bed.ring = Ring::new(&RingConfig { base, ..start }, &bed.memory).unwrap();
            assert_eq!(bed.ring.base(), base);
            assert_eq!(bed.pop().unwrap(), left);
            assert_eq!(bed.buffers(left - 1), [(DATA + 4, 1)]);
            bed.complete(left, 0).unwrap();
            assert_eq!(bed.driver.collect().len(), 5);
        }
    });
}

#[test]
fn new_memory_is_used_at_once() {
    both(|packed| {
        let start = config(8, features(packed, false), Direction::Transmit);
        let mut bed = Bed::new(&start);
        bed.driver.add(&[(DATA, 1)], false).unwrap();
        assert_eq!(bed.pop().unwrap(), 1);
        // Another memory with another driver that got as far as this one.
        let other = ram();
        let mut driver = Driver::new(&start, &other);
        driver.add(&[(DATA + 0x100, 2)], false).unwrap();
        bed.ring.update_memory(&other).unwrap();
        bed.memory = other;
        assert_eq!(bed.pop().unwrap(), 1);
        assert_eq!(bed.buffers(0), [(DATA + 0x100, 2)]);
        // A memory without the ring breaks it.
        let nothing = GuestMemory::new(Vec::new()).unwrap();
        let error = bed.ring.update_memory(&nothing).unwrap_err();
        assert!(matches!(
            error,
            Error::PartOutOfRange { part: "descriptor area", .. } | Error::PartOutOfRange { .. }
        ));
        drop(bed.memory);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 1).unwrap_err(), error);
        assert!(!bed.ring.has_available());
        bed.ring.suppress_kicks();
        assert!(!bed.ring.must_notify());
    });
}

#[test]
fn completing_more_than_was_popped_changes_nothing() {
    both(|packed| {
        let mut bed = Bed::simple(8, packed, Direction::Transmit);
        let id = bed.driver.add(&[(DATA, 1)], false).unwrap();
        bed.driver.add(&[(DATA, 1)], false).unwrap();
        let one = Completion { id, descriptors: 1, written: 0 };
        assert_eq!(
            bed.ring.complete_batch(&[one]).unwrap_err(),
            Error::CompletedTooMany { completed: 1, outstanding: 0 }
        );
        bed.ring.pop_batch(&mut bed.batch, 1).unwrap();
        assert!(bed.ring.complete_batch(&[one, one]).is_err());
        assert!(bed.driver.collect().is_empty());
        bed.ring.complete_batch(&[one]).unwrap();
        assert_eq!(bed.driver.collect(), [(id, Some(0))]);
    });
}

#[test]
fn the_edges_of_every_region_to_the_byte() {
    // The region found last answers first, so each edge is asked for from inside and from outside.
    let edges = [LOW, SEAM, SEAM + 0x1_0000, HIGH, HIGH + 0x1_0000];
    let regions = [(LOW, SEAM), (SEAM, SEAM + 0x1_0000), (HIGH, HIGH + 0x1_0000)];
    let warm_ups = [DATA, SEAM + 0x100, HIGH + 0x100];
    for warm_up in warm_ups {
        for (start, len) in edges
            .into_iter()
            .flat_map(|edge| edge - 3..edge + 3)
            .flat_map(|start| (1..=4u32).map(move |len| (start, len)))
        {
            // Byte by byte, what the regions say.
            let mut expected: Vec<(u64, usize)> = Vec::new();
            let mut good = true;
            for byte in start..start + u64::from(len) {
                match regions.iter().find(|(from, to)| (*from..*to).contains(&byte)) {
                    None => good = false,
                    Some((from, _)) if byte == *from || expected.is_empty() => expected.push((byte, 1)),
                    Some(_) => expected.last_mut().unwrap().1 += 1,
                }
            }
            let mut bed = Bed::simple(4, false, Direction::Transmit);
            bed.driver.add(&[(warm_up, 1)], false).unwrap();
            assert_eq!(bed.pop().unwrap(), 1);
            bed.driver.add(&[(start, len)], false).unwrap();
            if good {
                assert_eq!(bed.pop().unwrap(), 1);
                assert_eq!(bed.buffers(0), expected, "{start:#x} + {len}");
            } else {
                assert!(matches!(bed.pop(), Err(Error::Buffer { .. })), "{start:#x} + {len}");
            }
        }
    }
}

#[test]
fn buffers_do_not_wrap_from_the_last_byte_of_the_address_space_to_the_first() {
    let region = |at| {
        let ram = SharedMemory::create(0x10_0000).unwrap();
        Arc::new(ram.region(at, 0).unwrap())
    };
    let memory = GuestMemory::new(vec![region(0), region(u64::MAX - 0xf_ffff)]).unwrap();
    both(|packed| {
        let config = config(4, features(packed, false), Direction::Transmit);
        for (len, good) in [(1, true), (0x10, true), (0x11, false), (0x100, false)] {
            let mut bed = Bed {
                driver: Driver::new(&config, &memory),
                ring: Ring::new(&config, &memory).unwrap(),
                batch: Batch::with_capacity(4, 16),
                memory: memory.clone(),
            };
            bed.driver.add(&[(u64::MAX - 0xf, len)], false).unwrap();
            assert_eq!(bed.pop().is_ok(), good, "{len:#x}");
        }
    });
}
