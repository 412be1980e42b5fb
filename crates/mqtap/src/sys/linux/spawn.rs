//! Starting programs.

use std::ffi::{CString, OsStr, c_char, c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The most arguments that a program can be given, its own name among them.
const MAX_ARGUMENTS: usize = 8;

/// Starts a program with nothing but what it is meant to have: `arguments`, of which the first is its own path; this
/// process's environment and working directory; standard input from `/dev/null`, its output in pipes, and no other descriptor
/// than `passed`, which keeps its number. It leads a process group of its own.
///
/// The path is executed as it is. `execvp(3)`, which is behind [`Command`], would give a file without a `#!` line to a shell.
///
/// Returns also a descriptor that becomes readable when it has ended.
pub(crate) fn spawn(arguments: &[&OsStr], passed: Option<BorrowedFd<'_>>) -> io::Result<(Child, OwnedFd)> {
    let strings = arguments.iter().map(|argument| Ok(CString::new(argument.as_bytes())?));
    let strings = strings.collect::<io::Result<Vec<CString>>>()?;
    let path = arguments.first().filter(|_| arguments.len() <= MAX_ARGUMENTS);
    let mut command = Command::new(path.ok_or(io::ErrorKind::InvalidInput)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let passed = passed.map(|fd| fd.as_raw_fd());
    let become_it = move || Err(execute(&strings, passed));
    // SAFETY: between fork and exec, `execute` makes nothing but async-signal-safe calls (signal-safety(7)), and allocates
    // nothing.
    unsafe { command.pre_exec(become_it) };
    let mut child = command.spawn()?;
    let ended = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData);
    match ended.map_err(io::Error::from).and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
        Ok(ended) => Ok((child, ended)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Replaces this process, a child in which only this thread is left; returns if that fails.
fn execute(arguments: &[CString], passed: Option<c_int>) -> io::Error {
    const CLOSE_RANGE_CLOEXEC: c_uint = 4;
    let mut pointers: [*const c_char; MAX_ARGUMENTS + 1] = [std::ptr::null(); MAX_ARGUMENTS + 1];
    for (pointer, argument) in pointers.iter_mut().zip(arguments) {
        *pointer = argument.as_ptr();
    }
    // SAFETY: close_range(2) with this flag (Linux 5.11) closes nothing before exec, which closes all memory as well.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, CLOSE_RANGE_CLOEXEC) } < 0 {
        return io::Error::last_os_error();
    }
    if let Some(fd) = passed {
        // SAFETY: fcntl(F_SETFD) takes numbers. The descriptor's flag is this process's own, not the parent's.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            return io::Error::last_os_error();
        }
    }
    // SAFETY: `pointers` are those of strings that end in NUL, and at least one null pointer is left at its end; both
    // outlive the call. There is a first argument: the caller saw to it.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    io::Error::last_os_error()
}
