//! How frames cross the tap's file descriptor, and the few places where bytes of guest memory are touched for it.
//!
//! Frames go straight between guest memory and the kernel: the buffers of a chain are the `iovec`s of a system call.
//! Everything here takes a [`Batch`](crate::ring::Batch), which keeps the memory its buffers point into mapped.

mod bursts;
mod guest;
mod plan;
mod read;
mod uring;
mod write;

pub use bursts::BurstIo;
pub(crate) use guest::{copy_from_chains, copy_to_chain, sum_of_chain, write_to_chain};
pub(crate) use plan::{Plan, PlanStore, UIO_MAXIOV};
pub(crate) use read::{FrameReader, Window};
pub(crate) use write::FrameWriter;

/// How bursts of frames are written to the tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// With io_uring if this system lets us (Linux 6.4, not forbidden by `kernel.io_uring_disabled` or a container), else
    /// without.
    #[default]
    Auto,
    /// One system call for each frame.
    Syscall,
    /// With io_uring, and not at all if that cannot be had.
    IoUring,
}
