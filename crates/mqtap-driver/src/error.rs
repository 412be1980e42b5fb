//! What can go wrong between this frontend and a backend.

use std::io;

use rustix::io::Errno;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the frontend or of the driver.
///
/// Several variants are what a test waits for: [`Error::Refused`], [`Error::Disconnected`], [`Error::Full`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket could not be reached.
    #[error(
        "cannot connect to the vhost-user socket {path}: {source}; is the backend running, and listening there?"
    )]
    Connect {
        /// Path of the socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The backend closed the socket, or died.
    #[error("the backend closed the connection while waiting for the reply to {waiting_for}")]
    Disconnected {
        /// Name of the request.
        waiting_for: &'static str,
    },
    /// No reply came within the timeout of the frontend.
    #[error("the backend did not answer {waiting_for} in time")]
    TimedOut {
        /// Name of the request.
        waiting_for: &'static str,
    },
    /// The backend answered a request that asked for an acknowledgement with a number other than zero.
    #[error("the backend refused {request} (answer {answer})")]
    Refused {
        /// Name of the request.
        request: &'static str,
        /// What it answered.
        answer: u64,
    },
    /// A reply does not have the form the protocol gives it.
    #[error("bad reply to {request}: {problem}")]
    BadReply {
        /// Name of the request.
        request: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The backend does not offer what the options insist on.
    #[error("the backend does not offer {0}")]
    NotOffered(&'static str),
    /// The options contradict each other.
    #[error("bad driver options: {0}")]
    Options(String),
    /// The ring, or the pool of buffers behind it, has no room now: reap, wait for a call, try again.
    #[error("the ring is full")]
    Full,
    /// The frame cannot be sent on this ring, ever.
    #[error("a frame of {bytes} bytes needs more descriptors than a ring of {ring_size} has")]
    TooLong {
        /// Length of the frame with its virtio header.
        bytes: usize,
        /// Descriptors of the ring.
        ring_size: u16,
    },
    /// The device wrote something into a ring that no device may write.
    #[error("the backend broke ring {ring}: {problem}")]
    DeviceBug {
        /// Virtqueue index.
        ring: u16,
        /// What it wrote.
        problem: String,
    },
    /// Guest memory cannot be made or reached.
    #[error(transparent)]
    Memory(#[from] mqtap_virtio::memory::Error),
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::System { what, source: errno.into() }
    }
}
