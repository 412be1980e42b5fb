//! What a frontend may pass for notifications.

use std::os::fd::OwnedFd;

use super::Error;

/// Refuses what a frontend passes off as an eventfd: a write to a pipe or socket could block a worker for ever.
/// Where `/proc` is not mounted nothing can be said, and the descriptor is taken as it is.
pub(super) fn check_eventfd(what: &'static str, ring: u16, fd: Option<&OwnedFd>) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    let Some(fd) = fd else { return Ok(()) };
    let Ok(kind) = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { return Ok(()) };
    if kind.as_os_str() != "anon_inode:[eventfd]" {
        return Err(Error::NotAnEventfd { what, ring, kind: kind.display().to_string() });
    }
    // A full eventfd then only refuses, unless the frontend makes it block again: see `WorkerHandle::unblock`.
    if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
        let _ = rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK);
    }
    Ok(())
}
