//! An operating system without tap devices as we need them. Nothing can be opened, so most of this is never reached.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;

use super::Interface;

/// Whether there is anything behind this contract.
pub(crate) const SUPPORTED: bool = false;

macro_rules! unsupported {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(pub(crate) fn $name($(_: $argument),*) -> Result<$result, Errno> {
            Err(Errno::NOSYS)
        })*
    };
}

unsupported! {
    open() -> OwnedFd;
    set_interface(BorrowedFd<'_>, Interface) -> Interface;
    interface(BorrowedFd<'_>) -> Interface;
    features(BorrowedFd<'_>) -> u32;
    set_queue(BorrowedFd<'_>, u16) -> ();
    set_offload(BorrowedFd<'_>, u32) -> ();
    set_persist(BorrowedFd<'_>, bool) -> ();
    set_owner(BorrowedFd<'_>, u32) -> ();
    set_group(BorrowedFd<'_>, u32) -> ();
    set_vnet_header_size(BorrowedFd<'_>, i32) -> ();
    set_send_buffer(BorrowedFd<'_>, i32) -> ();
    set_carrier(BorrowedFd<'_>, bool) -> ();
    is_tun_device(BorrowedFd<'_>) -> bool;
    prepare(BorrowedFd<'_>) -> ();
}

pub(crate) fn same_open_file(_: BorrowedFd<'_>, _: BorrowedFd<'_>) -> Option<bool> {
    None
}

pub(crate) fn enter_network_namespace(_: &Path) -> std::io::Result<()> {
    Err(Errno::NOSYS.into())
}

pub(crate) fn inherited_is_open(_: RawFd) -> Option<bool> {
    Some(false)
}

pub(crate) fn with_inherited<R>(_: RawFd, _: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    None
}

pub(crate) fn claim_inherited(_: &[RawFd]) -> Option<Vec<OwnedFd>> {
    None
}
