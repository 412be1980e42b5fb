//! Staying as the parent of the command, to undo the netdevs when it has ended.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};

use super::launch::Launch;
use super::signals::{Signals, is_passed};
use super::stage;
use crate::Error;

/// Runs the command to its end and returns its exit status, that of a signal as shells have it.
pub(super) fn run(launch: Launch) -> Result<u8, Error> {
    let signals = Signals::block()?;
    let child = stage::spawn(launch)?;
    let command = Pid::from_raw(i32::try_from(child.id())?);
    match attend(&signals, command) {
        Err(error) => {
            // The netdevs must not be undone under it.
            tracing::error!("{error}; signals are no longer passed on");
            loop {
                if let Some(status) = exit_status(waitpid(command, None)?) {
                    return Ok(status);
                }
            }
        }
        status => status,
    }
}

/// Passes signals on until the command has ended.
fn attend(signals: &Signals, command: Pid) -> Result<u8, Error> {
    loop {
        let received = signals.next()?;
        if received.signal == Signal::SIGCHLD {
            match waitpid(command, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED))? {
                WaitStatus::Stopped(_, signal) => stop_with(signal)?,
                status => {
                    if let Some(status) = exit_status(status) {
                        return Ok(status);
                    }
                }
            }
        } else if is_passed(received, command.as_raw().unsigned_abs(), in_our_group(command)) {
            // It may have ended a moment ago.
            let _ = kill(command, received.signal);
        }
    }
}

fn in_our_group(process: Pid) -> bool {
    getpgid(Some(process)).is_ok_and(|group| group == getpgrp())
}

/// A shell waits for us, and takes its terminal back when we stop, as it would if it waited for the command. A SIGSTOP is somebody's
/// business with the command alone: whoever sent it will let only that go on.
fn stop_with(signal: Signal) -> Result<(), Error> {
    if matches!(signal, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) {
        nix::sys::signal::raise(Signal::SIGSTOP)?;
    }
    Ok(())
}

/// As shells have it, once it has one.
fn exit_status(status: WaitStatus) -> Option<u8> {
    match status {
        // The kernel keeps eight bits.
        WaitStatus::Exited(_, code) => Some((code & 0xff) as u8),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as u8),
        _ => None,
    }
}
