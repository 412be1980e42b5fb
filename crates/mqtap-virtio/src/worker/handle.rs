//! The control side of a worker.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::slot::Token;
use super::{Command, OnTapGone, Worker};
use crate::engine::FrameWriter;
use crate::queue_pair::signal;

/// How long an answer may take before the worker is taken to be stuck. Attaching a queue, the slowest thing that others do
/// meanwhile, takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two attempts to free a worker that is stuck.
const PAUSE: Duration = Duration::from_millis(5);
/// How often that is tried before the worker is given up: with the pauses, for half a minute. They are counted rather than
/// measured, so that a process that was stopped for a while does not give up what was stopped with it.
const ATTEMPTS: u32 = 6000;
/// How often it is tried where another worker of the same device was given up.
const LAST_ATTEMPTS: u32 = 20;

/// Why a worker could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The thread or its epoll instance could not be made.
    #[error("cannot start worker {name}: {source}")]
    Start {
        /// Name of the worker.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The worker is no longer there: it panicked, which is a defect of this library.
    #[error("worker {0} has ended unexpectedly")]
    Gone(String),
    /// The worker hangs in something that the frontend shares with it. Its device is of no more use.
    #[error(
        "worker {0} does not answer; something that its VMM shares with it holds it up, and it is given up"
    )]
    Stuck(String),
    /// An eventfd of the frontend could not be watched.
    #[error("cannot watch the kick file descriptor of a ring: {0}")]
    Watch(Errno),
    /// io_uring was asked for and cannot be had.
    #[error(
        "cannot use io_uring: {0}; it needs Linux 6.1, kernel.io_uring_disabled=0 and a container that allows it: use engine=auto or engine=syscall"
    )]
    IoUring(std::io::Error),
}

/// The control side's end of a worker. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    name: String,
    commands: Option<Sender<Command>>,
    wake: Arc<OwnedFd>,
    /// Eventfds of the frontend that the worker writes to.
    notified: Mutex<Vec<Weak<OwnedFd>>>,
    /// Whether a worker of the same device was given up.
    given_up: GivenUp,
    /// How often it is tried to free it.
    attempts: u32,
    thread: Option<JoinHandle<()>>,
}

/// Whether a worker of a device was given up. The workers of one device share it, so that many that are stuck hold up its end
/// no longer than one.
pub(crate) type GivenUp = Arc<AtomicBool>;

impl WorkerHandle {
    /// Starts a thread that owns no pair yet. `cpus`: where it may run; everywhere if empty. What it logs is in the span of
    /// the caller.
    pub(crate) fn start(
        name: String,
        cpus: &[usize],
        on_tap_gone: OnTapGone,
        given_up: GivenUp,
    ) -> Result<Self, Error> {
        let start_error = |source: std::io::Error| Error::Start { name: name.clone(), source };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| start_error(e.into()))?;
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| start_error(e.into()))?;
        let wake = Arc::new(wake);
        epoll::add(&epoll, &*wake, Token::COMMANDS.data(), EventFlags::IN | EventFlags::ET)
            .map_err(|e| start_error(e.into()))?;
        let (sender, receiver) = mpsc::channel();
        let worker = Worker {
            epoll,
            slots: Vec::new(),
            indexes: HashMap::new(),
            commands: receiver,
            on_tap_gone,
            watches: Vec::new(),
            writer: FrameWriter::default(),
            poll: Duration::ZERO,
            poll_until: None,
            end: None,
        };
        let cpus = cpus.to_vec();
        let span = tracing::Span::current();
        let label = name.clone();
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let _within = span.enter();
                if let Err(error) = pin(&cpus) {
                    tracing::warn!("cannot pin worker {label} to CPUs {cpus:?}: {error}");
                }
                worker.run();
            })
            .map_err(start_error)?;
        Ok(Self {
            name,
            commands: Some(sender),
            wake,
            notified: Mutex::default(),
            given_up,
            attempts: ATTEMPTS,
            thread: Some(thread),
        })
    }

    /// Runs `command` in the worker and returns its result. If the worker has to be given up, so are all of its device: then the
    /// command may still take effect, and nothing else will.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Worker) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let gone = || Error::Gone(self.name.clone());
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Error::Stuck(self.name.clone()));
        }
        let (answer, result) = mpsc::sync_channel(1);
        let command = Box::new(move |worker: &mut Worker| {
            // The caller waits for the answer; if it is gone, nobody wants it.
            let _ = answer.send(command(worker));
        });
        self.commands.as_ref().ok_or_else(gone)?.send(command).map_err(|_| gone())?;
        signal(&self.wake);
        let mut patience = PATIENCE;
        for _ in 0..self.attempts {
            match result.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout) => self.unblock(),
                result => return result.map_err(|_| gone()),
            }
            patience = PAUSE;
        }
        self.given_up.store(true, Ordering::Relaxed);
        Err(Error::Stuck(self.name.clone()))
    }

    /// Registers an eventfd of the frontend to which the worker will write.
    pub(crate) fn share(&self, eventfd: Option<OwnedFd>) -> Option<Arc<OwnedFd>> {
        let eventfd = Arc::new(eventfd?);
        let mut notified = self.notified.lock().unwrap_or_else(PoisonError::into_inner);
        notified.retain(|eventfd| eventfd.strong_count() > 0);
        notified.push(Arc::downgrade(&eventfd));
        Some(eventfd)
    }

    /// Frees the worker from a write to a full eventfd. Ours do not block, but that is a property of the open file, and
    /// the frontend, which has it open as well, may have changed it. Reading makes room.
    fn unblock(&self) {
        let notified = self.notified.lock().unwrap_or_else(PoisonError::into_inner);
        for eventfd in notified.iter().filter_map(Weak::upgrade) {
            make_room(&eventfd);
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.commands = None;
        signal(&self.wake);
        let Some(thread) = self.thread.take() else { return };
        let attempts = if self.given_up.load(Ordering::Relaxed) { LAST_ATTEMPTS } else { self.attempts };
        for attempt in 0..attempts {
            // The first ones in quick succession: most end at once.
            std::thread::sleep(PAUSE.min(Duration::from_millis(attempt.into())));
            if thread.is_finished() {
                // A panic of the worker was printed when it happened.
                let _ = thread.join();
                return;
            }
            self.unblock();
        }
        // Whoever waits for us has more to tidy up. The thread ends when what holds it lets go, or with the process.
        self.given_up.store(true, Ordering::Relaxed);
        tracing::error!("{}", Error::Stuck(self.name.clone()));
    }
}

/// Empties an eventfd if it is full. Others may hold a notification that their reader has not seen yet.
fn make_room(eventfd: &OwnedFd) {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    // It can be written to while there is room for one more.
    if poll(&mut [PollFd::new(eventfd, PollFlags::OUT)], Some(&AT_ONCE)) == Ok(0) {
        take_at_once(eventfd);
    }
}

/// Takes what an eventfd counted, and has it refuse the next time rather than wait.
///
/// This never waits: `RWF_NOWAIT` is about the one read, so that it does not matter what the frontend makes of `O_NONBLOCK`
/// between two system calls (`eventfd_read`, fs/eventfd.c, since Linux 5.8). Writes have no such thing (`EOPNOTSUPP`).
fn take_at_once(eventfd: &OwnedFd) {
    if let Ok(flags) = fcntl_getfl(eventfd) {
        let _ = fcntl_setfl(eventfd, flags | OFlags::NONBLOCK);
    }
    let mut count = [0; 8];
    // The offset says that there is none.
    let _ = preadv2(eventfd, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
}

fn pin(cpus: &[usize]) -> Result<(), Errno> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set)
}
