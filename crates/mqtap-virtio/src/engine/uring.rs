//! A burst of frames in one system call.
//!
//! A tap does its work inside the call that submits it, in the order of submission, so one `io_uring_enter` writes a
//! burst and finds all of it completed. One thread submits, and collects the completions (`SINGLE_ISSUER`,
//! `DEFER_TASKRUN`; Linux 6.1). The file is not registered: that saves nothing that can be measured, and a killed process
//! would hold the tap until the kernel has taken its io_uring apart, in the background.
//!
//! Every write is asked not to wait (`RWF_NOWAIT`; taps do this since Linux 6.4). One that would wait fails with EAGAIN,
//! while those behind it go on: the caller must not use this on a tap whose send buffer is limited.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, squeue, types};

use super::plan::Plan;

/// Frames in one system call at most.
pub(super) const DEPTH: u32 = 64;

/// `IORING_ENTER_GETEVENTS` (include/uapi/linux/io_uring.h): wait for completions, and collect them.
const GETEVENTS: u32 = 1;

/// The outcome of a frame that the kernel was not given.
pub(super) const NOT_TRIED: i32 = i32::MIN;

/// An instance of io_uring, used by one thread.
pub(super) struct Uring {
    ring: IoUring,
    /// The outcome of each frame of the burst that is under way.
    outcomes: Vec<i32>,
}

impl Uring {
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // An entry that is refused must not keep back those behind it.
            .setup_submit_all()
            .build(DEPTH)?;
        Ok(Self { ring, outcomes: Vec::with_capacity(DEPTH as usize) })
    }

    /// Writes the frames of `plan` from `first` on, at most [`DEPTH`]. The answer says for each what `write` would have
    /// said: a number of bytes, or an error number below zero, or [`NOT_TRIED`].
    ///
    /// After an error (which leaves outcomes as well) this instance must not be used again.
    pub(super) fn write(
        &mut self,
        tap: BorrowedFd<'_>,
        plan: &Plan<'_>,
        first: usize,
    ) -> (&[i32], io::Result<()>) {
        let count = (plan.len() - first).min(DEPTH as usize);
        // SAFETY: the entries have the kernel read from memory that `plan` borrows.
        let result = unsafe { self.run(count, |number| write_entry(tap, plan.pieces(first + number))) };
        (&self.outcomes, result)
    }

    /// Writes each of `frames`, at most [`DEPTH`]; outcomes as for [`write`](Self::write).
    pub(super) fn write_slices(&mut self, tap: BorrowedFd<'_>, frames: &[&[u8]]) -> (&[i32], io::Result<()>) {
        // SAFETY: the entries have the kernel read from `frames`.
        let result = unsafe {
            self.run(frames.len(), |number| {
                let (start, length) = (frames[number].as_ptr(), frames[number].len());
                opcode::Write::new(types::Fd(tap.as_raw_fd()), start, length as u32)
                    .offset(u64::MAX)
                    .rw_flags(libc::RWF_NOWAIT)
                    .build()
            })
        };
        (&self.outcomes, result)
    }

    /// Reads a frame into each of `buffers`, at most [`DEPTH`]; outcomes as `read` would have them.
    pub(super) fn read_slices(
        &mut self,
        tap: BorrowedFd<'_>,
        buffers: &mut [&mut [u8]],
    ) -> (&[i32], io::Result<()>) {
        let places: Vec<(*mut u8, usize)> =
            buffers.iter_mut().map(|buffer| (buffer.as_mut_ptr(), buffer.len())).collect();
        // SAFETY: the entries have the kernel write to `buffers`, which are borrowed mutably.
        let result = unsafe {
            self.run(places.len(), |number| {
                let (start, length) = places[number];
                opcode::Read::new(types::Fd(tap.as_raw_fd()), start, length as u32)
                    .offset(u64::MAX)
                    .rw_flags(libc::RWF_NOWAIT)
                    .build()
            })
        };
        (&self.outcomes, result)
    }

    /// Has the kernel carry out `count` entries, at most [`DEPTH`], and waits until it has.
    ///
    /// # Safety
    /// What the entries point to must stay where it is until this returns. (Entries that the kernel did not take stay in the
    /// queue. Then this fails, and nothing but dropping may be done with the instance, so that they are never submitted.)
    unsafe fn run(&mut self, count: usize, entry: impl Fn(usize) -> squeue::Entry) -> io::Result<()> {
        let count = count.min(DEPTH as usize);
        self.outcomes.clear();
        self.outcomes.resize(count, NOT_TRIED);
        let mut queue = self.ring.submission();
        for number in 0..count {
            // SAFETY: by the caller's promise, and because `complete` does not return before the kernel has completed every
            // entry that it took.
            if unsafe { queue.push(&entry(number).user_data(number as u64)) }.is_err() {
                break;
            }
        }
        drop(queue);
        self.complete()
    }

    /// Submits what is in the queue and waits until all that the kernel took of it is completed.
    fn complete(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len();
        let mut completed = 0;
        let mut result = Ok(());
        loop {
            let left = self.ring.submission().len();
            let taken = queued - left;
            if completed == queued || (result.is_err() && completed == taken) {
                return result;
            }
            let submit = if result.is_ok() { left } else { 0 };
            // At most DEPTH.
            let wait = if submit > 0 { queued } else { taken } - completed;
            // SAFETY: no argument is passed; the entries are sound by the argument in `run`.
            let entered =
                unsafe { self.ring.submitter().enter::<()>(submit as u32, wait as u32, GETEVENTS, None) };
            match entered {
                Err(error) if error.kind() != io::ErrorKind::Interrupted && result.is_ok() => {
                    result = Err(error);
                }
                // Even now what the kernel has taken must come back before the memory may go.
                _ => {}
            }
            for entry in self.ring.completion() {
                completed += 1;
                if let Some(outcome) = self.outcomes.get_mut(entry.user_data() as usize) {
                    *outcome = entry.result();
                }
            }
        }
    }
}

fn write_entry(tap: BorrowedFd<'_>, pieces: &[libc::iovec]) -> squeue::Entry {
    let file = types::Fd(tap.as_raw_fd());
    match pieces {
        // One buffer needs no list.
        [piece] if u32::try_from(piece.iov_len).is_ok() => {
            opcode::Write::new(file, piece.iov_base.cast(), piece.iov_len as u32)
                .offset(u64::MAX)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        }
        // Of more than UIO_MAXIOV the kernel looks at none; there are 2^32 in no batch.
        _ => opcode::Writev::new(file, pieces.as_ptr(), pieces.len() as u32)
            .offset(u64::MAX)
            .rw_flags(libc::RWF_NOWAIT)
            .build(),
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").finish_non_exhaustive()
    }
}
