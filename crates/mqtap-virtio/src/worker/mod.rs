//! A worker: the thread that owns queue pairs, and its event loop.
//!
//! Nothing is shared on the way of a frame. The control side sends closures, which the worker runs between two rounds
//! of its loop, and waits for their results; when a call returns, it took effect.

mod handle;
mod slot;
mod watch;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mqtap::TapQueue;
use mqtap::device::EndWatch;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;

use crate::counters::PairCounters;
use crate::engine::{Engine, FrameWriter};
use crate::queue_pair::{FRAME_BUDGET, Halt, Progress, Receive, Transmit, signal};
use crate::ring::RingBase;
pub use handle::Error;
pub(crate) use handle::{GivenUp, WorkerHandle};
use slot::{PairSlot, Slot, Source, Token};
pub(crate) use watch::OnEvent;
use watch::Watch;

/// How often a ring without a kick eventfd is looked at. The frontend chose polling; this bounds what it costs.
const POLL_INTERVAL: Duration = Duration::from_micros(100);
/// The least time between two warnings of one pair: a guest can break a ring as often as it resets its device.
pub(crate) const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Looks at the rings between two looks at the tap, which cost a system call each.
const LOOKS: usize = 16;
/// Events taken from one wait.
const EVENTS: usize = 64;

type Command = Box<dyn FnOnce(&mut Worker) + Send>;

/// What a worker tells of a tap that is gone.
pub(crate) type OnTapGone = Arc<dyn Fn(u16, Errno) + Send + Sync>;

/// The frontend's file descriptors of a ring that starts.
#[derive(Debug)]
pub(crate) struct RingFds {
    pub(crate) kick: Option<OwnedFd>,
    pub(crate) error: Option<Arc<OwnedFd>>,
}

/// The worker's own side. Only the worker's thread has it.
pub(crate) struct Worker {
    epoll: OwnedFd,
    slots: Vec<PairSlot>,
    /// From the index of a pair to its slot.
    indexes: HashMap<u16, usize>,
    commands: Receiver<Command>,
    on_tap_gone: OnTapGone,
    watches: Vec<Watch>,
    writer: FrameWriter,
    /// How long to look for work before sleeping; zero: not at all.
    poll: Duration,
    /// When to sleep at last, while looking for work.
    poll_until: Option<Instant>,
    end: Option<EndWatch>,
}

impl Worker {
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!("worker ends: epoll_wait: {errno}");
                    return;
                }
            }
            let mut commands = false;
            for event in &events {
                let token = Token(event.data.u64());
                if token == Token::COMMANDS {
                    commands = true;
                } else if let Some(number) = token.as_watch(self.watches.len()) {
                    self.run_watch(number);
                } else {
                    self.note(token, event.flags);
                    self.keep_polling();
                }
            }
            if commands && !self.run_commands() {
                return;
            }
            self.run_rings();
        }
    }

    /// How long to wait: not at all while there is work or a chance of some, for ever when there is none.
    fn timeout(&mut self) -> Option<Timespec> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        if self.is_busy() {
            return Some(AT_ONCE);
        }
        if let Some(until) = self.poll_until {
            if Instant::now() < until {
                if self.look_around() {
                    self.keep_polling();
                }
                return Some(AT_ONCE);
            }
            // Nothing came for long enough: have the drivers kick again, and look once more.
            self.poll_until = None;
            for slot in &mut self.slots {
                slot.transmit.ready |= slot.transmit.unarmed;
            }
            self.run_rings();
            if self.is_busy() {
                return Some(AT_ONCE);
            }
        }
        self.slots
            .iter()
            .any(|slot| slot.transmit.polls() || slot.receive.polls())
            .then(|| Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos().into() })
    }

    fn is_busy(&self) -> bool {
        self.slots.iter().any(|slot| slot.transmit.runs() || slot.receive.runs())
    }

    /// There was work: there may be more soon.
    fn keep_polling(&mut self) {
        if !self.poll.is_zero() {
            self.poll_until = Instant::now().checked_add(self.poll);
        }
    }

    /// Looks for a moment at the rings that drivers do not kick for, which costs no system call. True if there is work.
    fn look_around(&mut self) -> bool {
        for _ in 0..LOOKS {
            let mut found = false;
            for slot in self.slots.iter_mut().filter(|slot| slot.transmit.unarmed) {
                slot.transmit.ready |= slot.transmit.ring.as_ref().is_some_and(Transmit::has_available);
                found |= slot.transmit.runs();
            }
            if found {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Takes note of an event.
    fn note(&mut self, token: Token, flags: EventFlags) {
        let Some(slot) = self.slots.get_mut(token.slot()) else { return };
        match token.source() {
            Source::TransmitKick => {
                slot.counters.transmit.kicks.add(1);
                slot.transmit.ready = true;
            }
            Source::ReceiveKick => {
                slot.counters.receive.kicks.add(1);
                slot.receive.ready = true;
            }
            Source::Tap => {
                slot.watched = None;
                if flags.contains(EventFlags::ERR) {
                    self.tap_gone(token.slot(), Errno::BADFD);
                    return;
                }
                if flags.contains(EventFlags::IN) {
                    if slot.receive.awaits_tap {
                        slot.receive.ready = true;
                    } else if slot.is_idle() {
                        slot.discard(FRAME_BUDGET);
                    }
                }
                if flags.contains(EventFlags::OUT) && slot.transmit.awaits_tap {
                    slot.transmit.ready = true;
                }
            }
            Source::End => {
                if self.end.as_ref().is_some_and(EndWatch::is_gone) {
                    (0..self.slots.len()).for_each(|index| self.tap_gone(index, Errno::NOLINK));
                }
            }
        }
    }

    /// Runs what the control side has sent. False when it is gone.
    fn run_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => command(self),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Lets every ring that may have something to do go on for its budget.
    fn run_rings(&mut self) {
        let arm = self.poll_until.is_none();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.transmit.polls() {
                slot.transmit.ready |= slot.transmit.ring.as_ref().is_some_and(Transmit::has_available);
            }
            if slot.receive.polls() {
                slot.receive.ready |= slot.receive.ring.as_ref().is_some_and(Receive::has_available);
            }
            let mut gone = None;
            if slot.transmit.runs() {
                let result = slot.transmit.ring.as_mut().map(|ring| ring.run(&mut self.writer, arm));
                gone = settle(&mut slot.transmit, result, slot.index, "transmit", &slot.counters);
            }
            if slot.receive.runs() {
                let result = slot.receive.ring.as_mut().map(Receive::run);
                gone = gone.or(settle(&mut slot.receive, result, slot.index, "receive", &slot.counters));
            }
            match gone {
                Some(errno) => self.tap_gone(index, errno),
                None => self.watch_tap(index),
            }
        }
    }

    /// Has epoll watch what the rings of a pair wait for, and the end of the tap (EPOLLERR).
    fn watch_tap(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.tap_gone || slot.lent {
            return;
        }
        // A tap tells its end with the event of a readable one, which epoll passes on only to those who wait for one of
        // its bits. EPOLLPRI is one of them, and is never reported by itself.
        let mut flags = EventFlags::ONESHOT | EventFlags::PRI;
        if slot.receive.awaits_tap || slot.is_idle() {
            flags |= EventFlags::IN;
        }
        if slot.transmit.awaits_tap {
            flags |= EventFlags::OUT;
        }
        // While one ring is busy the other may wait for the tap all the same.
        let busy = slot.transmit.runs() || slot.receive.runs();
        let waits = slot.receive.awaits_tap || slot.transmit.awaits_tap;
        if slot.watched != Some(flags) && (waits || !busy) {
            match epoll::modify(&self.epoll, slot.tap.as_fd(), Token::new(index, Source::Tap).data(), flags) {
                Ok(()) => slot.watched = Some(flags),
                Err(errno) => tracing::error!("cannot watch tap queue {}: {errno}", slot.index),
            }
        }
    }

    fn tap_gone(&mut self, index: usize, errno: Errno) {
        let slot = &mut self.slots[index];
        if !slot.tap_gone {
            slot.tap_gone = true;
            slot.transmit.broken = true;
            slot.receive.broken = true;
            let _ = epoll::delete(&self.epoll, slot.tap.as_fd());
            (self.on_tap_gone)(slot.index, errno);
        }
    }

    /// How to write to the taps, and how long to look for work before sleeping.
    pub(crate) fn configure(&mut self, engine: Engine, poll: Duration) -> Result<(), Error> {
        self.writer = FrameWriter::new(engine).map_err(Error::IoUring)?;
        self.poll = poll;
        Ok(())
    }

    /// Has this worker notice the end of the device.
    pub(crate) fn watch_end(&mut self, end: EndWatch) -> Result<(), Error> {
        let token = Token::new(0, Source::End);
        epoll::add(&self.epoll, end.as_fd(), token.data(), EventFlags::IN).map_err(Error::Watch)?;
        self.end = Some(end);
        // What happened before it was watched is told by no event.
        self.note(token, EventFlags::IN);
        Ok(())
    }

    /// Gives this worker a queue pair; its rings are stopped.
    pub(crate) fn add_pair(
        &mut self,
        index: u16,
        tap: Arc<TapQueue>,
        counters: Arc<PairCounters>,
    ) -> Result<(), Error> {
        let slot = self.slots.len();
        let flags = EventFlags::ONESHOT | EventFlags::PRI | EventFlags::IN;
        epoll::add(&self.epoll, tap.as_fd(), Token::new(slot, Source::Tap).data(), flags)
            .map_err(Error::Watch)?;
        self.indexes.insert(index, slot);
        self.slots.push(PairSlot {
            index,
            tap,
            counters,
            transmit: Slot::default(),
            receive: Slot::default(),
            watched: Some(flags),
            lent: false,
            tap_gone: false,
        });
        Ok(())
    }

    /// Puts a started transmit ring into its pair. It is looked at once at once: kicks may have come before.
    pub(crate) fn start_transmit(&mut self, pair: u16, ring: Transmit, fds: RingFds) -> Result<(), Error> {
        let Some(&index) = self.indexes.get(&pair) else { return Ok(()) };
        watch_kick(&self.epoll, fds.kick.as_ref(), Token::new(index, Source::TransmitKick))?;
        let slot = &mut self.slots[index];
        slot.transmit = started(ring, fds, slot.tap_gone, slot.transmit.warned);
        Ok(())
    }

    /// Puts a started receive ring into its pair.
    pub(crate) fn start_receive(&mut self, pair: u16, ring: Receive, fds: RingFds) -> Result<(), Error> {
        let Some(&index) = self.indexes.get(&pair) else { return Ok(()) };
        watch_kick(&self.epoll, fds.kick.as_ref(), Token::new(index, Source::ReceiveKick))?;
        let slot = &mut self.slots[index];
        slot.receive = started(ring, fds, slot.tap_gone, slot.receive.warned);
        Ok(())
    }

    /// Takes the transmit ring out of its pair. `None`: it was stopped.
    pub(crate) fn stop_transmit(&mut self, pair: u16) -> Option<RingBase> {
        let index = *self.indexes.get(&pair)?;
        stop(&self.epoll, &mut self.slots[index].transmit).map(Transmit::stop)
    }

    /// Takes the receive ring out of its pair. `None`: it was stopped.
    pub(crate) fn stop_receive(&mut self, pair: u16) -> Option<RingBase> {
        let index = *self.indexes.get(&pair)?;
        stop(&self.epoll, &mut self.slots[index].receive).map(Receive::stop)
    }

    /// Applies `change` to the started transmit ring, if it is started, and has it looked at.
    pub(crate) fn with_transmit(&mut self, pair: u16, change: impl FnOnce(&mut Transmit)) {
        if let Some(slot) = self.indexes.get(&pair).and_then(|&index| self.slots.get_mut(index))
            && let Some(ring) = slot.transmit.ring.as_mut()
        {
            change(ring);
            slot.transmit.ready = true;
        }
    }

    /// Applies `change` to the started receive ring, if it is started, and has it looked at.
    pub(crate) fn with_receive(&mut self, pair: u16, change: impl FnOnce(&mut Receive)) {
        if let Some(slot) = self.indexes.get(&pair).and_then(|&index| self.slots.get_mut(index))
            && let Some(ring) = slot.receive.ring.as_mut()
        {
            change(ring);
            slot.receive.ready = true;
            slot.receive.awaits_tap &= ring.is_enabled();
        }
    }

    /// Replaces the kick eventfd of a started ring.
    pub(crate) fn set_kick(&mut self, pair: u16, receive: bool, kick: Option<OwnedFd>) -> Result<(), Error> {
        let Some(&index) = self.indexes.get(&pair) else { return Ok(()) };
        if receive {
            replace_kick(
                &self.epoll,
                &mut self.slots[index].receive,
                kick,
                Token::new(index, Source::ReceiveKick),
            )
        } else {
            replace_kick(
                &self.epoll,
                &mut self.slots[index].transmit,
                kick,
                Token::new(index, Source::TransmitKick),
            )
        }
    }

    /// Replaces the error eventfd of a started ring.
    pub(crate) fn set_error(&mut self, pair: u16, receive: bool, error: Option<Arc<OwnedFd>>) {
        let Some(&index) = self.indexes.get(&pair) else { return };
        let slot = &mut self.slots[index];
        if receive {
            slot.receive.error = error;
        } else {
            slot.transmit.error = error;
        }
    }

    /// Goes on in another memory table. A ring that does not fit into it is broken; one that is broken already lets the old
    /// memory go as well.
    pub(crate) fn update_memory(&mut self, memory: &crate::memory::GuestMemory) {
        for slot in &mut self.slots {
            if let Some(ring) = slot.transmit.ring.as_mut() {
                let result = ring.update_memory(memory).map(|()| Progress::More).map_err(Halt::Ring);
                if !slot.transmit.broken {
                    settle(&mut slot.transmit, Some(result), slot.index, "transmit", &slot.counters);
                }
            }
            if let Some(ring) = slot.receive.ring.as_mut() {
                let result = ring.update_memory(memory).map(|()| Progress::More).map_err(Halt::Ring);
                if !slot.receive.broken {
                    settle(&mut slot.receive, Some(result), slot.index, "receive", &slot.counters);
                }
            }
        }
    }
}

fn started<R>(ring: R, fds: RingFds, broken: bool, warned: Option<Instant>) -> Slot<R> {
    Slot {
        ring: Some(ring),
        kick: fds.kick,
        error: fds.error,
        ready: true,
        awaits_tap: false,
        unarmed: false,
        broken,
        warned,
    }
}

fn stop<R>(epoll: &OwnedFd, slot: &mut Slot<R>) -> Option<R> {
    unwatch_kick(epoll, slot.kick.as_ref());
    let warned = slot.warned;
    std::mem::replace(slot, Slot { warned, ..Slot::default() }).ring
}

/// Kicks are edge triggered, so the eventfd need not be read.
fn watch_kick(epoll: &OwnedFd, kick: Option<&OwnedFd>, token: Token) -> Result<(), Error> {
    kick.map_or(Ok(()), |kick| {
        epoll::add(epoll, kick, token.data(), EventFlags::IN | EventFlags::ET).map_err(Error::Watch)
    })
}

/// The frontend holds the same eventfd, so closing ours would not take it out of the epoll instance.
fn unwatch_kick(epoll: &OwnedFd, kick: Option<&OwnedFd>) {
    if let Some(kick) = kick {
        let _ = epoll::delete(epoll, kick);
    }
}

fn replace_kick<R>(
    epoll: &OwnedFd,
    slot: &mut Slot<R>,
    kick: Option<OwnedFd>,
    token: Token,
) -> Result<(), Error> {
    watch_kick(epoll, kick.as_ref(), token)?;
    unwatch_kick(epoll, slot.kick.as_ref());
    slot.kick = kick;
    slot.ready = true;
    Ok(())
}

/// Takes note of what a run came to: a broken ring is reported and left alone; the error of a tap that is gone is
/// returned.
fn settle<R>(
    slot: &mut Slot<R>,
    result: Option<Result<Progress, Halt>>,
    pair: u16,
    direction: &str,
    counters: &PairCounters,
) -> Option<Errno> {
    match result? {
        Ok(progress) => {
            slot.settle(progress);
            None
        }
        Err(Halt::Ring(error)) => {
            slot.broken = true;
            slot.ready = false;
            slot.awaits_tap = false;
            counters.broken.add(1);
            if slot.warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                slot.warned = Some(Instant::now());
                tracing::warn!(
                    "the driver broke its {direction} ring of queue pair {pair}, which stops: {error}"
                );
            }
            if let Some(error) = &slot.error {
                signal(error);
            }
            None
        }
        Err(Halt::Tap(errno)) => Some(errno),
    }
}
