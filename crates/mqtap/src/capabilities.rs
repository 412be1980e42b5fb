//! What the running kernel can do with taps.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::device::{self, Error};
use crate::offload::Offloads;
use crate::sys::{self, flag};

/// What the kernel says of its tun driver (`TUNGETFEATURES`). Asking touches no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    flags: u32,
}

impl Capabilities {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`Error::Unsupported`]; [`Error::TunMissing`], [`Error::TunPermission`] or [`Error::TunOpen`] if `/dev/net/tun`
    /// cannot be opened.
    pub fn probe() -> Result<Self, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        let fd = sys::open().map_err(Error::from_open)?;
        Self::of(fd.as_fd()).map_err(|errno| Error::TunOpen { errno })
    }

    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { flags: sys::features(fd)? })
    }

    /// As if the kernel had said this.
    #[cfg(test)]
    pub(crate) fn from_flags(flags: u32) -> Self {
        Self { flags }
    }

    /// Several queues on one device (`IFF_MULTI_QUEUE`, Linux 3.8).
    #[must_use]
    pub fn multi_queue(self) -> bool {
        self.flags & u32::from(flag::MULTI_QUEUE) != 0
    }

    /// A virtio-net header in front of each frame (`IFF_VNET_HDR`).
    #[must_use]
    pub fn vnet_header(self) -> bool {
        self.flags & u32::from(flag::VNET_HDR) != 0
    }

    /// Devices made without carrier (`IFF_NO_CARRIER`, Linux 6.0).
    #[must_use]
    pub fn no_carrier(self) -> bool {
        self.flags & u32::from(flag::NO_CARRIER) != 0
    }

    /// Frames that are written may pass the kernel's NAPI (`IFF_NAPI`, Linux 4.15).
    #[must_use]
    pub fn napi(self) -> bool {
        self.flags & u32::from(flag::NAPI) != 0
    }

    /// A full ring holds frames back instead of dropping them (`IFF_BACKPRESSURE`, Linux 7.3). Older kernels take the flag
    /// and ignore it.
    #[must_use]
    pub fn backpressure(self) -> bool {
        self.flags & u32::from(flag::BACKPRESSURE) != 0
    }

    /// The offloads that a device with a virtio-net header can have (`TUNSETOFFLOAD`). The kernel has no list of them: they
    /// are tried on a device made for this, in a network namespace of its own where that is allowed, and gone at once.
    ///
    /// # Errors
    /// [`Error::Unsupported`]; [`Error::TunOpen`] with EPERM without CAP_NET_ADMIN; as [`probe`](Self::probe).
    pub fn probe_offloads() -> Result<Offloads, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        device::offloads_of_kernel()
    }

    /// The `IFF_*` flags as the kernel gave them.
    #[must_use]
    pub fn flags(self) -> u32 {
        self.flags
    }
}
