//! File descriptors inherited from a parent process, named by number.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::sys;

/// Why an inherited descriptor could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// 0, 1 and 2 are for input, output and errors.
    #[error("file descriptor {0} is standard input, output or error; inherited descriptors begin at 3")]
    Standard(RawFd),
    /// Nobody can have opened it.
    #[error("{0} is no file descriptor")]
    Negative(RawFd),
    /// The parent did not pass it, or passed it close-on-exec.
    #[error(
        "file descriptor {0} is not open (EBADF); whoever starts mqtap must open it and leave it open across exec, without close-on-exec"
    )]
    NotOpen(RawFd),
    /// Each has one owner.
    #[error("file descriptor {0} was taken already")]
    Taken(RawFd),
    /// It could not be made close-on-exec.
    #[error("cannot prepare file descriptor {fd}: {}", crate::link::describe(*.errno))]
    Prepare {
        /// The number.
        fd: RawFd,
        /// Why.
        errno: Errno,
    },
}

/// Whether `number` can be an inherited descriptor at all, is open, and was not taken.
pub(crate) fn check(number: RawFd) -> Result<(), InheritError> {
    match number {
        ..0 => Err(InheritError::Negative(number)),
        0..=2 => Err(InheritError::Standard(number)),
        _ => match sys::inherited_is_open(number) {
            Some(true) => Ok(()),
            Some(false) => Err(InheritError::NotOpen(number)),
            None => Err(InheritError::Taken(number)),
        },
    }
}

/// Takes a descriptor that the parent process opened for this one, as `--fd 5` or `fds=5:6` names it, and makes it
/// close-on-exec.
///
/// A number is taken once; a second time is an error, also when the descriptor was closed meanwhile. Only pass numbers
/// that were given to this process from outside: a number that this process opened itself has an owner.
///
/// # Errors
/// See [`InheritError`].
pub fn inherit(number: RawFd) -> Result<OwnedFd, InheritError> {
    check(number)?;
    let fd = sys::claim_inherited(&[number])
        .and_then(|fds| fds.into_iter().next())
        .ok_or(InheritError::Taken(number))?;
    rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)
        .map_err(|errno| InheritError::Prepare { fd: number, errno })?;
    Ok(fd)
}

impl InheritError {
    /// The number that it is about.
    #[must_use]
    pub fn number(self) -> RawFd {
        match self {
            Self::Standard(fd) | Self::Negative(fd) | Self::NotOpen(fd) | Self::Taken(fd) | Self::Prepare { fd, .. } => fd,
        }
    }
}
