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
