//! Who has queues of an interface open.

use std::os::fd::RawFd;

use super::NamespaceId;
use super::proc::{self, Descriptor, Of};
use super::queue::{self, Hidden, QueueState};
use crate::link::Link;
use crate::name::InterfaceName;

/// A queue of an interface that a process has open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`).
    pub command: String,
    /// Its command line.
    pub arguments: Vec<String>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    /// It is stopped, by a signal or a debugger, and so reads nothing.
    pub stopped: bool,
    /// The network namespace that it is in. That of the interface can be another.
    pub namespace: Option<NamespaceId>,
    /// The descriptor.
    pub fd: RawFd,
    /// Reads and writes wait (no `O_NONBLOCK`): the kernel's slow path for writes, unless they come by io_uring or vhost-net.
    pub blocking: bool,
    /// The process has an io_uring, and may use it for this queue.
    pub io_uring: bool,
    /// The process has `/dev/vhost-net` open: the kernel may move the frames of this queue.
    pub vhost_net: bool,
    /// What the queue tells, or why nothing.
    pub queue: Result<QueueState, Hidden>,
    /// The first among the holders that has the same open file: a queue that was inherited or passed on is held twice. The
    /// pid and the descriptor.
    pub same_as: Option<(u32, RawFd)>,
}

/// All descriptors of taps on this machine that this user may see: read once, asked for each interface.
#[derive(Clone, Debug)]
pub(super) struct Holders {
    descriptors: Vec<Descriptor>,
    here: Option<NamespaceId>,
}

/// Those who have queues of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) holders: Vec<Holder>,
    /// Those who have queues of an interface of the same name in another namespace.
    pub(super) namesakes: Vec<Holder>,
}

impl Holders {
    /// Looks at all processes.
    pub(super) fn scan(here: Option<NamespaceId>) -> Self {
        Self { descriptors: proc::descriptors(), here }
    }

    /// Those of one interface of the namespace.
    pub(super) fn of(&self, link: &Link) -> Found {
        match link.tun {
            Some(_) => self.of_tun(link.name),
            None => self.find(link.name, Of::Index(link.index)),
        }
    }

    /// Those of a tap or tun of the namespace.
    pub(super) fn of_tun(&self, name: InterfaceName) -> Found {
        self.find(name, Of::Tun(name))
    }

    fn find(&self, name: InterfaceName, wanted: Of) -> Found {
        let is_tun = matches!(wanted, Of::Tun(_));
        let mut found = Found::default();
        // A process has many queues, one after the other.
        let mut last: Option<Holder> = None;
        for descriptor in self.descriptors.iter().filter(|descriptor| descriptor.of == wanted) {
            let former = last.take().filter(|last| last.pid == descriptor.pid);
            let Some(process) = former.or_else(|| process(descriptor.pid)) else { continue };
            last = Some(process.clone());
            let Some(holder) = examine(descriptor, name, process) else { continue };
            match self.is_here(&holder, is_tun) {
                Some(false) => found.namesakes.push(holder),
                Some(true) | None => found.holders.push(holder),
            }
        }
        while !mark_copies(&mut found.holders) {
            // A program that is started is a copy of its parent until then, descriptors and all: it may have been one when it was
            // looked at.
            let before = found.holders.len();
            found.holders.retain(|holder| queue::look(holder.pid, holder.fd, wanted).is_some());
            if found.holders.len() == before {
                break;
            }
        }
        found
    }

    /// Whether the device of a queue is in our namespace: as the queue tells, and else as its process suggests. Of a macvtap
    /// that says its name, the index is right as well; that is enough.
    fn is_here(&self, holder: &Holder, is_tun: bool) -> Option<bool> {
        let told = match holder.queue {
            Ok(_) if !is_tun => return None,
            Ok(queue) => queue.device_namespace,
            Err(_) => None,
        };
        Some(told.or(holder.namespace)? == self.here?)
    }
}

/// What a process is, without a queue yet.
fn process(pid: u32) -> Option<Holder> {
    let engines = proc::engines(pid);
    Some(Holder {
        pid,
        command: proc::command(pid)?,
        arguments: proc::arguments(pid),
        unit: proc::unit(pid),
        stopped: proc::is_stopped(pid),
        namespace: NamespaceId::of_file(&format!("/proc/{pid}/ns/net")),
        fd: -1,
        blocking: false,
        io_uring: engines.io_uring,
        vhost_net: engines.vhost_net,
        queue: Err(Hidden::Unavailable),
        same_as: None,
    })
}

fn examine(descriptor: &Descriptor, name: InterfaceName, process: Holder) -> Option<Holder> {
    let &Descriptor { pid, fd, of, blocking } = descriptor;
    let queue = queue::look(pid, fd, of)?;
    if queue.is_ok_and(|queue| queue.interface != name) {
        // Renamed, or the number was given to something else, between two looks.
        return None;
    }
    Some(Holder { fd, blocking, queue, ..process })
}

/// Finds out who has the same open file. False if the kernel did not tell for some.
fn mark_copies(holders: &mut [Holder]) -> bool {
    let mut all_told = true;
    for i in 1..holders.len() {
        let (former, rest) = holders.split_at_mut(i);
        let one = &mut rest[0];
        let same = former.iter().filter(|other| other.same_as.is_none()).find(|other| {
            let told = crate::sys::same_file_elsewhere((other.pid, other.fd), (one.pid, one.fd));
            all_told &= told.is_some();
            told == Some(true)
        });
        one.same_as = same.map(|other| (other.pid, other.fd));
    }
    all_told
}
