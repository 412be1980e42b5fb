//! One `readv` or `writev` for each frame.
//!
//! The iovecs of a [`Batch`] come from nowhere but a ring, which checked that they lie in guest memory and holds that
//! memory mapped. A batch lives beside its ring, in the same ring's direction of a queue pair, and is emptied when the
//! ring's memory is replaced: that is what the unsafe blocks here rest on.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::ring::{Batch, Chain, IoVec};

/// The most iovecs that the kernel takes in one call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const UIO_MAXIOV: usize = 1024;

/// Writes frames to a tap queue.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    scratch: Scratch,
}

impl FrameWriter {
    /// Writes the frame of `chain`, without its first `skip` bytes, and returns the bytes written.
    pub(crate) fn write(
        &mut self,
        tap: BorrowedFd<'_>,
        batch: &Batch,
        chain: &Chain,
        skip: usize,
    ) -> Result<usize, Errno> {
        let iovecs = batch.iovecs(chain);
        let (pointer, count) = if skip == 0 {
            (as_raw(iovecs), iovecs.len())
        } else {
            self.scratch.fill(iovecs, skip, &mut []);
            (self.scratch.0.as_ptr(), self.scratch.0.len())
        };
        // SAFETY: `pointer` is valid for `count` iovecs (at most UIO_MAXIOV, which the kernel checks again), and the
        // iovecs point into guest memory that stays mapped while `batch` is borrowed (see the module). The kernel only
        // reads there; that the guest may change the bytes meanwhile is the kernel's to bear, no Rust reference to
        // them exists.
        let result = unsafe { libc::writev(tap.as_raw_fd(), pointer, clamp(count)) };
        check(result)
    }
}

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
            (as_raw(iovecs), iovecs.len())
        } else {
            self.scratch.fill(iovecs, skip, overflow);
            (self.scratch.0.as_ptr(), self.scratch.0.len())
        };
        // SAFETY: as for `writev` above; the kernel writes to guest memory, to which no Rust
        // reference exists, and to `overflow`, which is borrowed mutably for the whole call.
        let result = unsafe { libc::readv(tap.as_raw_fd(), pointer, clamp(count)) };
        check(result)
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

/// Copies `bytes` into the buffers of `chain`, from byte `offset` of the chain on, and returns how many fitted.
pub(crate) fn copy_to_chain(batch: &Batch, chain: &Chain, mut offset: usize, mut bytes: &[u8]) -> usize {
    let wanted = bytes.len();
    for iovec in batch.iovecs(chain) {
        if offset >= iovec.len() {
            offset -= iovec.len();
            continue;
        }
        let n = bytes.len().min(iovec.len() - offset);
        // SAFETY: `offset + n <= iovec.len()`, and the iovec points to that many bytes of guest memory, which stays
        // mapped while `batch` is borrowed (see the module). The guest may write there at the same time; whatever it then finds is its own doing, and
        // nothing here reads the bytes back. `bytes` is our own memory and so does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), iovec.ptr().add(offset), n) };
        bytes = &bytes[n..];
        offset = 0;
        if bytes.is_empty() {
            break;
        }
    }
    wanted - bytes.len()
}

fn as_raw(iovecs: &[IoVec]) -> *const libc::iovec {
    // `IoVec` is a transparent wrapper of `libc::iovec`.
    iovecs.as_ptr().cast()
}

fn clamp(count: usize) -> libc::c_int {
    // At most UIO_MAXIOV, so the conversion keeps the value.
    count.min(UIO_MAXIOV) as libc::c_int
}

fn check(result: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}
