//! What a worker keeps of each of its pairs.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use mqtap::TapQueue;
use rustix::event::epoll::{EventData, EventFlags};

use crate::counters::PairCounters;
use crate::queue_pair::{Progress, Receive, Transmit};

/// What an event is about: a source of one pair, or the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    TransmitKick = 0,
    ReceiveKick = 1,
    Tap = 2,
    /// The end of the device, where the taps themselves do not tell.
    End = 3,
}

impl Token {
    pub(super) const COMMANDS: Self = Self(u64::MAX);
    /// Down from here are those of watches, which are few, as slots are, whose tokens go up from 0.
    const WATCHES: u64 = u64::MAX - 1;

    pub(super) fn new(slot: usize, source: Source) -> Self {
        Self((slot as u64) << 2 | source as u64)
    }

    /// The token of a watch, by its number.
    pub(super) fn watch(number: usize) -> Self {
        Self(Self::WATCHES - number as u64)
    }

    /// The number of the watch, if there are that many.
    pub(super) fn as_watch(self, count: usize) -> Option<usize> {
        Self::WATCHES
            .checked_sub(self.0)
            .filter(|&number| number < count as u64)
            .map(|number| number as usize)
    }

    pub(super) fn data(self) -> EventData {
        EventData::new_u64(self.0)
    }

    pub(super) fn slot(self) -> usize {
        // Made from a `usize` in `new`.
        (self.0 >> 2) as usize
    }

    pub(super) fn source(self) -> Source {
        match self.0 & 3 {
            0 => Source::TransmitKick,
            1 => Source::ReceiveKick,
            2 => Source::Tap,
            _ => Source::End,
        }
    }
}

/// A ring of either direction in its slot: stopped, or started, and then perhaps broken by its driver.
#[derive(Debug)]
pub(super) struct Slot<R> {
    pub(super) ring: Option<R>,
    pub(super) kick: Option<OwnedFd>,
    pub(super) error: Option<Arc<OwnedFd>>,
    /// Whether there may be something to do.
    pub(super) ready: bool,
    /// Whether the ring waits for the tap.
    pub(super) awaits_tap: bool,
    /// Whether the driver does not kick for what it makes available now.
    pub(super) unarmed: bool,
    pub(super) broken: bool,
    /// When a broken ring was last reported.
    pub(super) warned: Option<Instant>,
}

impl<R> Default for Slot<R> {
    fn default() -> Self {
        Self {
            ring: None,
            kick: None,
            error: None,
            ready: false,
            awaits_tap: false,
            unarmed: false,
            broken: false,
            warned: None,
        }
    }
}

impl<R> Slot<R> {
    pub(super) fn runs(&self) -> bool {
        self.ready && !self.broken && self.ring.is_some()
    }

    pub(super) fn polls(&self) -> bool {
        self.ring.is_some() && self.kick.is_none() && !self.broken
    }

    /// What a run of the ring leaves to wait for.
    pub(super) fn settle(&mut self, progress: Progress) {
        self.ready = progress == Progress::More;
        self.awaits_tap = progress == Progress::AwaitTap;
        self.unarmed = progress == Progress::Idle;
    }
}

/// A queue pair in its worker.
#[derive(Debug)]
pub(super) struct PairSlot {
    pub(super) index: u16,
    pub(super) tap: Arc<TapQueue>,
    pub(super) counters: Arc<PairCounters>,
    pub(super) transmit: Slot<Transmit>,
    pub(super) receive: Slot<Receive>,
    /// What epoll watches of the tap: `None` once it has fired (it fires once) or the tap is gone.
    pub(super) watched: Option<EventFlags>,
    /// Whether somebody else reads from the tap queue, and is not to be disturbed.
    pub(super) lent: bool,
    pub(super) tap_gone: bool,
}

impl PairSlot {
    /// Whether nobody wants what the tap queue gets: there is no receive ring, or it is not enabled.
    pub(super) fn is_idle(&self) -> bool {
        !self.receive.ring.as_ref().is_some_and(Receive::is_enabled)
    }

    /// Empties the queue of an idle pair: one that could not be detached, since its device has only this queue, or is about
    /// to be.
    pub(super) fn discard(&self, limit: usize) {
        for _ in 0..limit {
            match self.tap.read(&mut [0; 64]) {
                Ok(_) => self.counters.receive.dropped_disabled.add(1),
                Err(_) => break,
            }
        }
    }
}
