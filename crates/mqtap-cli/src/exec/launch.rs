//! Becoming the command: descriptors in a row from 3 on, another identity, `execve(2)`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::identity::{Identity, give_up};
use crate::Error;

/// The first descriptor that is handed over, as systemd has it (`SD_LISTEN_FDS_START`).
pub(crate) const FIRST: RawFd = 3;

/// What is handed over, to whom.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Descriptors and their names.
    pub(crate) descriptors: Vec<(OwnedFd, String)>,
    pub(crate) identity: Option<Identity>,
    pub(crate) drop_capabilities: bool,
    /// How many descriptors the command may have, where that was changed.
    pub(crate) limit: Rlimit,
    /// The command and its arguments.
    pub(crate) command: Vec<OsString>,
}

/// Keeps numbers from being used for something else until [`Launch::exec`] wants them.
#[derive(Debug)]
pub(crate) struct Reserved {
    _held: Vec<OwnedFd>,
}

impl Reserved {
    /// The free ones of the first `count` numbers from [`FIRST`] on.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let mut held = Vec::with_capacity(count);
        for number in numbers(count) {
            let fd = rustix::io::fcntl_dupfd_cloexec(&null, number)?;
            if fd.as_raw_fd() == number {
                held.push(fd);
            }
        }
        held.push(null);
        Ok(Self { _held: held })
    }
}

fn numbers(count: usize) -> impl Iterator<Item = RawFd> {
    (FIRST..).take(count)
}

/// Why the command does not run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something before it.
    Before(Error),
    /// The command itself.
    Command(io::Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

impl Launch {
    /// Replaces this process by the command. The numbers from [`FIRST`] on must be free or reserved, and this thread the only one.
    ///
    /// Returns only if that fails; there is nothing left to do then but to end.
    pub(crate) fn exec(self, reserved: Reserved) -> Failure {
        let command = self.command.clone();
        match self.prepare(reserved) {
            Ok((mut ready, _descriptors)) => {
                let error = ready.exec();
                tracing::debug!("execve of {command:?}: {error}");
                Failure::Command(error)
            }
            Err(failure) => failure,
        }
    }

    fn prepare(self, reserved: Reserved) -> Result<(Command, Vec<OwnedFd>), Failure> {
        let count = self.descriptors.len();
        let above = numbers(count).last().unwrap_or(FIRST) + 1;
        let mut names = Vec::with_capacity(count);
        let mut moved = Vec::with_capacity(count);
        for (fd, name) in self.descriptors {
            moved.push(rustix::io::fcntl_dupfd_cloexec(&fd, above)?);
            names.push(name);
        }
        drop(reserved);
        let mut placed = Vec::with_capacity(count);
        for (fd, number) in moved.iter().zip(numbers(count)) {
            let fd = rustix::io::fcntl_dupfd_cloexec(fd, number)?;
            if fd.as_raw_fd() != number {
                return Err(format!("file descriptor {number} is in use, and must be free").into());
            }
            placed.push(fd);
        }
        setrlimit(Resource::Nofile, self.limit)?;
        give_up(self.identity.as_ref(), self.drop_capabilities)?;

        let mut words = self.command.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        // sd_listen_fds(3). Systemd 258 and later check this one as well, which is then of another process.
        command.env_remove("LISTEN_PIDFDID");
        command.env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDS", count.to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        // Last: from here on every program that is started has them.
        for fd in &placed {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok((command, placed))
    }
}

/// Exit status and text for a command that could not be run, as shells and `env` have it.
pub(crate) fn describe(program: &Path, error: &io::Error) -> (u8, String) {
    let program = match error.kind() {
        io::ErrorKind::NotFound if program.components().count() == 1 => {
            return (127, format!("cannot run {}: there is no such program in PATH", program.display()));
        }
        _ => program.display(),
    };
    let text = match error.raw_os_error() {
        Some(errno) => format!("cannot run {program}: {}", nix::errno::Errno::from_raw(errno)),
        None => format!("cannot run {program}: {error}"),
    };
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    (status, text)
}
