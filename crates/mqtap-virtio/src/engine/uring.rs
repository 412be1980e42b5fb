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

use io_uring::{IoUring, opcode, types};

use super::plan::Plan;

/// Frames in one system call at most.
const DEPTH: u32 = 128;

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
        self.outcomes.clear();
        self.outcomes.resize(count, NOT_TRIED);
        let file = types::Fd(tap.as_raw_fd());
        let mut queue = self.ring.submission();
        for number in 0..count {
            let pieces = plan.pieces(first + number);
            let entry = match pieces {
                // One buffer needs no list.
                [piece] if u32::try_from(piece.iov_len).is_ok() => {
                    opcode::Write::new(file, piece.iov_base.cast(), piece.iov_len as u32)
                        .offset(u64::MAX)
                        .rw_flags(libc::RWF_NOWAIT)
                        .build()
                }
                // At most UIO_MAXIOV pieces.
                _ => opcode::Writev::new(file, pieces.as_ptr(), pieces.len() as u32)
                    .offset(u64::MAX)
                    .rw_flags(libc::RWF_NOWAIT)
                    .build(),
            };
            // SAFETY: the entry has the kernel read from memory that `plan` borrows, and `complete` does not return before
            // the kernel has completed every entry that it took. Entries that it did not take stay in the queue and are
            // never submitted: `complete` fails then, after which nothing but dropping is done with this instance.
            if unsafe { queue.push(&entry.user_data(number as u64)) }.is_err() {
                break;
            }
        }
        drop(queue);
        let result = self.complete();
        (&self.outcomes, result)
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
            // SAFETY: no argument is passed; the entries are sound by the argument in `write`.
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

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").finish_non_exhaustive()
    }
}
