//! Linux: drivers/vhost/net.c and drivers/vhost/vhost.c (include/uapi/linux/vhost.h).
//!
//! Everything but [`features`] and [`set_owner`] is for the owner alone.

use std::ffi::{c_int, c_uint};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Getter, IntegerSetter, NoArg, Opcode, Setter, Updater};

use crate::sys::guest::{DirtyBitmap, MemoryTable, RingParts};

const VHOST_VIRTIO: u8 = 0xaf;

const fn write<T>(number: u8) -> Opcode {
    ioctl::opcode::write::<T>(VHOST_VIRTIO, number)
}

const VHOST_GET_FEATURES: Opcode = ioctl::opcode::read::<u64>(VHOST_VIRTIO, 0x00);
const VHOST_SET_FEATURES: Opcode = write::<u64>(0x00);
const VHOST_SET_OWNER: Opcode = ioctl::opcode::none(VHOST_VIRTIO, 0x01);
/// Declared with the size of a table without regions, which follow it.
const VHOST_SET_MEM_TABLE: Opcode = write::<[u32; 2]>(0x03);
const VHOST_SET_LOG_BASE: Opcode = write::<u64>(0x04);
const VHOST_SET_VRING_NUM: Opcode = write::<VringState>(0x10);
const VHOST_SET_VRING_ADDR: Opcode = write::<VringAddr>(0x11);
const VHOST_SET_VRING_BASE: Opcode = write::<VringState>(0x12);
const VHOST_GET_VRING_BASE: Opcode = ioctl::opcode::read_write::<VringState>(VHOST_VIRTIO, 0x12);
const VHOST_SET_VRING_KICK: Opcode = write::<VringFile>(0x20);
const VHOST_SET_VRING_CALL: Opcode = write::<VringFile>(0x21);
const VHOST_SET_VRING_ERR: Opcode = write::<VringFile>(0x22);
const VHOST_SET_VRING_BUSYLOOP_TIMEOUT: Opcode = write::<VringState>(0x23);
/// Declared with `_IOW`, and writes its argument.
const VHOST_GET_VRING_BUSYLOOP_TIMEOUT: Opcode = write::<VringState>(0x24);
const VHOST_NET_SET_BACKEND: Opcode = write::<VringFile>(0x30);

/// `VHOST_VRING_F_LOG`, as a mask: writes to the used ring are logged.
const VRING_LOGS: c_uint = 1;

/// `struct vhost_vring_state`
#[repr(C)]
struct VringState {
    index: c_uint,
    num: c_uint,
}

/// `struct vhost_vring_file`
#[repr(C)]
struct VringFile {
    index: c_uint,
    /// -1 (`VHOST_FILE_UNBIND`) for none.
    fd: c_int,
}

impl VringFile {
    fn new(ring: u8, fd: Option<BorrowedFd<'_>>) -> Self {
        Self { index: ring.into(), fd: fd.map_or(-1, |fd| fd.as_raw_fd()) }
    }
}

/// `struct vhost_vring_addr`
#[repr(C)]
struct VringAddr {
    index: c_uint,
    flags: c_uint,
    desc_user_addr: u64,
    used_user_addr: u64,
    avail_user_addr: u64,
    log_guest_addr: u64,
}

const _: () = assert!(size_of::<VringAddr>() == 40);

/// Opens `/dev/vhost-net`, which loads the module where that is allowed.
pub(crate) fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/vhost-net", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Device number of `/dev/vhost-net`: misc device (major 10), minor 238 (include/linux/miscdevice.h: `VHOST_NET_MINOR`).
pub(crate) fn is_vhost_net(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    super::is_misc_device(fd, 238)
}

/// `VHOST_GET_FEATURES`
pub(crate) fn features(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: VHOST_GET_FEATURES writes one `__u64`.
    unsafe { ioctl::ioctl(fd, Getter::<VHOST_GET_FEATURES, u64>::new()) }
}

/// `VHOST_SET_OWNER`: the kernel works on the memory of this process from now on, and starts a thread for it.
pub(crate) fn set_owner(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: VHOST_SET_OWNER takes no argument, and the kernel touches no memory before it is told where rings are.
    unsafe { ioctl::ioctl(fd, NoArg::<VHOST_SET_OWNER>::new()) }
}

/// `VHOST_SET_FEATURES`
pub(crate) fn set_features(fd: BorrowedFd<'_>, features: u64) -> Result<(), Errno> {
    // SAFETY: VHOST_SET_FEATURES reads one `__u64`.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_FEATURES, u64>::new(features)) }
}

/// `VHOST_SET_MEM_TABLE`. The caller keeps the table until the kernel was given another one, or works on no ring.
pub(crate) fn set_memory(fd: BorrowedFd<'_>, table: &MemoryTable) -> Result<(), Errno> {
    let count = u32::try_from(table.regions().len()).map_err(|_| Errno::TOOBIG)?;
    // `struct vhost_memory`: two 32-bit words, of which the second is padding, and four 64-bit words for each region.
    let mut words = vec![u64::from_ne_bytes(bytes_of([count, 0]))];
    for region in table.regions() {
        words.extend([region.guest_address, region.size, region.address, 0]);
    }
    // SAFETY: VHOST_SET_MEM_TABLE reads a `struct vhost_memory` with as many regions as it counts, which is what `words`
    // holds, and writes nothing. That the kernel may use the addresses in it is the promise with which `table` was made,
    // and holds while somebody keeps it.
    unsafe {
        ioctl::ioctl(fd, IntegerSetter::<VHOST_SET_MEM_TABLE>::new_pointer(words.as_ptr().cast_mut().cast()))
    }
}

fn bytes_of([first, second]: [u32; 2]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

/// `VHOST_SET_LOG_BASE`. The caller keeps the bitmap until the kernel was given another one, or does not log; and sees to it
/// that it covers all that the kernel may mark: the kernel does not know how long it is.
pub(crate) fn set_log(fd: BorrowedFd<'_>, bitmap: &DirtyBitmap) -> Result<(), Errno> {
    // SAFETY: VHOST_SET_LOG_BASE reads one `__u64`, an address. That the kernel may set bits there is the promise with which
    // the bitmap was made.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_LOG_BASE, u64>::new(bitmap.address())) }
}

/// `VHOST_SET_VRING_NUM`: descriptors of a ring without backend.
pub(crate) fn set_size(fd: BorrowedFd<'_>, ring: u8, size: u16) -> Result<(), Errno> {
    let state = VringState { index: ring.into(), num: size.into() };
    // SAFETY: VHOST_SET_VRING_NUM reads one `struct vhost_vring_state`.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_NUM, VringState>::new(state)) }
}

/// `VHOST_SET_VRING_BASE`: where a ring without backend goes on.
pub(crate) fn set_base(fd: BorrowedFd<'_>, ring: u8, base: u16) -> Result<(), Errno> {
    let state = VringState { index: ring.into(), num: base.into() };
    // SAFETY: VHOST_SET_VRING_BASE reads one `struct vhost_vring_state`.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_BASE, VringState>::new(state)) }
}

/// `VHOST_GET_VRING_BASE`
pub(crate) fn base(fd: BorrowedFd<'_>, ring: u8) -> Result<u32, Errno> {
    let mut state = VringState { index: ring.into(), num: 0 };
    // SAFETY: VHOST_GET_VRING_BASE reads and writes one `struct vhost_vring_state`.
    unsafe { ioctl::ioctl(fd, Updater::<VHOST_GET_VRING_BASE, VringState>::new(&mut state)) }?;
    Ok(state.num)
}

/// `VHOST_SET_VRING_ADDR`. `parts` lie in the memory table that the kernel has, or had last and that the caller still keeps;
/// `log` is covered by the bitmap.
pub(crate) fn set_addresses(
    fd: BorrowedFd<'_>,
    ring: u8,
    parts: RingParts,
    log: Option<u64>,
) -> Result<(), Errno> {
    let addresses = VringAddr {
        index: ring.into(),
        flags: if log.is_some() { VRING_LOGS } else { 0 },
        desc_user_addr: parts.descriptors(),
        used_user_addr: parts.used(),
        avail_user_addr: parts.available(),
        log_guest_addr: log.unwrap_or_default(),
    };
    // SAFETY: VHOST_SET_VRING_ADDR reads one `struct vhost_vring_addr`. Its addresses are those of guest memory: only a
    // memory table makes `RingParts`.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_ADDR, VringAddr>::new(addresses)) }
}

/// `VHOST_SET_VRING_BUSYLOOP_TIMEOUT`, in microseconds.
pub(crate) fn set_busy_loop(fd: BorrowedFd<'_>, ring: u8, microseconds: u32) -> Result<(), Errno> {
    let state = VringState { index: ring.into(), num: microseconds };
    // SAFETY: VHOST_SET_VRING_BUSYLOOP_TIMEOUT reads one `struct vhost_vring_state`.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_BUSYLOOP_TIMEOUT, VringState>::new(state)) }
}

/// `VHOST_GET_VRING_BUSYLOOP_TIMEOUT`, in microseconds.
pub(crate) fn busy_loop(fd: BorrowedFd<'_>, ring: u8) -> Result<u32, Errno> {
    let mut state = VringState { index: ring.into(), num: 0 };
    // SAFETY: VHOST_GET_VRING_BUSYLOOP_TIMEOUT reads and writes one `struct vhost_vring_state`.
    unsafe { ioctl::ioctl(fd, Updater::<VHOST_GET_VRING_BUSYLOOP_TIMEOUT, VringState>::new(&mut state)) }?;
    Ok(state.num)
}

/// `VHOST_SET_VRING_KICK`: an eventfd, or none.
pub(crate) fn set_kick(fd: BorrowedFd<'_>, ring: u8, kick: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let file = VringFile::new(ring, kick);
    // SAFETY: VHOST_SET_VRING_KICK reads one `struct vhost_vring_file`; the kernel keeps the open file, not the number.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_KICK, VringFile>::new(file)) }
}

/// `VHOST_SET_VRING_CALL`: an eventfd, or none.
pub(crate) fn set_call(fd: BorrowedFd<'_>, ring: u8, call: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let file = VringFile::new(ring, call);
    // SAFETY: VHOST_SET_VRING_CALL reads one `struct vhost_vring_file`; the kernel keeps the open file, not the number.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_CALL, VringFile>::new(file)) }
}

/// `VHOST_SET_VRING_ERR`: an eventfd, or none.
pub(crate) fn set_error(fd: BorrowedFd<'_>, ring: u8, error: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let file = VringFile::new(ring, error);
    // SAFETY: VHOST_SET_VRING_ERR reads one `struct vhost_vring_file`; the kernel keeps the open file, not the number.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_SET_VRING_ERR, VringFile>::new(file)) }
}

/// `VHOST_NET_SET_BACKEND`: a tap queue, with which the ring starts, or none, with which it stops.
pub(crate) fn set_backend(fd: BorrowedFd<'_>, ring: u8, tap: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let file = VringFile::new(ring, tap);
    // SAFETY: VHOST_NET_SET_BACKEND reads one `struct vhost_vring_file`. The memory that the kernel works on from now on is
    // what `set_memory`, `set_addresses` and `set_log` were given.
    unsafe { ioctl::ioctl(fd, Setter::<VHOST_NET_SET_BACKEND, VringFile>::new(file)) }
}

/// An eventfd that is and remains readable: a kick that has come.
pub(crate) fn kicked() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}
