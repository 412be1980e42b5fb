//! File descriptors inherited from a parent process, named by number.

use std::os::fd::{OwnedFd, RawFd};

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
    /// This process opened it itself.
    #[error(
        "file descriptor {0} was not inherited: it is close-on-exec, so it belongs to another part of this program; whoever starts mqtap must open it and leave it open across exec"
    )]
    CloseOnExec(RawFd),
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
        _ => sys::check_inherited(number),
    }
}

/// Takes a descriptor that the parent process opened for this one, as `--fd 5` or `fds=5:6` names it, and makes it
/// close-on-exec.
///
/// A number is taken once; a second time is an error, also when the descriptor was closed meanwhile. A descriptor that is
/// close-on-exec is refused: it cannot have been inherited, so some part of this process owns it.
///
/// # Errors
/// See [`InheritError`].
pub fn inherit(number: RawFd) -> Result<OwnedFd, InheritError> {
    check(number)?;
    sys::claim_inherited(&[number], sys::set_close_on_exec)?.pop().ok_or(InheritError::NotOpen(number))
}

impl InheritError {
    /// The number that it is about.
    #[must_use]
    pub fn number(self) -> RawFd {
        match self {
            Self::Standard(fd)
            | Self::Negative(fd)
            | Self::NotOpen(fd)
            | Self::CloseOnExec(fd)
            | Self::Taken(fd)
            | Self::Prepare { fd, .. } => fd,
        }
    }
}
