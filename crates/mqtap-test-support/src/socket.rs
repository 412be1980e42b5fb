//! A socket to receive what a test has sent.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;

/// Waits for a datagram as long as [`patience`](crate::patience) lasts, which [`UdpSocket`] with a timeout does not quite: whatever
/// interrupts its thread (signal(7), "Interruption of system calls") ends its waiting.
#[derive(Debug)]
pub struct PatientSocket(UdpSocket);

impl PatientSocket {
    /// Gives the socket a timeout.
    pub fn new(socket: UdpSocket) -> Result<Self> {
        socket.set_read_timeout(Some(crate::patience()))?;
        Ok(Self(socket))
    }

    /// The next datagram: how many bytes it has.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.recv_from(buffer)?.0)
    }

    /// The next datagram: how many bytes it has, and who sent it.
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        loop {
            match self.0.recv_from(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Deref for PatientSocket {
    type Target = UdpSocket;

    fn deref(&self) -> &UdpSocket {
        &self.0
    }
}
