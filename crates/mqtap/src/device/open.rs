//! Opening a device: inspect, open, verify, set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::{Error, MAX_QUEUES, MultiQueue, OpenOptions, TapDevice, VnetHeaderMode, descend, setting};
use crate::capabilities::Capabilities;
use crate::link::{self, Holder, Link, Links, TunLink};
use crate::name::{IFNAMSIZ, InterfaceName, NameRequest};
use crate::offload::Offloads;
use crate::queue::TapQueue;
use crate::sys::{self, Interface, flag};
use crate::vnet_header::VnetHeaderSize;

/// What must be equal on all queues of a device.
const SHARED_FLAGS: [(u16, &str); 3] =
    [(flag::VNET_HDR, "virtio-net header (IFF_VNET_HDR)"), (flag::NO_PI, "IFF_NO_PI"), (flag::MULTI_QUEUE, "IFF_MULTI_QUEUE")];

pub(super) fn open(options: &OpenOptions) -> Result<TapDevice, Error> {
    if !sys::SUPPORTED {
        return Err(Error::Unsupported);
    }
    if !(1..=MAX_QUEUES).contains(&options.queues) {
        return Err(Error::QueueCount(options.queues.into()));
    }
    let Some(namespace) = &options.namespace else { return open_here(options) };
    // A descriptor of /dev/net/tun belongs to the namespace in which it was opened, and so does a netlink socket. A
    // thread goes there, so that the caller never leaves its own.
    let path = namespace.path();
    let failed = |source| Error::Namespace { path: path.clone(), source };
    std::thread::scope(|scope| {
        let visitor = std::thread::Builder::new().name("mqtap-netns".to_owned()).spawn_scoped(scope, || {
            sys::enter_network_namespace(&path).map_err(failed)?;
            open_here(options)
        });
        let visitor = visitor.map_err(failed)?;
        visitor.join().unwrap_or_else(|_| Err(failed(std::io::ErrorKind::Other.into())))
    })
}

fn open_here(options: &OpenOptions) -> Result<TapDevice, Error> {
    let links = Links::open()?;
    let existing = match options.name {
        NameRequest::Exact(name) => links.find(name)?,
        NameRequest::Pattern(_) | NameRequest::KernelChoice => None,
    };
    let tun = existing.as_ref().map(|link| inspect(link, options)).transpose()?;
    let first = sys::open().map_err(Error::from_open)?;
    let capabilities = Capabilities::of(first.as_fd()).map_err(|errno| Error::TunOpen { errno })?;
    let flags = wanted_flags(options, capabilities, tun)?;
    let creation = if options.carrier || !capabilities.no_carrier() { 0 } else { flag::NO_CARRIER };
    let request = Interface { name: options.name.to_kernel(), flags: flags | creation };
    let opened = sys::set_interface(first.as_fd(), request).map_err(|errno| refused(options.name, tun, 0, errno))?;
    let name = InterfaceName::from_kernel(opened.name)
        .map_err(|_| Error::Open { interface: options.name, queue: 0, errno: Errno::INVAL })?;
    verify(first.as_fd(), name, flags)?;
    let link = links.find(name)?.ok_or(Error::Changed(name))?;
    if existing.as_ref().is_some_and(|existing| existing.index != link.index) {
        return Err(Error::Changed(name));
    }

    let multi_queue = flags & flag::MULTI_QUEUE != 0;
    let vnet_header = flags & flag::VNET_HDR != 0;
    let joined = tun.is_some_and(|tun| tun.attached_queues + tun.detached_queues > 0);
    if existing.is_none() && multi_queue && !options.keep_mq_qdisc
        && let Err(error) = links.set_noqueue(link.index)
    {
        tracing::warn!("{name} keeps the qdisc mq, which costs 6 MiB of kernel memory: {error}");
    }
    let supported_offloads = if vnet_header { known_values(first.as_fd(), name, joined)? } else { Offloads::NONE };

    let mut queues = vec![Arc::new(TapQueue::new(first, 0, name, multi_queue))];
    for queue in 1..options.queues {
        let fd = sys::open().map_err(Error::from_open)?;
        let request = Interface { name: name.to_kernel(), flags };
        let join = |errno| refused(NameRequest::Exact(name), tun, queue, errno);
        sys::set_interface(fd.as_fd(), request).map_err(join)?;
        verify(fd.as_fd(), name, flags)?;
        queues.push(Arc::new(TapQueue::new(fd, queue, name, multi_queue)));
    }
    let device = TapDevice {
        queues,
        name,
        index: link.index,
        multi_queue,
        vnet_header,
        persistent: options.persist.unwrap_or(tun.is_some_and(|tun| tun.persistent)),
        supported_offloads,
        links,
    };
    // Somebody may have deleted the device between two queues, and the next one made it anew.
    let unchanged = device.queues[0].is_attached().is_ok() && device.link().is_ok_and(|link| link.name == name);
    if !unchanged {
        return Err(Error::Changed(name));
    }
    if let Some(bytes) = options.send_buffer {
        device.set_send_buffer(bytes)?;
    }
    device.set_carrier(options.carrier)?;
    if options.start_detached {
        device.attach_first(0)?;
    }
    // Last, because these outlive a failure.
    if let Some(uid) = options.owner {
        device.set_owner(uid)?;
    }
    if let Some(gid) = options.group {
        device.set_group(gid)?;
    }
    if let Some(persist) = options.persist {
        device.set_persist(persist)?;
    }
    Ok(device)
}

/// Whether the existing interface can be what is asked for.
fn inspect(link: &Link, options: &OpenOptions) -> Result<TunLink, Error> {
    let interface = link.name;
    let tun = link.tun.filter(|tun| tun.tap).ok_or(Error::NotATap(interface))?;
    let several = options.queues > 1 || options.multi_queue == MultiQueue::Always;
    if several && !tun.multi_queue {
        return Err(Error::SingleQueue { interface, queues: options.queues });
    }
    let queues = tun.attached_queues + tun.detached_queues;
    if options.exclusive && queues > 0 {
        return Err(Error::InUse { interface, queues, holders: link::holders(interface) });
    }
    Ok(tun)
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
    match options.vnet_header {
        VnetHeaderMode::Require if !capabilities.vnet_header() => return Err(Error::NoVnetHeader),
        VnetHeaderMode::Off => {}
        VnetHeaderMode::IfAvailable if !capabilities.vnet_header() => {}
        VnetHeaderMode::Require | VnetHeaderMode::IfAvailable => flags |= flag::VNET_HDR,
    }
    Ok(flags)
}

/// What the kernel made of our flags: it keeps those of a device in use without a word.
fn verify(fd: BorrowedFd<'_>, interface: InterfaceName, wanted: u16) -> Result<(), Error> {
    let now = sys::interface(fd).map_err(|errno| setting(interface, "read back the flags (TUNGETIFF)", errno))?;
    let differs = |&&(bit, _): &&(u16, &str)| (now.flags ^ wanted) & bit != 0;
    match SHARED_FLAGS.iter().find(differs) {
        Some(&(bit, flag)) => Err(Error::FlagKept {
            interface,
            flag,
            state: if now.flags & bit != 0 { "on" } else { "off" },
            holders: others(interface),
        }),
        None if now.name != interface.to_kernel() => Err(Error::Changed(interface)),
        None => Ok(()),
    }
}

fn others(interface: InterfaceName) -> Vec<Holder> {
    let mut holders = link::holders(interface);
    holders.retain(|holder| holder.pid != std::process::id());
    holders
}

/// Sets what the device may have inherited, and learns what it can. A device that others use is left as it is, and a
/// private one is asked in its place.
fn known_values(fd: BorrowedFd<'_>, interface: InterfaceName, joined: bool) -> Result<Offloads, Error> {
    if joined {
        return Ok(private_device().and_then(|fd| descend(fd.as_fd(), Offloads::ALL)).unwrap_or(Offloads::NONE));
    }
    let offloads = |errno| setting(interface, "set the offloads (TUNSETOFFLOAD)", errno);
    let supported = descend(fd, Offloads::ALL).map_err(offloads)?;
    sys::set_offload(fd, 0).map_err(offloads)?;
    sys::set_vnet_header_size(fd, VnetHeaderSize::Legacy10.len() as i32)
        .map_err(|errno| setting(interface, "set the virtio-net header size (TUNSETVNETHDRSZ)", errno))?;
    Ok(supported)
}

/// A device that exists while its descriptor does.
fn private_device() -> Result<OwnedFd, Errno> {
    let fd = sys::open()?;
    let flags = flag::TAP | flag::NO_PI | flag::VNET_HDR | flag::NO_CARRIER;
    sys::set_interface(fd.as_fd(), Interface { name: [0; IFNAMSIZ], flags })?;
    Ok(fd)
}

pub(super) fn learn(fd: BorrowedFd<'_>, interface: InterfaceName) -> Result<Offloads, Error> {
    known_values(fd, interface, false)
}

/// Why `TUNSETIFF` refused.
fn refused(name: NameRequest, existing: Option<TunLink>, queue: u16, errno: Errno) -> Error {
    let exact = match name {
        NameRequest::Exact(name) => Some(name),
        NameRequest::Pattern(_) | NameRequest::KernelChoice => None,
    };
    let holders = || exact.map(link::holders).unwrap_or_default();
    match (errno, exact, existing) {
        (Errno::PERM, Some(interface), Some(tun)) => {
            Error::OwnerPermission { interface, owner: tun.owner, group: tun.group }
        }
        (Errno::PERM, ..) => Error::CreatePermission(name),
        (Errno::BUSY, ..) => Error::Busy { interface: name, holders: holders() },
        (Errno::TOOBIG, Some(interface), _) => Error::TooManyQueues { interface, queue, holders: holders() },
        _ => Error::Open { interface: name, queue, errno },
    }
}
