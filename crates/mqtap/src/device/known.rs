//! Known values for what a device keeps from its former users, and learning what it can.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::namespace::visit;
use super::{Error, setting};
use crate::name::{IFNAMSIZ, InterfaceName};
use crate::offload::Offloads;
use crate::sys::{self, Interface, flag};
use crate::vnet_header::VnetHeaderSize;

/// As [`set`], unless the device is used by others: its settings are those of who was there first.
pub(super) fn set_unless(
    used: bool,
    fd: BorrowedFd<'_>,
    interface: InterfaceName,
    vnet_header: bool,
) -> Result<Offloads, Error> {
    match (used, vnet_header) {
        (false, _) => set(fd, interface, vnet_header),
        (true, true) => Ok(offloads_of_kernel().unwrap_or(Offloads::NONE)),
        (true, false) => Ok(Offloads::NONE),
    }
}

/// Sets what a device of ours may have inherited, and returns the offloads that it can have.
///
/// A persistent device keeps all of this when its last queue is closed, also what makes no sense for the next user: with
/// offloads and without a header, he would read super-frames and not be told so.
fn set(fd: BorrowedFd<'_>, interface: InterfaceName, vnet_header: bool) -> Result<Offloads, Error> {
    let supported = set_offloads(fd, interface, vnet_header)?;
    set_header(fd, interface)?;
    if_known(sys::clear_steering(fd))
        .map_err(|errno| setting(interface, "take off the steering program (TUNSETSTEERINGEBPF)", errno))?;
    Ok(supported)
}

/// No offloads. Returns those that the device can have.
pub(super) fn set_offloads(
    fd: BorrowedFd<'_>,
    interface: InterfaceName,
    vnet_header: bool,
) -> Result<Offloads, Error> {
    let offloads = |errno| setting(interface, "set the offloads (TUNSETOFFLOAD)", errno);
    let supported = if vnet_header { descend(fd, Offloads::ALL).map_err(offloads)? } else { Offloads::NONE };
    sys::set_offload(fd, Offloads::NONE.bits()).map_err(offloads)?;
    Ok(supported)
}

/// A header of 10 bytes in little-endian: of the device, or of one queue where each has its own.
pub(super) fn set_header(fd: BorrowedFd<'_>, interface: InterfaceName) -> Result<(), Error> {
    sys::set_vnet_header_size(fd, VnetHeaderSize::Legacy10.len() as i32)
        .map_err(|errno| setting(interface, "set the virtio-net header size (TUNSETVNETHDRSZ)", errno))?;
    if_known(sys::set_little_endian_header(fd)).map_err(|errno| {
        setting(interface, "set the byte order of the virtio-net header (TUNSETVNETLE)", errno)
    })
}

/// What a kernel does not know needs no known value. (tun answers EINVAL to an ioctl that it does not know.)
fn if_known(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::INVAL | Errno::NOTTY) => Ok(()),
        result => result,
    }
}

/// Tries sets of offloads until the kernel accepts one.
pub(super) fn descend(fd: BorrowedFd<'_>, wanted: Offloads) -> Result<Offloads, Errno> {
    let mut result = Err(Errno::INVAL);
    for rung in wanted.ladder() {
        result = sys::set_offload(fd, rung.bits()).map(|()| rung);
        if result != Err(Errno::INVAL) {
            break;
        }
    }
    result
}

/// The offloads of this kernel, learned without touching a device that anybody uses.
pub(crate) fn offloads_of_kernel() -> Result<Offloads, Error> {
    let failed = |errno| Error::TunOpen { errno };
    let private = || {
        sys::open().map_err(Error::from_open).and_then(|fd| make_private(&fd).map(|()| fd).map_err(failed))
    };
    // In a network namespace of its own nobody sees it come and go. Where that is not allowed, it is seen here.
    let device: OwnedFd = visit(sys::enter_new_namespace, private, failed).or_else(|_| private())?;
    descend(device.as_fd(), Offloads::ALL).map_err(failed)
}

/// Makes a device that exists while its descriptor does.
fn make_private(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = flag::TAP | flag::NO_PI | flag::VNET_HDR | flag::NO_CARRIER;
    sys::set_interface(fd.as_fd(), Interface { name: [0; IFNAMSIZ], flags }).map(drop)
}
