//! Looking at taps from outside, without touching them: what each is, what passes it, and who holds it.
//!
//! Nothing here opens a queue of an interface or changes a setting. It works on any tap, whoever made it, and needs no
//! privilege; what other users' processes hide is left out, and told so ([`Tap::unseen_queues`], [`Hidden`]).
//!
//! ```no_run
//! # fn main() -> Result<(), mqtap::inspect::Error> {
//! for tap in mqtap::inspect::list(None)? {
//!     for holder in &tap.holders {
//!         println!("{}: {} (pid {}), descriptor {}", tap.link.name, holder.command, holder.pid, holder.fd);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod features;
mod holder;
mod proc;
mod queue;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

pub use features::offloads_of;
pub use holder::Holder;
use holder::Holders;
pub(crate) use proc::{Reads, held_programs, reads};
pub use queue::{Hidden, QueueState};
use rustix::io::Errno;

use crate::device::{Namespace, visit};
use crate::link::{self, Link, LinkCounters, Links, QueueCounters, describe};
use crate::name::InterfaceName;
use crate::offload::Offloads;
use crate::sys;

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such interface.
    #[error("there is no interface {0} in this network namespace")]
    NotFound(InterfaceName),
    /// Something else.
    #[error("{name} is no tap but {}", kind_in_words(kind.as_deref()))]
    NotATap {
        /// The interface.
        name: InterfaceName,
        /// The driver's name for what it is.
        kind: Option<String>,
    },
    /// The namespace could not be entered.
    #[error("cannot look into the network namespace {path}: {}", namespace_reason(source))]
    Namespace {
        /// Of the namespace.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// rtnetlink.
    #[error(transparent)]
    Link(#[from] link::Error),
}

pub(crate) fn kind_in_words(kind: Option<&str>) -> String {
    kind.map_or_else(|| "a network card or the loopback".to_owned(), |kind| format!("of kind {kind}"))
}

fn namespace_reason(error: &std::io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(errno) => describe(errno),
        None => error.to_string(),
    }
}

/// A network namespace: two are the same if these numbers are (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// The number in `net:[4026531840]`.
    #[must_use]
    pub fn inode(self) -> u64 {
        self.inode
    }

    /// That of the calling thread.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(sys::thread_namespace().ok()?.as_fd())
    }

    /// That of the device of a queue. `None` before Linux 5.2, and with a user namespace that may not ask.
    pub(crate) fn of_device(queue: BorrowedFd<'_>) -> Option<Self> {
        Self::of(sys::device_namespace(queue).ok()?.as_fd())
    }

    /// The name that `ip netns` has for it, if any.
    #[must_use]
    pub fn name(self) -> Option<String> {
        let entries = std::fs::read_dir("/run/netns").ok()?.flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| Self::of_file(&format!("/run/netns/{name}")) == Some(self))
    }

    fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        let stat = rustix::fs::fstat(fd).ok()?;
        Some(Self { device: stat.st_dev, inode: stat.st_ino })
    }

    fn of_file(path: &str) -> Option<Self> {
        let stat = rustix::fs::stat(path).ok()?;
        Some(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(&name),
            None => write!(f, "net:[{}]", self.inode),
        }
    }
}

/// Which kind of tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Made with `/dev/net/tun`, for Ethernet frames.
    Tap,
    /// Made with `/dev/net/tun`, for IP packets. No virtual NIC can use it.
    Tun,
    /// A macvtap: `/dev/tapN`, on top of another interface.
    Macvtap,
    /// An ipvtap: `/dev/tapN`, on top of another interface.
    Ipvtap,
}

impl Kind {
    /// Whether it stands on another interface and has its queues by `/dev/tapN`.
    #[must_use]
    pub fn is_on_another_interface(self) -> bool {
        matches!(self, Self::Macvtap | Self::Ipvtap)
    }

    pub(crate) fn of(link: &Link) -> Option<Self> {
        match (link.kind.as_deref()?, link.tun) {
            ("tun", Some(tun)) => Some(if tun.tap { Self::Tap } else { Self::Tun }),
            ("macvtap", _) => Some(Self::Macvtap),
            ("ipvtap", _) => Some(Self::Ipvtap),
            _ => None,
        }
    }

    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Tun => "tun",
            Self::Macvtap => "macvtap",
            Self::Ipvtap => "ipvtap",
        }
    }
}

/// A tap at one moment, as it can be seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tap {
    /// Which kind.
    pub kind: Kind,
    /// The interface, its settings and counters.
    pub link: Link,
    /// The network namespace that it is in.
    pub namespace: Option<NamespaceId>,
    /// The bridge, or other master, that it is a port of.
    pub master: Option<Link>,
    /// The interface that a macvtap or ipvtap stands on, if that is in the same namespace.
    pub parent: Option<Link>,
    /// Offloads that are on: what the kernel may leave undone on frames that are read. `None` where they do not show.
    pub offloads: Option<Offloads>,
    /// What passed each of the kernel's transmit queues. Only the qdisc `mq` counts by queue.
    pub queue_counters: Vec<QueueCounters>,
    /// Who has its queues open, as far as this user may see.
    pub holders: Vec<Holder>,
    /// Who has queues open of an interface with the same name in another namespace.
    pub namesakes: Vec<Holder>,
}

impl Tap {
    /// Queues that are open, attached or not, as the kernel tells: for a tap without `multi_queue` as `/proc` tells.
    #[must_use]
    pub fn open_queues(&self) -> u32 {
        match self.link.tun {
            Some(tun) if tun.multi_queue => tun.queues(),
            _ => self.seen_queues(),
        }
    }

    /// Queues that are open in processes which this user may not look into.
    #[must_use]
    pub fn unseen_queues(&self) -> u32 {
        self.open_queues().saturating_sub(self.seen_queues())
    }

    /// Different queues among the holders.
    fn seen_queues(&self) -> u32 {
        self.holders.iter().filter(|holder| holder.same_as.is_none()).count() as u32
    }

    /// Length of the virtio-net header, in bytes. Only a queue tells: `None` for a tap that nobody holds, or whose holders may
    /// not be asked, or that has none.
    #[must_use]
    pub fn vnet_header_size(&self) -> Option<i32> {
        self.holders.iter().find_map(|holder| holder.queue.ok()?.vnet_header_size)
    }
}

/// All taps of a network namespace (the caller's if `None`), macvtaps and ipvtaps included, in the kernel's order.
///
/// # Errors
/// [`Error::Namespace`], [`Error::Link`].
pub fn list(namespace: Option<&Namespace>) -> Result<Vec<Tap>, Error> {
    inside(namespace, || {
        let links = Links::open()?;
        let all = links.list()?;
        let here = NamespaceId::current();
        let holders = Holders::scan(here);
        let taps = all.iter().filter(|link| Kind::of(link).is_some_and(|kind| kind != Kind::Tun));
        Ok(taps.filter_map(|link| complete(link.clone(), &links, &all, &holders, here)).collect())
    })
}

/// One tap of a network namespace (the caller's if `None`). A tun is told as well.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotATap`], [`Error::Namespace`], [`Error::Link`].
pub fn find(name: InterfaceName, namespace: Option<&Namespace>) -> Result<Tap, Error> {
    inside(namespace, || {
        let links = Links::open()?;
        let link = links.find(name)?.ok_or(Error::NotFound(name))?;
        let kind = link.kind.clone();
        let here = NamespaceId::current();
        let others: Vec<Link> = [link.master, link.parent]
            .into_iter()
            .flatten()
            .filter_map(|index| links.get(index).ok())
            .collect();
        if Kind::of(&link).is_none() {
            return Err(Error::NotATap { name, kind });
        }
        let holders = Holders::scan(here);
        complete(link, &links, &others, &holders, here).ok_or(Error::NotATap { name, kind })
    })
}

/// The counters of all interfaces of a namespace, by their index.
pub(crate) fn counters(namespace: Option<&Namespace>) -> Result<BTreeMap<u32, LinkCounters>, Error> {
    inside(namespace, || {
        Ok(Links::open()?.list()?.into_iter().map(|link| (link.index, link.counters)).collect())
    })
}

fn complete(
    link: Link,
    links: &Links,
    others: &[Link],
    holders: &Holders,
    namespace: Option<NamespaceId>,
) -> Option<Tap> {
    let kind = Kind::of(&link)?;
    let other = |index: Option<u32>| others.iter().find(|other| Some(other.index) == index).cloned();
    let found = holders.of(&link);
    let queue_counters = match link.qdisc.as_deref() {
        // What cannot be read is not there: the interface may just have gone.
        Some("mq") => links.queue_counters(link.index).unwrap_or_default(),
        _ => Vec::new(),
    };
    Some(Tap {
        kind,
        namespace,
        master: other(link.master),
        parent: other(link.parent),
        // A macvtap has the features of what it stands on.
        offloads: link
            .tun
            .and_then(|_| sys::active_features(link.name).ok())
            .map(|names| offloads_of(&names)),
        queue_counters,
        holders: found.holders,
        namesakes: found.namesakes,
        link,
    })
}

/// Looks inside a namespace, from a thread of its own.
fn inside<T: Send>(
    namespace: Option<&Namespace>,
    look: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let Some(namespace) = namespace else { return look() };
    let path = namespace.path();
    let failed = |source: std::io::Error| Error::Namespace { path: path.clone(), source };
    let file = namespace.open_file().map_err(&failed)?;
    visit(|| sys::enter_namespace(file.as_fd()), look, |errno| failed(errno.into()))
}

/// Who has queues of a tap, given by its name in a namespace. Those of whom that cannot be told are among them.
pub(crate) fn holders_of(interface: InterfaceName, here: Option<NamespaceId>) -> Vec<Holder> {
    Holders::scan(here).of_tun(interface).holders
}
