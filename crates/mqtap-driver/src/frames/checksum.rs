//! The Internet checksum (RFC 1071).

use super::Addresses;

/// The checksum of `bytes`, begun with the folded sum `initial`.
#[must_use]
pub fn checksum(initial: u16, bytes: &[u8]) -> u16 {
    !sum(initial, bytes)
}

/// The folded sum of the pseudo header: what a partial checksum holds.
#[must_use]
pub fn pseudo_header(addresses: Addresses, protocol: u8, length: usize) -> u16 {
    let length = length as u32;
    let mut bytes = Vec::with_capacity(40);
    match addresses {
        Addresses::V4(a, b) => {
            bytes.extend_from_slice(&a.octets());
            bytes.extend_from_slice(&b.octets());
        }
        Addresses::V6(a, b) => {
            bytes.extend_from_slice(&a.octets());
            bytes.extend_from_slice(&b.octets());
        }
    }
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, protocol]);
    sum(0, &bytes)
}

/// Does what a device does with `NEEDS_CSUM`: sums from `start` to the end and stores the checksum at `start + offset`.
/// False if that is not inside the frame.
pub fn complete(frame: &mut [u8], start: u16, offset: u16) -> bool {
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    if start > frame.len() || at + 2 > frame.len() {
        return false;
    }
    let value = checksum(0, &frame[start..]);
    // A UDP checksum of 0 says that there is none; the other zero of one's complement says the same sum.
    let value = if value == 0 { 0xffff } else { value };
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    true
}

fn sum(initial: u16, bytes: &[u8]) -> u16 {
    let mut total = u64::from(initial);
    let mut words = bytes.chunks_exact(2);
    for word in words.by_ref() {
        total += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
