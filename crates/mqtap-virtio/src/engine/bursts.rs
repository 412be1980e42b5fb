//! Bursts of plain buffers: the bare cost of what the engine does, for the benchmark to compare with.

use std::io;
use std::os::fd::BorrowedFd;

use super::uring::{DEPTH, Uring};

/// Reads and writes several frames with one system call.
#[derive(Debug)]
pub struct BurstIo {
    uring: Uring,
    /// After a failure it is not to be used again.
    failed: bool,
}

impl BurstIo {
    /// Frames in one call at most.
    pub const DEPTH: usize = DEPTH as usize;

    /// Sets io_uring up, for use by this thread.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { uring: Uring::new()?, failed: false })
    }

    /// Writes each of `frames` to a tap queue. The answer says for each what `write` would have said: bytes, or an error number
    /// below zero.
    ///
    /// # Errors
    /// io_uring itself failed, now or before.
    pub fn write(&mut self, tap: BorrowedFd<'_>, frames: &[&[u8]]) -> io::Result<&[i32]> {
        self.run(|uring| uring.write_slices(tap, frames))
    }

    /// Reads a frame into each of `buffers`. The answer is as for [`write`](Self::write); -`EAGAIN` for buffers that no frame
    /// was there for.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn read(&mut self, tap: BorrowedFd<'_>, buffers: &mut [&mut [u8]]) -> io::Result<&[i32]> {
        self.run(|uring| uring.read_slices(tap, buffers))
    }

    fn run(&mut self, act: impl FnOnce(&mut Uring) -> (&[i32], io::Result<()>)) -> io::Result<&[i32]> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (outcomes, result) = act(&mut self.uring);
        self.failed = result.is_err();
        result.map(|()| outcomes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// On a system without io_uring there is nothing to test.
    #[test]
    fn a_burst_of_packets_crosses_a_socket_in_order() {
        let Ok(mut bursts) = BurstIo::new() else {
            eprintln!("SKIPPED: io_uring is not available");
            assert!(std::env::var_os("CI").is_none(), "CI=true needs io_uring");
            return;
        };
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let frames: Vec<Vec<u8>> = (1..=8).map(|n| vec![n as u8; n]).collect();
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        assert_eq!(bursts.write(ours.as_fd(), &slices).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut buffers = [[0; 16]; 9];
        let mut places: Vec<&mut [u8]> = buffers.iter_mut().map(|buffer| &mut buffer[..]).collect();
        let read = bursts.read(theirs.as_fd(), &mut places).unwrap().to_vec();
        assert_eq!(read, [1, 2, 3, 4, 5, 6, 7, 8, -libc::EAGAIN]);
        for (buffer, frame) in buffers.iter().zip(&frames) {
            assert_eq!(&buffer[..frame.len()], frame);
        }
    }
}
