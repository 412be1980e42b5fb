//! A queue pair: receive ring 2i and transmit ring 2i + 1 of the driver, on tap queue i.
//!
//! A pair belongs to one worker, which calls [`Transmit::run`] and [`Receive::run`] when there may be something to do.
//! Both return after a budget of frames or bytes, so that no ring starves another.

mod coalesce;
mod receive;
mod transmit;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

pub(crate) use coalesce::Coalescing;
pub(crate) use receive::{Receive, ReceiveOptions};
pub(crate) use transmit::{Transmit, TransmitOptions};

use crate::counters::Counter;
use crate::ring;

/// The longest Ethernet frame that crosses a tap: a 64 KiB IP packet behind an Ethernet header with one VLAN tag.
pub(crate) const MAX_FRAME: usize = 65_535 + ETHERNET_HEADER + VLAN_TAG;
/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// Bytes that a VLAN tag adds to it.
pub(crate) const VLAN_TAG: usize = 4;

/// Frames that a ring may move before it is another ring's turn.
pub(crate) const FRAME_BUDGET: usize = 256;
/// Bytes that a ring may move before it is another ring's turn: 512 KiB, as in the kernel's vhost-net.
pub(crate) const BYTE_BUDGET: usize = 512 * 1024;
/// Frames between two publications of the used index, so that the driver can recycle buffers during a long run.
pub(crate) const BURST: usize = 64;

/// Why a run of a ring ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing to do until the driver kicks.
    AwaitKick,
    /// Nothing to do now, and the driver will not say when there is: it was not asked to.
    Idle,
    /// Nothing to do until the tap is readable (receive) or writable (transmit).
    AwaitTap,
    /// The budget is used up; there may be more.
    More,
}

/// Why a ring cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The driver broke the rules of the ring. The ring stays as it is until it is stopped.
    Ring(ring::Error),
    /// The tap is gone: it was deleted (EBADFD, or EFAULT out of a waiting read).
    Tap(Errno),
}

impl From<ring::Error> for Halt {
    fn from(error: ring::Error) -> Self {
        Self::Ring(error)
    }
}

/// The eventfd by which a ring tells its driver of used buffers.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// `None`: the driver polls the ring. Shared with the control side, which can free a worker that is stuck in it.
    pub(crate) call: Option<Arc<OwnedFd>>,
}

impl Notifier {
    /// Adds one to the eventfd.
    pub(crate) fn notify(&self, calls: &Counter) {
        if let Some(call) = &self.call {
            calls.add(1);
            signal(call);
        }
    }
}

/// Adds one to an eventfd. An eventfd that is full (EAGAIN) has been signalled already, and there is nobody to tell
/// of any other error: the descriptor is the frontend's.
pub(crate) fn signal(eventfd: &OwnedFd) {
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}
