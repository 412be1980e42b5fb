//! The eventfds of a ring: kick, call, error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// The eventfds of one ring.
#[derive(Debug)]
pub struct RingEvents {
    kick: OwnedFd,
    call: OwnedFd,
    error: OwnedFd,
}

impl RingEvents {
    pub(crate) fn new() -> Result<RingEvents> {
        let make = || {
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(Error::system("make an eventfd"))
        };
        Ok(RingEvents { kick: make()?, call: make()?, error: make()? })
    }

    /// What we kick the backend with.
    #[must_use]
    pub fn kick_fd(&self) -> BorrowedFd<'_> {
        self.kick.as_fd()
    }

    /// What the backend calls us with.
    #[must_use]
    pub fn call_fd(&self) -> BorrowedFd<'_> {
        self.call.as_fd()
    }

    /// What the backend reports a broken ring with.
    #[must_use]
    pub fn error_fd(&self) -> BorrowedFd<'_> {
        self.error.as_fd()
    }

    /// Kicks, whether the device wants it or not.
    pub fn kick(&self) -> Result<()> {
        signal(&self.kick)
    }

    /// Forgets calls that have come; returns how many.
    pub fn take_calls(&self) -> Result<u64> {
        take(&self.call)
    }

    /// Forgets errors that have been reported; returns how many.
    pub fn take_errors(&self) -> Result<u64> {
        take(&self.error)
    }

    /// Waits until the backend reports this ring broken. False if it does not in time.
    pub fn wait_for_error(&self, timeout: Duration) -> Result<bool> {
        wait_readable(&[self.error.as_fd()], Some(timeout))
    }
}

/// Adds one to an eventfd.
pub(crate) fn signal(fd: impl AsFd) -> Result<()> {
    match rustix::io::write(fd, &1u64.to_ne_bytes()) {
        // A counter that is full is as good as signalled.
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(Error::system("signal an eventfd")(errno)),
    }
}

/// Takes what an eventfd counted.
pub(crate) fn take(fd: impl AsFd) -> Result<u64> {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(Error::system("read an eventfd")(errno)),
    }
}

/// Waits until one of the descriptors is readable. False if none is in time; without a timeout, waits for ever.
pub fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<bool> {
    let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
    loop {
        let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.and_then(|d| Timespec::try_from(d).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for an event")(errno)),
        }
    }
}
