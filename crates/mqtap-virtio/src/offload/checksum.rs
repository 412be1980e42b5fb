//! The Internet checksum (RFC 1071): the 16-bit words of the data, summed in ones' complement.
//!
//! A [`Sum`] grows by pieces, of which any may have an odd length. Partial checksums, as virtio and the kernel have them
//! (`NEEDS_CSUM`, `CHECKSUM_PARTIAL`), are the folded sum of the pseudo header; complete ones are the complement of the
//! sum of everything.
//!
//! ```
//! use mqtap_virtio::offload::checksum::Sum;
//!
//! let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
//! let mut sum = Sum::of(&data[..3]);
//! sum.add(&data[3..]);
//! assert_eq!(sum.fold(), 0xddf2); // the example of RFC 1071, section 3
//! assert_eq!(sum.checksum(), !0xddf2);
//! ```

use super::headers::put_u16;

#[cfg(test)]
mod tests;

/// Bytes that one turn of the loop takes: eight words of 64 bits, whose halves are summed apart in 64 bits.
const BLOCK: usize = 64;

/// The sum of some bytes.
///
/// Sums of the same bytes need not be equal: ones' complement has two zeros, and what is kept is not folded. Compare what
/// [`fold`](Self::fold) gives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// The words as this machine reads them, not folded. The sum of swapped words is the swapped sum (RFC 1071, 2 (B)),
    /// so they are swapped once, in the end.
    words: u64,
    /// Whether the bytes so far are odd in number: the next is the second of its word.
    odd: bool,
}

impl Sum {
    /// The sum of `bytes`.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self { words: sum(bytes), odd: !bytes.len().is_multiple_of(2) }
    }

    /// The sum of the pseudo header of TCP and UDP (RFC 9293, 3.1; RFC 8200, 8.1). `addresses` is source and destination
    /// as they stand in the IP header, 8 bytes of IPv4 or 32 of IPv6; `length` is that of the TCP or UDP header and
    /// what follows, in bytes.
    #[must_use]
    #[inline]
    pub fn pseudo_header(addresses: &[u8], protocol: u8, length: u32) -> Self {
        let mut sum = Self::of(addresses);
        sum.add_word((length >> 16) as u16);
        sum.add_word(length as u16);
        sum.add_word(u16::from(protocol));
        sum
    }

    /// Goes on with `bytes`.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        self.append(Self::of(bytes));
    }

    /// Goes on with bytes that were summed apart.
    #[inline]
    pub fn append(&mut self, other: Self) {
        // In the other half of their words, the bytes count 256 times as much or as little: modulo 2^64 - 1, of which
        // 2^16 - 1 is a divisor, that is a rotation.
        let words = if self.odd { other.words.rotate_left(8) } else { other.words };
        self.words = add(self.words, words);
        self.odd ^= other.odd;
    }

    /// Goes on with a number of 16 bits that stands in a word of its own.
    #[inline]
    pub fn add_word(&mut self, word: u16) {
        self.words = add(self.words, u64::from(word.to_be()));
    }

    /// Takes a number of 16 bits out again, as if it had been zero.
    #[inline]
    pub fn remove_word(&mut self, word: u16) {
        self.add_word(!word);
    }

    /// The sum in 16 bits: what a partial checksum is. It is 0 only if all bytes are.
    #[must_use]
    #[inline]
    pub fn fold(self) -> u16 {
        let sum = (self.words >> 32) + (self.words & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        // Below 2^16: the first line leaves less than 2^33, the others 2^18, 2^16 + 3, 2^16.
        u16::from_be(sum as u16)
    }

    /// The complement of the sum: what the checksum field of TCP and of an IPv4 header holds, with that field summed as
    /// zero.
    #[must_use]
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// As [`checksum`](Self::checksum), for UDP, where zero says that there is none (RFC 768): the other zero
    /// stands for it.
    #[must_use]
    #[inline]
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Completes the partial checksum of a frame: sums from `start` to the end and stores the checksum `offset` bytes behind
/// `start`, as the `NEEDS_CSUM` of a virtio-net header asks (virtio 1.3, 5.1.6.4). As in the kernel (net/core/dev.c:
/// `skb_checksum_help`) the other zero stands for zero, whatever the protocol. `None`, and nothing is stored, if that is
/// not inside the frame.
pub fn complete(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let sum = Sum::of(frame.get(start..)?);
    put_u16(frame, start.checked_add(offset)?, sum.udp_checksum())
}

/// The checksum of data in which the word `old` has become `new` (RFC 1624, equation 3).
#[must_use]
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = Sum::default();
    sum.add_word(!checksum);
    sum.remove_word(old);
    sum.add_word(new);
    sum.checksum()
}

/// Adds with end-around carry.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // After a carry the sum is not the largest number, so that this cannot carry again.
    sum + u64::from(carry)
}

/// Sums words as this machine reads them; an odd byte in the end is followed by a zero.
///
/// Each lane grows by less than 2^32 a turn, so none overflows before 2^32 turns, 256 GiB.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let mut low = [0; BLOCK / 8];
    let mut high = [0; BLOCK / 8];
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (i, &word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(word);
            low[i] += word & 0xffff_ffff;
            high[i] += word >> 32;
        }
    }
    let mut sum = low.iter().sum::<u64>() + high.iter().sum::<u64>();
    let (words, rest) = rest.as_chunks::<4>();
    for &word in words {
        sum += u64::from(u32::from_ne_bytes(word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_ne_bytes(last))
}
