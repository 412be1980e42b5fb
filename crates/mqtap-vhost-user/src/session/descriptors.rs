//! The file descriptors of one message, and what they must be.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use rustix::io::Errno;

use super::RequestError;

/// The descriptors that came with a message. Those nobody takes are closed.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) fds: Vec<OwnedFd>,
    pub(super) lost: bool,
}

impl Descriptors {
    /// Takes all, of which there must be `expected`.
    pub(super) fn exactly(self, expected: usize) -> Result<Vec<OwnedFd>, RequestError> {
        if self.lost {
            return Err(RequestError::DescriptorsLost);
        }
        if self.fds.len() == expected {
            Ok(self.fds)
        } else {
            Err(RequestError::Descriptors { received: self.fds.len(), expected })
        }
    }

    /// Takes the only one.
    pub(super) fn one(self) -> Result<OwnedFd, RequestError> {
        let received = self.fds.len();
        self.exactly(1)?.pop().ok_or(RequestError::Descriptors { received, expected: 1 })
    }
}

/// Accepts a kick, call or error descriptor: an eventfd or a pipe, made non-blocking.
///
/// A worker serves many rings and must not sleep in a read or a write on one of them. The flag is shared
/// with the frontend, like all of the open file; so do other backends set it. What has no
/// readiness (a file) or can block for ever whatever its flags (a file in user space, a device) is
/// refused.
pub(super) fn notifier(ring: u16, fd: OwnedFd) -> Result<OwnedFd, RequestError> {
    let failed = |errno| RequestError::Notifier { ring, errno };
    // A file system that somebody else answers for is not asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let file = statx(&fd, c"", flags, StatxFlags::TYPE).map_err(failed)?;
    match FileType::from_raw_mode(file.stx_mode.into()) {
        // An eventfd has no file type.
        FileType::Fifo | FileType::Unknown => {}
        _ => return Err(RequestError::NotANotifier { ring }),
    }
    let flags = fcntl_getfl(&fd).map_err(failed)?;
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(failed)?;
    }
    Ok(fd)
}

/// A copy to give away.
pub(super) fn duplicate(ring: u16, fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>, RequestError> {
    fd.map(OwnedFd::try_clone).transpose().map_err(|error| RequestError::Notifier {
        ring,
        errno: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
    })
}
