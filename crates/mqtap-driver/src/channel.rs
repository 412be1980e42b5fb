//! The socket: messages with file descriptors, and nothing said about their meaning.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use crate::error::{Error, Result};
use crate::protocol::HEADER_SIZE;

/// More than any message of the protocol carries, so that tests can send too many.
const MAX_FDS: usize = 64;
/// No reply of a net backend is longer (the largest is a configuration space).
const MAX_REPLY: usize = 4096;

/// One message as it came from the socket.
#[derive(Debug)]
pub struct Message {
    /// Request id it answers.
    pub request: u32,
    /// Version and flags.
    pub flags: u32,
    /// The payload.
    pub body: Vec<u8>,
    /// Descriptors that came along.
    pub fds: Vec<OwnedFd>,
}

/// A connected socket with a timeout on everything.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
}

impl Channel {
    pub(crate) fn connect(path: &Path) -> Result<Channel> {
        let stream = UnixStream::connect(path)
            .map_err(|source| Error::Connect { path: path.display().to_string(), source })?;
        Ok(Channel { stream })
    }

    pub(crate) fn new(stream: UnixStream) -> Channel {
        Channel { stream }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Zero means to wait for ever, which the standard library spells `None`.
    pub(crate) fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let timeout = (!timeout.is_zero()).then_some(timeout);
        self.stream
            .set_read_timeout(timeout)
            .and_then(|()| self.stream.set_write_timeout(timeout))
            .map_err(|source| Error::System { what: "set the timeout of the socket", source })
    }

    /// Sends all bytes; the descriptors go with the first of them.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], name: &'static str) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut sent = 0;
        while sent < bytes.len() {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Error::Options(format!(
                    "{} descriptors do not fit one message, {MAX_FDS} do",
                    fds.len()
                )));
            }
            // The backend may be gone: that is an error to report, not a signal to die from.
            let result = rustix::net::sendmsg(
                &self.stream,
                &[IoSlice::new(&bytes[sent..])],
                &mut control,
                SendFlags::NOSIGNAL,
            );
            match result {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(classify(errno, name)),
            }
        }
        Ok(())
    }

    /// Reads one message.
    pub(crate) fn receive(&self, name: &'static str) -> Result<Message> {
        let mut fds = Vec::new();
        let mut header = [0u8; HEADER_SIZE];
        self.fill(&mut header, &mut fds, name)?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let size = word(8) as usize;
        if size > MAX_REPLY {
            return Err(Error::BadReply {
                request: name,
                problem: format!("it says it is {size} bytes long"),
            });
        }
        let mut body = vec![0; size];
        self.fill(&mut body, &mut fds, name)?;
        Ok(Message { request: word(0), flags: word(4), body, fds })
    }

    fn fill(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>, name: &'static str) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut filled = 0;
        while filled < buffer.len() {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let result = rustix::net::recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut buffer[filled..])],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            );
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            match result {
                Ok(message) if message.bytes == 0 => {
                    return Err(Error::Disconnected { waiting_for: name });
                }
                Ok(message) => filled += message.bytes,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(classify(errno, name)),
            }
        }
        Ok(())
    }
}

fn classify(errno: Errno, name: &'static str) -> Error {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Error::Disconnected { waiting_for: name },
        Errno::AGAIN => Error::TimedOut { waiting_for: name },
        errno => Error::System { what: "use the vhost-user socket", source: errno.into() },
    }
}
