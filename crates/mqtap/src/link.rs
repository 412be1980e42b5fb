//! The interface as the network stack sees it: up or down, MTU, MAC, carrier, and how many queues a tap has.
//!
//! All of it goes over rtnetlink (rtnetlink(7)), in the network namespace in which the [`Links`] was opened.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use crate::inspect::{self, NamespaceId};
use crate::mac::MacAddress;
use crate::name::InterfaceName;

#[cfg(all(target_os = "linux", not(mqtap_other_os)))]
mod netlink;
#[cfg(all(target_os = "linux", not(mqtap_other_os)))]
use netlink::{Socket, Watch};

#[cfg(not(all(target_os = "linux", not(mqtap_other_os))))]
mod unsupported;
#[cfg(not(all(target_os = "linux", not(mqtap_other_os))))]
use unsupported::{Socket, Watch};

/// The smallest MTU of a tap, in bytes (drivers/net/tun.c: `MIN_MTU`).
pub const MIN_MTU: u32 = 68;

/// The largest MTU of a tap, in bytes (drivers/net/tun.c: `MAX_MTU` less the Ethernet header).
pub const MAX_MTU: u32 = 65_521;

/// Why an interface could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not on this operating system.
    #[error("tap devices are supported on Linux only")]
    Unsupported,
    /// No netlink socket.
    #[error("cannot talk to the kernel's network configuration (rtnetlink): {0}")]
    Socket(#[source] std::io::Error),
    /// No such interface.
    #[error("there is no interface {0} in this network namespace")]
    NotFound(String),
    /// The kernel refused.
    #[error("cannot {what} of {interface}: {}{}", describe(*.errno), remedy(*.errno))]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// On which interface.
        interface: String,
        /// Why.
        errno: Errno,
    },
    /// An answer that makes no sense.
    #[error("the kernel's answer about {0} cannot be understood")]
    Answer(String),
}

/// An errno by name and meaning: `EPERM: Operation not permitted`.
#[must_use]
pub fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let name = match errno {
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        Errno::NOENT => "ENOENT",
        Errno::NODEV => "ENODEV",
        Errno::NXIO => "ENXIO",
        Errno::BUSY => "EBUSY",
        Errno::INVAL => "EINVAL",
        Errno::EXIST => "EEXIST",
        Errno::TOOBIG => "E2BIG",
        Errno::NOMEM => "ENOMEM",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::BADF => "EBADF",
        Errno::BADFD => "EBADFD",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::INTR => "EINTR",
        Errno::NETDOWN => "ENETDOWN",
        Errno::NOSPC => "ENOSPC",
        Errno::NOSYS => "ENOSYS",
        Errno::RANGE => "ERANGE",
        Errno::SRCH => "ESRCH",
        Errno::NOTTY => "ENOTTY",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::IO => "EIO",
        Errno::FAULT => "EFAULT",
        Errno::NOBUFS => "ENOBUFS",
        _ => return format!("errno {}: {text}", errno.raw_os_error()),
    };
    format!("{name}: {text}")
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "; this needs CAP_NET_ADMIN in the namespace of the interface",
        Errno::NODEV => "; the interface is gone",
        _ => "",
    }
}

/// Readable when something about some interface of a namespace has changed.
#[derive(Debug)]
pub(crate) struct Changes {
    watch: Watch,
}

impl Changes {
    /// Of the namespace of the calling thread.
    pub(crate) fn watch() -> Result<Self, Error> {
        Ok(Self { watch: Watch::open()? })
    }

    /// Not readable any more, until there is another change.
    pub(crate) fn drain(&self) {
        self.watch.drain();
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// An interface at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
    /// Other names that it is found by (`ip link property`), longer ones perhaps.
    pub alternative_names: Vec<String>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has carrier.
    pub carrier: bool,
    /// `IFF_*`, of which those are two (include/uapi/linux/if.h).
    pub flags: u32,
    /// Largest packet without the Ethernet header, in bytes.
    pub mtu: u32,
    /// Its own address, not the guest's. `None` for interfaces without one.
    pub mac: Option<MacAddress>,
    /// The driver's name for what it is: `tun` (for taps as well), `macvtap`, `bridge`. `None` for hardware and the loopback.
    pub kind: Option<String>,
    /// How a macvtap or ipvtap shares what it stands on, in iproute2's words: `bridge`, `vepa`, `l2`.
    pub mode: Option<String>,
    /// Index of the interface that it stands on (a macvtap) or faces (a veth), possibly of another namespace.
    pub parent: Option<u32>,
    /// Index of the bridge (or other master) it belongs to.
    pub master: Option<u32>,
    /// The root queueing discipline: `noop` until the interface was up for the first time, unless one was set.
    pub qdisc: Option<String>,
    /// `txqueuelen`, in frames: for a tap the length of each queue's ring.
    pub transmit_queue_length: u32,
    /// Transmit queues that the kernel keeps for it, whether or not they are in use: 256 for a multi-queue tap.
    pub transmit_queues: u32,
    /// Receive queues that the kernel keeps for it.
    pub receive_queues: u32,
    /// RFC 2863's operational state, in iproute2's words: `UP`, `DOWN`, `LOWERLAYERDOWN`, `DORMANT`, `TESTING`,
    /// `NOTPRESENT`, `UNKNOWN`.
    pub operational_state: &'static str,
    /// `ip link set … alias`.
    pub alias: Option<String>,
    /// Number of the XDP program that sees its frames.
    pub xdp_program: Option<u32>,
    /// What passed it, and what did not.
    pub counters: LinkCounters,
    /// What only a tun or tap has; `None` for other kinds.
    pub tun: Option<TunLink>,
}

/// What the kernel tells of a tun or tap (`IFLA_TUN_*`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunLink {
    /// A tap (Ethernet frames) rather than a tun (IP packets).
    pub tap: bool,
    /// Made for several queues.
    pub multi_queue: bool,
    /// Outlives its last queue.
    pub persistent: bool,
    /// Frames have four bytes of packet information in front (no `IFF_NO_PI`).
    pub packet_information: bool,
    /// Frames have a virtio-net header.
    pub vnet_header: bool,
    /// User that may attach.
    pub owner: Option<u32>,
    /// Group that may attach.
    pub group: Option<u32>,
    /// Queues that are attached. Told for multi-queue devices only.
    pub attached_queues: u32,
    /// Queues that are detached.
    pub detached_queues: u32,
}

/// `IFLA_STATS64` (include/uapi/linux/if_link.h), as far as a tap counts.
///
/// As the host sees the interface, which is the other way round from the guest: *received* is what was written to a tap's
/// queues, *sent* is what was read from them. A frame that waits in a queue is not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounters {
    /// Frames.
    pub received_frames: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Frames with something wrong, such as a virtio-net header that makes no sense.
    pub receive_errors: u64,
    /// Frames for which there was no room.
    pub receive_dropped: u64,
    /// Frames.
    pub sent_frames: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Frames with something wrong.
    pub send_errors: u64,
    /// Frames for which no queue was attached, the queue was full, or a filter said no.
    pub send_dropped: u64,
}

/// What passed one of the queues that the kernel keeps for sending, counted by the qdisc `mq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounters {
    /// The kernel's number of the queue, from 0.
    pub queue: u16,
    /// Frames handed to the queue.
    pub frames: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Frames that the qdisc had no room for. What the ring of a tap has no room for is not among them.
    pub dropped: u64,
    /// Frames that wait in the qdisc.
    pub waiting: u32,
}

/// A view of the interfaces of one network namespace.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl TunLink {
    /// Queues that are open, attached or not. Always 0 for a device without `multi_queue`, of which the kernel does not tell.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.attached_queues + self.detached_queues
    }
}

impl Links {
    /// Opens a view of the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open()? })
    }

    /// The interface with this name; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Socket`], [`Error::Refused`], [`Error::Answer`].
    pub fn find(&self, name: InterfaceName) -> Result<Option<Link>, Error> {
        match self.socket.get_by_name(name.as_str()) {
            Err(Error::NotFound(_)) => Ok(None),
            result => result.map(Some),
        }
    }

    /// The interface with this index.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Socket`], [`Error::Refused`], [`Error::Answer`].
    pub fn get(&self, index: u32) -> Result<Link, Error> {
        self.socket.get_by_index(index)
    }

    /// All interfaces of the namespace, in the kernel's order.
    ///
    /// # Errors
    /// [`Error::Socket`], [`Error::Refused`] (EINTR if the list kept changing while it was read).
    pub fn list(&self) -> Result<Vec<Link>, Error> {
        self.socket.list()
    }

    /// What passed each queue that the kernel has for sending through this interface. Only the qdisc `mq` counts by queue; under any
    /// other there is nothing to tell.
    ///
    /// # Errors
    /// [`Error::Socket`], [`Error::Refused`].
    pub fn queue_counters(&self, index: u32) -> Result<Vec<QueueCounters>, Error> {
        self.socket.queue_counters(index)
    }

    /// Brings the interface up or down.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] (EPERM without CAP_NET_ADMIN), [`Error::Socket`].
    pub fn set_up(&self, index: u32, up: bool) -> Result<(), Error> {
        self.socket.set_up(index, up)
    }

    /// Sets the MTU, in bytes: 68 to 65521 for a tap.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] (EPERM without CAP_NET_ADMIN, EINVAL out of range), [`Error::Socket`].
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.socket.set_mtu(index, mtu)
    }

    /// Sets the interface's own address.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`] (EPERM without CAP_NET_ADMIN, EADDRNOTAVAIL for a multicast address),
    /// [`Error::Socket`].
    pub fn set_mac(&self, index: u32, mac: MacAddress) -> Result<(), Error> {
        self.socket.set_mac(index, mac)
    }

    /// Makes the interface a port of this bridge, or of none.
    ///
    /// # Errors
    /// [`Error::NotFound`] (the interface, or the bridge), [`Error::Refused`] (EPERM without CAP_NET_ADMIN, EOPNOTSUPP if
    /// `master` is no bridge nor anything else with ports), [`Error::Socket`].
    pub fn set_master(&self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.socket.set_master(index, master)
    }

    /// Deletes the interface.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`], [`Error::Socket`].
    pub fn delete(&self, index: u32) -> Result<(), Error> {
        self.socket.delete(index)
    }

    /// Makes `noqueue` the root qdisc. Before a multi-queue device first comes up this spares 6 MiB of kernel memory
    /// for the 256 queues that it might have.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`], [`Error::Socket`].
    pub fn set_noqueue(&self, index: u32) -> Result<(), Error> {
        self.socket.set_noqueue(index)
    }
}

/// A process that has a queue of an interface open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`).
    pub command: String,
    /// The descriptor.
    pub fd: RawFd,
}

/// Who has queues of `interface` open, a tap of the calling thread's network namespace, as far as this user may see:
/// `/proc/PID/fdinfo` names the interface of a tun descriptor (drivers/net/tun.c: `tun_chr_show_fdinfo`). Of which namespace it
/// is, only the queue itself tells; where that may not be asked, the process's own namespace decides.
#[must_use]
pub fn holders(interface: InterfaceName) -> Vec<Holder> {
    holders_in(interface, None)
}

/// The same in another namespace.
pub(crate) fn holders_in(interface: InterfaceName, namespace: Option<NamespaceId>) -> Vec<Holder> {
    inspect::holders_of(interface, namespace.or_else(NamespaceId::current))
        .into_iter()
        .map(|holder| Holder { pid: holder.pid, command: holder.command, fd: holder.fd })
        .collect()
}
