//! Messages and descriptors over a stream socket.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};

use crate::message::{self, HEADER_SIZE, Header, MAX_FDS, Message, Reply};
use crate::stop::{StopHandle, Woken};

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`StopHandle::stop`] was called.
    #[error("stopped")]
    Stopped,
    /// The frontend closed the socket in the middle of a message.
    #[error(
        "the frontend closed the socket in the middle of a message, after {received} of {expected} bytes"
    )]
    Truncated {
        /// Bytes of the header or body that came.
        received: usize,
        /// Bytes it has.
        expected: usize,
    },
    /// A header that makes no sense.
    #[error(transparent)]
    Message(#[from] message::Error),
    /// Reading failed.
    #[error("cannot read from the vhost-user socket: {0}")]
    Receive(#[source] Errno),
    /// Writing failed, as when the frontend is gone.
    #[error("cannot write to the vhost-user socket: {0}")]
    Send(#[source] Errno),
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// The frontend closed the socket, between two messages.
    Closed,
}

/// The server's end of a connection. Every wait ends when the [`StopHandle`] says so, also in the middle
/// of a message from a frontend that stalls, or of a reply to one that does not read.
#[derive(Debug)]
pub struct Connection {
    stream: OwnedFd,
    stop: StopHandle,
}

/// Descriptors collected for one message.
#[derive(Default)]
struct Collected {
    fds: Vec<OwnedFd>,
    lost: bool,
}

impl Collected {
    fn push(&mut self, fd: OwnedFd) {
        if self.fds.len() < MAX_FDS {
            self.fds.push(fd);
        } else {
            self.lost = true;
        }
    }
}

impl Connection {
    /// Uses a connected Unix stream socket.
    #[must_use]
    pub fn new(stream: OwnedFd, stop: StopHandle) -> Self {
        Connection { stream, stop }
    }

    /// Waits for the next message and reads it whole.
    ///
    /// Descriptors belong to the message with whose bytes they came; they are close-on-exec from the
    /// start.
    ///
    /// # Errors
    /// When the stream is at its end or cannot be understood any more; see [`Error`].
    pub fn receive(&mut self) -> Result<Received, Error> {
        let mut collected = Collected::default();
        let mut head = [0; HEADER_SIZE];
        let received = self.fill(&mut head, &mut collected)?;
        if received == 0 {
            return Ok(Received::Closed);
        }
        if received < head.len() {
            return Err(Error::Truncated { received, expected: head.len() });
        }
        let header = Header::parse(&head)?;
        // Bounded: `parse` refuses what is larger than `MAX_BODY`.
        let mut body = vec![0; header.body_size()];
        let received = self.fill(&mut body, &mut collected)?;
        if received < body.len() {
            return Err(Error::Truncated { received, expected: body.len() });
        }
        let Collected { fds, lost } = collected;
        Ok(Received::Message(Message { header, body, fds, fds_lost: lost }))
    }

    /// Reads until the buffer is full or the frontend closed; returns how much was read.
    fn fill(&self, buffer: &mut [u8], collected: &mut Collected) -> Result<usize, Error> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.receive_some(rest, collected) {
                // A frontend that was killed with replies to read leaves a reset behind.
                Ok(0) | Err(Errno::CONNRESET) => break,
                Ok(received) => filled += received,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, Error::Receive)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Receive(errno)),
            }
        }
        Ok(filled)
    }

    fn receive_some(&self, buffer: &mut [u8], collected: &mut Collected) -> Result<usize, Errno> {
        // Room for credentials too: a socket we inherited may have SO_PASSCRED set, and they would
        // push the descriptors out.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fds.for_each(|fd| collected.push(fd));
            }
        }
        // More than fit here, or more than the process may have open; the kernel closed the rest.
        collected.lost |= received.flags.contains(ReturnFlags::CTRUNC);
        Ok(received.bytes)
    }

    /// Writes a reply whole.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Send`].
    pub fn send(&mut self, reply: &Reply) -> Result<(), Error> {
        let mut rest = reply.as_bytes();
        while !rest.is_empty() {
            match send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or(&[]),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, Error::Send)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Send(errno)),
            }
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, error: fn(Errno) -> Error) -> Result<(), Error> {
        match self.stop.wait_for(self.stream.as_fd(), events) {
            Ok(Woken::Look { .. }) => Ok(()),
            Ok(Woken::Stopped) => Err(Error::Stopped),
            Err(errno) => Err(error(errno)),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
