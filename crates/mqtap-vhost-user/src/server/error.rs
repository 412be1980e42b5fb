//! Why a server cannot serve.

use std::path::PathBuf;

use rustix::io::Errno;

/// Why a [`crate::Server`] cannot be made or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is too long for a socket, or empty.
    #[error("{path:?} cannot be the path of a socket: it must have 1 to 107 bytes")]
    Path {
        /// The path as given.
        path: PathBuf,
    },
    /// Another server listens there.
    #[error("cannot listen on {path:?}: another process is listening there; stop it, or choose another path")]
    InUse {
        /// The path as given.
        path: PathBuf,
    },
    /// Something else than a socket has that name.
    #[error(
        "cannot listen on {path:?}: there is something that is not a socket; move it away, or choose another path"
    )]
    NotASocket {
        /// The path as given.
        path: PathBuf,
    },
    /// A system call about the socket's path failed.
    #[error("cannot {attempt} {path:?}: {errno}")]
    Socket {
        /// What was attempted.
        attempt: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// An inherited descriptor is not usable.
    #[error("the inherited file descriptor is not a Unix stream socket that listens or is connected")]
    NotAUnixSocket,
    /// A system call about an inherited descriptor failed.
    #[error("cannot use the inherited socket: {0}")]
    Inherited(#[source] Errno),
    /// Waiting failed.
    #[error("cannot wait for frontends: {0}")]
    Wait(#[source] Errno),
    /// An inherited listening socket or the one we made cannot accept any more.
    #[error("cannot accept a frontend: {0}")]
    Accept(#[source] Errno),
    /// No descriptor for the stop event.
    #[error("cannot make an eventfd: {0}")]
    Event(#[source] Errno),
    /// The device could not be brought to rest between two frontends.
    #[error("cannot reset the device: {0}")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
}
