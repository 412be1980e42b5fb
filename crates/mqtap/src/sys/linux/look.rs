//! Looking at the queues of other processes. Nothing here changes what is looked at.

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{self, Getter, Opcode};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::GetNamespace;

const TUNGETFILTER: Opcode = ioctl::opcode::read::<libc::sock_fprog>(b'T', 219);
/// include/uapi/linux/sockios.h. tun answers it as sockets do.
const SIOCGSKNS: Opcode = 0x894c;
/// include/uapi/linux/nsfs.h
const NS_GET_USERNS: Opcode = ioctl::opcode::none(0xb7, 1);

/// Another descriptor for the open file behind a descriptor of another process. Needs the right to trace it.
///
/// The open file lives until both are closed, so hold this one for a moment only.
pub(crate) fn duplicate(pid: u32, fd: RawFd) -> Result<OwnedFd, Errno> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
}

/// `TUNGETFILTER`: how many instructions the classic filter has that was attached last, and may have been detached since.
pub(crate) fn classic_filter_length(fd: BorrowedFd<'_>) -> Result<u16, Errno> {
    // SAFETY: TUNGETFILTER writes one `struct sock_fprog`. The address in it is the attaching process's: it is not looked at.
    unsafe { ioctl::ioctl(fd, Getter::<TUNGETFILTER, libc::sock_fprog>::new()) }.map(|program| program.len)
}

/// `SIOCGSKNS`: the network namespace in which a queue was opened.
pub(crate) fn opened_in(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: SIOCGSKNS takes no argument.
    unsafe { ioctl::ioctl(fd, GetNamespace::<SIOCGSKNS>) }
}

/// Whether frames wait in a queue.
pub(crate) fn has_frames(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}

/// Whether two descriptors, each of a process, are the same open file (`kcmp(2)`). `None` where the kernel does not tell.
pub(crate) fn same_file_elsewhere(a: (u32, RawFd), b: (u32, RawFd)) -> Option<bool> {
    const KCMP_FILE: c_int = 0;
    // SAFETY: kcmp(KCMP_FILE) takes numbers only and changes nothing.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, a.0, b.0, KCMP_FILE, a.1, b.1) };
    (order >= 0).then_some(order == 0)
}

/// The user namespace that a namespace belongs to. The kernel tells whoever is in it or in one above it, which is who may have
/// capabilities there.
pub(crate) fn owner_of_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: NS_GET_USERNS takes no argument.
    unsafe { ioctl::ioctl(namespace, GetNamespace::<NS_GET_USERNS>) }
}
