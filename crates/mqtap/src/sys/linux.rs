//! Linux: drivers/net/tun.c.
//!
//! Each ioctl is one constant here, of a type that says how its argument travels. TUN is treacherous there: `OWNER`,
//! `GROUP`, `PERSIST` and `OFFLOAD` are declared with a pointer-sized type and take a *number*.

mod ethtool;
mod look;
mod node;
mod passing;
mod privilege;
mod probe;
mod program;
mod spawn;
pub(crate) mod vhost;

pub(crate) use ethtool::active_features;
pub(crate) use look::{
    classic_filter_length, duplicate, has_frames, opened_in, owner_of_namespace, same_file_elsewhere,
};
pub(crate) use node::{device_number, hardware_address, node_number, open_node};
pub(crate) use passing::{MAX_PASSED, receive_descriptors, send_descriptors};
pub(crate) use privilege::{gains_nothing, is_elevated, keep_net_admin};
pub(crate) use probe::{in_private_child, try_io_uring};
pub(crate) use program::programs;
pub(crate) use spawn::spawn;

use std::collections::BTreeSet;
use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::ioctl::{self, Getter, IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, Updater};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::Interface;
use crate::fd::InheritError;
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
const TUNGETVNETHDRSZ: Opcode = read_int(215);
const TUNSETVNETHDRSZ: Opcode = write_int(216);
const TUNSETQUEUE: Opcode = write_int(217);
const TUNSETVNETLE: Opcode = write_int(220);
const TUNSETVNETBE: Opcode = write_int(222);
/// Declared with `_IOR`, and reads its argument.
const TUNSETSTEERINGEBPF: Opcode = read_int(224);
const TUNSETCARRIER: Opcode = write_int(226);
const TUNGETSNDBUF: Opcode = read_int(211);
const TUNGETDEVNETNS: Opcode = ioctl::opcode::none(b'T', 227);

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

/// `TUNGETVNETHDRSZ`.
pub(crate) fn vnet_header_size(fd: BorrowedFd<'_>) -> Result<c_int, Errno> {
    // SAFETY: TUNGETVNETHDRSZ writes one `int`.
    unsafe { ioctl::ioctl(fd, Getter::<TUNGETVNETHDRSZ, c_int>::new()) }
}

/// `TUNSETVNETLE`: the header is little-endian, as virtio 1 has it, whatever the machine is.
pub(crate) fn set_little_endian_header(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETLE reads one `int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETVNETLE, c_int>::new(1)) }
}

/// `TUNSETVNETBE`: the header is big-endian. Only kernels that are made for guests of either order know it.
pub(crate) fn set_big_endian_header(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETBE reads one `int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETVNETBE, c_int>::new(1)) }
}

/// `TUNSETSTEERINGEBPF` with -1: no program chooses queues.
pub(crate) fn clear_steering(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TUNSETSTEERINGEBPF reads one `int`, the descriptor of a program or -1.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETSTEERINGEBPF, c_int>::new(-1)) }
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

/// `TUNGETSNDBUF`: bytes, `INT_MAX` for no limit.
pub(crate) fn send_buffer(fd: BorrowedFd<'_>) -> Result<c_int, Errno> {
    // SAFETY: TUNGETSNDBUF writes one `int`.
    unsafe { ioctl::ioctl(fd, Getter::<TUNGETSNDBUF, c_int>::new()) }
}

/// `TUNSETCARRIER`.
pub(crate) fn set_carrier(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETCARRIER reads one `unsigned int`.
    unsafe { ioctl::ioctl(fd, Setter::<TUNSETCARRIER, c_uint>::new(c_uint::from(on))) }
}

/// Device number of `/dev/net/tun`: minor 200 (include/linux/miscdevice.h: `TUN_MINOR`).
pub(crate) fn is_tun_device(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_misc_device(fd, 200)
}

/// Whether it is the misc device (major 10) with this minor number.
fn is_misc_device(fd: BorrowedFd<'_>, minor: u32) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let is_character_device = stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
    Ok(is_character_device
        && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (10, minor))
}

/// Whether two descriptors are the same open file (`kcmp(2)`). `None` where the kernel does not tell.
pub(crate) fn same_open_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Option<bool> {
    let pid = std::process::id();
    same_file_elsewhere((pid, a.as_raw_fd()), (pid, b.as_raw_fd()))
}

/// Closes it on exec.
pub(crate) fn set_close_on_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)
}

/// Makes reads and writes return at once.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

/// An ioctl that takes no argument and makes a descriptor: `TUNGETDEVNETNS`, `SIOCGSKNS`, `NS_GET_USERNS`.
struct GetNamespace<const OPCODE: Opcode>;

// SAFETY: these ioctls take no argument, change nothing of ours, and return a new descriptor, which is thus nobody's yet.
unsafe impl<const OPCODE: Opcode> Ioctl for GetNamespace<OPCODE> {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<OwnedFd, Errno> {
        // SAFETY: the ioctl succeeded, so its result is a descriptor made for us.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// The network namespace that the device is in now. The kernel tells those who may administer it.
pub(crate) fn device_namespace(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: TUNGETDEVNETNS takes no argument.
    unsafe { ioctl::ioctl(fd, GetNamespace::<TUNGETDEVNETNS>) }
}

/// The network namespace of the calling thread.
pub(crate) fn thread_namespace() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether two descriptors are of the same namespace: then they are of one file of the kernel's nsfs.
pub(crate) fn same_namespace(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (a, b) = (rustix::fs::fstat(a)?, rustix::fs::fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Moves the calling thread into a network namespace. For threads that do one thing and end.
pub(crate) fn enter_namespace(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

/// Moves the calling thread into a new network namespace. For threads that do one thing and end.
pub(crate) fn enter_new_namespace() -> Result<(), Errno> {
    // SAFETY: CLONE_NEWNET leaves the table of descriptors shared, which is what this call could break.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Inherited descriptors that were taken already.
static CLAIMED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Whether a number is that of an inherited descriptor which can be taken.
pub(crate) fn check_inherited(number: RawFd) -> Result<(), InheritError> {
    let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    if claimed.contains(&number) {
        return Err(InheritError::Taken(number));
    }
    // SAFETY: fcntl(F_GETFD) takes a number and changes nothing.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        ..0 => Err(InheritError::NotOpen(number)),
        flags if flags & libc::FD_CLOEXEC != 0 => Err(InheritError::CloseOnExec(number)),
        _ => Ok(()),
    }
}

/// Looks at inherited descriptors without taking them.
pub(crate) fn with_inherited<R>(
    numbers: &[RawFd],
    look: impl FnOnce(&[BorrowedFd<'_>]) -> R,
) -> Result<R, InheritError> {
    numbers.iter().try_for_each(|&number| check_inherited(number))?;
    // SAFETY: no number is -1 (it was found open), and what `look` gets cannot outlive it. If somebody closed a
    // number meanwhile, what happens to it is an error of a system call: no memory is behind it.
    let borrow = |&number: &RawFd| unsafe { BorrowedFd::borrow_raw(number) };
    let fds: Vec<BorrowedFd<'_>> = numbers.iter().map(borrow).collect();
    Ok(look(&fds))
}

/// Takes inherited descriptors, once each of them was found to be there and was prepared: all, or none.
pub(crate) fn claim_inherited(
    numbers: &[RawFd],
    prepare: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<Vec<OwnedFd>, InheritError> {
    // All of them before the first is prepared, which makes it close-on-exec.
    for (i, &number) in numbers.iter().enumerate() {
        check_inherited(number)?;
        if numbers[..i].contains(&number) {
            return Err(InheritError::Taken(number));
        }
    }
    with_inherited(numbers, |fds| {
        fds.iter().try_for_each(|&fd| {
            prepare(fd).map_err(|errno| InheritError::Prepare { fd: fd.as_raw_fd(), errno })
        })
    })??;
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&taken) = numbers.iter().find(|number| claimed.contains(number)) {
        return Err(InheritError::Taken(taken));
    }
    claimed.extend(numbers);
    // SAFETY: these survived an exec, so the parent opened them for us. The register makes sure that each gets one owner,
    // and what this process opens itself is close-on-exec (the standard library opens nothing otherwise), so no other part
    // of it is the owner already.
    Ok(numbers.iter().map(|&number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}
