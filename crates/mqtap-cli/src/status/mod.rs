//! What a running `mqtap serve` tells of itself, to whoever may ask: one line of JSON for each connection to a socket of its
//! own.
//!
//! The socket is `PID.status`, in a directory that depends on who runs the daemon. Whoever asks finds it by the process that
//! holds the tap, wherever it is: the kernel lists the sockets of a process by path.

mod client;
mod server;

use std::os::unix::net::UnixStream;
use std::path::Path;

use mqtap_virtio::nic::NicSnapshot;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

pub(crate) use client::{Unreachable, ask};
pub(crate) use server::{Directory, Server};

/// Changes when a reader of an older report would be misled. New keys do not change it.
const VERSION: u32 = 1;

/// What the file's name ends in.
const SUFFIX: &str = ".status";

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) pid: u32,
    /// The program's version.
    pub(crate) mqtap: String,
    pub(crate) nics: Vec<NicReport>,
}

/// One NIC.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NicReport {
    /// The id of its netdev.
    pub(crate) id: String,
    /// Its interface, by the name that it had when it was opened, and by its number.
    pub(crate) ifindex: u32,
    #[serde(flatten)]
    pub(crate) counters: NicSnapshot,
}

/// Connects to a socket, and waits for nobody: where too many wait already, EAGAIN is the answer.
fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Report {
    pub(crate) fn of(nics: Vec<NicReport>) -> Self {
        Self { version: VERSION, pid: std::process::id(), mqtap: env!("CARGO_PKG_VERSION").to_owned(), nics }
    }
}
