//! `mqtap exec`: netdevs opened for a command that inherits them.

mod args;
mod identity;
mod launch;
mod signals;
pub(crate) mod stage;
mod stay;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;

use mqtap::MacAddress;
use mqtap::netdev::{Handover, Netdev, OpenMode, Options, Template};

pub(crate) use args::Arguments;
use identity::Identity;
use launch::{FIRST, Failure, Launch, Reserved};

use crate::per_nic::{ids, known, not_shared, pick};
use crate::{Error, descriptors, exit, guest_mac};

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let plan = match Plan::new(arguments) {
        Ok(plan) => plan,
        Err(message) => return exit::usage("exec", &message),
    };
    let (launch, reserved, netdevs) = match prepare(arguments, plan) {
        Ok(prepared) => prepared,
        Err(error) => return exit::failure(&error),
    };
    if netdevs.have_undo() {
        // The slots are for the child, which makes its own.
        drop(reserved);
        return match stay::run(launch) {
            Ok(status) => {
                drop(netdevs);
                ExitCode::from(status)
            }
            Err(error) => exit::failure(&error),
        };
    }
    netdevs.keep();
    let program = launch.command.first().cloned().unwrap_or_default();
    ended(&program, &launch.exec(reserved))
}

/// The exit status of a command that does not run, after a word about why.
fn ended(program: &OsStr, failure: &Failure) -> ExitCode {
    match failure {
        Failure::Before(error) => exit::failure(error),
        Failure::Command(error) => {
            let (status, text) = launch::describe(Path::new(program), error);
            eprintln!("error: {text}");
            ExitCode::from(status)
        }
    }
}

/// Netdevs that are open, dropped last to first.
struct Opened(Vec<Netdev>);

impl Opened {
    fn have_undo(&self) -> bool {
        self.0.iter().any(Netdev::has_undo)
    }

    fn keep(mut self) {
        while let Some(netdev) = self.0.pop() {
            netdev.keep();
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// What the command will be told, as far as that is known before anything is opened.
struct Plan {
    netdevs: Vec<Handover>,
    /// Given for the netdev, rather than derived.
    macs: Vec<Option<MacAddress>>,
    identity: Option<Identity>,
}

impl Plan {
    /// Finds what is wrong with the arguments.
    fn new(arguments: &Arguments) -> Result<Self, String> {
        let ids = ids(&arguments.netdev)?;
        not_shared(&arguments.mac, &ids)?;
        known("--mac", &arguments.mac, &ids)?;
        let macs = ids.iter().map(|id| pick("--mac", &arguments.mac, id)).collect::<Result<Vec<_>, _>>()?;
        let mut first = FIRST;
        let netdevs: Vec<Handover> = arguments
            .netdev
            .iter()
            .zip(&macs)
            .map(|(options, mac)| {
                let told = Handover::numbered(options, first, options.wants_vhost());
                let mac = mac.or_else(|| guest_mac::of_existing(options));
                with_mac(told, mac, &mut first)
            })
            .collect();
        filled(&arguments.command, &netdevs)?;
        let identity = Identity::find(arguments.user.as_ref(), arguments.group.as_ref())
            .map_err(|error| error.to_string())?;
        Ok(Self { netdevs, macs, identity })
    }

    fn fd_count(&self) -> usize {
        self.netdevs.iter().map(Handover::fd_count).sum()
    }
}

/// Opens the netdevs, and makes ready to become the command.
fn prepare(arguments: &Arguments, plan: Plan) -> Result<(Launch, Reserved, Opened), Error> {
    let limit = descriptors::raise_limit();
    let named: Vec<RawFd> = arguments.netdev.iter().flat_map(descriptors_of).collect();
    descriptors::close_inherited_except(&named)
        .map_err(|error| format!("cannot look for open descriptors in /proc/self/fd: {error}"))?;
    let reserved = Reserved::new(plan.fd_count())?;

    let mut netdevs = Opened(Vec::with_capacity(plan.netdevs.len()));
    for options in &arguments.netdev {
        let opened = Netdev::open_with(options, OpenMode::Attached);
        netdevs.0.push(opened.map_err(|error| exit::there(options.netns.as_ref(), &error))?);
    }
    let mut first = FIRST;
    let mut told = Vec::with_capacity(plan.netdevs.len());
    let mut handed = Vec::with_capacity(plan.fd_count());
    for (netdev, mac) in netdevs.0.iter().zip(plan.macs) {
        // With vhost=try there may be less than was planned.
        let mut one = Handover::numbered(netdev.options(), first, !netdev.vhost().is_empty());
        one.ifname = netdev.device().name().to_string();
        let mac = guest_mac::of(netdev.device(), mac)?;
        let one = with_mac(one, mac, &mut first);
        handed.extend(copies(netdev)?.into_iter().zip(one.fd_names()));
        told.push(one);
    }
    let launch = Launch {
        descriptors: handed,
        identity: plan.identity,
        drop_capabilities: arguments.drop_caps,
        limit,
        command: filled(&arguments.command, &told)?,
    };
    Ok((launch, reserved, netdevs))
}

/// The guest's address, given or derived, and the number after the last descriptor.
fn with_mac(mut netdev: Handover, mac: Option<MacAddress>, first: &mut RawFd) -> Handover {
    netdev.mac = mac.or_else(|| derived_mac(&netdev.ifname));
    // There are at most 512 of a netdev.
    *first += netdev.fd_count() as RawFd;
    netdev
}

/// Descriptors of the same open files as those of the netdev: the queues, then the vhost-net handles.
fn copies(netdev: &Netdev) -> Result<Vec<OwnedFd>, Error> {
    let queues = netdev.device().queues().iter().map(AsFd::as_fd);
    let handles = netdev.vhost().iter().map(AsFd::as_fd);
    Ok(queues
        .chain(handles)
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, FIRST))
        .collect::<Result<_, _>>()?)
}

/// The inherited descriptors that a netdev names.
fn descriptors_of(options: &Options) -> impl Iterator<Item = RawFd> + '_ {
    let lists = [&options.fds, &options.vhostfds].into_iter().flatten().flatten().copied();
    lists.chain(options.fd).chain(options.vhostfd)
}

/// The command with the names of netdevs in its arguments replaced.
fn filled(command: &[OsString], netdevs: &[Handover]) -> Result<Vec<OsString>, String> {
    let template = Template::new(netdevs).map_err(|error| error.to_string())?;
    let mut words = command.iter();
    // The program is not an argument.
    let mut filled: Vec<OsString> = words.by_ref().take(1).cloned().collect();
    for word in words {
        let bytes = template.fill(word.as_bytes()).map_err(|error| error.to_string())?;
        filled.push(OsString::from_vec(bytes));
    }
    Ok(filled)
}

/// An address that stays the same for an interface of this host, if the host has an identity.
fn derived_mac(interface: &str) -> Option<MacAddress> {
    let host = std::fs::read_to_string("/etc/machine-id").ok()?;
    let host = host.trim();
    (!host.is_empty()).then(|| MacAddress::derived(format!("{host} {interface}").as_bytes()))
}
