//! What can go wrong with vhost-net, each in its own words.

use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::fd::InheritError;
use crate::link::describe;

/// Why vhost-net could not be had or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not on this operating system.
    #[error("vhost-net is supported on Linux only")]
    Unsupported,
    /// ENOENT.
    #[error(
        "/dev/vhost-net does not exist (ENOENT); load the module with `modprobe vhost_net` (a kernel without CONFIG_VHOST_NET does not have it), or in a container pass the device in (--device /dev/vhost-net)"
    )]
    Missing,
    /// ENODEV, ENXIO: the file is there, and nothing behind it.
    #[error(
        "cannot open /dev/vhost-net: {}: there is no driver behind it; load the module with `modprobe vhost_net`, which needs root and a kernel with CONFIG_VHOST_NET", describe(*.errno)
    )]
    NoDriver {
        /// Why.
        errno: Errno,
    },
    /// EACCES, EPERM.
    #[error(
        "cannot open /dev/vhost-net: {}; give this user read and write permission on it (on Debian: `adduser USER kvm`), or pass open handles with vhostfds=", describe(*.errno)
    )]
    Permission {
        /// Why.
        errno: Errno,
    },
    /// EMFILE, ENFILE.
    #[error("cannot open /dev/vhost-net: {}; each queue takes a handle: raise the limit (ulimit -n, LimitNOFILE=), or use fewer queues", describe(*.errno))]
    TooManyFiles {
        /// Why.
        errno: Errno,
    },
    /// Anything else about `/dev/vhost-net`.
    #[error("cannot use /dev/vhost-net: {}", describe(*.errno))]
    Open {
        /// Why.
        errno: Errno,
    },
    /// A descriptor that cannot be taken over.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A descriptor of something else.
    #[error(
        "file descriptor {0} is not a vhost-net handle; whoever starts mqtap must open /dev/vhost-net for it"
    )]
    NotVhostNet(RawFd),
    /// A duplicate, which serves the same queue pair.
    #[error(
        "file descriptors {0} and {1} are the same vhost-net handle, duplicated; each queue needs its own: open /dev/vhost-net once for each"
    )]
    SameHandle(RawFd, RawFd),
    /// EBUSY: a handle serves the memory of one process.
    #[error(
        "the vhost-net handle has an owner already (EBUSY): a process that was given it before; open /dev/vhost-net anew for each use"
    )]
    Owned,
    /// Features that this kernel's vhost-net does not have.
    #[error("vhost-net of this kernel does not have the features {0:#x}")]
    Features(u64),
    /// Not while a ring is started.
    #[error("the {ring} ring is started")]
    Started {
        /// Which.
        ring: &'static str,
    },
    /// Only while a ring is started.
    #[error("the {ring} ring is not started")]
    NotStarted {
        /// Which.
        ring: &'static str,
    },
    /// Not a power of two.
    #[error("the {ring} ring cannot have {size} descriptors: vhost-net wants a power of two")]
    RingSize {
        /// Which.
        ring: &'static str,
        /// Descriptors.
        size: u16,
    },
    /// A part of a ring is not, or not as a whole, in one region of guest memory.
    #[error("the {part} of the {ring} ring, {len} bytes at {address:#x}, is not in guest memory")]
    RingNotInMemory {
        /// Which.
        ring: &'static str,
        /// Which part of it.
        part: &'static str,
        /// Where it was to be.
        address: u64,
        /// Its size in bytes.
        len: u64,
    },
    /// The available ring wants an even address, the used ring and its log address multiples of 4.
    #[error("the {ring} ring is misaligned")]
    RingMisaligned {
        /// Which.
        ring: &'static str,
    },
    /// The kernel would mark pages behind the end of the bitmap.
    #[error(
        "a dirty bitmap of {len} bytes does not cover the guest's memory and rings, which takes {needed}"
    )]
    LogTooSmall {
        /// Bytes it has.
        len: u64,
        /// Bytes it would need.
        needed: u64,
    },
    /// E2BIG.
    #[error(
        "vhost-net does not take {count} memory regions (E2BIG); raise its limit, as root: `echo 512 > /sys/module/vhost/parameters/max_mem_regions`, or `options vhost max_mem_regions=512` in /etc/modprobe.d"
    )]
    TooManyRegions {
        /// How many there are.
        count: usize,
    },
    /// The kernel accepted a busy loop and set another.
    #[error("vhost-net was asked to poll for {asked} microseconds, and polls for {now}")]
    BusyLoop {
        /// What was asked for.
        asked: u32,
        /// What is.
        now: u32,
    },
    /// Any other refusal.
    #[error("vhost-net: cannot {what}: {}", describe(*.errno))]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// A refusal that concerns one ring.
    #[error("vhost-net: cannot {what} the {ring} ring: {}", describe(*.errno))]
    RingRefused {
        /// What was attempted.
        what: &'static str,
        /// Which.
        ring: &'static str,
        /// Why.
        errno: Errno,
    },
    /// What was before could not be brought back; the rings may be at rest.
    #[error("{0}; and the rings cannot go on as before")]
    Lost(#[source] Box<Error>),
}

impl Error {
    pub(super) fn from_open(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::NODEV | Errno::NXIO => Self::NoDriver { errno },
            Errno::ACCESS | Errno::PERM => Self::Permission { errno },
            Errno::MFILE | Errno::NFILE => Self::TooManyFiles { errno },
            _ => Self::Open { errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_to_open_has_its_remedy() {
        for (errno, pieces) in [
            (Errno::NOENT, &["does not exist", "modprobe vhost_net", "CONFIG_VHOST_NET"][..]),
            (Errno::NXIO, &["ENXIO", "modprobe vhost_net"]),
            (Errno::NODEV, &["ENODEV", "no driver"]),
            (Errno::ACCESS, &["EACCES", "permission", "vhostfds="]),
            (Errno::PERM, &["EPERM", "permission"]),
            (Errno::MFILE, &["EMFILE", "ulimit -n"]),
            (Errno::NOMEM, &["ENOMEM"]),
        ] {
            let text = Error::from_open(errno).to_string();
            for piece in pieces {
                assert!(text.contains(piece), "`{piece}` is missing in: {text}");
            }
        }
    }
}
