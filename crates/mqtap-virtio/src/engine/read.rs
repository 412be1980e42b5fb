//! One `readv` for each frame from a tap.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::plan::{UIO_MAXIOV, as_raw};
use super::write::check;
use crate::ring::{Batch, IoVec};

/// Reads frames from a tap queue.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    scratch: Scratch,
}

impl FrameReader {
    /// Reads one frame into the first `window` iovecs of `batch`, leaving the first `skip` bytes alone, and what does
    /// not fit there into `overflow`. Returns the bytes read.
    pub(crate) fn read(
        &mut self,
        tap: BorrowedFd<'_>,
        batch: &Batch,
        window: usize,
        skip: usize,
        overflow: &mut [u8],
    ) -> Result<usize, Errno> {
        let iovecs = &batch.all_iovecs()[..window];
        let (pointer, count) = if skip == 0 && overflow.is_empty() {
            (as_raw(iovecs).as_ptr(), iovecs.len())
        } else {
            self.scratch.fill(iovecs, skip, overflow);
            (self.scratch.0.as_ptr(), self.scratch.0.len())
        };
        // SAFETY: `pointer` is valid for `count` iovecs, at most UIO_MAXIOV. They point into guest memory that stays mapped
        // while `batch` is borrowed (see `guest`), to which no Rust reference exists, and to `overflow`, which is
        // borrowed mutably for the whole call.
        let result = unsafe { libc::readv(tap.as_raw_fd(), pointer, clamp(count)) };
        check(result, 0)
    }
}

/// A list of iovecs made for one call; kept so that it is allocated once.
#[derive(Debug, Default)]
struct Scratch(Vec<libc::iovec>);

// SAFETY: the list is filled anew by the thread that uses it, for each call, from buffers borrowed for that call;
// what it holds between calls is never dereferenced.
unsafe impl Send for Scratch {}

impl Scratch {
    fn fill(&mut self, iovecs: &[IoVec], mut skip: usize, overflow: &mut [u8]) {
        self.0.clear();
        for iovec in iovecs {
            let skipped = skip.min(iovec.len());
            skip -= skipped;
            if skipped < iovec.len() {
                self.0.push(libc::iovec {
                    iov_base: iovec.ptr().wrapping_add(skipped).cast(),
                    iov_len: iovec.len() - skipped,
                });
            }
        }
        if !overflow.is_empty() && self.0.len() < UIO_MAXIOV {
            self.0.push(libc::iovec { iov_base: overflow.as_mut_ptr().cast(), iov_len: overflow.len() });
        }
    }
}

fn clamp(count: usize) -> libc::c_int {
    // At most UIO_MAXIOV, so the conversion keeps the value.
    count.min(UIO_MAXIOV) as libc::c_int
}
