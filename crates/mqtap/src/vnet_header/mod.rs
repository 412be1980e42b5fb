//! The header in front of each frame on a tap with `IFF_VNET_HDR`.
//!
//! It is `struct virtio_net_hdr` of virtio 1.3, 5.1.6, little-endian: what a guest's driver puts in front of a frame can be
//! written to the tap as it is, and the other way round.

#[cfg(test)]
mod tests;

use std::fmt;

/// Length of the virtio-net header (`TUNSETVNETHDRSZ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VnetHeaderSize {
    /// `struct virtio_net_hdr`: drivers before virtio 1.0, without mergeable buffers.
    Legacy10,
    /// With `num_buffers`: virtio 1.0, or mergeable buffers.
    Modern12,
    /// With a hash report.
    Hash20,
    /// With offsets into UDP tunnels (Linux 6.17). The kernel takes this length as a wish for tunnel offloads.
    Tunnel24,
}

impl VnetHeaderSize {
    /// Bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Legacy10 => 10,
            Self::Modern12 => 12,
            Self::Hash20 => 20,
            Self::Tunnel24 => 24,
        }
    }
}

impl fmt::Display for VnetHeaderSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Why the kernel would refuse a frame with this header (EINVAL, and `rx_frame_errors` counts it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The checksum is to be stored behind the end.
    #[error("the checksum would be stored at byte {end} of a frame of {frame} bytes")]
    Checksum {
        /// Where it would end, in bytes from the beginning of the frame.
        end: usize,
        /// Length of the frame, in bytes.
        frame: usize,
    },
    /// The protocol headers are longer than the frame.
    #[error("hdr_len is {hdr_len}, and the frame has {frame} bytes")]
    HeaderLength {
        /// What the header says.
        hdr_len: u16,
        /// Length of the frame, in bytes.
        frame: usize,
    },
    /// No such kind of super-frame.
    #[error("gso_type {0:#x} is unknown")]
    GsoType(u8),
    /// Segments of no length.
    #[error("gso_size is 0 in a super-frame")]
    GsoSize,
}

/// Which kind of super-frame a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gso {
    /// None: it goes out as it is.
    None,
    /// TCP over IPv4, to be segmented.
    TcpV4,
    /// TCP over IPv6, to be segmented.
    TcpV6,
    /// UDP, to be fragmented.
    Udp,
    /// UDP, to be segmented.
    UdpL4,
}

/// The fields of the header; they have the names of the specification.
///
/// Behind `num_buffers`, longer headers have a hash report and the offsets of tunnels. Here these are zero, as the kernel
/// wants them where it does not know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VnetHeader {
    /// `NEEDS_CSUM`, `DATA_VALID`.
    pub flags: u8,
    /// A `GSO_` constant, with `GSO_ECN` perhaps.
    pub gso_type: u8,
    /// Length of the protocol headers of a super-frame, in bytes. A hint, which the kernel holds to be one of the frame's bytes.
    pub hdr_len: u16,
    /// Payload of each segment of a super-frame, in bytes.
    pub gso_size: u16,
    /// Where the bytes begin that a checksum is to be made of.
    pub csum_start: u16,
    /// Where the checksum is stored, from `csum_start` on.
    pub csum_offset: u16,
    /// Towards the guest: over how many buffers the frame is spread. The legacy header has no such field.
    pub num_buffers: u16,
}

impl VnetHeader {
    /// The checksum is still to be made.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum has been seen to be right.
    pub const DATA_VALID: u8 = 2;
    /// Not a super-frame.
    pub const GSO_NONE: u8 = 0;
    /// See [`Gso::TcpV4`].
    pub const GSO_TCPV4: u8 = 1;
    /// See [`Gso::Udp`].
    pub const GSO_UDP: u8 = 3;
    /// See [`Gso::TcpV6`].
    pub const GSO_TCPV6: u8 = 4;
    /// See [`Gso::UdpL4`].
    pub const GSO_UDP_L4: u8 = 5;
    /// The super-frame is in a UDP tunnel over IPv4.
    pub const GSO_UDP_TUNNEL_IPV4: u8 = 0x20;
    /// The super-frame is in a UDP tunnel over IPv6.
    pub const GSO_UDP_TUNNEL_IPV6: u8 = 0x40;
    /// The first segment has CWR set; with TCP.
    pub const GSO_ECN: u8 = 0x80;

    /// Reads the beginning of `bytes`. `None` if they are fewer than the header has.
    #[inline]
    #[must_use]
    pub fn from_bytes(bytes: &[u8], size: VnetHeaderSize) -> Option<Self> {
        let bytes = bytes.get(..size.len())?;
        let word = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2)?,
            gso_size: word(4)?,
            csum_start: word(6)?,
            csum_offset: word(8)?,
            num_buffers: word(10).unwrap_or(0),
        })
    }

    /// Writes the beginning of `bytes`, and returns the rest. `None` if there is no room: nothing is written then.
    pub fn write_to<'a>(&self, bytes: &'a mut [u8], size: VnetHeaderSize) -> Option<&'a mut [u8]> {
        let (header, rest) = bytes.split_at_mut_checked(size.len())?;
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        let words = words.into_iter().flat_map(u16::to_le_bytes);
        let all = [self.flags, self.gso_type].into_iter().chain(words).chain(std::iter::repeat(0));
        header.iter_mut().zip(all).for_each(|(byte, value)| *byte = value);
        Some(rest)
    }

    /// The kind of super-frame, whether or not in a tunnel.
    ///
    /// # Errors
    /// [`InvalidHeader::GsoType`].
    pub fn gso(&self) -> Result<Gso, InvalidHeader> {
        let modifiers = Self::GSO_ECN | Self::GSO_UDP_TUNNEL_IPV4 | Self::GSO_UDP_TUNNEL_IPV6;
        match self.gso_type & !modifiers {
            Self::GSO_NONE => Ok(Gso::None),
            Self::GSO_TCPV4 => Ok(Gso::TcpV4),
            Self::GSO_TCPV6 => Ok(Gso::TcpV6),
            Self::GSO_UDP => Ok(Gso::Udp),
            Self::GSO_UDP_L4 => Ok(Gso::UdpL4),
            _ => Err(InvalidHeader::GsoType(self.gso_type)),
        }
    }

    /// Whether the header can belong to a frame of `frame` bytes (without the header). The kernel looks closer, at the
    /// protocols in the frame; what is refused here it refuses as well, but that it counts what a header has beyond 10
    /// bytes as the frame's when it looks at `hdr_len` (drivers/net/tun_vnet.h: `tun_vnet_hdr_get`;
    /// include/linux/virtio_net.h: `virtio_net_hdr_to_skb`).
    ///
    /// # Errors
    /// See [`InvalidHeader`].
    pub fn check(&self, frame: usize) -> Result<(), InvalidHeader> {
        let end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
        if self.flags & Self::NEEDS_CSUM != 0 && end > frame {
            return Err(InvalidHeader::Checksum { end, frame });
        }
        if usize::from(self.hdr_len) > frame {
            return Err(InvalidHeader::HeaderLength { hdr_len: self.hdr_len, frame });
        }
        if self.gso()? != Gso::None && self.gso_size == 0 {
            return Err(InvalidHeader::GsoSize);
        }
        Ok(())
    }
}
