//! `helper=`: a program with privileges opens the queues and hands them over.
//!
//! The protocol is QEMU's (qemu-bridge-helper.c): the helper is given `--use-vnet`, `--fd=N` and `--br=BRIDGE`, sends the
//! descriptor over the Unix socket N, and ends with status 0. Our own is also given `--queues=N`.

mod error;
mod own;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::io::Errno;

pub use error::HelperError;

use super::super::options::Options;
use super::{Error, OpenMode, queues};
use crate::device::TapDevice;
use crate::program::{Program, TIME_LIMIT};
use crate::sys;

/// The bridge that a helper is told when none was asked for, as in QEMU.
const DEFAULT_BRIDGE: &str = "br0";

/// Has the helper open the queues, and brings the device into the state that was asked for.
pub(super) fn open(options: &Options, helper: &str, mode: OpenMode) -> Result<TapDevice, Error> {
    let device = obtain(options, helper).map_err(|source| Error::Helper {
        id: options.id.clone(),
        helper: helper.to_owned(),
        source: Box::new(source),
    })?;
    queues::set_up_adopted(options, &device, mode)?;
    Ok(device)
}

fn obtain(options: &Options, helper: &str) -> Result<TapDevice, HelperError> {
    let wanted = options.queue_count();
    let bridge = options.br.map_or(DEFAULT_BRIDGE.to_owned(), |bridge| bridge.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(|source| HelperError::Socket { source })?;
    let command = if options.uses_own_helper() {
        own_command(own::find().ok_or(HelperError::NoOwnHelper)?, theirs.as_fd(), &bridge, wanted)
    } else {
        command(helper, theirs.as_fd(), &bridge)
    };
    let arguments: Vec<&OsStr> = command.iter().map(OsString::as_os_str).collect();
    let label = format!("{}: helper {helper}", options.id);
    let program =
        Program { label: &label, arguments: &arguments, passed: Some(theirs.as_fd()), limit: TIME_LIMIT };
    program.run().map_err(|source| HelperError::Run { source, bridge: bridge.clone() })?;
    // Now that it has ended, all that it sent has arrived, and without our copy of its end the stream has one.
    drop(theirs);
    let queues = receive(ours.as_fd(), wanted)?;
    TapDevice::adopt_owned(queues).map_err(|source| HelperError::Queues { source: Box::new(source) })
}

/// The command line of a helper that speaks QEMU's protocol. One with a blank in it is a command for a shell, to which QEMU
/// adds the arguments, except a `--br=` that it has already.
fn command(helper: &str, socket: BorrowedFd<'_>, bridge: &str) -> Vec<OsString> {
    let use_vnet = OsString::from("--use-vnet");
    let fd = format!("--fd={}", socket.as_raw_fd()).into();
    let br = format!("--br={bridge}").into();
    if !helper.contains([' ', '\t']) {
        return vec![helper.into(), use_vnet, fd, br];
    }
    // As arguments of the shell and not as text, of which the name of a bridge could be a part that the shell understands.
    let script = format!("{helper} \"$@\"").into();
    let mut command = vec!["/bin/sh".into(), "-c".into(), script, "sh".into(), use_vnet, fd];
    if !helper.contains("--br=") {
        command.push(br);
    }
    command
}

fn own_command(program: PathBuf, socket: BorrowedFd<'_>, bridge: &str, queues: usize) -> Vec<OsString> {
    vec![
        program.into(),
        "helper".into(),
        "--use-vnet".into(),
        format!("--fd={}", socket.as_raw_fd()).into(),
        format!("--br={bridge}").into(),
        format!("--queues={queues}").into(),
    ]
}

/// Takes what the helper has sent: neither more nor less queues than wanted.
fn receive(socket: BorrowedFd<'_>, wanted: usize) -> Result<Vec<OwnedFd>, HelperError> {
    let mut queues = Vec::with_capacity(wanted);
    loop {
        match sys::receive_descriptors(socket) {
            Ok(Some(more)) => queues.extend(more),
            // Something that it has left running may hold the socket open; it is not waited for.
            Ok(None) | Err(Errno::AGAIN) => break,
            Err(errno) => return Err(HelperError::Receive { errno }),
        }
        if queues.len() > wanted {
            return Err(HelperError::QueueCount { wanted, passed: queues.len() });
        }
    }
    match queues.len() {
        0 => Err(HelperError::NothingPassed),
        passed if passed != wanted => Err(HelperError::QueueCount { wanted, passed }),
        _ => Ok(queues),
    }
}

#[cfg(test)]
mod tests;
