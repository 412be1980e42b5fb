//! The signals of an `mqtap exec` that stays: read one by one, with who sent them.

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::Error;

/// Those that are passed on.
const PASSED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

fn handled() -> SigSet {
    PASSED.into_iter().chain([Signal::SIGCHLD]).collect()
}

/// Lets the signals through again that [`Signals::block`] keeps from a process and its children.
pub(super) fn unblock() -> Result<(), Error> {
    Ok(handled().thread_unblock()?)
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) signal: Signal,
    /// The process that sent it; none if the kernel did, the terminal for example.
    pub(super) sender: Option<u32>,
}

/// The signals of this process, which no longer act on it.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// From here on, and before there is any other thread.
    pub(super) fn block() -> Result<Self, Error> {
        let set = handled();
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for the next one.
    pub(super) fn next(&self) -> Result<Received, Error> {
        loop {
            let info = match self.0.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(format!("cannot read from signalfd: {errno}").into()),
            };
            // Only those that were asked for come.
            let Ok(signal) = i32::try_from(info.ssi_signo)
                .map_err(Error::from)
                .and_then(|number| Ok(Signal::try_from(number)?))
            else {
                continue;
            };
            let by_process = info.ssi_code != libc::SI_KERNEL;
            return Ok(Received { signal, sender: by_process.then_some(info.ssi_pid) });
        }
    }
}

/// Whether the command is to be sent a signal that we were sent. `same_group`: it is in our process group.
///
/// What the terminal sends it sends to the whole foreground group, so that the command got it already; but the SIGHUP of a terminal
/// that goes away, to the leader of the session alone. What the command sends, to its group for example, it does not want back.
pub(super) fn is_passed(received: Received, command: u32, same_group: bool) -> bool {
    let from_terminal =
        matches!(received.signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGWINCH);
    match received.sender {
        Some(sender) => sender != command,
        None => !(from_terminal && same_group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_gets_each_signal_once() {
        let passed = |signal, sender, same_group| is_passed(Received { signal, sender }, 77, same_group);
        for signal in PASSED {
            assert!(passed(signal, Some(1), true), "{signal}: somebody's kill");
            assert!(!passed(signal, Some(77), true), "{signal}: the command's own");
            assert!(passed(signal, None, false), "{signal}: the terminal does not reach it");
        }
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGWINCH] {
            assert!(!passed(signal, None, true), "{signal}: the terminal sent it to both");
        }
        assert!(passed(Signal::SIGHUP, None, true), "the terminal went away");
    }
}
