//! What fits a batch, and what happens when it does not.

use super::*;

#[test]
fn popping_stops_at_either_capacity_and_goes_on_later() {
    for packed in [false, true] {
        let mut bed = Bed::simple(16, packed, Direction::Transmit);
        for n in 0..4 {
            bed.driver.add(&[(DATA + n, 1), (DATA + 0x100 + n, 1), (DATA + 0x200 + n, 1)], false).unwrap();
        }
        // Two chains of three pieces fit seven.
        bed.batch = Batch::with_capacity(64, 7);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 2);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 0);
        assert!(bed.ring.has_available());
        assert_eq!(bed.ring.arm_kicks(), Ok(true));
        bed.batch.remove_front(1);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 1);
        assert_eq!(bed.buffers(0), [(DATA + 1, 1), (DATA + 0x101, 1), (DATA + 0x201, 1)]);
        assert_eq!(bed.buffers(1)[0], (DATA + 2, 1));
        // One chain at most.
        bed.batch = Batch::with_capacity(1, 100);
        assert_eq!(bed.batch.room(), 1);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 1);
        assert_eq!(bed.batch.room(), 0);
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 0);
    }
}

#[test]
fn a_chain_that_fits_no_batch_is_an_error() {
    for packed in [false, true] {
        let mut bed = Bed::simple(16, packed, Direction::Transmit);
        bed.batch = Batch::with_capacity(4, 2);
        bed.driver.add(&[(DATA, 1)], false).unwrap();
        bed.driver.add(&[(DATA, 1), (DATA, 1), (DATA, 1)], false).unwrap();
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 1);
        // Not yet known to be hopeless: the batch is not empty.
        assert_eq!(bed.ring.pop_batch(&mut bed.batch, 64).unwrap(), 0);
        bed.batch.clear();
        let error = bed.ring.pop_batch(&mut bed.batch, 64).unwrap_err();
        assert!(matches!(error, Error::TooManyPieces { limit: 2, .. }), "{error}");
    }
}

#[test]
fn chains_stay_valid_while_others_are_removed_and_added() {
    let mut bed = Bed::simple(256, false, Direction::Receive);
    bed.batch = Batch::with_capacity(8, 20);
    let mut expected = std::collections::VecDeque::new();
    let mut n = 0u64;
    for round in 0..5000 {
        while bed.driver.in_flight() < 80 {
            let buffers: Vec<Buffer> = (0..1 + n % 3).map(|k| (DATA + n % 4096 + k * 8192, 7)).collect();
            bed.driver.add(&buffers, false).unwrap();
            expected.push_back(buffers);
            n += 1;
        }
        bed.ring.pop_batch(&mut bed.batch, 1 + round % 9).unwrap();
        assert!(bed.batch.len() <= 8 && bed.batch.all_iovecs().len() <= 20);
        let mut all = Vec::new();
        for (index, buffers) in (0..bed.batch.len()).zip(&expected) {
            let buffers: Vec<_> = buffers.iter().map(|(at, len)| (*at, *len as usize)).collect();
            assert_eq!(bed.buffers(index), buffers);
            all.extend(buffers);
        }
        let window: Vec<_> =
            bed.batch.all_iovecs().iter().map(|iovec| (guest(&bed.memory, iovec), iovec.len())).collect();
        assert_eq!(window, all);
        let done = (round * 7 % 5).min(bed.batch.len());
        bed.complete(done, 0).unwrap();
        expected.drain(..done);
        bed.driver.collect();
    }
}

#[test]
fn a_chain_of_another_batch_has_no_iovecs() {
    let mut bed = Bed::simple(8, false, Direction::Transmit);
    bed.driver.add(&[(DATA, 1)], false).unwrap();
    bed.pop().unwrap();
    let chain = bed.batch.chains()[0];
    assert_eq!(bed.batch.iovecs(&chain).len(), 1);
    bed.batch.clear();
    assert!(bed.batch.iovecs(&chain).is_empty());
    assert!(Batch::with_capacity(0, 0).iovecs(&chain).is_empty());
}
