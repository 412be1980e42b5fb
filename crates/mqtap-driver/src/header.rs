//! The header in front of every frame (virtio 1.3, 5.1.6).

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is partial.
pub const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum has been verified.
pub const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_NONE`.
pub const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
pub const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP`: UFO.
pub const GSO_UDP: u8 = 3;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: USO.
pub const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, or-ed to a TCP type.
pub const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr_mrg_rxbuf`. On the wire little-endian, 12 bytes; 10 without `num_buffers`.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct VirtioNetHeader {
    /// [`NEEDS_CSUM`], [`DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_` constants.
    pub gso_type: u8,
    /// Length of all headers of a super-frame.
    pub hdr_len: u16,
    /// Payload of each segment.
    pub gso_size: u16,
    /// Where the checksum starts to cover the frame.
    pub csum_start: u16,
    /// Where, from there, it is stored.
    pub csum_offset: u16,
    /// Receive: over how many buffers the frame is spread.
    pub num_buffers: u16,
}

impl VirtioNetHeader {
    /// Length with `num_buffers`.
    pub const SIZE: usize = 12;
    /// Length of the legacy header.
    pub const LEGACY_SIZE: usize = 10;

    /// As it lies in guest memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (i, word) in words.into_iter().enumerate() {
            bytes[2 + 2 * i..4 + 2 * i].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads 12 bytes, or 10, which leave `num_buffers` at 0; fewer are no header.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<VirtioNetHeader> {
        let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        Some(VirtioNetHeader {
            flags: *bytes.first()?,
            gso_type: *bytes.get(1)?,
            hdr_len: word(2)?,
            gso_size: word(4)?,
            csum_start: word(6)?,
            csum_offset: word(8)?,
            num_buffers: word(10).unwrap_or(0),
        })
    }
}
