//! Stopping a server from elsewhere, and waiting without missing it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Ends [`crate::Server::run`] from another thread or from a signal handler. Once stopped, always
/// stopped.
#[derive(Clone, Debug)]
pub struct StopHandle {
    event: Arc<OwnedFd>,
}

impl StopHandle {
    /// Makes a handle.
    ///
    /// # Errors
    /// What `eventfd(2)` says: out of descriptors or memory.
    pub fn new() -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(StopHandle { event: Arc::new(event) })
    }

    /// Ends what waits with this handle, now and from now on. One `write(2)`, so it is safe in a
    /// signal handler.
    pub fn stop(&self) {
        // The only failure is a counter that is full, and then it is readable already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.wait_any(&[], Some(Duration::ZERO)), Ok(Woken::Stopped))
    }

    /// Waits until a descriptor has what it is polled for (or failed), or the stop, or the time is over.
    pub(crate) fn wait_any(
        &self,
        others: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<Duration>,
    ) -> Result<Woken, Errno> {
        let mut fds = vec![PollFd::new(&self.event, PollFlags::IN)];
        fds.extend(others.iter().map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events)));
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
        // A signal may shorten the wait; whoever waits here looks again anyway.
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return Ok(Woken::Stopped);
        }
        Ok(Woken::Look { first_ready: ready.position(|ready| ready) })
    }

    /// Waits until `fd` has one of `events` (or failed).
    pub(crate) fn wait_for(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<Woken, Errno> {
        self.wait_any(&[(fd, events)], None)
    }

    /// Sleeps; true if it was stopped.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        matches!(self.wait_any(&[], Some(time)), Ok(Woken::Stopped))
    }
}

impl AsFd for StopHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// [`StopHandle::stop`] was called.
    Stopped,
    /// Something is ready, if only the time is over or a signal came.
    Look {
        /// The first of the descriptors that is.
        first_ready: Option<usize>,
    },
}
