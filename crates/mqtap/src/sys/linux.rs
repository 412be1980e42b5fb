//! Linux: drivers/net/tun.c.
//!
//! Each ioctl is one constant here, of a type that says how its argument travels. TUN is treacherous there: `OWNER`,
//! `GROUP`, `PERSIST` and `OFFLOAD` are declared with a pointer-sized type and take a *number*.

use std::collections::BTreeSet;
use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::ioctl::{self, Getter, IntegerSetter, Opcode, Setter, Updater};

use super::Interface;
use crate::name::IFNAMSIZ;

/// Whether there is anything behind this contract.
pub(crate) const SUPPORTED: bool = true;

const fn write_int(number: u8) -> Opcode {
    ioctl::opcode::write::<c_int>(b'T', number)
}

const fn read_int(number: u8) -> Opcode {
    ioctl::opcode::read::<c_int>(b'T', number)
}

const TUNSETIFF: Opcode = write_int(202);
const TUNSETPERSIST: Opcode = write_int(203);
const TUNSETOWNER: Opcode = write_int(204);
const TUNSETGROUP: Opcode = write_int(206);
const TUNGETFEATURES: Opcode = read_int(207);
const TUNSETOFFLOAD: Opcode = write_int(208);
const TUNGETIFF: Opcode = read_int(210);
const TUNSETSNDBUF: Opcode = write_int(212);
const TUNSETVNETHDRSZ: Opcode = write_int(216);
const TUNSETQUEUE: Opcode = write_int(217);
const TUNSETCARRIER: Opcode = write_int(226);

/// `struct ifreq` (include/uapi/linux/if.h), of which TUN uses the name and the flags.
#[repr(C)]
#[derive(Clone, Copy)]
struct IfReq {
    name: [u8; IFNAMSIZ],
    flags: u16,
    /// The rest of the union, of which the largest member has 24 bytes.
    rest: [u8; 22],
}

const _: () = assert!(size_of::<IfReq>() == size_of::<libc::ifreq>());

impl From<Interface> for IfReq {
    fn from(interface: Interface) -> Self {
        Self { name: interface.name, flags: interface.flags, rest: [0; 22] }
    }
}

impl From<IfReq> for Interface {
    fn from(request: IfReq) -> Self {
        Self { name: request.name, flags: request.flags }
    }
}

/// Opens `/dev/net/tun` in the network namespace of the calling thread.
pub(crate) fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// `TUNSETIFF`: makes the interface, or another queue of it. Returns what the kernel wrote back: the name it chose.
pub(crate) fn set_interface(fd: BorrowedFd<'_>, interface: Interface) -> Result<Interface, Errno> {
    let mut request = IfReq::from(interface);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `IfReq` has the size and layout of.
    unsafe { ioctl::ioctl(fd, Updater::<TUNSETIFF, IfReq>::new(&mut request)) }?;
    Ok(request.into())
}

/// `TUNGETIFF`: name and flags now.
pub(crate) fn interface(fd: BorrowedFd<'_>) -> Result<Interface, Errno> {
    let mut request = IfReq::from(Interface { name: [0; IFNAMSIZ], flags: 0 });
    // SAFETY: TUNGETIFF writes one `struct ifreq`.
    unsafe { ioctl::ioctl(fd, Updater::<TUNGETIFF, IfReq>::new(&mut request)) }?;
    Ok(request.into())
}

/// `TUNGETFEATURES`: the `IFF_*` flags that this kernel knows.
pub(crate) fn features(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: TUNGETFEATURES writes one `unsigned int`.
    unsafe { ioctl::ioctl(fd, Getter::<TUNGETFEATURES, c_uint>::new()) }
}

/// `TUNSETQUEUE`: attaches or detaches this queue, by `flag::ATTACH_QUEUE` or `flag::DETACH_QUEUE`.
pub(crate) fn set_queue(fd: BorrowedFd<'_>, flags: u16) -> Result<(), Errno> {
    let request = IfReq::from(Interface { name: [0; IFNAMSIZ], flags });
    // SAFETY: TUNSETQUEUE reads one `struct ifreq`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETQUEUE, IfReq>::new(request)) }
}

/// `TUNSETOFFLOAD`: the number itself, not a pointer to it.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes a number.
    unsafe { ioctl::ioctl(fd, IntegerSetter::<TUNSETOFFLOAD>::new_usize(bits as usize)) }
}

/// `TUNSETPERSIST`: the number itself.
pub(crate) fn set_persist(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETPERSIST takes a number.
    unsafe { ioctl::ioctl(fd, IntegerSetter::<TUNSETPERSIST>::new_usize(usize::from(on))) }
}

/// `TUNSETOWNER`: the user id itself.
pub(crate) fn set_owner(fd: BorrowedFd<'_>, uid: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETOWNER takes a number.
    unsafe { ioctl::ioctl(fd, IntegerSetter::<TUNSETOWNER>::new_usize(uid as usize)) }
}

/// `TUNSETGROUP`: the group id itself.
pub(crate) fn set_group(fd: BorrowedFd<'_>, gid: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETGROUP takes a number.
    unsafe { ioctl::ioctl(fd, IntegerSetter::<TUNSETGROUP>::new_usize(gid as usize)) }
}

/// `TUNSETVNETHDRSZ`.
pub(crate) fn set_vnet_header_size(fd: BorrowedFd<'_>, bytes: c_int) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETVNETHDRSZ, c_int>::new(bytes)) }
}

/// `TUNSETSNDBUF`.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: c_int) -> Result<(), Errno> {
    // SAFETY: TUNSETSNDBUF reads one `int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETSNDBUF, c_int>::new(bytes)) }
}

/// `TUNSETCARRIER`.
pub(crate) fn set_carrier(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETCARRIER reads one `unsigned int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETCARRIER, c_uint>::new(c_uint::from(on))) }
}

/// Device number of `/dev/net/tun`: misc device (major 10), minor 200 (include/linux/miscdevice.h: `TUN_MINOR`).
pub(crate) fn is_tun_device(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let is_character_device = stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
    Ok(is_character_device && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (10, 200))
}

/// Whether two descriptors are the same open file (`kcmp(2)`). `None` where the kernel does not tell.
pub(crate) fn same_open_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Option<bool> {
    const KCMP_FILE: c_int = 0;
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: kcmp(KCMP_FILE) takes numbers only and changes nothing.
    let order =
        unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, a.as_raw_fd(), b.as_raw_fd()) };
    (order >= 0).then_some(order == 0)
}

/// Makes a queue as ours are: closed on exec, non-blocking.
pub(crate) fn prepare(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

/// Moves the calling thread into a network namespace. For threads that do one thing and end.
pub(crate) fn enter_network_namespace(path: &Path) -> std::io::Result<()> {
    let namespace = File::open(path)?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&namespace),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )?;
    Ok(())
}

/// Inherited descriptors that were taken already.
static CLAIMED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Whether an inherited number is open. `None`: it was taken before.
pub(crate) fn inherited_is_open(number: RawFd) -> Option<bool> {
    let claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: fcntl(F_GETFD) takes a number and changes nothing.
    (!claimed.contains(&number)).then(|| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0)
}

/// Looks at an inherited descriptor without taking it. `None`: it is not open, or was taken before.
pub(crate) fn with_inherited<R>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    if inherited_is_open(number) != Some(true) {
        return None;
    }
    // SAFETY: `number` is not -1 (it was found open), and what `look` gets cannot outlive it. If somebody closed the
    // number meanwhile, what happens to it is an error of a system call: no memory is behind it.
    Some(look(unsafe { BorrowedFd::borrow_raw(number) }))
}

/// Takes inherited descriptors: all of them, or none if one was taken before.
pub(crate) fn claim_inherited(numbers: &[RawFd]) -> Option<Vec<OwnedFd>> {
    let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if numbers.iter().any(|number| claimed.contains(number)) {
        return None;
    }
    claimed.extend(numbers);
    // SAFETY: the parent opened these for us and named them to us, and the register makes sure that each gets one owner.
    // That no other part of this process owns them by other ways is what naming a number means: see `fd::inherit`.
    Some(numbers.iter().map(|&number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}
