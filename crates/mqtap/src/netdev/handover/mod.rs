//! What a VMM is told of a netdev whose open queues it inherits.

mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::RawFd;

pub use template::{Template, TemplateError};

use super::options::{Id, Options};
use crate::MacAddress;

/// A netdev as the program sees it that inherits its descriptors.
///
/// Prints as the argument of QEMU's `-netdev`: `tap,id=hn0,fds=3:4,vhostfds=5:6`. [`Template`] puts this and the single values
/// into the arguments of any program.
///
/// QEMU sets the send buffer limit of every tap that it is given, so a limit that was asked for is repeated here, and so is how
/// long vhost-net polls, which is QEMU's to set. Whether frames have a virtio-net header it asks the kernel (TUNGETIFF).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// What the netdev is called.
    pub id: Id,
    /// The interface's name.
    pub ifname: String,
    /// The numbers that the tap queues have in that program, queue 0 first.
    pub tap_fds: Vec<RawFd>,
    /// The numbers of the vhost-net handles, one for each queue, or none at all.
    pub vhost_fds: Vec<RawFd>,
    /// The guest's address.
    pub mac: Option<MacAddress>,
    /// `sndbuf`, if it was asked for.
    pub sndbuf: Option<u64>,
    /// `poll-us`, if it was asked for.
    pub poll_us: Option<u32>,
}

impl Handover {
    /// A netdev with these options, whose descriptors will be numbered from `first` on: the queues, then the vhost-net handles if
    /// `vhost` says so. The interface is called what the options say, which may be a pattern, until somebody knows better.
    #[must_use]
    pub fn numbered(options: &Options, first: RawFd, vhost: bool) -> Self {
        let count = options.queue_count();
        let vhost_count = if vhost { count } else { 0 };
        let mut numbers = first..;
        Self {
            id: options.id.clone(),
            ifname: options.ifname.to_string(),
            tap_fds: numbers.by_ref().take(count).collect(),
            vhost_fds: numbers.take(vhost_count).collect(),
            mac: None,
            sndbuf: options.sndbuf,
            poll_us: options.poll_us,
        }
    }

    /// How many descriptors it has.
    #[must_use]
    pub fn fd_count(&self) -> usize {
        self.tap_fds.len() + self.vhost_fds.len()
    }

    /// The names of the descriptors for `LISTEN_FDNAMES`, in the order of their numbers: the netdev's id for each queue, and
    /// with `.vhost` after it for each vhost-net handle. As systemd does it, descriptors of a kind share one name.
    pub fn fd_names(&self) -> impl Iterator<Item = String> + '_ {
        let taps = self.tap_fds.iter().map(|_| self.id.to_string());
        taps.chain(self.vhost_fds.iter().map(|_| format!("{}.vhost", self.id)))
    }
}

impl fmt::Display for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, one, several, fds: &[RawFd]| match fds {
            [] => Ok(()),
            [fd] => write!(f, ",{one}={fd}"),
            fds => write!(f, ",{several}={}", joined(fds, ":")),
        };
        write!(f, "tap,id={}", self.id)?;
        list(f, "fd", "fds", &self.tap_fds)?;
        list(f, "vhostfd", "vhostfds", &self.vhost_fds)?;
        if let Some(bytes) = self.sndbuf {
            write!(f, ",sndbuf={bytes}")?;
        }
        match self.poll_us {
            Some(microseconds) if !self.vhost_fds.is_empty() => write!(f, ",poll-us={microseconds}"),
            _ => Ok(()),
        }
    }
}

fn joined(fds: &[RawFd], separator: &str) -> String {
    fds.iter().map(RawFd::to_string).collect::<Vec<_>>().join(separator)
}
