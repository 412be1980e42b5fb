use proptest::prelude::*;

use super::*;

const SIZES: [VnetHeaderSize; 4] =
    [VnetHeaderSize::Legacy10, VnetHeaderSize::Modern12, VnetHeaderSize::Hash20, VnetHeaderSize::Tunnel24];

fn any_header() -> impl Strategy<Value = VnetHeader> {
    any::<[u16; 6]>().prop_map(|[kind, hdr_len, gso_size, csum_start, csum_offset, num_buffers]| {
        let [flags, gso_type] = kind.to_le_bytes();
        VnetHeader { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in any_header(), size in proptest::sample::select(&SIZES), room in 0_usize..40) {
        let mut bytes = vec![0xee; room];
        let written = header.write_to(&mut bytes, size).map(|rest| rest.len());
        if room < size.len() {
            prop_assert_eq!(written, None);
            prop_assert!(bytes.iter().all(|&byte| byte == 0xee));
            prop_assert_eq!(VnetHeader::from_bytes(&bytes, size), None);
        } else {
            prop_assert_eq!(written, Some(room - size.len()));
            prop_assert!(bytes[size.len()..].iter().all(|&byte| byte == 0xee), "what follows is left alone");
            prop_assert!(bytes[..size.len()].iter().skip(12).all(|&byte| byte == 0), "unknown fields are zero");
            let expected = match size {
                VnetHeaderSize::Legacy10 => VnetHeader { num_buffers: 0, ..header },
                _ => header,
            };
            prop_assert_eq!(VnetHeader::from_bytes(&bytes, size), Some(expected));
        }
    }

    #[test]
    fn a_header_that_passes_stays_inside_the_frame(header in any_header(), frame in 0_usize..70_000) {
        if header.check(frame).is_ok() {
            prop_assert!(usize::from(header.hdr_len) <= frame);
            if header.flags & VnetHeader::NEEDS_CSUM != 0 {
                prop_assert!(usize::from(header.csum_start) + usize::from(header.csum_offset) + 2 <= frame);
            }
            prop_assert!(header.gso().is_ok_and(|gso| gso == Gso::None || header.gso_size != 0));
        }
    }
}

#[test]
fn fields_are_where_the_specification_has_them() {
    let header = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4 | VnetHeader::GSO_ECN,
        hdr_len: 0x0102,
        gso_size: 0x0304,
        csum_start: 0x0506,
        csum_offset: 0x0708,
        num_buffers: 0x090a,
    };
    let mut bytes = [0; 12];
    header.write_to(&mut bytes, VnetHeaderSize::Modern12).unwrap();
    assert_eq!(bytes, [0x01, 0x81, 0x02, 0x01, 0x04, 0x03, 0x06, 0x05, 0x08, 0x07, 0x0a, 0x09]);
    assert_eq!(header.gso(), Ok(Gso::TcpV4));
}

#[test]
fn each_mistake_has_its_own_error() {
    let plain = VnetHeader::default();
    assert_eq!(plain.check(0), Ok(()));
    let checksum = VnetHeader { flags: VnetHeader::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..plain };
    assert_eq!(checksum.check(52), Ok(()));
    assert_eq!(checksum.check(51), Err(InvalidHeader::Checksum { end: 52, frame: 51 }));
    let most = VnetHeader { csum_start: u16::MAX, csum_offset: u16::MAX, ..checksum };
    assert!(matches!(most.check(1514), Err(InvalidHeader::Checksum { end: 131_072, .. })), "no overflow");
    let long = VnetHeader { hdr_len: 55, ..plain };
    assert_eq!(long.check(54), Err(InvalidHeader::HeaderLength { hdr_len: 55, frame: 54 }));
    assert_eq!(VnetHeader { gso_type: 2, ..plain }.check(60), Err(InvalidHeader::GsoType(2)));
    assert_eq!(
        VnetHeader { gso_type: VnetHeader::GSO_TCPV6, ..plain }.check(60),
        Err(InvalidHeader::GsoSize)
    );
}
