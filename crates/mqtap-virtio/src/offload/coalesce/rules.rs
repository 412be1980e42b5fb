//! Which frames may become one. Headers are compared in whole words, under a mask.

use mqtap::{VnetHeader, VnetHeaderSize};

use super::super::checksum::Sum;
use super::super::headers::{
    ETHERNET_HEADER, Headers, MAX_VLAN_TAGS, Network, Transport, VLAN_TAG, chunk, get_u16, get_u32, ipv4,
    ipv6, tcp, udp,
};
use super::HEAD;

/// Bytes of a virtio-net header without `num_buffers`.
const LEGACY: usize = VnetHeaderSize::Legacy10.len();

/// Which bits of two heads must be the same, for each kind of frame.
///
/// Whole heads are compared, in words that begin where those of the copy began that brought them here: the processor has
/// not written them to its cache yet, and gives back fast only what it finds in one piece.
#[derive(Debug)]
pub(super) struct Masks([[[u8; HEAD]; MAX_VLAN_TAGS + 1]; 4]);

impl Masks {
    /// For frames behind a virtio-net header of `header` bytes.
    pub(super) fn new(header: usize) -> Self {
        let kinds =
            [Network::V4, Network::V6].map(|network| [Transport::Tcp, Transport::Udp].map(|t| (network, t)));
        let mut masks = [[[0; HEAD]; MAX_VLAN_TAGS + 1]; 4];
        for ((network, transport), masks) in kinds.into_iter().flatten().zip(&mut masks) {
            for (tags, mask) in masks.iter_mut().enumerate() {
                let network_at = ETHERNET_HEADER + tags * VLAN_TAG;
                let (length, free) = mask_of(network, transport);
                let bytes =
                    std::iter::repeat_n(0, header).chain(std::iter::repeat_n(0xff, network_at + length));
                mask.iter_mut().zip(bytes).for_each(|(mask, byte)| *mask = byte);
                for (at, bits) in free {
                    if let Some(byte) = mask.get_mut(header + network_at + at) {
                        *byte = !bits;
                    }
                }
            }
        }
        Self(masks)
    }

    #[inline]
    fn get(&self, headers: &Headers) -> &[u8; HEAD] {
        let kind = match (headers.network(), headers.transport()) {
            (Network::V4, Transport::Tcp) => 0,
            (Network::V4, Transport::Udp) => 1,
            (Network::V6, Transport::Tcp) => 2,
            (Network::V6, Transport::Udp) => 3,
        };
        let tags = (headers.network_at() - ETHERNET_HEADER) / VLAN_TAG;
        &self.0[kind][tags.min(MAX_VLAN_TAGS)]
    }
}

/// Bytes of the IP and transport headers, and the bits in them that may differ, by their place from the IP header on.
fn mask_of(network: Network, transport: Transport) -> (usize, Vec<(usize, u8)>) {
    let (at, mut free) = match network {
        Network::V4 => (ipv4::HEADER, vec![(ipv4::TOTAL_LENGTH, 2), (ipv4::ID, 2), (ipv4::CHECKSUM, 2)]),
        Network::V6 => (ipv6::HEADER, vec![(ipv6::PAYLOAD_LENGTH, 2)]),
    };
    let (length, flags) = match transport {
        Transport::Tcp => {
            free.extend([(at + tcp::SEQUENCE, 4), (at + tcp::CHECKSUM, 2)]);
            (tcp::HEADER, Some((at + tcp::FLAGS, tcp::PSH | tcp::FIN)))
        }
        Transport::Udp => {
            free.extend([(at + udp::LENGTH, 2), (at + udp::CHECKSUM, 2)]);
            (udp::HEADER, None)
        }
    };
    let bytes = free.into_iter().flat_map(|(at, bytes)| (at..at + bytes).map(|at| (at, 0xff)));
    (at + length, bytes.chain(flags).collect())
}

/// Whether two heads are the same where the mask is set.
#[inline]
fn same(a: &[u8; HEAD], b: &[u8; HEAD], mask: &[u8; HEAD]) -> bool {
    let (a, b, mask) = (a.as_chunks::<16>().0, b.as_chunks::<16>().0, mask.as_chunks::<16>().0);
    let mut difference = 0;
    // By number: this becomes straight code without a branch.
    for i in 0..HEAD / 16 {
        difference |= (u128::from_ne_bytes(a[i]) ^ u128::from_ne_bytes(b[i])) & u128::from_ne_bytes(mask[i]);
    }
    difference == 0
}

/// The head of a frame whose headers were found.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// What is behind the frame's head is left over from others.
    pub(super) head: &'a [u8; HEAD],
    /// Bytes of the virtio-net header.
    pub(super) header: usize,
    pub(super) headers: Headers,
}

impl<'a> View<'a> {
    /// `None` if the headers are not understood, or not all in the first `length` bytes.
    #[inline]
    pub(super) fn new(head: &'a [u8; HEAD], header: usize, length: usize) -> Option<Self> {
        let headers = Headers::parse(head.get(header..length)?)?;
        Some(Self { head, header, headers })
    }

    #[inline]
    fn network_at(&self) -> usize {
        self.header + self.headers.network_at()
    }

    #[inline]
    fn transport_at(&self) -> usize {
        self.header + self.headers.transport_at()
    }

    #[inline]
    fn payload_at(&self) -> usize {
        self.header + self.headers.payload_at()
    }

    #[inline]
    fn transport_u16(&self, field: usize) -> Option<u16> {
        get_u16(self.head, self.transport_at() + field)
    }

    /// TCP's flags; none for UDP.
    #[inline]
    pub(super) fn tcp_flags(&self) -> u8 {
        match self.headers.transport() {
            Transport::Tcp => self.head.get(self.transport_at() + tcp::FLAGS).copied().unwrap_or(0),
            Transport::Udp => 0,
        }
    }

    /// A number for addresses, ports and protocol, the same for the same.
    #[inline]
    pub(super) fn flow_hash(&self) -> u32 {
        /// An odd number with its bits well mixed: 2^64 divided by the golden ratio.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let word = |at| chunk(self.head, at).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let ports = u64::from(get_u32(self.head, self.transport_at()).unwrap_or(0));
        let addresses = match self.headers.network() {
            Network::V4 => word(self.network_at() + ipv4::ADDRESSES),
            Network::V6 => {
                let at = self.network_at() + ipv6::ADDRESSES;
                let high = word(at) ^ word(at + 16).rotate_left(32);
                let low = word(at + 8) ^ word(at + 24).rotate_left(32);
                high.wrapping_mul(FACTOR) ^ low
            }
        };
        let protocol = u64::from(self.headers.transport().protocol());
        let hash = (addresses ^ protocol << 32).wrapping_mul(FACTOR).rotate_left(32) ^ ports;
        (hash.wrapping_mul(FACTOR) >> 32) as u32
    }

    /// Whether others may follow this frame, as far as is seen at a glance.
    #[inline]
    pub(super) fn may_lead(&self, udp: bool) -> bool {
        const ENDING: u8 = tcp::FIN | tcp::SYN | tcp::RST | tcp::PSH | tcp::URG | tcp::CWR;
        let transport = match self.headers.transport() {
            Transport::Tcp => self.tcp_flags() & (ENDING | tcp::ACK) == tcp::ACK,
            Transport::Udp => udp,
        };
        let network = match self.headers.network() {
            Network::V4 => self.headers.transport_at() - self.headers.network_at() == ipv4::HEADER,
            Network::V6 => true,
        };
        // The group bit of the destination's address, and `gso_type` of the virtio-net header.
        let to_group = self.head.get(self.header).is_none_or(|byte| byte & 1 != 0);
        let gso = self.head[1] != VnetHeader::GSO_NONE;
        transport && network && !to_group && !gso && self.headers.payload_len() != 0
    }

    /// Whether this frame continues a group of `members` frames with `payload` bytes of payload, of which `first` is the
    /// first. Neither frame need be sound.
    ///
    /// That their headers are at the same places is part of it: what says where they are is under the mask.
    #[inline]
    pub(super) fn follows(&self, first: &View<'_>, masks: &Masks, members: u16, payload: u32) -> bool {
        same(self.head, first.head, masks.get(&self.headers))
            && self.continues(first, members, payload).unwrap_or(false)
    }

    /// Whether numbers count on, and options are the same.
    #[inline]
    fn continues(&self, first: &View<'_>, members: u16, payload: u32) -> Option<bool> {
        if self.headers.network() == Network::V4 {
            let at = self.network_at() + ipv4::ID;
            if get_u16(self.head, at)? != get_u16(first.head, at)?.wrapping_add(members) {
                return Some(false);
            }
        }
        if self.headers.transport() == Transport::Tcp {
            let at = self.transport_at() + tcp::SEQUENCE;
            if get_u32(self.head, at)? != get_u32(first.head, at)?.wrapping_add(payload) {
                return Some(false);
            }
            let options = self.transport_at() + tcp::HEADER..self.payload_at();
            return Some(options.is_empty() || self.head.get(options.clone())? == first.head.get(options)?);
        }
        Some(true)
    }

    /// Whether the lengths and sums of this frame of `length` bytes, of which the first `in_head` are in the head, are
    /// right, so that the kernel makes the same ones again. `sum` sums its bytes from one on to the end.
    #[inline]
    pub(super) fn is_sound(&self, length: usize, in_head: usize, sum: impl FnOnce(usize) -> Sum) -> bool {
        self.is_sound_checked(length, in_head, sum).unwrap_or(false)
    }

    #[inline]
    fn is_sound_checked(
        &self,
        length: usize,
        in_head: usize,
        sum: impl FnOnce(usize) -> Sum,
    ) -> Option<bool> {
        let headers = &self.headers;
        if length != self.header + headers.end() {
            return Some(false);
        }
        let Some(partial) = self.checksum_is_partial(length) else { return Some(false) };
        let pseudo = |addresses: &[u8]| {
            // At most 65535.
            Sum::pseudo_header(addresses, headers.transport().protocol(), headers.transport_len() as u32)
        };
        let mut expected = match headers.network() {
            Network::V4 => {
                let ip: &[u8; ipv4::HEADER] = chunk(self.head, self.network_at())?;
                // The other zero is as right, and not what the kernel makes.
                if Sum::of(ip).fold() != 0xffff || get_u16(ip, ipv4::CHECKSUM)? == 0xffff {
                    return Some(false);
                }
                pseudo(chunk::<8>(ip, ipv4::ADDRESSES)?)
            }
            Network::V6 => pseudo(chunk::<32>(self.head, self.network_at() + ipv6::ADDRESSES)?),
        };
        if headers.transport() == Transport::Udp
            && usize::from(self.transport_u16(udp::LENGTH)?) != headers.transport_len()
        {
            return Some(false);
        }
        let checksum = self.transport_u16(headers.transport().checksum())?;
        if partial {
            return Some(checksum == expected.fold());
        }
        let (absent_or_other_zero, transport_at) = match headers.transport() {
            Transport::Tcp => (0xffff, self.transport_at()),
            Transport::Udp => (0, self.transport_at()),
        };
        if checksum == absent_or_other_zero {
            return Some(false);
        }
        if length <= in_head {
            expected.add(self.head.get(transport_at..length)?);
        } else {
            expected.add(self.head.get(transport_at..self.payload_at())?);
            expected.append(sum(self.payload_at()));
        }
        Some(expected.fold() == 0xffff)
    }

    /// Whether the virtio-net header leaves the checksum to the kernel. `None` if it asks for something else, or makes
    /// no sense.
    #[inline]
    fn checksum_is_partial(&self, length: usize) -> Option<bool> {
        let size = match self.header {
            LEGACY => VnetHeaderSize::Legacy10,
            _ => VnetHeaderSize::Modern12,
        };
        let header = VnetHeader::from_bytes(self.head, size)?;
        let plain = header.gso_type == VnetHeader::GSO_NONE
            && header.gso_size == 0
            // Drivers are to write 0 here (virtio 1.3, 5.1.6.2.1); one buffer is no lie either.
            && header.num_buffers <= 1
            && usize::from(header.hdr_len) <= length - self.header;
        match header.flags {
            0 if plain => Some(false),
            VnetHeader::NEEDS_CSUM if plain => {
                let start = usize::from(header.csum_start) == self.headers.transport_at();
                let offset = usize::from(header.csum_offset) == self.headers.transport().checksum();
                (start && offset).then_some(true)
            }
            _ => None,
        }
    }
}
