//! The header in front of each frame on a tap with `IFF_VNET_HDR`.

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
