//! What a burst becomes on its way to the tap: one entry for each frame that the kernel is to be given.

use crate::ring::{Batch, IoVec};

/// The most iovecs that the kernel takes in one call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
pub(crate) const UIO_MAXIOV: usize = 1024;

/// The lists behind a [`Plan`], kept from burst to burst so that they are allocated once.
#[derive(Debug, Default)]
pub(crate) struct PlanStore {
    frames: Vec<Planned>,
    /// Positions in the batch of the chains that each frame takes.
    members: Vec<u16>,
    /// The pieces of frames that are not just the buffers of one chain.
    pieces: Vec<libc::iovec>,
}

// SAFETY: a plan fills the lists anew from buffers that it borrows; what they hold between two plans is never dereferenced.
unsafe impl Send for PlanStore {}

#[derive(Clone, Copy, Debug)]
struct Planned {
    first_member: usize,
    members: usize,
    /// `None`: the buffers of the one chain, as they are.
    pieces: Option<(usize, usize)>,
}

/// Frames to be written, in order. It borrows everything it points to: the batch, and so guest memory, and the bytes of
/// our own that replace the beginning of a frame.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    store: &'a mut PlanStore,
    batch: &'a Batch,
}

impl PlanStore {
    /// Starts over, with the chains of `batch`.
    pub(crate) fn plan<'a>(&'a mut self, batch: &'a Batch) -> Plan<'a> {
        self.frames.clear();
        self.members.clear();
        self.pieces.clear();
        Plan { store: self, batch }
    }
}

impl<'a> Plan<'a> {
    /// How many frames there are.
    pub(crate) fn len(&self) -> usize {
        self.store.frames.len()
    }

    /// Positions in the batch of the chains that a frame takes.
    pub(crate) fn members(&self, frame: usize) -> &[u16] {
        self.store
            .frames
            .get(frame)
            .map_or(&[], |frame| &self.store.members[frame.first_member..frame.first_member + frame.members])
    }

    /// Adds the frame in the chain at this position, without its first `skip` bytes.
    pub(crate) fn push_chain(&mut self, position: u16, skip: usize) {
        if skip == 0 {
            let first_member = self.store.members.len();
            self.store.members.push(position);
            self.store.frames.push(Planned { first_member, members: 1, pieces: None });
        } else {
            self.begin_frame(&[]);
            self.add_member(position, skip);
        }
    }

    /// Begins a frame with bytes of our own; [`add_member`](Self::add_member) goes on with it.
    pub(crate) fn begin_frame(&mut self, head: &'a [u8]) {
        let first_piece = self.store.pieces.len();
        if !head.is_empty() {
            // The kernel only reads through it.
            let iov_base = head.as_ptr().cast_mut().cast();
            self.store.pieces.push(libc::iovec { iov_base, iov_len: head.len() });
        }
        let first_member = self.store.members.len();
        let pieces = Some((first_piece, self.store.pieces.len() - first_piece));
        self.store.frames.push(Planned { first_member, members: 0, pieces });
    }

    /// Adds to the frame begun last what the chain at this position has behind its first `skip` bytes.
    pub(crate) fn add_member(&mut self, position: u16, mut skip: usize) {
        let Some(Planned { members, pieces: Some((_, count)), .. }) = self.store.frames.last_mut() else {
            return;
        };
        self.store.members.push(position);
        *members += 1;
        let iovecs = self.batch.chains().get(usize::from(position)).map(|chain| self.batch.iovecs(chain));
        for iovec in iovecs.unwrap_or_default() {
            let skipped = skip.min(iovec.len());
            skip -= skipped;
            if skipped < iovec.len() {
                let iov_base = iovec.ptr().wrapping_add(skipped).cast();
                self.store.pieces.push(libc::iovec { iov_base, iov_len: iovec.len() - skipped });
                *count += 1;
            }
        }
    }

    /// Whether a frame has more pieces than the kernel takes, which it therefore refuses (EINVAL).
    ///
    /// A chain has no more descriptors than that, but a buffer that lies in several regions of guest memory is several pieces.
    pub(crate) fn has_too_many_pieces(&self, frame: usize) -> bool {
        self.pieces(frame).len() > UIO_MAXIOV
    }

    /// The pieces of a frame; valid for reading as long as the plan is borrowed.
    pub(super) fn pieces(&self, frame: usize) -> &[libc::iovec] {
        let Some(planned) = self.store.frames.get(frame) else { return &[] };
        match planned.pieces {
            Some((first, count)) => &self.store.pieces[first..first + count],
            None => {
                let position = usize::from(self.store.members[planned.first_member]);
                as_raw(self.batch.iovecs(&self.batch.chains()[position]))
            }
        }
    }
}

/// The iovecs as the C library has them.
pub(super) fn as_raw(iovecs: &[IoVec]) -> &[libc::iovec] {
    // SAFETY: `IoVec` is a transparent wrapper of `libc::iovec`.
    unsafe { std::slice::from_raw_parts(iovecs.as_ptr().cast(), iovecs.len()) }
}
