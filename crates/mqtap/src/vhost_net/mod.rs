//! The kernel's vhost-net: frames between a guest's rings and a tap queue without a detour through user space.
//!
//! One [`VhostNet`] is one open `/dev/vhost-net`, and serves one queue pair. It comes in two ways: opened here, or open
//! already, from a parent process that may open it where this process may not.

mod error;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

pub use error::Error;

use crate::{fd, sys};

/// A vhost-net handle that nobody has used yet: made sure of, and ready to be handed to whoever shall own it, a process of its
/// own for example.
#[derive(Debug)]
pub struct VhostNet {
    fd: OwnedFd,
    features: u64,
}

impl VhostNet {
    /// Opens `/dev/vhost-net`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NoDriver`], [`Error::Permission`], [`Error::TooManyFiles`], [`Error::Open`];
    /// [`Error::Unsupported`] on other operating systems.
    pub fn open() -> Result<Self, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        let fd = sys::vhost::open().map_err(Error::from_open)?;
        let features = sys::vhost::features(fd.as_fd()).map_err(|errno| Error::Open { errno })?;
        Ok(Self { fd, features })
    }

    /// Takes over handles that this process inherited, all or none. Each is made sure of, and becomes close-on-exec.
    ///
    /// # Errors
    /// [`Error::Inherit`], [`Error::NotVhostNet`], [`Error::SameHandle`]; [`Error::Unsupported`] on other operating systems.
    pub fn adopt(numbers: &[RawFd]) -> Result<Vec<Self>, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        let features = numbers.iter().map(|&number| examine(number)).collect::<Result<Vec<_>, _>>()?;
        differ(numbers)?;
        let fds = sys::claim_inherited(numbers, sys::set_close_on_exec)?;
        Ok(fds.into_iter().zip(features).map(|(fd, features)| Self { fd, features }).collect())
    }

    /// The virtio features, and the two of vhost itself, that this kernel has (`VHOST_GET_FEATURES`).
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }
}

/// Is it a vhost-net handle? Answers with its features.
fn examine(number: RawFd) -> Result<u64, Error> {
    fd::check(number)?;
    sys::with_inherited(number, |fd| match sys::vhost::is_vhost_net(fd) {
        Ok(true) => sys::vhost::features(fd).map_err(|_| Error::NotVhostNet(number)),
        _ => Err(Error::NotVhostNet(number)),
    })?
}

/// Does each number stand for another open file?
fn differ(numbers: &[RawFd]) -> Result<(), Error> {
    for (i, &one) in numbers.iter().enumerate() {
        for &other in &numbers[..i] {
            let same =
                || sys::with_inherited(other, |a| sys::with_inherited(one, |b| sys::same_open_file(a, b)));
            if one == other || same()?? == Some(true) {
                return Err(Error::SameHandle(other, one));
            }
        }
    }
    Ok(())
}

impl AsFd for VhostNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<VhostNet> for OwnedFd {
    fn from(handle: VhostNet) -> Self {
        handle.fd
    }
}
