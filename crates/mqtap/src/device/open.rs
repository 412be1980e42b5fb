//! Opening a device: inspect, open, verify, set.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use super::macvtap::Node;
use super::restore::Restore;
use super::verify::{used_by_others, verify, verify_joined, verify_link};
use super::{Error, MAX_QUEUES, MultiQueue, OpenOptions, TapDevice, VnetHeaderMode, known, owner};
use crate::capabilities::Capabilities;
use crate::inspect::Kind;
use crate::link::{self, Link, Links, TunLink};
use crate::name::{InterfaceName, NameRequest};
use crate::queue::TapQueue;
use crate::sys::{self, Interface, flag};

/// How often somebody else may make the interface between our look and our try, before we give up.
const ATTEMPTS: u32 = 3;

/// A device that is being opened. Dropped before it is [finished](Self::finish), it leaves things as they were.
#[derive(Debug)]
pub(crate) struct Opening {
    // In this order: the queues are closed before an idle device gets back what it had.
    device: TapDevice,
    restore: Option<Restore>,
    options: OpenOptions,
    is_new: bool,
    /// What was there before.
    existing: Option<TunLink>,
    source: Source,
    /// What each queue was, or is to be, opened with.
    flags: u16,
    /// Others have queues attached, and so a say in the settings.
    joined: bool,
}

/// Where the queues after the first come from.
#[derive(Debug)]
enum Source {
    /// `/dev/net/tun`, opened in the right namespace, for each queue to come.
    Spare(Vec<OwnedFd>),
    /// The device node of a macvtap or ipvtap, of which a queue takes frames as soon as it is opened.
    Node(Box<Node>),
}

impl Opening {
    /// Looks at what is there, and opens queue 0.
    pub(crate) fn begin(options: &OpenOptions) -> Result<Self, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        if !(1..=MAX_QUEUES).contains(&options.queues) {
            return Err(Error::QueueCount(options.queues.into()));
        }
        match &options.namespace {
            None => begin_here(options),
            Some(namespace) => namespace.visit(|| begin_here(options)),
        }
    }

    /// The device, as far as it is open.
    pub(crate) fn device(&self) -> &TapDevice {
        &self.device
    }

    /// Whether the interface was made here.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Opens the queues after the first.
    pub(crate) fn open_queues(&mut self) -> Result<(), Error> {
        let (name, multi_queue) = (self.device.name, self.device.multi_queue);
        let spare = match &mut self.source {
            Source::Spare(spare) => spare,
            Source::Node(node) => {
                for queue in 1..self.options.queues {
                    self.device.queues.push(Arc::new(node.open(queue)?));
                }
                return Ok(());
            }
        };
        for (queue, fd) in (1..).zip(spare.drain(..)) {
            let request = Interface { name: name.to_kernel(), flags: self.flags };
            let attempt = Attempt {
                options: &self.options,
                name: NameRequest::Exact(name),
                existing: self.existing,
                queue,
                flags: self.flags,
            };
            sys::set_interface(fd.as_fd(), request).map_err(|errno| attempt.refused(errno))?;
            verify(fd.as_fd(), name, self.flags)?;
            self.device.queues.push(Arc::new(TapQueue::new(fd, queue, name, multi_queue)));
        }
        verify_joined(&self.device, self.options.exclusive || self.options.create_new)
    }

    /// Makes the settings that were asked for.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let Self { device, options, joined, .. } = self;
        if let Some(bytes) = options.send_buffer {
            device.set_send_buffer(bytes)?;
        }
        if options.carrier || !joined {
            device.set_carrier(options.carrier)?;
        }
        if options.start_detached {
            device.attach_first(0)?;
        }
        // Last, because this outlives a failure.
        if let Some(persist) = options.persist {
            device.set_persist(persist)?;
        }
        Ok(())
    }

    /// The device is open, and stays so.
    pub(crate) fn finish(mut self) -> TapDevice {
        if let Some(restore) = self.restore.take() {
            restore.forget();
        }
        self.device
    }
}

pub(super) fn open(options: &OpenOptions) -> Result<TapDevice, Error> {
    let mut opening = Opening::begin(options)?;
    opening.open_queues()?;
    opening.settle()?;
    Ok(opening.finish())
}

fn begin_here(options: &OpenOptions) -> Result<Opening, Error> {
    let mut attempt = 1;
    loop {
        let links = Links::open()?;
        let existing = match options.name {
            NameRequest::Exact(name) => links.find(name)?,
            NameRequest::Pattern(_) | NameRequest::KernelChoice => None,
        };
        if let Some(link) = &existing
            && let Some(node) = Node::find(link, options)?
        {
            return begin_by_node(options, Arc::new(links), node);
        }
        let existing = existing.map(|link| inspect(link, options)).transpose()?;
        let fresh = existing.is_none();
        match begin_inspected(options, Arc::new(links), existing.as_ref()) {
            // Not there when we looked, there when we tried.
            Err(Error::Changed(_)) if fresh && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn begin_by_node(options: &OpenOptions, links: Arc<Links>, node: Node) -> Result<Opening, Error> {
    let first = node.open(0)?;
    let supported_offloads = node.set_device(first.as_fd())?;
    let device = TapDevice {
        queues: vec![Arc::new(first)],
        name: node.link().name,
        index: node.link().index,
        multi_queue: true,
        vnet_header: node.vnet_header(),
        persistent: AtomicBool::new(true),
        supported_offloads,
        links,
        kind: node.kind(),
        namespace: sys::thread_namespace().ok(),
    };
    Ok(Opening {
        device,
        restore: None,
        options: options.clone(),
        is_new: false,
        existing: None,
        source: Source::Node(Box::new(node)),
        flags: 0,
        joined: false,
    })
}

/// What was there before us.
struct Existing {
    link: Link,
    tun: TunLink,
}

fn begin_inspected(
    options: &OpenOptions,
    links: Arc<Links>,
    existing: Option<&Existing>,
) -> Result<Opening, Error> {
    let restore = match existing {
        Some(Existing { link, tun }) => Restore::prepare(link, *tun, &links)?,
        None => None,
    };
    let tun = existing.map(|existing| existing.tun);
    let first = sys::open().map_err(Error::from_open)?;
    // The others now as well, in the namespace that this thread is in, and before anything is made.
    let spare =
        (1..options.queues).map(|_| sys::open().map_err(Error::from_open)).collect::<Result<Vec<_>, _>>()?;
    let capabilities = Capabilities::of(first.as_fd()).map_err(|errno| Error::TunOpen { errno })?;
    let flags = wanted_flags(options, capabilities, tun)?;
    let mut creation = 0;
    if !options.carrier && capabilities.no_carrier() {
        creation |= flag::NO_CARRIER;
    }
    let fresh = match options.name {
        NameRequest::Exact(name) if existing.is_none() => {
            creation |= flag::TUN_EXCL;
            Some(name)
        }
        _ => None,
    };
    let request = Interface { name: options.name.to_kernel(), flags: flags | creation };
    let attempt = Attempt { options, name: options.name, existing: tun, queue: 0, flags };
    let opened = sys::set_interface(first.as_fd(), request).map_err(|errno| match (errno, fresh) {
        (Errno::BUSY, Some(name)) => Error::Changed(name),
        _ => attempt.refused(errno),
    })?;
    let name = InterfaceName::from_kernel(opened.name).map_err(|_| Error::Open {
        interface: options.name,
        queue: 0,
        errno: Errno::INVAL,
    })?;
    let is_new = existing.is_none();
    if is_new {
        owner::claim(first.as_fd(), name, options)?;
    }
    verify(first.as_fd(), name, flags)?;
    let link = links.find(name)?.ok_or(Error::Changed(name))?;
    if is_new {
        owner::verify_claim(name, link.tun.ok_or(Error::Changed(name))?, options)?;
    }
    if existing.is_some_and(|existing| existing.link.index != link.index) {
        return Err(Error::Changed(name));
    }
    verify_link(&link)?;

    let multi_queue = flags & flag::MULTI_QUEUE != 0;
    let vnet_header = flags & flag::VNET_HDR != 0;
    if is_new
        && !options.keep_mq_qdisc
        && let Err(error) = links.set_noqueue(link.index)
    {
        let cost = if multi_queue { ", which costs 6 MiB of kernel memory" } else { "" };
        tracing::warn!("{name} keeps the kernel's default qdisc{cost}: {error}");
    }
    let joined = used_by_others(&link, 1);
    let supported_offloads = known::set_unless(joined, first.as_fd(), name, vnet_header)?;
    let device = TapDevice {
        queues: vec![Arc::new(TapQueue::new(first, 0, name, multi_queue))],
        name,
        index: link.index,
        multi_queue,
        vnet_header,
        persistent: AtomicBool::new(tun.is_some_and(|tun| tun.persistent)),
        supported_offloads,
        links,
        kind: Kind::Tap,
        namespace: None,
    };
    Ok(Opening {
        device,
        restore,
        options: options.clone(),
        is_new,
        existing: tun,
        source: Source::Spare(spare),
        flags,
        joined,
    })
}

/// Whether the existing interface can be what is asked for.
fn inspect(link: Link, options: &OpenOptions) -> Result<Existing, Error> {
    let interface = link.name;
    let tun = link.tun.filter(|tun| tun.tap).ok_or(Error::NotATap(interface))?;
    if options.create_new {
        return Err(Error::Exists(interface));
    }
    let several = options.queues > 1 || options.multi_queue == MultiQueue::Always;
    if several && !tun.multi_queue {
        return Err(Error::SingleQueue { interface, queues: options.queues });
    }
    if options.exclusive && tun.queues() > 0 {
        return Err(Error::InUse { interface, queues: tun.queues(), holders: link::holders(interface) });
    }
    if let Some(free) = u32::from(MAX_QUEUES).checked_sub(tun.queues())
        && u32::from(options.queues) > free
    {
        // At most MAX_QUEUES.
        let queue = free as u16;
        return Err(Error::TooManyQueues { interface, queue, holders: link::holders(interface) });
    }
    Ok(Existing { link, tun })
}

fn wanted_flags(
    options: &OpenOptions,
    capabilities: Capabilities,
    existing: Option<TunLink>,
) -> Result<u16, Error> {
    let multi_queue = match options.multi_queue {
        MultiQueue::Auto => existing.map_or(options.queues > 1, |tun| tun.multi_queue),
        MultiQueue::Always => true,
    };
    let mut flags = flag::TAP | flag::NO_PI;
    if multi_queue {
        if !capabilities.multi_queue() {
            return Err(Error::NoMultiQueue);
        }
        flags |= flag::MULTI_QUEUE;
    }
    // Who comes first decides, and `IfAvailable` takes that.
    let decided = existing.filter(|tun| tun.queues() > 0).map(|tun| tun.vnet_header);
    match options.vnet_header {
        VnetHeaderMode::Require if !capabilities.vnet_header() => return Err(Error::NoVnetHeader),
        VnetHeaderMode::Off => {}
        VnetHeaderMode::IfAvailable if !decided.unwrap_or(capabilities.vnet_header()) => {}
        VnetHeaderMode::Require | VnetHeaderMode::IfAvailable => flags |= flag::VNET_HDR,
    }
    Ok(flags)
}

/// A queue that is to be opened.
struct Attempt<'a> {
    options: &'a OpenOptions,
    name: NameRequest,
    existing: Option<TunLink>,
    queue: u16,
    flags: u16,
}

impl Attempt<'_> {
    /// Why `TUNSETIFF` refused.
    fn refused(&self, errno: Errno) -> Error {
        let Self { name, queue, .. } = *self;
        let exact = match name {
            NameRequest::Exact(name) => Some(name),
            NameRequest::Pattern(_) | NameRequest::KernelChoice => None,
        };
        let holders = || exact.map(link::holders).unwrap_or_default();
        match (errno, exact, self.existing) {
            (Errno::PERM, Some(interface), Some(tun)) => {
                Error::OwnerPermission { interface, owner: tun.owner, group: tun.group }
            }
            (Errno::PERM, ..) => Error::CreatePermission {
                name,
                multi_queue: self.flags & flag::MULTI_QUEUE != 0,
                vnet_header: self.flags & flag::VNET_HDR != 0,
                namespace: self.options.namespace.clone(),
            },
            (Errno::BUSY, ..) => Error::Busy { interface: name, holders: holders() },
            (Errno::TOOBIG, Some(interface), _) => {
                Error::TooManyQueues { interface, queue, holders: holders() }
            }
            _ => Error::Open { interface: name, queue, errno },
        }
    }
}
