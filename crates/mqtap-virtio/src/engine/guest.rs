//! Bytes copied between guest memory and our own.
//!
//! The iovecs of a [`Batch`] come from nowhere but a ring, which checked that they lie in guest memory and holds that
//! memory mapped. A batch lives beside its ring, in the same ring's direction of a queue pair, and is emptied when the
//! ring's memory is replaced: that is what the unsafe blocks of this engine rest on.

use crate::ring::{Batch, Chain};

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
        // mapped while `batch` is borrowed (see the module). The guest may write there at the same time; whatever it
        // then finds is its own doing, and nothing here reads the bytes back. `bytes` is our own memory and so does not
        // overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), iovec.ptr().add(offset), n) };
        bytes = &bytes[n..];
        offset = 0;
        if bytes.is_empty() {
            break;
        }
    }
    wanted - bytes.len()
}
