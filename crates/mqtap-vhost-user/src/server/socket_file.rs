//! A socket with a name in the file system: made, recognised as stale, removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, lstat, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::Error;

/// Frontends that may wait while one is served.
const BACKLOG: i32 = 16;

/// Which file a name stands for: device and inode.
type FileId = (u64, u64);

/// A listening socket and its name, which is removed with it, if it still is its name.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: OwnedFd,
    path: PathBuf,
    file: FileId,
}

impl SocketFile {
    /// Listens at `path`. A socket nobody listens at, as a server that was killed leaves it, is replaced.
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        let address = address(path)?;
        let failed = |attempt| move |errno| Error::Socket { attempt, path: path.to_owned(), errno };
        let listener = new_socket().map_err(failed("make a socket for"))?;
        match bind(&listener, &address) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&listener, &address).map_err(failed("listen on"))?;
            }
            Err(errno) => return Err(failed("listen on")(errno)),
        }
        let file = file_id(path).map_err(failed("inspect"))?;
        let socket = SocketFile { listener, path: path.to_owned(), file };
        listen(&socket.listener, BACKLOG).map_err(failed("listen on"))?;
        Ok(socket)
    }
}

impl AsFd for SocketFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Not somebody else's socket of the same name, put there since.
        if file_id(&self.path) == Ok(self.file)
            && let Err(errno) = unlink(&self.path)
        {
            tracing::warn!("cannot remove the socket {:?}: {errno}", self.path);
        }
    }
}

/// The address of a path.
pub(super) fn address(path: &Path) -> Result<SocketAddrUnix, Error> {
    let bad = || Error::Path { path: path.to_owned() };
    if path.as_os_str().is_empty() {
        return Err(bad());
    }
    SocketAddrUnix::new(path).map_err(|_| bad())
}

/// A Unix stream socket: close-on-exec and non-blocking.
pub(super) fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes a socket that nobody listens at. Whether somebody does, only a connection attempt tells.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |attempt| move |errno| Error::Socket { attempt, path: path.to_owned(), errno };
    let stat = lstat(path).map_err(failed("inspect"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Error::NotASocket { path: path.to_owned() });
    }
    let probe = new_socket().map_err(failed("make a socket for"))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {}
        // Someone else was quicker in removing it.
        Err(Errno::NOENT) => return Ok(()),
        // Connected; or the backlog is full; or it is a datagram socket.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            return Err(Error::InUse { path: path.to_owned() });
        }
        Err(errno) => return Err(failed("find out who listens on")(errno)),
    }
    // Not a socket that was put there while we asked.
    if file_id(path) == Ok((stat.st_dev, stat.st_ino)) {
        unlink(path).map_err(failed("replace the stale socket"))?;
        tracing::debug!("replaced the stale socket {path:?}");
    }
    Ok(())
}

fn file_id(path: &Path) -> Result<FileId, Errno> {
    let stat = lstat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}
