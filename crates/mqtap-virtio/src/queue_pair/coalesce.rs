//! When a burst is looked at for frames that can be written together, and how they are.

use mqtap::VnetHeaderSize;

use super::BURST;
use crate::engine::{Plan, UIO_MAXIOV, copy_from_chains, sum_of_chain};
use crate::nic::Coalesce;
use crate::offload::coalesce::{Coalescer, Frame, Options, Outgoing};
use crate::ring::{Batch, Chain};

/// The most bursts that [`Coalesce::Auto`] leaves out. A burst is soon there again when frames come fast: with 64 frames
/// in each and a microsecond for each frame, after a millisecond.
const LONGEST_PAUSE: u32 = 15;

/// Coalescing on one transmit ring.
#[derive(Debug)]
pub(crate) struct Coalescing {
    coalescer: Coalescer,
    pauses: Pauses,
    /// The kernel refused a super-frame, so it gets no more.
    refused: bool,
}

impl Coalescing {
    /// `None` if there is nothing to do. `udp`: whether the kernel takes UDP super-frames.
    pub(crate) fn new(mode: Coalesce, header: VnetHeaderSize, udp: bool) -> Option<Self> {
        let longest = match mode {
            Coalesce::Off => return None,
            Coalesce::On => 0,
            Coalesce::Auto => LONGEST_PAUSE,
        };
        let coalescer = Coalescer::new(Options { header, udp, pieces: UIO_MAXIOV }, BURST);
        Some(Self { coalescer, pauses: Pauses::new(longest), refused: false })
    }

    /// Whether to look at a burst of so many frames.
    pub(super) fn begin(&mut self, frames: usize) -> bool {
        // A frame alone stays alone.
        let begin = frames > 1 && !self.refused && self.pauses.is_over();
        if begin {
            self.coalescer.begin();
        }
        begin
    }

    /// Looks at the frame in the chain at this position.
    #[inline]
    pub(super) fn push(&mut self, batch: &Batch, position: u16, chain: &Chain) {
        let head = copy_from_chains(batch, std::slice::from_ref(chain), self.coalescer.head());
        let frame = Frame { position, head, length: chain.bytes as usize, pieces: chain.count };
        // A burst is far shorter than the most that a coalescer takes.
        self.coalescer.push(frame, |position, from| {
            let chain = batch.chains().get(usize::from(position));
            chain.map(|chain| sum_of_chain(batch, chain, from)).unwrap_or_default()
        });
    }

    /// Puts the frames that were pushed into the plan. With `keep_order`, which is asked only if it matters, none of them
    /// overtakes another.
    pub(super) fn plan<'a>(&'a mut self, plan: &mut Plan<'a>, keep_order: impl FnOnce() -> bool) {
        self.pauses.looked(self.coalescer.saved() > 0);
        if self.coalescer.reorders() && keep_order() {
            self.coalescer.positions().for_each(|position| plan.push_chain(position, 0));
            return;
        }
        for outgoing in self.coalescer.finish() {
            match outgoing {
                Outgoing::Frame(position) => plan.push_chain(position, 0),
                Outgoing::SuperFrame(frame) => {
                    plan.begin_frame(frame.head);
                    frame.members.for_each(|position| plan.add_member(position, frame.payload_at));
                }
            }
        }
    }

    /// The kernel refused a super-frame. Its frames come behind what followed them in the burst, this once.
    pub(super) fn refuse(&mut self) {
        if !self.refused {
            tracing::warn!("the kernel refuses frames that were coalesced; from now on they go one by one");
        }
        self.refused = true;
    }
}

/// Which bursts are left out: none after one in which there was something to gain, and twice as many after each in which
/// there was not.
#[derive(Debug)]
struct Pauses {
    longest: u32,
    next: u32,
    left: u32,
}

impl Pauses {
    fn new(longest: u32) -> Self {
        Self { longest, next: 0, left: 0 }
    }

    /// Whether this burst is one to look at.
    fn is_over(&mut self) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        over
    }

    fn looked(&mut self, gained: bool) {
        self.next = if gained { 0 } else { (2 * self.next + 1).min(self.longest) };
        self.left = self.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many bursts are looked at, when those from `gain` on have something to gain.
    fn looked_at(longest: u32, bursts: usize, gain: usize) -> Vec<usize> {
        let mut pauses = Pauses::new(longest);
        (0..bursts)
            .filter(|&burst| {
                let over = pauses.is_over();
                if over {
                    pauses.looked(burst >= gain);
                }
                over
            })
            .collect()
    }

    #[test]
    fn fruitless_looks_become_rare_and_fruitful_ones_do_not() {
        assert_eq!(looked_at(15, 60, 60), [0, 2, 6, 14, 30, 46]);
        assert_eq!(looked_at(15, 20, 3), [0, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(looked_at(0, 5, 5), [0, 1, 2, 3, 4]);
    }
}
