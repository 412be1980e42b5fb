//! Frames to a tap: a system call for each, or one for a burst of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mqtap::TapQueue;
use rustix::io::Errno;

use super::Engine;
use super::plan::Plan;
use super::uring::{NOT_TRIED, Uring};

/// From so many frames on, one system call for all of them is cheaper than one for each.
const WORTH_A_BURST: usize = 4;

/// Writes frames to the tap queues of one worker.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    uring: Option<Uring>,
}

impl FrameWriter {
    /// A writer of this kind. To be made by the thread that will use it.
    pub(crate) fn new(engine: Engine) -> io::Result<Self> {
        let uring = match engine {
            Engine::Syscall => None,
            Engine::IoUring => Some(Uring::new()?),
            Engine::Auto => {
                Uring::new().inspect_err(|error| tracing::debug!("no io_uring here: {error}")).ok()
            }
        };
        Ok(Self { uring })
    }

    /// Writes the frames of `plan` and says of each what became of it. True once all were tried; false if the tap would
    /// block: frames of which nothing was said are still to be written, in the order of the plan.
    pub(crate) fn write(
        &mut self,
        tap: &TapQueue,
        plan: &Plan<'_>,
        mut done: impl FnMut(usize, Result<usize, Errno>),
    ) -> bool {
        let mut next = 0;
        if plan.len() >= WORTH_A_BURST
            && self.uring.is_some()
            // A write that would block lets those behind it pass.
            && matches!(tap.send_buffer_limit(), Ok(None))
        {
            while let Some(uring) = self.uring.as_mut().filter(|_| next < plan.len()) {
                let (outcomes, result) = uring.write(tap.as_fd(), plan, next);
                let mut blocked = false;
                let mut unsupported = false;
                let mut untried = plan.len();
                for (frame, &outcome) in (next..).zip(outcomes) {
                    if outcome == NOT_TRIED {
                        untried = untried.min(frame);
                        continue;
                    }
                    match check(outcome as libc::ssize_t, -outcome) {
                        Err(Errno::AGAIN) => blocked = true,
                        // A tap before Linux 6.4: it takes none of them, so none has passed another.
                        Err(Errno::OPNOTSUPP) => {
                            unsupported = true;
                            untried = untried.min(frame);
                        }
                        outcome => done(frame, outcome),
                    }
                }
                next = untried.min(next + outcomes.len());
                if let Err(error) = result {
                    tracing::warn!("io_uring fails, going on with a system call for each frame: {error}");
                    self.uring = None;
                } else if unsupported {
                    tracing::debug!(
                        "this kernel's taps cannot be written to without waiting, so not by io_uring"
                    );
                    self.uring = None;
                }
                if blocked {
                    return false;
                }
            }
        }
        while next < plan.len() {
            match write_one(tap, plan, next) {
                Err(Errno::AGAIN) => return false,
                Err(Errno::INTR) => continue,
                outcome => done(next, outcome),
            }
            next += 1;
        }
        true
    }
}

fn write_one(tap: &TapQueue, plan: &Plan<'_>, frame: usize) -> Result<usize, Errno> {
    let fd = tap.as_fd().as_raw_fd();
    let result = match plan.pieces(frame) {
        // One buffer needs no list.
        // SAFETY: the piece is valid for reading while `plan` is borrowed. It may be guest memory, which the guest may change
        // meanwhile: that is the kernel's to bear, no Rust reference to it exists.
        [piece] => unsafe { libc::write(fd, piece.iov_base, piece.iov_len) },
        // SAFETY: as above, for each of the pieces, whose number a batch bounds; of more than UIO_MAXIOV the kernel looks at none.
        pieces => unsafe { libc::writev(fd, pieces.as_ptr(), pieces.len() as libc::c_int) },
    };
    check(result, 0)
}

/// What a call returned, with the error number that goes with a negative answer, or 0 for the one the thread has.
pub(super) fn check(result: libc::ssize_t, errno: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| match errno {
        0 => Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO),
        errno => Errno::from_raw_os_error(errno),
    })
}
