//! One queue of a tap: a file descriptor that frames are read from and written to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use crate::link::describe;
use crate::name::InterfaceName;
use crate::sys::{self, flag};

/// Why a queue could not be attached, detached or looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface was deleted while the queue was open (EBADFD).
    #[error(
        "cannot {what} queue {queue} of {interface}: EBADFD: the interface was deleted; make it again and reopen it"
    )]
    DeviceGone {
        /// What was attempted.
        what: &'static str,
        /// Number of the queue.
        queue: u16,
        /// The interface.
        interface: InterfaceName,
    },
    /// A classic filter keeps the kernel from attaching (drivers/net/tun.c: `tun_attach`).
    #[error(
        "the kernel accepted queue {queue} of {interface} and did not attach it; a classic packet filter (TUNATTACHFILTER) on the device does this: detach the filter, or use an eBPF filter"
    )]
    NotAttached {
        /// Number of the queue.
        queue: u16,
        /// The interface.
        interface: InterfaceName,
    },
    /// Any other refusal.
    #[error("cannot {what} queue {queue} of {interface}: {}", describe(*.errno))]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// Number of the queue.
        queue: u16,
        /// The interface.
        interface: InterfaceName,
        /// Why.
        errno: Errno,
    },
}

/// A tap queue: one open file descriptor of the device.
///
/// Attached, the kernel gives it its share of the frames that leave through the interface; detached, none. Frames
/// written to it enter the host's network in either state. Reads and writes do not block; one call moves one frame,
/// with its virtio-net header if the device has one.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
    index: u16,
    interface: InterfaceName,
    multi_queue: bool,
    /// What `TUNSETSNDBUF` was last told, in bytes; 0 if it was told nothing.
    send_buffer: AtomicI32,
    /// Held while it is attached or detached, so that what is read back is what this caller did.
    changing: Mutex<()>,
}

impl TapQueue {
    pub(crate) fn new(fd: OwnedFd, index: u16, interface: InterfaceName, multi_queue: bool) -> Self {
        Self { fd, index, interface, multi_queue, send_buffer: AtomicI32::new(0), changing: Mutex::new(()) }
    }

    /// Its number among the queues that were opened together. The kernel counts attached queues only, and moves its last
    /// one into a hole, so its own number agrees only while the attached queues are the first ones.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Whether it can be detached: queues of a device without `multi_queue` cannot.
    #[must_use]
    pub fn can_detach(&self) -> bool {
        self.multi_queue
    }

    /// Has the kernel give frames to this queue (`TUNSETQUEUE` with `IFF_ATTACH_QUEUE`). Does nothing if it does so
    /// already.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::NotAttached`], [`Error::Refused`].
    pub fn attach(&self) -> Result<(), Error> {
        self.set_attached(true)
    }

    /// Has the kernel give no more frames to this queue (`TUNSETQUEUE` with `IFF_DETACH_QUEUE`); frames that wait in it
    /// are dropped, uncounted. Does nothing if it is detached already, or cannot be.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Refused`].
    pub fn detach(&self) -> Result<(), Error> {
        self.set_attached(false)
    }

    fn set_attached(&self, attached: bool) -> Result<(), Error> {
        let what = if attached { "attach" } else { "detach" };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.multi_queue || self.state(what)? == attached {
            return Ok(());
        }
        let flags = if attached { flag::ATTACH_QUEUE } else { flag::DETACH_QUEUE };
        let result = sys::set_queue(self.fd.as_fd(), flags);
        // The kernel answers EINVAL to a queue that is in this state already, as when another process that holds the
        // same open file was quicker; and 0 when a filter kept it from attaching. What counts is what it is now.
        let now = self.state(what)?;
        match result {
            _ if now == attached => self.apply_send_buffer(attached),
            Ok(()) => Err(Error::NotAttached { queue: self.index, interface: self.interface }),
            Err(errno) => Err(self.error(what, errno)),
        }
    }

    /// The kernel applied the limit to the queues that were attached then.
    pub(crate) fn remember_send_buffer(&self, bytes: i32) {
        self.send_buffer.store(bytes, Ordering::Relaxed);
    }

    fn apply_send_buffer(&self, attached: bool) -> Result<(), Error> {
        match self.send_buffer.load(Ordering::Relaxed) {
            bytes if attached && bytes != 0 => sys::set_send_buffer(self.fd.as_fd(), bytes)
                .map_err(|errno| self.error("set the send buffer of", errno)),
            _ => Ok(()),
        }
    }

    /// How many bytes the device may hold on their way to the host before writes would block (`TUNGETSNDBUF`); `None`: as many
    /// as it likes, so no write ever does.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Refused`].
    pub fn send_buffer_limit(&self) -> Result<Option<u32>, Error> {
        match sys::send_buffer(self.fd.as_fd()) {
            Ok(i32::MAX) => Ok(None),
            Ok(bytes) => Ok(Some(u32::try_from(bytes).unwrap_or_default())),
            Err(errno) => Err(self.error("ask for the send buffer of", errno)),
        }
    }

    /// Whether the kernel gives frames to this queue, as the kernel says now.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Refused`].
    pub fn is_attached(&self) -> Result<bool, Error> {
        self.state("ask for the state of")
    }

    fn state(&self, what: &'static str) -> Result<bool, Error> {
        let interface = sys::interface(self.fd.as_fd()).map_err(|errno| self.error(what, errno))?;
        Ok(interface.flags & flag::DETACH_QUEUE == 0)
    }

    /// The name of the interface now (`TUNGETIFF`); it may have been renamed since it was opened.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Refused`].
    pub fn interface_name(&self) -> Result<InterfaceName, Error> {
        let what = "ask for the interface of";
        let interface = sys::interface(self.fd.as_fd()).map_err(|errno| self.error(what, errno))?;
        InterfaceName::from_kernel(interface.name).map_err(|_| self.error(what, Errno::INVAL))
    }

    fn error(&self, what: &'static str, errno: Errno) -> Error {
        let (queue, interface) = (self.index, self.interface);
        if errno == Errno::BADFD {
            return Error::DeviceGone { what, queue, interface };
        }
        Error::Refused { what, queue, interface, errno }
    }

    /// Reads one frame, with its virtio-net header if the device has one. What the buffer has no room for is lost.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; EBADFD once the interface was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    /// Writes one frame, with its virtio-net header if the device has one.
    ///
    /// # Errors
    /// `WouldBlock` if a send buffer limit was set and is reached; EIO if the interface is down; EINVAL if the frame is
    /// too short or its header makes no sense; EBADFD once the interface was deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.fd, frame)?)
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
