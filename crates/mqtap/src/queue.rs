//! One queue of a tap: a file descriptor that frames are read from and written to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use crate::link::describe;
use crate::name::InterfaceName;
use crate::sys::{self, flag};

/// Why a queue could not be attached, detached or looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface was deleted while the queue was open (EBADFD; ENOLINK for a macvtap or ipvtap).
    #[error(
        "cannot {what} queue {queue} of {interface}: {}: the interface was deleted; make it again and reopen it",
        gone(*.errno)
    )]
    DeviceGone {
        /// What was attempted.
        what: &'static str,
        /// Number of the queue.
        queue: u16,
        /// The interface.
        interface: InterfaceName,
        /// How the kernel said it.
        errno: Errno,
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

/// The errno that says that the interface of a queue is gone, by name.
pub(crate) fn gone(errno: Errno) -> &'static str {
    if errno == Errno::NOLINK { "ENOLINK" } else { "EBADFD" }
}

/// Whether an errno says that the interface of a queue is gone: drivers/net/tun.c has one, drivers/net/tap.c another.
pub(crate) fn says_gone(errno: Errno) -> bool {
    matches!(errno, Errno::BADFD | Errno::NOLINK)
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
    /// Of a macvtap or ipvtap whether it is attached: the kernel does not tell (drivers/net/tap.c: `TUNGETIFF` has no such flag).
    tracked: Option<AtomicBool>,
    /// What `TUNSETSNDBUF` was last told, in bytes; 0 if it was told nothing.
    send_buffer: AtomicI32,
    /// Held while it is attached or detached, so that what is read back is what this caller did.
    changing: Mutex<()>,
}

impl TapQueue {
    pub(crate) fn new(fd: OwnedFd, index: u16, interface: InterfaceName, multi_queue: bool) -> Self {
        Self {
            fd,
            index,
            interface,
            multi_queue,
            tracked: None,
            send_buffer: AtomicI32::new(0),
            changing: Mutex::new(()),
        }
    }

    /// A queue of a macvtap or ipvtap, which is attached, or is not.
    pub(crate) fn of_macvtap(fd: OwnedFd, index: u16, interface: InterfaceName, attached: bool) -> Self {
        // Each can be detached, whatever its flags say.
        let queue = Self::new(fd, index, interface, true);
        Self { tracked: Some(AtomicBool::new(attached)), ..queue }
    }

    /// Its number among the queues that were opened together. The kernel counts attached queues only, and moves its last
    /// one into a hole, so its own number agrees only while the attached queues are the first ones.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Whether it can be detached: queues of a device without `multi_queue` cannot, unless it is a macvtap or ipvtap.
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
        if let Some(tracked) = &self.tracked {
            match result {
                // In this state already, as when another process that holds the same open file was quicker; or of no device any
                // more.
                Ok(()) | Err(Errno::INVAL) => self.interface_name().map(drop)?,
                Err(errno) => return Err(self.error(what, errno)),
            }
            tracked.store(attached, Ordering::Relaxed);
            if !attached {
                self.purge();
            }
            return self.apply_send_buffer(attached);
        }
        // The kernel answers EINVAL to a queue that is in this state already, as when another process that holds the
        // same open file was quicker; and 0 when a filter kept it from attaching. What counts is what it is now.
        let now = self.state(what)?;
        match result {
            _ if now == attached => self.apply_send_buffer(attached),
            Ok(()) => Err(Error::NotAttached { queue: self.index, interface: self.interface }),
            Err(errno) => Err(self.error(what, errno)),
        }
    }

    /// Takes out what waits in the queue, which the kernel does by itself only for taps of its other driver: whoever attaches it again
    /// would find frames of another time.
    fn purge(&self) {
        /// More than any ring is long, lest somebody who fills it while it is emptied keeps us here.
        const MOST: u32 = 1 << 16;
        // The kernel cuts off what there is no room for.
        let mut buffer = [0; 64];
        for _ in 0..MOST {
            match self.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {}
            }
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
        let told = match self.send_buffer.load(Ordering::Relaxed) {
            // The kernel does not tell.
            bytes if bytes != 0 && self.tracked.is_some() => Ok(bytes),
            _ => sys::send_buffer(self.fd.as_fd()),
        };
        match told {
            Ok(i32::MAX) => Ok(None),
            Ok(bytes) => Ok(Some(u32::try_from(bytes).unwrap_or_default())),
            Err(errno) => Err(self.error("ask for the send buffer of", errno)),
        }
    }

    /// Whether the kernel gives frames to this queue, as the kernel says now; of a macvtap or ipvtap, as we last said.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Refused`].
    pub fn is_attached(&self) -> Result<bool, Error> {
        self.state("ask for the state of")
    }

    fn state(&self, what: &'static str) -> Result<bool, Error> {
        if let Some(tracked) = &self.tracked {
            return Ok(tracked.load(Ordering::Relaxed));
        }
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
        if says_gone(errno) {
            return Error::DeviceGone { what, queue, interface, errno };
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
