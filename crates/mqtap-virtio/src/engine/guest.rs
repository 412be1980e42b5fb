//! Bytes copied between guest memory and our own.
//!
//! The iovecs of a [`Batch`] come from nowhere but a ring, which checked that they lie in guest memory and holds that
//! memory mapped. A batch lives beside its ring, in the same ring's direction of a queue pair, and is emptied when the
//! ring's memory is replaced: that is what the unsafe blocks of this engine rest on.

use std::ptr::NonNull;

use crate::memory::copy_from_guest;
use crate::offload::checksum::Sum;
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
        // mapped while `batch` is borrowed (see the module). The guest may write there at the same time, and so may another
        // worker if the guest has given one buffer to two of its queue pairs: to the compiler the two are the same, memory
        // that came from outside through an address of `mmap`, which the copy only stores to and draws no conclusion
        // from. What the guest then finds is its own doing, and nothing here reads the bytes back. `bytes` is our own
        // memory and so does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), iovec.ptr().add(offset), n) };
        bytes = &bytes[n..];
        offset = 0;
        if bytes.is_empty() {
            break;
        }
    }
    wanted - bytes.len()
}

/// Copies `head` and behind it `payload` into the buffers of `chain`, which hold them, and then pieces of four bytes over what was
/// written, each at its place.
///
/// A piece of the head is not changed before the copy: a processor does not pass on to one wide load what several narrow
/// stores have just written, and waits until all of them, and those into the driver's memory before them, are in the
/// cache.
#[inline]
pub(crate) fn write_to_chain(
    batch: &Batch,
    chain: &Chain,
    (head, payload): (&[u8], &[u8]),
    pieces: impl Iterator<Item = (usize, [u8; 4])>,
) {
    let length = head.len() + payload.len();
    match batch.iovecs(chain) {
        [first, ..] if first.len() >= length => {
            // SAFETY: both parts lie inside the first buffer, for which what `copy_to_chain` says holds.
            unsafe {
                std::ptr::copy_nonoverlapping(head.as_ptr(), first.ptr(), head.len());
                std::ptr::copy_nonoverlapping(payload.as_ptr(), first.ptr().add(head.len()), payload.len());
            }
            for (at, piece) in pieces.filter(|(at, piece)| at + piece.len() <= length) {
                // SAFETY: as above: the piece lies inside of what was written.
                unsafe { first.ptr().add(at).cast::<[u8; 4]>().write_unaligned(piece) };
            }
        }
        _ => {
            copy_to_chain(batch, chain, 0, head);
            copy_to_chain(batch, chain, head.len(), payload);
            for (at, piece) in pieces {
                copy_to_chain(batch, chain, at, &piece);
            }
        }
    }
}

/// Copies the beginning of `chains`, one after the other, into `bytes`, and returns how many there were. Each byte is read once.
pub(crate) fn copy_from_chains(batch: &Batch, chains: &[Chain], bytes: &mut [u8]) -> usize {
    let mut done = 0;
    for iovec in chains.iter().flat_map(|chain| batch.iovecs(chain)) {
        let n = iovec.len().min(bytes.len() - done);
        let (Some(from), true) = (NonNull::new(iovec.ptr()), n > 0) else { break };
        // SAFETY: `n <= iovec.len()`, and the iovec points to that many bytes of guest memory, which stays mapped while
        // `batch` is borrowed (see the module).
        unsafe { copy_from_guest(from, &mut bytes[done..done + n]) };
        done += n;
    }
    done
}

/// The sum of what `chain` has from byte `offset` on. Each byte is read once.
pub(crate) fn sum_of_chain(batch: &Batch, chain: &Chain, mut offset: usize) -> Sum {
    /// Bytes that are copied at a time: they stay in the processor's first cache.
    const PIECE: usize = 2048;
    let mut piece = [0; PIECE];
    let mut sum = Sum::default();
    for iovec in batch.iovecs(chain) {
        let mut at = offset.min(iovec.len());
        offset -= at;
        while at < iovec.len() {
            let piece = &mut piece[..(iovec.len() - at).min(PIECE)];
            let Some(from) = NonNull::new(iovec.ptr().wrapping_add(at)) else { break };
            // SAFETY: `at` and the bytes behind it are inside the iovec, for which what `copy_from_chains` says holds.
            unsafe { copy_from_guest(from, piece) };
            sum.add(piece);
            at += piece.len();
        }
    }
    sum
}
