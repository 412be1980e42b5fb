//! An operating system without tap devices as we need them. Nothing can be opened, so most of this is never reached.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::process::Child;

use rustix::io::Errno;

use super::{Interface, NetAdmin};
use crate::fd::InheritError;
use crate::name::InterfaceName;

/// Whether there is anything behind this contract.
pub(crate) const SUPPORTED: bool = false;

/// A loaded eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) id: u32,
    pub(crate) is_socket_filter: bool,
    pub(crate) name: String,
}

macro_rules! unsupported {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(pub(crate) fn $name($(_: $argument),*) -> Result<$result, Errno> {
            Err(Errno::NOSYS)
        })*
    };
}

unsupported! {
    open() -> OwnedFd;
    open_node(&std::path::Path) -> OwnedFd;
    node_number(&std::path::Path) -> Option<super::DeviceNumber>;
    device_number(BorrowedFd<'_>) -> Option<super::DeviceNumber>;
    hardware_address(BorrowedFd<'_>) -> [u8; 6];
    set_interface(BorrowedFd<'_>, Interface) -> Interface;
    interface(BorrowedFd<'_>) -> Interface;
    features(BorrowedFd<'_>) -> u32;
    set_queue(BorrowedFd<'_>, u16) -> ();
    set_offload(BorrowedFd<'_>, u32) -> ();
    set_persist(BorrowedFd<'_>, bool) -> ();
    set_owner(BorrowedFd<'_>, u32) -> ();
    set_group(BorrowedFd<'_>, u32) -> ();
    vnet_header_size(BorrowedFd<'_>) -> i32;
    set_little_endian_header(BorrowedFd<'_>) -> ();
    set_big_endian_header(BorrowedFd<'_>) -> ();
    try_io_uring() -> ();
    clear_steering(BorrowedFd<'_>) -> ();
    device_namespace(BorrowedFd<'_>) -> OwnedFd;
    thread_namespace() -> OwnedFd;
    same_namespace(BorrowedFd<'_>, BorrowedFd<'_>) -> bool;
    enter_namespace(BorrowedFd<'_>) -> ();
    enter_new_namespace() -> ();
    set_vnet_header_size(BorrowedFd<'_>, i32) -> ();
    set_send_buffer(BorrowedFd<'_>, i32) -> ();
    set_carrier(BorrowedFd<'_>, bool) -> ();
    is_tun_device(BorrowedFd<'_>) -> bool;
    send_buffer(BorrowedFd<'_>) -> i32;
    classic_filter_length(BorrowedFd<'_>) -> u16;
    owner_of_namespace(BorrowedFd<'_>) -> OwnedFd;
    programs() -> Vec<Program>;
    opened_in(BorrowedFd<'_>) -> OwnedFd;
    has_frames(BorrowedFd<'_>) -> bool;
    duplicate(u32, RawFd) -> OwnedFd;
    active_features(InterfaceName) -> Vec<String>;
    set_close_on_exec(BorrowedFd<'_>) -> ();
    set_nonblocking(BorrowedFd<'_>) -> ();
}

pub(crate) mod vhost {
    use super::{BorrowedFd, Errno, OwnedFd};
    use crate::sys::guest::{DirtyBitmap, MemoryTable, RingParts};

    unsupported! {
        open() -> OwnedFd;
        is_vhost_net(BorrowedFd<'_>) -> bool;
        features(BorrowedFd<'_>) -> u64;
        kicked() -> OwnedFd;
        set_owner(BorrowedFd<'_>) -> ();
        set_features(BorrowedFd<'_>, u64) -> ();
        set_memory(BorrowedFd<'_>, &MemoryTable) -> ();
        set_log(BorrowedFd<'_>, &DirtyBitmap) -> ();
        set_size(BorrowedFd<'_>, u8, u16) -> ();
        set_base(BorrowedFd<'_>, u8, u16) -> ();
        base(BorrowedFd<'_>, u8) -> u32;
        set_addresses(BorrowedFd<'_>, u8, RingParts, Option<u64>) -> ();
        busy_loop(BorrowedFd<'_>, u8) -> u32;
        set_busy_loop(BorrowedFd<'_>, u8, u32) -> ();
        set_kick(BorrowedFd<'_>, u8, Option<BorrowedFd<'_>>) -> ();
        set_call(BorrowedFd<'_>, u8, Option<BorrowedFd<'_>>) -> ();
        set_error(BorrowedFd<'_>, u8, Option<BorrowedFd<'_>>) -> ();
        set_backend(BorrowedFd<'_>, u8, Option<BorrowedFd<'_>>) -> ();
    }
}

pub(crate) fn is_elevated() -> bool {
    false
}

pub(crate) fn gains_nothing() -> bool {
    false
}

pub(crate) fn keep_net_admin(_: NetAdmin) -> Result<bool, Errno> {
    Err(Errno::NOSYS)
}

pub(crate) const MAX_PASSED: usize = 1;

pub(crate) fn send_descriptors(_: BorrowedFd<'_>, _: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn receive_descriptors(_: BorrowedFd<'_>) -> Result<Option<Vec<OwnedFd>>, Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn spawn(_: &[&OsStr], _: Option<BorrowedFd<'_>>) -> io::Result<(Child, OwnedFd)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn same_open_file(_: BorrowedFd<'_>, _: BorrowedFd<'_>) -> Option<bool> {
    None
}

pub(crate) fn in_private_child<const N: usize>(_: fn() -> [i32; N]) -> Result<[i32; N], Errno> {
    Err(Errno::NOSYS)
}

pub(crate) fn same_file_elsewhere(_: (u32, RawFd), _: (u32, RawFd)) -> Option<bool> {
    None
}

pub(crate) fn check_inherited(number: RawFd) -> Result<(), InheritError> {
    Err(InheritError::NotOpen(number))
}

pub(crate) fn with_inherited<R>(
    numbers: &[RawFd],
    _: impl FnOnce(&[BorrowedFd<'_>]) -> R,
) -> Result<R, InheritError> {
    Err(InheritError::NotOpen(numbers.first().copied().unwrap_or_default()))
}

pub(crate) fn claim_inherited(
    numbers: &[RawFd],
    _: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<Vec<OwnedFd>, InheritError> {
    Err(InheritError::NotOpen(numbers.first().copied().unwrap_or_default()))
}
