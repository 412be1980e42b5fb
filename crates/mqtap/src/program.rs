//! Other people's programs: scripts and helpers. They are run with a limit of time, and what they print goes to the log.

mod error;
mod output;
#[cfg(all(test, target_os = "linux", not(mqtap_other_os)))]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

pub use error::{Denied, RunError};
use output::Output;

use crate::sys;

/// How long a script or a helper may take. Then it is killed, with every process in its group.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A program to run.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// What stands before each line that it prints.
    pub(crate) label: &'a str,
    /// Its path, then its arguments: eight at most, with the path.
    pub(crate) arguments: &'a [&'a OsStr],
    /// The one descriptor, besides standard input, output and error, that it gets.
    pub(crate) passed: Option<BorrowedFd<'a>>,
    pub(crate) limit: Duration,
}

impl Program<'_> {
    /// Runs it, in the network namespace of this thread, until it has ended. What it leaves running in the background is not
    /// waited for.
    pub(crate) fn run(&self) -> Result<(), RunError> {
        // A file that somebody still writes to cannot be executed (ETXTBSY). That somebody may be a process that another
        // thread of ours has forked, and that has not come to its exec yet.
        let mut attempts_left = 20;
        let running = loop {
            match Running::start(self) {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && attempts_left > 0 => {
                    attempts_left -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => break result,
            }
        };
        let path = self.arguments.first().copied().unwrap_or_default();
        let mut running = running.map_err(|error| RunError::from_start(path.as_ref(), &error))?;
        let outcome = running.wait(self.limit);
        let last_line = running.drain();
        match outcome.map_err(|source| RunError::Wait { source })? {
            None => Err(RunError::TimedOut { limit: self.limit, last_line }),
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(RunError::Failed { status, last_line }),
        }
    }
}

/// A program that runs. Dropped, it is killed.
struct Running<'a> {
    child: Child,
    /// Becomes readable when the program has ended.
    ended: OwnedFd,
    reaped: bool,
    output: Vec<Output<'a>>,
}

impl<'a> Running<'a> {
    fn start(program: &Program<'a>) -> io::Result<Self> {
        let (mut child, ended) = sys::spawn(program.arguments, program.passed)?;
        let pipes = [child.stderr.take().map(OwnedFd::from), child.stdout.take().map(OwnedFd::from)];
        let output = pipes.into_iter().flatten().map(|pipe| Output::new(pipe, program.label)).collect();
        Ok(Self { child, ended, reaped: false, output })
    }

    /// Waits until it has ended; `None` if it did not in time, and was killed.
    fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.kill();
                return Ok(None);
            }
            if self.look(left)? {
                // Also if this fails: the number is somebody else's then.
                self.reaped = true;
                return self.child.wait().map(Some);
            }
        }
    }

    /// Reads what it printed, if it does before the time is up. True if it has ended.
    fn look(&mut self, left: Duration) -> io::Result<bool> {
        let mut open: Vec<&mut Output<'_>> =
            self.output.iter_mut().filter(|output| !output.at_end()).collect();
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
        fds.extend(open.iter().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)));
        let timeout = Timespec {
            // A minute, or whatever a test asks for.
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (output, _) in open.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            output.read_some();
        }
        Ok(ready[0])
    }

    /// Takes what is left of its output, and returns its last words: those on standard error if there are any.
    fn drain(mut self) -> Option<String> {
        let last: Vec<String> = self.output.drain(..).filter_map(Output::finish).collect();
        last.into_iter().next()
    }

    fn kill(&mut self) {
        // Its group has the number that it has itself, and which is not given out again before it is reaped.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        self.reaped = true;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
        }
    }
}
