//! Trying out what a kernel can do, where nobody sees it.

use std::ffi::c_int;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Has a child process enter a new user and network namespace, in which it may do what an administrator may, and give back
/// what `act` answers there. Needs no privilege; an administrator may have forbidden it (EPERM, ENOSPC).
///
/// `act` runs in a copy of this process that has one thread: it must not allocate, lock, or panic.
pub(crate) fn in_private_child<const N: usize>(act: fn() -> [i32; N]) -> Result<[i32; N], Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls only, until it ends with one: other threads of this process may have held locks
    // of the allocator or the standard library, and nothing that takes them is called.
    match unsafe { libc::fork() } {
        ..0 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        0 => {
            // SAFETY: the process has one thread, whose descriptors and file system are its own.
            let entered = unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) };
            let status = match entered {
                Ok(()) => {
                    for answer in act() {
                        // Who reads it notices what is missing.
                        let _ = rustix::io::write(&write, &answer.to_ne_bytes());
                    }
                    0
                }
                // An errno fits a status.
                Err(errno) => errno.raw_os_error(),
            };
            // SAFETY: ends the process, without what a normal end runs.
            unsafe { libc::_exit(status) }
        }
        child => {
            drop(write);
            let mut bytes = Vec::new();
            let result = std::fs::File::from(read).take(4 * N as u64).read_to_end(&mut bytes);
            let status = Pid::from_raw(child)
                .map(|child| retry_on_intr(|| waitpid(Some(child), WaitOptions::empty())));
            let status = status.transpose()?.flatten().and_then(|(_, status)| status.exit_status());
            result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            match status {
                Some(0) => {}
                Some(errno) => return Err(Errno::from_raw_os_error(errno)),
                None => return Err(Errno::IO),
            }
            let mut answers = bytes.chunks_exact(4).map(|bytes| bytes.try_into().map(i32::from_ne_bytes));
            let mut all = [0; N];
            for slot in &mut all {
                *slot = answers.next().and_then(Result::ok).ok_or(Errno::IO)?;
            }
            Ok(all)
        }
    }
}

/// Makes a small io_uring and drops it.
pub(crate) fn try_io_uring() -> Result<(), Errno> {
    /// `struct io_uring_params` (include/uapi/linux/io_uring.h).
    #[repr(C, align(8))]
    struct Parameters([u8; 120]);
    let mut parameters = Parameters([0; 120]);
    // SAFETY: io_uring_setup reads and writes one `struct io_uring_params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut parameters) };
    if fd < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS));
    }
    // SAFETY: the call made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(fd as c_int) });
    Ok(())
}
