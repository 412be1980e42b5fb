//! The driver's rings against the device's.

use mqtap_virtio::ring::Direction;

use super::*;
use crate::error::Error;
use crate::ram::GuestRam;
use crate::testing::TestDevice;

/// Every combination that changes how rings work.
fn flavours() -> impl Iterator<Item = (bool, RingOptions)> {
    (0..16u8).map(|bits| {
        let bit = |n: u8| bits >> n & 1 == 1;
        let options = RingOptions { event_index: bit(1), in_order: bit(2), indirect: bit(3) };
        (bit(0), options)
    })
}

struct Bench {
    ram: GuestRam,
    driver: DriverRing,
    options: RingOptions,
    data: GuestAddress,
}

fn bench(packed: bool, size: u16, options: RingOptions) -> Bench {
    let mut ram = GuestRam::create(1 << 20, 3).unwrap();
    let mut part = |n: u64| ram.allocate_whole(n, 16).unwrap();
    let [d, a, u] = RingLayout::lengths(packed, size);
    let layout = RingLayout { packed, size, descriptors: part(d), driver: part(a), device: part(u) };
    let tables = options.indirect.then(|| IndirectTables { at: part(16 * 8 * u64::from(size)), entries: 8 });
    let data = part(64 * 1024);
    let driver = DriverRing::new(1, ram.memory(), layout, options, tables).unwrap();
    Bench { ram, driver, options, data }
}

impl Bench {
    fn device(&self, direction: Direction) -> TestDevice {
        TestDevice::new(&self.driver, self.options, self.ram.memory(), direction)
    }

    /// A chain of `count` buffers whose bytes all are `mark`.
    fn chain(&self, place: u64, count: u64, mark: u8) -> Vec<Buffer> {
        let buffers: Vec<_> = (0..count)
            .map(|i| Buffer { at: offset(self.data, 1024 * place + 32 * i), len: 5 + i as u32 })
            .collect();
        for buffer in &buffers {
            self.ram.memory().write(buffer.at, &vec![mark; buffer.len as usize]).unwrap();
        }
        buffers
    }
}

#[test]
fn chains_go_round_the_ring_many_times() {
    for (packed, options) in flavours() {
        // A packed ring may have any size.
        let size = if packed { 7 } else { 8 };
        let mut bench = bench(packed, size, options);
        let mut device = bench.device(Direction::Transmit);
        let mut expected = std::collections::VecDeque::new();
        let mut seen = 0;
        for round in 0..400u32 {
            // Between one and three chains of one to three descriptors, as far as there is room.
            for n in 0..=round % 3 {
                let mark = (round * 3 + n) as u8;
                let count = 1 + u64::from(round + n) % 3;
                let buffers = bench.chain(u64::from(mark) % 60, count, mark);
                match bench.driver.add(&buffers, &[]) {
                    Ok(id) => expected.push_back((id, mark, buffers)),
                    Err(Error::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            bench.driver.publish().unwrap();
            let chains = device.pop(if round % 5 == 0 { 64 } else { 2 });
            let mut done = Vec::new();
            for chain in &chains {
                let (_, mark, buffers) = &expected[done.len()];
                let bytes: u32 = buffers.iter().map(|b| b.len).sum();
                assert_eq!(device.read(chain), vec![*mark; bytes as usize], "{packed} {options:?}");
                done.push(chain.completion(7));
            }
            device.ring.complete_batch(&done).unwrap();
            for _ in 0..done.len() {
                let (id, _, _) = expected.pop_front().unwrap();
                let used = bench.driver.reap().unwrap().expect("it was completed");
                assert_eq!(used.id, id);
                // Whoever completes in order may leave the lengths of all but the last of a batch out.
                assert!(used.written == 7 || options.in_order);
                seen += 1;
            }
            assert_eq!(bench.driver.reap().unwrap(), None);
            assert_eq!(bench.driver.in_flight(), expected.len());
        }
        assert!(seen > 500, "{packed} {options:?}: only {seen} chains made it");
    }
}

#[test]
fn writable_chains_carry_data_back() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 16, options);
        let mut device = bench.device(Direction::Receive);
        let buffers = bench.chain(0, 3, 0);
        bench.driver.add(&[], &buffers).unwrap();
        bench.driver.publish().unwrap();
        let chain = device.pop(1)[0];
        assert_eq!(device.write(&chain, &[9; 12]), 12);
        device.ring.complete_batch(&[chain.completion(12)]).unwrap();
        let used = bench.driver.reap().unwrap().unwrap();
        assert_eq!(used.written, 12);
        let mut bytes = [0; 7];
        bench.ram.memory().read(buffers[2].at, &mut bytes).unwrap();
        assert_eq!(bytes, [9, 0, 0, 0, 0, 0, 0], "5 and 6 bytes lie before the third buffer");
    }
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 16, options);
        let mut device = bench.device(Direction::Transmit);
        for mark in 0..4 {
            let buffers = bench.chain(mark.into(), 2, mark);
            bench.driver.add(&buffers, &[]).unwrap();
        }
        assert!(device.pop(8).is_empty());
        bench.driver.publish().unwrap();
        assert_eq!(device.pop(8).len(), 4);
    }
}

#[test]
fn a_full_ring_says_so_and_works_again_later() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 4, options);
        let mut device = bench.device(Direction::Transmit);
        let one = bench.chain(0, 1, 1);
        for _ in 0..4 {
            bench.driver.add(&one, &[]).unwrap();
        }
        assert!(matches!(bench.driver.add(&one, &[]), Err(Error::Full)));
        bench.driver.publish().unwrap();
        let done: Vec<_> = device.pop(2).iter().map(|c| c.completion(0)).collect();
        device.ring.complete_batch(&done).unwrap();
        assert!(matches!(bench.driver.add(&one, &[]), Err(Error::Full)), "not reaped yet");
        while bench.driver.reap().unwrap().is_some() {}
        bench.driver.add(&one, &[]).unwrap();
        bench.driver.add(&one, &[]).unwrap();
        assert!(matches!(bench.driver.add(&one, &[]), Err(Error::Full)));
    }
}

#[test]
fn a_chain_longer_than_the_ring_is_refused_for_good() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 4, options);
        let five = bench.chain(0, 5, 1);
        match bench.driver.add(&five, &[]) {
            Ok(_) => assert!(options.indirect),
            Err(Error::TooLong { bytes: 35, ring_size: 4 }) => assert!(!options.indirect),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_device_is_kicked_only_when_it_sleeps() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 8, options);
        let mut device = bench.device(Direction::Transmit);
        let one = bench.chain(0, 1, 1);
        assert!(!bench.driver.needs_kick().unwrap(), "nothing was added");
        // Several times round, so that the wrap counter takes either value at every step.
        for round in 0..40 {
            let context = format!("{packed} {options:?} round {round}");
            assert!(!device.ring.arm_kicks().unwrap(), "{context}");
            bench.driver.add(&one, &[]).unwrap();
            bench.driver.publish().unwrap();
            assert!(bench.driver.needs_kick().unwrap(), "{context}: it sleeps");
            device.ring.suppress_kicks();
            bench.driver.add(&one, &[]).unwrap();
            bench.driver.add(&one, &[]).unwrap();
            bench.driver.publish().unwrap();
            assert!(!bench.driver.needs_kick().unwrap(), "{context}: it is awake");
            let done: Vec<_> = device.pop(8).iter().map(|c| c.completion(0)).collect();
            assert_eq!(done.len(), 3, "{context}");
            device.ring.complete_batch(&done).unwrap();
            while bench.driver.reap().unwrap().is_some() {}
        }
    }
}

#[test]
fn the_driver_is_called_only_when_it_asked() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 8, options);
        let mut device = bench.device(Direction::Transmit);
        let one = bench.chain(0, 1, 1);
        for round in 0..40 {
            let context = format!("{packed} {options:?} round {round}");
            let mut use_one = |bench: &mut Bench| {
                bench.driver.add(&one, &[]).unwrap();
                bench.driver.publish().unwrap();
                let chain = device.pop(1)[0];
                device.ring.complete_batch(&[chain.completion(0)]).unwrap();
                device.ring.must_notify()
            };
            bench.driver.suppress_calls().unwrap();
            // A device may call once at the start, before it knows how far the driver has looked.
            let called = use_one(&mut bench);
            assert!(!called || round == 0, "{context}: suppressed");
            assert!(bench.driver.arm_calls().unwrap(), "{context}: there is one already");
            bench.driver.reap().unwrap().unwrap();
            assert!(!bench.driver.arm_calls().unwrap(), "{context}");
            assert!(use_one(&mut bench), "{context}: armed");
            bench.driver.reap().unwrap().unwrap();
        }
    }
}

#[test]
fn a_new_device_goes_on_where_the_old_one_died() {
    for (packed, options) in flavours() {
        let mut bench = bench(packed, 8, options);
        let mut device = bench.device(Direction::Transmit);
        for round in 0..30u8 {
            for mark in [round, 100 + round] {
                let buffers = bench.chain(mark.into(), 2, mark);
                // Places are 1 KiB apart in 64 KiB.
                let buffers: Vec<_> = buffers
                    .iter()
                    .map(|b| Buffer { at: GuestAddress(b.at.0 - 1024 * u64::from(mark / 60 * 60)), ..*b })
                    .collect();
                for buffer in &buffers {
                    bench.ram.memory().write(buffer.at, &vec![mark; buffer.len as usize]).unwrap();
                }
                bench.driver.add(&buffers, &[]).unwrap();
                if mark == round {
                    let one = bench.chain(0, 1, mark);
                    bench.driver.add(&one, &[]).unwrap();
                }
            }
            bench.driver.publish().unwrap();
            // It takes all three and gives two back, then it is gone; sometimes before we have reaped.
            let done: Vec<_> = device.pop(3)[..2].iter().map(|c| c.completion(0)).collect();
            device.ring.complete_batch(&done).unwrap();
            if round % 2 == 0 {
                bench.driver.reap().unwrap().unwrap();
            }
            let mut next = bench.device(Direction::Transmit);
            let again = next.pop(8);
            assert_eq!(again.len(), 1, "{packed} {options:?} round {round}");
            assert_eq!(next.read(&again[0])[0], 100 + round, "{packed} {options:?}");
            next.ring.complete_batch(&[again[0].completion(0)]).unwrap();
            while bench.driver.reap().unwrap().is_some() {}
            assert_eq!(bench.driver.in_flight(), 0);
            device = next;
        }
    }
}

#[test]
fn a_device_that_returns_what_it_never_got_is_found_out() {
    let mut bench = bench(false, 8, RingOptions::default());
    let layout = bench.driver.layout();
    let memory = bench.ram.memory().clone();
    memory.store_u16(offset(layout.device, 2), 1, Ordering::Release).unwrap();
    assert!(matches!(bench.driver.reap(), Err(Error::DeviceBug { ring: 1, .. })));

    let one = bench.chain(0, 1, 1);
    let id = bench.driver.add(&one, &[]).unwrap();
    memory.store_u32(offset(layout.device, 4), u32::from(id) + 1, Ordering::Release).unwrap();
    assert!(matches!(bench.driver.reap(), Err(Error::DeviceBug { ring: 1, .. })));
}
