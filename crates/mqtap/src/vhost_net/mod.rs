//! The kernel's vhost-net: frames between a guest's rings and a tap queue without a detour through user space.
//!
//! One [`VhostNet`] is one open `/dev/vhost-net`, and serves one queue pair. It comes in two ways: opened here, or open
//! already, from a parent process that may open it where this process may not. It can be passed on, to a VMM for example, until
//! somebody [owns](VhostNet::own) it: from then on it is a [`VhostPair`], and works on the memory of this process.
//!
//! A VMM tells a pair what its driver acknowledged, where guest memory is, and where the rings are; from then on frames move
//! without it. vhost-net does split rings, mergeable buffers, indirect descriptors and the event index; offloads and the size of
//! the header are settings of the [tap](crate::TapDevice).
//!
//! ```no_run
//! use std::sync::Arc;
//! use mqtap::vhost_net::{MemoryTable, Ring, RingEvents, RingLayout, VhostNet};
//!
//! # use rustix::event::EventfdFlags;
//! # fn eventfd() -> std::os::fd::OwnedFd { rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap() }
//! # fn guest_memory() -> MemoryTable { MemoryTable::empty() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tap = mqtap::TapDevice::open(&mqtap::OpenOptions::default())?;
//! let mut pair = VhostNet::open()?.own()?;
//! pair.set_features(1 << 32 | 1 << 15)?; // VIRTIO_F_VERSION_1 and VIRTIO_NET_F_MRG_RXBUF
//! pair.set_memory(guest_memory(), None)?;
//!
//! // What the driver wrote into the registers of queue 1.
//! let layout = RingLayout { size: 256, descriptors: 0x1000, available: 0x2000, used: 0x3000, log: None, base: 0 };
//! let events = RingEvents { kick: eventfd(), call: Some(eventfd()), error: None };
//! pair.start(Ring::Transmit, layout, events, &tap.queues()[0])?;
//! # Ok(())
//! # }
//! ```

mod error;
mod pair;
mod ring;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

pub use error::Error;
pub use pair::VhostPair;
pub use ring::{Ring, RingEvents, RingLayout};

pub use crate::sys::guest::{BadRegion, DirtyBitmap, MemoryRegion, MemoryTable};
use crate::{fd, sys};

/// `VHOST_NET_F_VIRTIO_NET_HDR`: vhost-net makes and takes the virtio-net header itself, for a tap that has none.
pub const VHOST_NET_HEADER: u64 = 1 << 27;

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

    /// Makes this process the owner: the kernel moves the frames of a queue pair, in this process's memory.
    ///
    /// # Errors
    /// [`Error::Owned`] if somebody was quicker, [`Error::Refused`].
    pub fn own(self) -> Result<VhostPair, Error> {
        VhostPair::own(self)
    }

    /// The virtio features, and the two of vhost itself, that this kernel has (`VHOST_GET_FEATURES`).
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }
}

/// The most regions that a memory table may have here: a parameter of the `vhost` module, which is 64 unless somebody changed it.
#[must_use]
pub fn max_memory_regions() -> usize {
    const DEFAULT: usize = 64;
    let parameter = std::fs::read_to_string("/sys/module/vhost/parameters/max_mem_regions");
    parameter.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// Is it a vhost-net handle? Answers with its features.
fn examine(number: RawFd) -> Result<u64, Error> {
    fd::check(number)?;
    sys::with_inherited(&[number], |fds| match sys::vhost::is_vhost_net(fds[0]) {
        Ok(true) => sys::vhost::features(fds[0]).map_err(|_| Error::NotVhostNet(number)),
        _ => Err(Error::NotVhostNet(number)),
    })?
}

/// Does each number stand for another open file?
fn differ(numbers: &[RawFd]) -> Result<(), Error> {
    for (i, &one) in numbers.iter().enumerate() {
        for &other in &numbers[..i] {
            let same = || sys::with_inherited(&[other, one], |fds| sys::same_open_file(fds[0], fds[1]));
            if one == other || same()? == Some(true) {
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
