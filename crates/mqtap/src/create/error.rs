//! What can go wrong with a tap that is to be made or deleted.

use rustix::io::Errno;

use super::Differences;
use crate::bridge;
use crate::device;
use crate::link::{self, describe};
use crate::mac::NotAStation;
use crate::name::{InterfaceName, NameRequest};

/// Why a tap could not be made or deleted. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is there, and is not what was asked for.
    #[error(
        "{interface} exists and is not as asked for: {differences}; change it or what is asked for, or delete it with `mqtap delete {interface}`"
    )]
    Different {
        /// The interface.
        interface: InterfaceName,
        /// In what it differs.
        differences: Differences,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {interface} in this network namespace; `ip -brief link` lists those there are"
    )]
    NotFound {
        /// Its name.
        interface: InterfaceName,
    },
    /// A tun.
    #[error(
        "{interface} is a tun, which carries IP packets, and not a tap, which carries Ethernet frames; `ip link del {interface}` deletes it"
    )]
    Tun {
        /// The interface.
        interface: InterfaceName,
    },
    /// A tap cannot be made, because something else has the name.
    #[error("{interface} is not a tap{}; choose another name", but_a(.kind.as_deref()))]
    NotATap {
        /// The interface.
        interface: InterfaceName,
        /// What the kernel calls its kind.
        kind: Option<String>,
    },
    /// No tap is meant to be deleted by this name.
    #[error("{interface} is not a tap{}; {}", but_a(.kind.as_deref()), deleted_otherwise(*.interface, .kind.as_deref()))]
    KeptNotATap {
        /// The interface.
        interface: InterfaceName,
        /// What the kernel calls its kind.
        kind: Option<String>,
    },
    /// `/dev/net/tun` may not be opened (EACCES, EPERM).
    #[error("cannot open /dev/net/tun: {}; {}", describe(*.errno), tun_remedy(*.errno))]
    TunPermission {
        /// Why.
        errno: Errno,
    },
    /// It may be there already, and has no name by which it could be found.
    #[error(
        "{} is new each time, so there is nothing to be content with if it exists; give a name, such as {}",
        nameless(*.0), .0.example()
    )]
    NewEachTime(NameRequest),
    /// An address that no interface can have.
    #[error("address {address}: {0}", address = .0.address())]
    NotAStation(#[from] NotAStation),
    /// `mq` on a device with one queue.
    #[error("the qdisc mq is for taps with several queues; add multi_queue, or leave out the qdisc")]
    MqNeedsMultiQueue,
    /// It could not be put on the bridge.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    /// The tap could not be made.
    #[error(transparent)]
    Device(device::Error),
    /// The interface could not be looked at or changed.
    #[error(transparent)]
    Link(#[from] link::Error),
}

impl From<device::Error> for Error {
    fn from(error: device::Error) -> Self {
        match error {
            // Whoever opens a tap can be given its queues; whoever makes one cannot.
            device::Error::TunPermission { errno } => Self::TunPermission { errno },
            error => Self::Device(error),
        }
    }
}

fn but_a(kind: Option<&str>) -> String {
    kind.map(|kind| format!(" but a {kind}")).unwrap_or_default()
}

/// Of anything but a tap in the wider sense, nobody is told how to delete what may be in use for something else.
fn deleted_otherwise(interface: InterfaceName, kind: Option<&str>) -> String {
    match kind {
        Some("macvtap" | "ipvtap") => format!("`ip link del {interface}` deletes it"),
        _ => "`mqtap list` lists those there are".to_owned(),
    }
}

fn tun_remedy(errno: Errno) -> &'static str {
    match errno {
        // From a device cgroup, which stops root as well (security/device_cgroup.c: `devcgroup_check_permission`).
        Errno::PERM => {
            "a container or unit with a list of devices needs this one in it (--device /dev/net/tun, DeviceAllow=/dev/net/tun rw)"
        }
        _ => "run this as root: making a tap takes CAP_NET_ADMIN, and read and write permission on that file",
    }
}

fn nameless(name: NameRequest) -> String {
    match name {
        NameRequest::Pattern(pattern) => format!("what the pattern {pattern} stands for"),
        NameRequest::Exact(name) => name.to_string(),
        NameRequest::KernelChoice => "a tap that the kernel names".to_owned(),
    }
}
