//! One `readv` for each frame that is read from a tap straight into guest memory.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::plan::{UIO_MAXIOV, as_raw};
use super::write::check;
use crate::ring::{Batch, Chain, IoVec};

/// The buffers at the front of a batch that a frame is read into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Chains that it is made of, the last perhaps not to its end.
    pub(crate) chains: usize,
    iovecs: usize,
    pub(crate) bytes: usize,
}

impl Window {
    /// Adds the next chain, or as much of it as one call takes. False if that is not all of it.
    pub(crate) fn add(&mut self, batch: &Batch, chain: &Chain) -> bool {
        // One is kept for what comes behind the window.
        let room = UIO_MAXIOV - 1 - self.iovecs;
        let iovecs = batch.iovecs(chain);
        if iovecs.len() <= room {
            self.iovecs += iovecs.len();
            // A chain is shorter than 4 GiB.
            self.bytes += chain.bytes as usize;
        } else {
            self.iovecs += room;
            self.bytes += iovecs[..room].iter().map(IoVec::len).sum::<usize>();
        }
        self.chains += 1;
        iovecs.len() <= room
    }
}

/// Reads frames from a tap queue into guest memory.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the list is filled anew by the thread that uses it, for each call, from buffers borrowed for that call;
// what it holds between calls is never dereferenced.
unsafe impl Send for FrameReader {}

impl FrameReader {
    /// Reads one frame into the window, and what does not fit there into `rest`. Returns the bytes read.
    pub(crate) fn read(
        &mut self,
        tap: BorrowedFd<'_>,
        batch: &Batch,
        window: Window,
        rest: &mut [u8],
    ) -> Result<usize, Errno> {
        self.iovecs.clear();
        self.iovecs.extend_from_slice(&as_raw(batch.all_iovecs())[..window.iovecs]);
        if !rest.is_empty() {
            self.iovecs.push(libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() });
        }
        // At most UIO_MAXIOV.
        let count = self.iovecs.len() as libc::c_int;
        // SAFETY: the list is valid for `count` iovecs. They point into guest memory that stays mapped while `batch` is borrowed
        // (see `guest`), to which no Rust reference exists, and to `rest`, which is borrowed mutably for the whole
        // call.
        let result = unsafe { libc::readv(tap.as_raw_fd(), self.iovecs.as_ptr(), count) };
        check(result, 0)
    }
}
