//! What a worker does for a pair whose frames another moves: waits for other things than its rings.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventFlags};

use super::slot::Token;
use super::{Error, Worker};

/// Frames that may wait in a tap queue that is taken back. It holds a thousand, if nobody has changed it.
const DISCARD_LIMIT: usize = 4096;

/// What to do when a descriptor has something.
pub(crate) type OnEvent = Box<dyn FnMut() + Send>;

/// A descriptor that is waited for.
pub(super) struct Watch {
    on_event: OnEvent,
    /// Keeps it open.
    _fd: Arc<dyn AsFd + Send + Sync>,
}

impl Worker {
    /// Has `on_event` called each time that something comes to `fd`, in the worker's thread.
    pub(crate) fn watch(&mut self, fd: Arc<dyn AsFd + Send + Sync>, on_event: OnEvent) -> Result<(), Error> {
        let token = Token::watch(self.watches.len());
        epoll::add(&self.epoll, &*fd, token.data(), EventFlags::IN | EventFlags::ET).map_err(Error::Watch)?;
        self.watches.push(Watch { on_event, _fd: fd });
        Ok(())
    }

    pub(super) fn run_watch(&mut self, number: usize) {
        (self.watches[number].on_event)();
    }

    /// Leaves the tap queue of a pair to somebody else. A frame in it wakes the worker no more, and neither does the end of the
    /// tap.
    pub(crate) fn lend_tap(&mut self, pair: u16) {
        let Some(&index) = self.indexes.get(&pair) else { return };
        let slot = &mut self.slots[index];
        slot.lent = true;
        slot.watched = None;
        if slot.tap_gone {
            return;
        }
        let token = Token::new(index, super::Source::Tap);
        if let Err(errno) = epoll::modify(&self.epoll, &*slot.tap, token.data(), EventFlags::ONESHOT) {
            tracing::error!("cannot leave tap queue {pair} alone: {errno}");
        }
    }

    /// Takes the tap queue of a pair back, and drops what waits in it.
    pub(crate) fn take_tap_back(&mut self, pair: u16) {
        let Some(&index) = self.indexes.get(&pair) else { return };
        let slot = &mut self.slots[index];
        slot.lent = false;
        slot.discard(DISCARD_LIMIT);
    }
}
