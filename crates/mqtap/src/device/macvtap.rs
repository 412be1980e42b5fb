//! Queues of a macvtap or ipvtap (drivers/net/tap.c).
//!
//! Such a device exists already: it stands on another interface. Its queues are opened by a device node, `/dev/tapN` with the
//! number of the interface, and each has its flags, its header size and its send buffer for itself. A queue takes frames from
//! the moment it is opened. There is no carrier of its own, no owner, and no steering.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::error::named_node;
use super::{Error, OpenOptions, VnetHeaderMode, known, setting};
use crate::inspect::Kind;
use crate::link::{self, Link};
use crate::mac::MacAddress;
use crate::name::InterfaceName;
use crate::offload::Offloads;
use crate::queue::TapQueue;
use crate::sys::{self, DeviceNumber, Interface, flag};

/// The way to the queues of one device.
#[derive(Debug)]
pub(super) struct Node {
    link: Link,
    kind: Kind,
    path: PathBuf,
    /// What each queue is to be set to: exactly such flags, or EINVAL (drivers/net/tap.c: `tap_ioctl`).
    flags: u16,
}

impl Node {
    /// Looks for the device node. `None` if the interface is of another kind.
    pub(super) fn find(link: &Link, options: &OpenOptions) -> Result<Option<Self>, Error> {
        let Some(kind) = Kind::of(link).filter(|kind| kind.is_on_another_interface()) else {
            return Ok(None);
        };
        check(link, kind, options)?;
        let mut flags = flag::TAP | flag::NO_PI;
        if options.vnet_header != VnetHeaderMode::Off {
            flags |= flag::VNET_HDR;
        }
        if options.queues > 1 {
            flags |= flag::MULTI_QUEUE;
        }
        Ok(Some(Self { link: link.clone(), kind, path: find_path(link, kind)?, flags }))
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn vnet_header(&self) -> bool {
        self.flags & flag::VNET_HDR != 0
    }

    /// Opens a queue and gives it the known values that it has for itself.
    pub(super) fn open(&self, queue: u16) -> Result<TapQueue, Error> {
        let interface = self.link.name;
        let fd = sys::open_node(&self.path).map_err(|errno| self.refused(queue, errno))?;
        if !leads_to(fd.as_fd(), &self.link) {
            return Err(Error::Changed(interface));
        }
        let request = Interface { name: interface.to_kernel(), flags: self.flags };
        sys::set_interface(fd.as_fd(), request)
            .map_err(|errno| setting(interface, "set the flags (TUNSETIFF)", errno))?;
        known::set_header(fd.as_fd(), interface)?;
        take(fd, queue, interface, true)
    }

    /// Sets what the device may have inherited from former users. Whether others have queues of it, the kernel does not tell.
    pub(super) fn set_device(&self, fd: BorrowedFd<'_>) -> Result<Offloads, Error> {
        known::set_offloads(fd, self.link.name, self.vnet_header())
    }

    fn refused(&self, queue: u16, errno: Errno) -> Error {
        let (interface, kind, node) = (self.link.name, self.kind, self.path.clone());
        match errno {
            Errno::ACCESS | Errno::PERM => Error::NodePermission { interface, kind, node, errno },
            // drivers/net/tap.c: `tap_set_queue`.
            Errno::BUSY => Error::TooManyQueues { interface, queue, holders: link::holders(interface) },
            Errno::NODEV | Errno::NXIO => Error::Changed(interface),
            errno => Error::from_open(errno),
        }
    }
}

/// A queue without a limit of what is on its way into the host, as queues of taps have none.
pub(super) fn take(
    fd: OwnedFd,
    queue: u16,
    interface: InterfaceName,
    attached: bool,
) -> Result<TapQueue, Error> {
    sys::set_send_buffer(fd.as_fd(), i32::MAX)
        .map_err(|errno| setting(interface, "set the send buffer (TUNSETSNDBUF)", errno))?;
    let queue = TapQueue::of_macvtap(fd, queue, interface, attached);
    queue.remember_send_buffer(i32::MAX);
    Ok(queue)
}

/// What cannot be had.
fn check(link: &Link, kind: Kind, options: &OpenOptions) -> Result<(), Error> {
    let interface = link.name;
    let refuse = |what, why| Err(Error::MacvtapOption { interface, kind, what, why });
    if options.create_new {
        return Err(Error::Exists(interface));
    }
    if options.exclusive {
        return refuse("exclusive=on", "the kernel does not tell who has queues of it");
    }
    if options.persist.is_some() {
        return refuse("persist=", "it stays until it is deleted, whoever has it open");
    }
    Ok(())
}

/// `/dev/tapN`, or, where something else has that, a node with the name of the interface.
fn find_path(link: &Link, kind: Kind) -> Result<PathBuf, Error> {
    let usual = PathBuf::from(format!("/dev/tap{}", link.index));
    let (interface, index) = (link.name, link.index);
    let expected = number(link);
    let number = expected.map(|number| (number.major, number.minor));
    let found = match is_node_of(&usual, link, expected) {
        Ok(true) => return Ok(usual),
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
            return Err(Error::NodePermission { interface, kind, node: usual, errno });
        }
        found => found,
    };
    let named = named_node(interface);
    match (is_node_of(&named, link, expected), found) {
        (Ok(true), _) => Ok(named),
        (Ok(false), _) => Err(Error::NodeOfAnother { interface, node: named, index, number }),
        (Err(errno @ (Errno::ACCESS | Errno::PERM)), _) => {
            Err(Error::NodePermission { interface, kind, node: named, errno })
        }
        (Err(_), Ok(_)) => Err(Error::NodeOfAnother { interface, node: usual, index, number }),
        (Err(_), Err(_)) => Err(Error::NodeMissing { interface, kind, node: usual, index, number }),
    }
}

/// What keeps this process from the queues of a macvtap or ipvtap, as far as that shows without opening one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// In words, with the remedy.
    pub(crate) error: String,
    /// What makes the node, if it is missing.
    pub(crate) command: Option<String>,
}

impl Obstacle {
    /// `None` also if the sysfs here does not show the device, so that only a queue could tell which node is its.
    pub(crate) fn of(link: &Link, kind: Kind) -> Option<Self> {
        if !kind.is_on_another_interface() {
            return None;
        }
        number(link)?;
        let error = match find_path(link, kind) {
            Err(error) => error,
            Ok(node) => {
                let errno = access(&node, Access::READ_OK | Access::WRITE_OK).err()?;
                Error::NodePermission { interface: link.name, kind, node, errno }
            }
        };
        Some(Self { error: error.to_string(), command: error.make_node() })
    }
}

/// Whether a node leads to the device. Its number says so if that of the device is known, else a queue that is opened for a moment.
fn is_node_of(path: &Path, link: &Link, expected: Option<DeviceNumber>) -> Result<bool, Errno> {
    let Some(found) = sys::node_number(path)? else { return Ok(false) };
    match expected {
        Some(expected) => Ok(found == expected),
        None if !is_macvtap(found) => Ok(false),
        None => match sys::open_node(path) {
            Ok(fd) => Ok(leads_to(fd.as_fd(), link)),
            // Of a device that is gone.
            Err(Errno::NODEV | Errno::NXIO) => Ok(false),
            Err(errno) => Err(errno),
        },
    }
}

/// Whether an open queue is one of the device, as far as a queue tells.
pub(super) fn leads_to(fd: BorrowedFd<'_>, link: &Link) -> bool {
    sys::interface(fd).is_ok_and(|interface| interface.name == link.name.to_kernel())
        && sys::hardware_address(fd).ok() == link.mac.map(MacAddress::octets)
}

/// Whether a descriptor is a queue of a macvtap or ipvtap.
pub(super) fn is_queue(fd: BorrowedFd<'_>) -> bool {
    sys::device_number(fd).ok().flatten().is_some_and(is_macvtap)
}

/// Whether a device number is one of macvtaps or ipvtaps, which have no fixed ones.
fn is_macvtap(number: DeviceNumber) -> bool {
    let devices = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    devices.lines().any(|line| {
        let mut words = line.split_whitespace();
        let major = words.next().and_then(|major| major.parse().ok());
        major == Some(number.major) && matches!(words.next(), Some("macvtap" | "ipvtap"))
    })
}

/// The number of the device's node, if the sysfs that is mounted is that of its network namespace.
fn number(link: &Link) -> Option<DeviceNumber> {
    let directory = PathBuf::from(format!("/sys/class/net/{}", link.name));
    let read = |path: &str| {
        let text = std::fs::read_to_string(directory.join(path)).ok()?;
        Some(text.trim().to_owned())
    };
    let same = read("ifindex")? == link.index.to_string() && read("address")? == link.mac?.to_string();
    let text = read(&format!("tap{}/dev", link.index))?;
    let (major, minor) = text.split_once(':')?;
    let number = DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? };
    same.then_some(number)
}
