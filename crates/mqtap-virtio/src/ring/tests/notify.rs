//! Kicks and notifications in the cases the specification spells out; `property` has the rest.

use super::driver::Wish;
use super::*;

fn all(test: impl Fn(Bed, bool)) {
    for packed in [false, true] {
        for event_index in [false, true] {
            test(Bed::new(&config(8, features(packed, event_index), Direction::Receive)), event_index);
        }
    }
}

fn add(bed: &mut Bed) {
    bed.driver.add(&[(DATA, 2000)], false).unwrap();
}

#[test]
fn nothing_completed_nothing_to_tell() {
    all(|mut bed, _| {
        bed.driver.wish(Wish::Everything);
        assert!(!bed.ring.must_notify());
        add(&mut bed);
        bed.pop().unwrap();
        assert!(!bed.ring.must_notify());
        bed.ring.complete_batch(&[]).unwrap();
        assert!(!bed.ring.must_notify());
        bed.complete(1, 1).unwrap();
        assert!(bed.ring.must_notify());
        assert!(!bed.ring.must_notify());
    });
}

#[test]
fn the_first_completion_of_a_ring_is_told_with_the_event_index() {
    // A device before us may have completed up to the event and died without a word.
    for packed in [false, true] {
        let mut bed = Bed::new(&config(8, features(packed, true), Direction::Receive));
        add(&mut bed);
        bed.driver.wish(Wish::After(6));
        bed.pop().unwrap();
        bed.complete(1, 1).unwrap();
        assert!(bed.ring.must_notify());
    }
}

#[test]
fn a_burst_that_passes_the_event() {
    for packed in [false, true] {
        let mut bed = Bed::new(&config(8, features(packed, true), Direction::Receive));
        add(&mut bed);
        bed.pop().unwrap();
        bed.complete(1, 1).unwrap();
        assert!(bed.ring.must_notify());
        for _ in 0..1000 {
            bed.driver.collect();
            bed.driver.wish(Wish::After(3));
            (0..6).for_each(|_| add(&mut bed));
            bed.pop().unwrap();
            bed.complete(3, 1).unwrap();
            assert!(!bed.ring.must_notify());
            bed.complete(1, 1).unwrap();
            assert!(bed.ring.must_notify());
            bed.complete(2, 1).unwrap();
            assert!(!bed.ring.must_notify());
        }
    }
}

#[test]
fn armed_kicks_come_and_suppressed_ones_do_not() {
    all(|mut bed, event_index| {
        for _ in 0..1000 {
            assert_eq!(bed.ring.arm_kicks(), Ok(false));
            // Arming twice changes nothing.
            assert_eq!(bed.ring.arm_kicks(), Ok(false));
            add(&mut bed);
            assert!(bed.driver.must_kick());
            if event_index {
                // Asked for once: the next chain brings no second kick.
                add(&mut bed);
                assert!(!bed.driver.must_kick());
            }
            bed.ring.suppress_kicks();
            add(&mut bed);
            assert!(!bed.driver.must_kick());
            let n = bed.pop().unwrap();
            bed.complete(n, 1).unwrap();
            bed.driver.collect();
        }
    });
}

#[test]
fn arming_sees_what_came_before_it() {
    all(|mut bed, _| {
        bed.ring.suppress_kicks();
        add(&mut bed);
        assert_eq!(bed.ring.arm_kicks(), Ok(true));
        assert_eq!(bed.pop(), Ok(1));
        assert_eq!(bed.ring.arm_kicks(), Ok(false));
        add(&mut bed);
        assert!(bed.driver.must_kick());
    });
}

#[test]
fn a_new_ring_does_not_trust_what_the_last_one_left() {
    // The device before us left kicks suppressed.
    for packed in [false, true] {
        for event_index in [false, true] {
            let start = config(8, features(packed, event_index), Direction::Receive);
            let mut bed = Bed::new(&start);
            bed.ring.suppress_kicks();
            bed.ring = Ring::new(&RingConfig { base: bed.ring.base(), ..start }, &bed.memory).unwrap();
            assert_eq!(bed.ring.arm_kicks(), Ok(false));
            add(&mut bed);
            assert!(bed.driver.must_kick());
        }
    }
}

#[test]
fn new_memory_is_told_again() {
    all(|mut bed, _| {
        assert_eq!(bed.ring.arm_kicks(), Ok(false));
        // The same ring in other memory, where kicks are suppressed.
        let other = ram();
        let start = config(8, bed.ring.config.features, Direction::Receive);
        let mut driver = Driver::new(&start, &other);
        driver.set16(DEVICE, 0x5555);
        driver.set16(DEVICE + 2, if start.features.packed { 1 } else { 0 });
        driver.set16(DEVICE + 4 + 8 * 8, 0x5555);
        bed.ring.update_memory(&other).unwrap();
        assert_eq!(bed.ring.arm_kicks(), Ok(false));
        driver.add(&[(DATA, 2000)], false).unwrap();
        assert!(driver.must_kick());
    });
}
