//! The control side of a worker.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::slot::Token;
use super::{Command, OnTapGone, Worker};
use crate::engine::FrameWriter;
use crate::queue_pair::signal;

/// How long an answer may take before the worker is taken to be stuck. Attaching a queue, the slowest thing that others do
/// meanwhile, takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

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
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts a thread that owns no pair yet. `cpus`: where it may run; everywhere if empty. What it logs is in the span of
    /// the caller.
    pub(crate) fn start(name: String, cpus: &[usize], on_tap_gone: OnTapGone) -> Result<Self, Error> {
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
        Ok(Self { name, commands: Some(sender), wake, notified: Mutex::default(), thread: Some(thread) })
    }

    /// Runs `command` in the worker and returns its result.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Worker) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let gone = || Error::Gone(self.name.clone());
        let (answer, result) = mpsc::sync_channel(1);
        let command = Box::new(move |worker: &mut Worker| {
            // The caller waits for the answer; if it is gone, nobody wants it.
            let _ = answer.send(command(worker));
        });
        self.commands.as_ref().ok_or_else(gone)?.send(command).map_err(|_| gone())?;
        signal(&self.wake);
        loop {
            match result.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) => self.unblock(),
                result => return result.map_err(|_| gone()),
            }
        }
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
            if let Ok(flags) = rustix::fs::fcntl_getfl(&*eventfd) {
                let _ = rustix::fs::fcntl_setfl(&*eventfd, flags | rustix::fs::OFlags::NONBLOCK);
            }
            let _ = rustix::io::read(&*eventfd, &mut [0; 8]);
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.commands = None;
        signal(&self.wake);
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() {
                self.unblock();
                std::thread::sleep(Duration::from_millis(1));
            }
            // A panic of the worker was printed when it happened.
            let _ = thread.join();
        }
    }
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
