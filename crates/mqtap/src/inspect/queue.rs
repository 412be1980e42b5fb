//! What an open queue tells, whoever holds it.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::NamespaceId;
use super::proc::Of;
use crate::name::InterfaceName;
use crate::sys::{self, flag};

/// The state of a queue, and what the kernel tells of its device only through a queue.
///
/// It is read through a second descriptor for the same open file (`pidfd_getfd(2)`), which is closed at once. Nothing is
/// changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueState {
    /// The interface now.
    pub interface: InterfaceName,
    /// The kernel gives frames to this queue.
    pub attached: bool,
    /// The `IFF_*` flags as `TUNGETIFF` gave them.
    pub flags: u16,
    /// Frames wait to be read.
    pub has_frames: bool,
    /// Length of the virtio-net header, in bytes, if the device has one: of the whole device.
    pub vnet_header_size: Option<i32>,
    /// Limit of what may be on its way into the host, in bytes; `i32::MAX` is none.
    pub send_buffer: Option<i32>,
    /// A classic filter was attached to the device since it was made. The kernel does not tell whether it still is.
    pub classic_filter: bool,
    /// Where the device is now. The kernel tells those who may administer it.
    pub device_namespace: Option<NamespaceId>,
    /// Where the queue was opened.
    pub opened_in: Option<NamespaceId>,
}

impl QueueState {
    /// The flags that say how the tap was made, in the words of `ip tuntap`: `tap`, `pi`, `vnet_hdr`, `multi_queue`, `persist`.
    #[must_use]
    pub fn flag_names(&self) -> Vec<&'static str> {
        let has = |flag| self.flags & flag != 0;
        let words = [
            (has(flag::TUN), "tun"),
            (has(flag::TAP), "tap"),
            (!has(flag::NO_PI), "pi"),
            (has(flag::VNET_HDR), "vnet_hdr"),
            (has(flag::MULTI_QUEUE), "multi_queue"),
            (has(flag::PERSIST), "persist"),
        ];
        words.into_iter().filter(|(is_on, _)| *is_on).map(|(_, word)| word).collect()
    }
}

/// Why an open queue tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hidden {
    /// This user may not trace the process.
    NotAllowed,
    /// The kernel cannot (before Linux 5.6), or a sandbox forbids it.
    Unavailable,
}

/// `None` if the process, or the queue, or the device is gone.
pub(super) fn look(pid: u32, fd: RawFd, of: Of) -> Option<Result<QueueState, Hidden>> {
    let queue = match sys::duplicate(pid, fd) {
        Ok(queue) => queue,
        Err(Errno::SRCH | Errno::BADF) => return None,
        Err(Errno::PERM | Errno::ACCESS) => return Some(Err(Hidden::NotAllowed)),
        Err(_) => return Some(Err(Hidden::Unavailable)),
    };
    let queue = queue.as_fd();
    // The number may be that of another file meanwhile, to which these calls may mean something else.
    let is_still_one = match of {
        Of::Tun(_) => sys::is_tun_device(queue).unwrap_or(false),
        Of::Index(_) => is_character_device(queue),
    };
    if !is_still_one {
        return None;
    }
    let interface = sys::interface(queue).ok()?;
    let namespace =
        |fd: Result<std::os::fd::OwnedFd, Errno>| fd.ok().and_then(|fd| NamespaceId::of(fd.as_fd()));
    Some(Ok(QueueState {
        interface: InterfaceName::from_kernel(interface.name).ok()?,
        attached: interface.flags & flag::DETACH_QUEUE == 0,
        flags: interface.flags,
        has_frames: sys::has_frames(queue).unwrap_or(false),
        vnet_header_size: header_size(queue, interface.flags),
        send_buffer: sys::send_buffer(queue).ok(),
        classic_filter: sys::classic_filter_length(queue).is_ok_and(|length| length > 0),
        device_namespace: namespace(sys::device_namespace(queue)),
        opened_in: namespace(sys::opened_in(queue)),
    }))
}

fn is_character_device(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}

fn header_size(queue: BorrowedFd<'_>, flags: u16) -> Option<i32> {
    if flags & flag::VNET_HDR == 0 { None } else { sys::vnet_header_size(queue).ok() }
}
