//! The chains that the driver has posted and no frame has used yet.

use super::super::BURST;
use crate::engine::Window;
use crate::ring::{self, Batch, Chain, Ring};

/// The most chains that are kept, and so the most that one frame is spread over.
const CHAINS: usize = 1024;
/// The most iovecs that are kept: enough for a chain of the longest kind, and for a burst of ordinary ones.
const IOVECS: usize = 2048;
/// Chains popped at once.
const POPPED: usize = 2 * BURST;

/// Chains popped from the ring: each was parsed once, when it was popped.
#[derive(Debug)]
pub(super) struct Posted {
    batch: Batch,
    /// The most chains that were here at once.
    most: usize,
}

/// Whether a frame has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// In so many chains, the first ones.
    Chains(usize),
    /// Not yet: the driver has more to post.
    Later,
    /// Not in any buffers that this driver posts.
    Never,
}

impl Posted {
    pub(super) fn new() -> Self {
        Self { batch: Batch::with_capacity(CHAINS, IOVECS), most: 0 }
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The first chains, as many as [`Room::Chains`] said.
    #[inline]
    pub(super) fn front(&self, chains: usize) -> &[Chain] {
        &self.batch.chains()[..chains]
    }

    /// Whether there is a chain, here or in the ring.
    #[inline]
    pub(super) fn any(&mut self, ring: &mut Ring) -> Result<bool, ring::Error> {
        Ok(!self.batch.is_empty() || self.pop(ring)? > 0)
    }

    fn pop(&mut self, ring: &mut Ring) -> Result<usize, ring::Error> {
        let popped = ring.pop_batch(&mut self.batch, POPPED)?;
        self.most = self.most.max(self.batch.len());
        Ok(popped)
    }

    /// Finds the chains for `bytes` bytes: the first alone, or as many as it takes if the driver merges them.
    #[inline]
    pub(super) fn room(
        &mut self,
        ring: &mut Ring,
        bytes: usize,
        mergeable: bool,
    ) -> Result<Room, ring::Error> {
        // Chains are shorter than 4 GiB.
        match self.batch.chains().first() {
            Some(first) if first.bytes as usize >= bytes => Ok(Room::Chains(1)),
            Some(_) if !mergeable => Ok(Room::Never),
            _ => self.room_in_many(ring, bytes, mergeable),
        }
    }

    fn room_in_many(&mut self, ring: &mut Ring, bytes: usize, mergeable: bool) -> Result<Room, ring::Error> {
        let (mut chains, mut room) = (0, 0);
        loop {
            while let Some(chain) = self.batch.chains().get(chains) {
                chains += 1;
                room += chain.bytes as usize;
                if room >= bytes {
                    return Ok(Room::Chains(chains));
                }
                if !mergeable {
                    return Ok(Room::Never);
                }
            }
            if self.pop(ring)? == 0 {
                return Ok(if self.is_worth_waiting(ring) { Room::Later } else { Room::Never });
            }
        }
    }

    /// Whether the driver may post more than there is. Not if nothing more could be kept; if it has as much posted as it ever
    /// had; or so much that it may see no reason to post more (Linux is content with all but 32 buffers of a ring of
    /// 64).
    fn is_worth_waiting(&self, ring: &Ring) -> bool {
        let posted = self.batch.len();
        posted == 0 || (!ring.has_available() && posted < self.most && 2 * posted < usize::from(ring.size()))
    }

    /// The first chains as the buffers of one `readv`: as many as hold `bytes`, or one if the driver does not merge them.
    pub(super) fn window(
        &mut self,
        ring: &mut Ring,
        bytes: usize,
        mergeable: bool,
    ) -> Result<Window, ring::Error> {
        let mut window = Window::default();
        loop {
            while let Some(chain) = self.batch.chains().get(window.chains) {
                if window.bytes >= bytes || !window.add(&self.batch, chain) || !mergeable {
                    return Ok(window);
                }
            }
            if self.pop(ring)? == 0 {
                return Ok(window);
            }
        }
    }

    /// The first chains are used.
    #[inline]
    pub(super) fn remove_front(&mut self, chains: usize) {
        self.batch.remove_front(chains);
    }

    pub(super) fn clear(&mut self) {
        self.batch.clear();
    }
}
