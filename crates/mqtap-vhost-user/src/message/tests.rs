use mqtap_virtio::memory::RegionLayout;

use super::*;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn header(code: u32, flags: u32, size: u32) -> [u8; HEADER_SIZE] {
    bytes(&[code, flags, size]).try_into().unwrap()
}

#[test]
fn request_codes_are_those_of_the_specification() {
    // A few from the text, and that numbers and names go both ways without holes.
    assert_eq!(Request::try_from(11), Ok(Request::GetVringBase));
    assert_eq!(Request::try_from(18), Ok(Request::SetVringEnable));
    assert_eq!(Request::try_from(34), Ok(Request::ResetDevice));
    assert_eq!(Request::try_from(37), Ok(Request::AddMemReg));
    for (number, request) in (1..).zip(Request::ALL) {
        assert_eq!(request.code(), number);
        assert_eq!(Request::try_from(number), Ok(*request));
    }
    assert_eq!(Request::ALL.len(), 45);
    for code in [0, 46, u32::MAX] {
        assert_eq!(Request::try_from(code), Err(UnknownRequest { code }));
    }
    assert_eq!(Request::NetSetMtu.to_string(), "NET_SET_MTU");
}

#[test]
fn header_takes_version_1_only() {
    let good = Header::parse(&header(1, 0x1, 0)).unwrap();
    assert!(!good.needs_reply() && !good.is_reply());
    assert!(Header::parse(&header(1, 0x9, 0)).unwrap().needs_reply());
    assert!(Header::parse(&header(1, 0x5, 0)).unwrap().is_reply());
    for flags in [0, 2, 3, 8, 0xffff_fffe] {
        assert_eq!(Header::parse(&header(1, flags, 0)), Err(Error::Version { flags }));
    }
}

#[test]
fn header_bounds_the_body() {
    assert_eq!(Header::parse(&header(5, 1, 4096)).unwrap().body_size(), 4096);
    for size in [4097, u32::MAX] {
        assert_eq!(Header::parse(&header(5, 1, size)), Err(Error::Oversize { code: 5, size }));
    }
}

#[test]
fn bodies_of_a_wrong_size_are_refused() {
    for size in (0..64).filter(|size| *size != 8) {
        let body = vec![0; size];
        let wrong = Error::BodySize { size, expected: 8 };
        assert_eq!(number(&body), Err(wrong));
        assert_eq!(mac(&body), Err(wrong));
        assert_eq!(VringState::parse(&body), Err(wrong));
        assert_eq!(VringFile::parse(&body), Err(wrong));
    }
    for size in 0..64 {
        let body = vec![0; size];
        assert_eq!(VringAddresses::parse(&body).is_ok(), size == 40, "{size}");
        assert_eq!(MemoryRegion::parse(&body).is_ok(), size == 40, "{size}");
        assert_eq!(Log::parse(&body).is_ok(), size == 16, "{size}");
        assert_eq!(Config::parse(&body).is_ok(), size == 12, "{size}");
    }
}

#[test]
fn vring_file_has_eight_bits_of_ring_and_one_of_absence() {
    let file = |number: u64| VringFile::parse(&number.to_ne_bytes()).unwrap();
    assert_eq!(file(0x0ff), VringFile { index: 255, has_fd: true });
    assert_eq!(file(0x103), VringFile { index: 3, has_fd: false });
}

#[test]
fn vring_addresses_in_the_order_of_the_wire() {
    let mut body = bytes(&[3, 1]);
    for address in [0x1000_u64, 0x2000, 0x3000, 0x4000] {
        body.extend_from_slice(&address.to_ne_bytes());
    }
    let addresses = VringAddresses::parse(&body).unwrap();
    assert_eq!((addresses.index, addresses.flags), (3, VringAddresses::LOG));
    // Descriptors, used, available: not the order of the ring in memory.
    assert_eq!((addresses.descriptors, addresses.used, addresses.available), (0x1000, 0x2000, 0x3000));
    assert_eq!(addresses.log, 0x4000);
}

fn region(n: u64) -> (RegionLayout, Vec<u8>) {
    let layout = RegionLayout { guest_address: n, size: n + 1, user_address: n + 2, mmap_offset: n + 3 };
    let bytes = [n, n + 1, n + 2, n + 3].iter().flat_map(|field| field.to_ne_bytes()).collect();
    (layout, bytes)
}

#[test]
fn memory_table() {
    let (first, first_bytes) = region(0x1000);
    let (second, second_bytes) = region(0x9000);
    let mut body = bytes(&[2, 0xdead]);
    body.extend(first_bytes);
    body.extend(second_bytes);
    assert_eq!(MemoryTable::parse(&body).unwrap().regions, [first, second]);

    let missing = Error::BodySize { size: body.len() - 1, expected: body.len() };
    assert_eq!(MemoryTable::parse(&body[..body.len() - 1]), Err(missing));

    // The whole structure of the specification, with room for eight regions.
    body.resize(8 + 8 * 32, 0);
    assert_eq!(MemoryTable::parse(&body).unwrap().regions, [first, second]);

    for count in [33, u32::MAX] {
        assert_eq!(MemoryTable::parse(&bytes(&[count, 0])), Err(Error::TooManyRegions { count }));
    }
    assert_eq!(MemoryTable::parse(&bytes(&[0, 0])).unwrap().regions, []);
    assert!(MemoryTable::parse(&[1, 2, 3]).is_err());
}

#[test]
fn config_stays_in_its_256_bytes() {
    let body = |offset, size, payload: usize| {
        let mut body = bytes(&[offset, size, 0]);
        body.resize(12 + payload, 7);
        body
    };
    assert_eq!(Config::parse(&body(4, 8, 8)).unwrap(), Config { offset: 4, flags: 0, payload: &[7; 8] });
    assert!(Config::parse(&body(0, 256, 256)).is_ok());
    for (offset, size) in [(1, 256), (257, 0), (u32::MAX, 2), (0, u32::MAX)] {
        let out_of_range = Error::ConfigRange { offset, size };
        assert_eq!(Config::parse(&body(offset, size, 256)), Err(out_of_range));
    }
    assert!(Config::parse(&body(0, 8, 7)).is_err());
    assert!(Config::parse(&body(0, 8, 9)).is_err());
}

#[test]
fn mac_is_in_memory_order() {
    assert_eq!(mac(&[0x52, 0x54, 0, 1, 2, 3, 0xff, 0xff]).unwrap(), [0x52, 0x54, 0, 1, 2, 3]);
}

#[test]
fn reply_says_version_1_and_reply() {
    let to = Header::parse(&header(17, 0x9, 0)).unwrap();
    let reply = Reply::new(&to, &8_u64.to_ne_bytes());
    assert_eq!(reply.as_bytes()[..12], header(17, 0x5, 8));
    assert_eq!(reply.body(), 8_u64.to_ne_bytes());
}
