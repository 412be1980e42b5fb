//! What a ring can be made from.

use super::*;

fn try_ring(change: impl Fn(&mut RingConfig), packed: bool) -> Result<Ring, Error> {
    let mut config = config(256, features(packed, true), Direction::Receive);
    change(&mut config);
    Ring::new(&config, &ram())
}

#[test]
fn sizes() {
    for size in [1, 2, 64, 256, 1024, 2048] {
        assert_eq!(try_ring(|c| c.size = size, false).unwrap().size(), size);
        assert_eq!(try_ring(|c| c.size = size, true).unwrap().size(), size);
    }
    for size in [3, 255, 1000] {
        let error = try_ring(|c| c.size = size, false).unwrap_err();
        assert_eq!(error, Error::Size { layout: "split", size });
        assert!(try_ring(|c| c.size = size, true).is_ok());
    }
    for size in [0, 32769, 65535] {
        assert!(matches!(try_ring(|c| c.size = size, false), Err(Error::Size { .. })));
        assert!(matches!(try_ring(|c| c.size = size, true), Err(Error::Size { .. })));
    }
}

#[test]
fn the_largest_rings() {
    let ram = SharedMemory::create(0x20_0000).unwrap();
    let memory = GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap())]).unwrap();
    for packed in [false, true] {
        let mut config = config(32768, features(packed, true), Direction::Transmit);
        config.addresses.descriptors = GuestAddress(0);
        config.addresses.driver = GuestAddress(0x10_0000);
        config.addresses.device = GuestAddress(0x18_0000);
        // The used ring has 256 KiB and six bytes.
        assert!(Ring::new(&config, &memory).is_ok());
        config.addresses.descriptors = GuestAddress(0x18_0010);
        assert!(matches!(
            Ring::new(&config, &memory),
            Err(Error::PartOutOfRange { part: "descriptor area", len: 0x8_0000, .. })
        ));
    }
}

#[test]
fn alignment() {
    type Place = fn(&mut RingConfig) -> &mut GuestAddress;
    let places: [(Place, u64, u64); 3] = [
        (|c| &mut c.addresses.descriptors, 16, 16),
        (|c| &mut c.addresses.driver, 2, 4),
        (|c| &mut c.addresses.device, 4, 4),
    ];
    for (place, split, packed) in places {
        for (is_packed, alignment) in [(false, split), (true, packed)] {
            assert!(try_ring(|c| place(c).0 += alignment, is_packed).is_ok());
            let error = try_ring(|c| place(c).0 += alignment / 2, is_packed).unwrap_err();
            assert!(matches!(error, Error::PartMisaligned { .. }), "{error}");
        }
    }
}

#[test]
fn a_region_that_shifts_alignment_is_found_out() {
    // The guest address is aligned, the place in our memory is not.
    let ram = SharedMemory::create(0x4_0000).unwrap();
    let layout = RegionLayout { guest_address: LOW, size: 0x3_0000, user_address: 0, mmap_offset: 1 };
    let memory = GuestMemory::new(vec![Arc::new(ram.map(layout).unwrap())]).unwrap();
    let config = config(256, features(false, false), Direction::Receive);
    assert!(matches!(Ring::new(&config, &memory), Err(Error::PartMisaligned { .. })));
}

#[test]
fn parts_lie_in_one_region() {
    for packed in [false, true] {
        for at in [0, SEAM - 16, SEAM + 0x1_0000, HIGH + 0xfff0, u64::MAX - 15] {
            let error = try_ring(|c| c.addresses.descriptors = GuestAddress(at), packed).unwrap_err();
            assert!(matches!(error, Error::PartOutOfRange { .. }), "{error}");
        }
        // Four bytes are enough for a packed ring's event areas.
        let last = HIGH + 0xfffc;
        assert_eq!(try_ring(|c| c.addresses.driver = GuestAddress(last), packed).is_ok(), packed);
        assert_eq!(try_ring(|c| c.addresses.device = GuestAddress(last), packed).is_ok(), packed);
    }
}

#[test]
fn the_event_index_needs_its_two_bytes() {
    let fits = HIGH + 0x1_0000 - (4 + 8 * 256);
    assert!(try_ring(|c| c.addresses.device = GuestAddress(fits), false).is_err());
    let without = |c: &mut RingConfig| {
        c.features.event_index = false;
        c.addresses.device = GuestAddress(fits);
    };
    assert!(try_ring(without, false).is_ok());
}

#[test]
fn bases() {
    let base = |base, packed| try_ring(move |c| c.base = RingBase(base), packed);
    for good in [0, 1, 0xffff] {
        assert_eq!(base(good, false).unwrap().base(), RingBase(good));
    }
    assert!(matches!(base(0x1_0000, false), Err(Error::Base { .. })));
    for good in [0x8000_8000, 0x00ff_00ff, 0x80ff_0010, 0x8010_80ff, 0x0010_8010] {
        assert_eq!(base(good, true).unwrap().base(), RingBase(good));
    }
    // Only half a base: what is popped next is used next.
    assert_eq!(base(0x0000_8000, true).unwrap().base(), RingBase(0x8000_8000));
    assert_eq!(base(0x0000_0017, true).unwrap().base(), RingBase(0x0017_0017));
    // Beyond the ring, or more than a lap between the two.
    for bad in [0x8000_8100, 0x8100_8000, 0x8010_8000, 0x0010_8011] {
        assert!(matches!(base(bad, true), Err(Error::Base { .. })), "{bad:#x}");
    }
}

#[test]
fn a_ring_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Ring>();
    is_send::<Batch>();
}
