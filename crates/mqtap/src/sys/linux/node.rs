//! Queues that are opened by a device node (drivers/net/tap.c), and device nodes in general.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Updater};

use super::super::DeviceNumber;
use super::IfReq;
use crate::name::IFNAMSIZ;

/// include/uapi/linux/sockios.h. A queue answers it about its own device.
const SIOCGIFHWADDR: Opcode = 0x8927;

/// Opens a queue by its device node.
pub(crate) fn open_node(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// The number of a device node. `None` if it is another kind of file.
pub(crate) fn node_number(path: &Path) -> Result<Option<DeviceNumber>, Errno> {
    rustix::fs::stat(path).map(|stat| number(&stat))
}

/// The number of the device that a descriptor is of. `None` if it is of another kind of file.
pub(crate) fn device_number(fd: BorrowedFd<'_>) -> Result<Option<DeviceNumber>, Errno> {
    rustix::fs::fstat(fd).map(|stat| number(&stat))
}

fn number(stat: &Stat) -> Option<DeviceNumber> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    (FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
        .then_some(DeviceNumber { major, minor })
}

/// `SIOCGIFHWADDR`: the address of the interface that a queue is of.
pub(crate) fn hardware_address(fd: BorrowedFd<'_>) -> Result<[u8; 6], Errno> {
    let mut request = IfReq { name: [0; IFNAMSIZ], flags: 0, rest: [0; 22] };
    // SAFETY: SIOCGIFHWADDR on a queue writes one `struct ifreq`, which `IfReq` has the size of.
    unsafe { ioctl::ioctl(fd, Updater::<SIOCGIFHWADDR, IfReq>::new(&mut request)) }?;
    // A `struct sockaddr` is in the union: its family where the flags are, then the address.
    let [a, b, c, d, e, f, ..] = request.rest;
    Ok([a, b, c, d, e, f])
}
