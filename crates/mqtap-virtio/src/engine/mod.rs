//! How frames cross the tap's file descriptor, and the few places where bytes of guest memory are touched for it.
//!
//! Frames go straight between guest memory and the kernel: the buffers of a chain are the `iovec`s of one system
//! call. Everything here takes a [`Batch`](crate::ring::Batch), which keeps the memory its buffers point into mapped.

mod syscall;

pub(crate) use syscall::{FrameReader, FrameWriter, copy_to_chain};
