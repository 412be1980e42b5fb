//! Every byte a ring writes is marked in the dirty log.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::*;
use crate::memory::{Budget, DirtyLog};

/// A memory that logs, and a view of its log.
fn logged(memory: &GuestMemory) -> (GuestMemory, impl Fn() -> Vec<u64> + use<>) {
    let size = 0x10_0000;
    let shared = SharedMemory::create(size).unwrap();
    let log =
        DirtyLog::map(shared.fd().as_fd().try_clone_to_owned().unwrap(), 0, size, &Budget::new()).unwrap();
    let view = GuestMemory::new(vec![Arc::new(shared.region(0, 0).unwrap())]).unwrap();
    // The pages marked since the last call, cleared as a frontend does.
    let take = move || {
        let mut pages = Vec::new();
        for word in 0..size / 8 {
            let at = GuestAddress(word * 8);
            let bits = view.load_u64(at, Ordering::Relaxed).unwrap();
            if bits != 0 {
                pages.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 64 + bit));
                view.store_u64(at, 0, Ordering::Relaxed).unwrap();
            }
        }
        pages
    };
    (memory.with_log(Some(Arc::new(log))), take)
}

#[test]
fn split() {
    for log_at in [None, Some(GuestAddress(0x7000_0000))] {
        for event_index in [false, true] {
            // 1024 entries: the used ring has three pages.
            let mut config = config(1024, features(false, event_index), Direction::Transmit);
            config.addresses.log = log_at;
            let mut bed = Bed::new(&config);
            let (memory, take) = logged(&bed.memory);
            bed.ring.update_memory(&memory).unwrap();
            let page = log_at.map_or(DEVICE, |at| at.0) >> 12;

            bed.ring.suppress_kicks();
            assert_eq!(take(), if event_index { vec![] } else { vec![page] });
            assert_eq!(bed.ring.arm_kicks(), Ok(false));
            // The event index is behind the last element.
            assert_eq!(take(), [if event_index { page + 2 } else { page }]);

            let mut burst = |n: usize| {
                for _ in 0..n {
                    bed.driver.add(&[(DATA, 1)], false).unwrap();
                }
                bed.batch = Batch::with_capacity(1024, 1024);
                assert_eq!(bed.ring.pop_batch(&mut bed.batch, n).unwrap(), n);
                assert!(take().is_empty());
                bed.complete(n, 0).unwrap();
                bed.driver.collect();
                take()
            };
            assert_eq!(burst(1), [page]);
            // Elements 1 to 510 are on the first page, 511 to 521 are not all.
            assert_eq!(burst(510), [page]);
            assert_eq!(burst(10), [page, page + 1]);
            assert_eq!(burst(500), [page, page + 1]);
            // Around the end: the last three and the first of the next lap.
            assert_eq!(burst(4), [page, page + 1, page + 2]);
        }
    }
}

#[test]
fn packed() {
    let mut config = config(512, features(true, true), Direction::Receive);
    config.addresses.log = Some(GuestAddress(0x7000_0000));
    let mut bed = Bed::new(&config);
    let (memory, take) = logged(&bed.memory);
    bed.ring.update_memory(&memory).unwrap();
    // The event suppression is at the log address, the descriptors where they are.
    bed.ring.suppress_kicks();
    assert_eq!(take(), [0x7_0000]);
    assert_eq!(bed.ring.arm_kicks(), Ok(false));
    assert_eq!(take(), [0x7_0000]);
    let page = DESCRIPTORS >> 12;
    let mut burst = |n: usize| {
        for _ in 0..n {
            bed.driver.add(&[(DATA, 1)], false).unwrap();
        }
        bed.batch = Batch::with_capacity(512, 512);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, n).unwrap(), n);
        assert!(take().is_empty());
        bed.complete(n, 1).unwrap();
        bed.driver.collect();
        take()
    };
    assert_eq!(burst(256), [page]);
    assert_eq!(burst(1), [page + 1]);
    assert_eq!(burst(300), [page, page + 1]);
}

#[test]
fn nothing_when_it_is_off() {
    for packed in [false, true] {
        let mut bed = Bed::simple(8, packed, Direction::Receive);
        let (memory, take) = logged(&bed.memory);
        bed.ring.update_memory(&memory.with_log(None)).unwrap();
        bed.driver.add(&[(DATA, 1)], false).unwrap();
        bed.pop().unwrap();
        bed.complete(1, 1).unwrap();
        bed.ring.suppress_kicks();
        bed.ring.arm_kicks().unwrap();
        assert!(take().is_empty());
    }
}
