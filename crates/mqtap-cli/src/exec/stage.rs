//! `mqtap launch`: the child of an `mqtap exec` that stays, on its way to become the command.
//!
//! Between fork and exec a process with a Rust runtime may do next to nothing, and `LISTEN_PID` is known only there. So the child
//! is this program once more, told by arguments what to do, and does there what an `mqtap exec` that does not stay does itself.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use clap::Parser;
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, getrlimit};

use super::identity::Identity;
use super::launch::{Failure, Launch, Reserved};
use super::{ended, signals};
use crate::{Error, descriptors};

/// How the child is called. No command for people: it is in no help, and in no completion.
const NAME: &str = "launch";

/// What `mqtap exec` says to itself.
#[derive(Clone, Debug, Parser)]
#[command(name = NAME)]
pub(crate) struct Arguments {
    /// The descriptors to hand over.
    #[arg(long, value_delimiter = ',')]
    fds: Vec<RawFd>,

    /// Their names.
    #[arg(long, value_delimiter = ',')]
    names: Vec<String>,

    /// How many descriptors the command may have [default: any number].
    #[arg(long)]
    limit: Option<u64>,

    /// The user to become.
    #[arg(long, requires_all = ["gid", "groups"])]
    uid: Option<u32>,

    /// The main group to become.
    #[arg(long)]
    gid: Option<u32>,

    /// All groups to become.
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,

    /// Give up all capabilities.
    #[arg(long)]
    drop_caps: bool,

    /// The command.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Starts the child. It has its descriptors then; ours are closed.
pub(super) fn spawn(launch: Launch) -> Result<Child, Error> {
    let (fds, names): (Vec<OwnedFd>, Vec<String>) = launch.descriptors.into_iter().unzip();
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let mut child = Command::new("/proc/self/exe");
    child.arg0("mqtap").arg(NAME);
    child.args(["--fds", &numbers.join(","), "--names", &names.join(",")]);
    if let Some(limit) = launch.limit.current {
        child.args(["--limit", &limit.to_string()]);
    }
    if let Some(Identity { uid, gid, groups }) = &launch.identity {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        child.args(["--uid", &uid.to_string(), "--gid", &gid.to_string(), "--groups", &groups.join(",")]);
    }
    if launch.drop_capabilities {
        child.arg("--drop-caps");
    }
    child.arg("--").args(&launch.command);
    for fd in &fds {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    }
    child.spawn().map_err(|error| format!("cannot start /proc/self/exe: {error}").into())
}

/// The arguments, if this is such a child.
pub(crate) fn arguments(all: impl Iterator<Item = OsString>) -> Option<Arguments> {
    let mut all = all.peekable();
    all.next_if(|first| first == NAME).map(|name| Arguments::parse_from(std::iter::once(name).chain(all)))
}

/// Becomes the command.
pub(crate) fn main(arguments: Arguments) -> ExitCode {
    let program = arguments.command.first().cloned().unwrap_or_default();
    let failure = match prepare(arguments) {
        Ok((launch, reserved)) => launch.exec(reserved),
        Err(error) => Failure::Before(error),
    };
    ended(&program, &failure)
}

fn prepare(arguments: Arguments) -> Result<(Launch, Reserved), Error> {
    signals::unblock()?;
    descriptors::close_inherited_except(&arguments.fds)?;
    let reserved = Reserved::new(arguments.fds.len())?;
    let fds = arguments.fds.iter().map(|&fd| mqtap::fd::inherit(fd)).collect::<Result<Vec<_>, _>>()?;
    let identity = match (arguments.uid, arguments.gid) {
        (Some(uid), Some(gid)) => Some(Identity { uid, gid, groups: arguments.groups }),
        _ => None,
    };
    let launch = Launch {
        descriptors: fds.into_iter().zip(arguments.names).collect(),
        identity,
        drop_capabilities: arguments.drop_caps,
        limit: Rlimit { current: arguments.limit, maximum: getrlimit(Resource::Nofile).maximum },
        command: arguments.command,
    };
    Ok((launch, reserved))
}
