//! Taking over queues that somebody else opened.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use super::namespace::visit_device;
use super::verify::used_by_others;
use super::{Error, MAX_QUEUES, TapDevice, known, macvtap};
use crate::fd::{self, InheritError};
use crate::inspect::Kind;
use crate::link::{Link, Links};
use crate::name::InterfaceName;
use crate::offload::Offloads;
use crate::queue::TapQueue;
use crate::sys::{self, flag};

/// What one descriptor turned out to be.
struct Found<'a> {
    fd: BorrowedFd<'a>,
    name: InterfaceName,
    flags: u16,
    /// Where its device is; the kernel tells only those who may administer it.
    namespace: Option<OwnedFd>,
    /// Of a macvtap or ipvtap.
    by_node: bool,
}

impl Found<'_> {
    fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn wrong(&self, problem: &'static str) -> Error {
        Error::FdFlags { fd: self.number(), interface: self.name, problem }
    }
}

/// Takes over inherited queues, by their numbers.
pub(super) fn adopt(numbers: &[RawFd]) -> Result<TapDevice, Error> {
    if !sys::SUPPORTED {
        return Err(Error::Unsupported);
    }
    numbers.iter().try_for_each(|&number| fd::check(number))?;
    let device = sys::with_inherited(numbers, look)??;
    // Last what changes the open files, which their former users may share.
    device.with(sys::claim_inherited(numbers, prepare)?)
}

/// Takes over queues that are this process's already.
pub(super) fn adopt_owned(fds: Vec<OwnedFd>) -> Result<TapDevice, Error> {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let device = look(&borrowed)?;
    for &fd in &borrowed {
        let number = fd.as_raw_fd();
        prepare(fd).map_err(|errno| InheritError::Prepare { fd: number, errno })?;
    }
    device.with(fds)
}

fn prepare(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sys::set_close_on_exec(fd).and_then(|()| sys::set_nonblocking(fd))
}

/// A device of which the queues are known, and not ours yet.
struct Adopted {
    link: Link,
    links: Links,
    name: InterfaceName,
    multi_queue: bool,
    vnet_header: bool,
    persistent: bool,
    supported_offloads: Offloads,
    kind: Kind,
}

impl Adopted {
    fn with(self, fds: Vec<OwnedFd>) -> Result<TapDevice, Error> {
        let Self { link, links, name, multi_queue, vnet_header, persistent, supported_offloads, kind } = self;
        let by_node = kind.is_on_another_interface();
        let queue = |(index, fd): (u16, OwnedFd)| {
            Ok(Arc::new(if by_node {
                let attached = was_attached(fd.as_fd());
                macvtap::take(fd, index, name, attached)?
            } else {
                TapQueue::new(fd, index, name, multi_queue)
            }))
        };
        Ok(TapDevice {
            queues: (0..).zip(fds).map(queue).collect::<Result<_, Error>>()?,
            name,
            index: link.index,
            multi_queue,
            vnet_header,
            persistent: AtomicBool::new(persistent),
            supported_offloads,
            links: Arc::new(links),
            kind,
            namespace: if by_node { sys::thread_namespace().ok() } else { None },
        })
    }
}

/// Whether a queue of a macvtap or ipvtap is attached. The kernel does not tell, but refuses to attach one that is.
fn was_attached(fd: BorrowedFd<'_>) -> bool {
    match sys::set_queue(fd, flag::ATTACH_QUEUE) {
        Ok(()) => {
            // As it was; whoever finds that it is attached after all detaches it.
            sys::set_queue(fd, flag::DETACH_QUEUE).is_err()
        }
        Err(_) => true,
    }
}

/// Are these the queues of one tap? Sets what it may have inherited from former users.
fn look(fds: &[BorrowedFd<'_>]) -> Result<Adopted, Error> {
    if !sys::SUPPORTED {
        return Err(Error::Unsupported);
    }
    if fds.is_empty() || fds.len() > usize::from(MAX_QUEUES) {
        return Err(Error::QueueCount(fds.len()));
    }
    let found = fds.iter().map(|&fd| examine(fd)).collect::<Result<Vec<_>, _>>()?;
    agree(&found)?;
    let first = &found[0];
    let (name, vnet_header) = (first.name, first.has(flag::VNET_HDR));
    if first.by_node {
        return look_by_node(&found);
    }
    let (links, link) = visit_device(first.fd, || find(first))?;
    let our_attached = found.iter().filter(|one| !one.has(flag::DETACH_QUEUE)).count();
    let used = used_by_others(&link, our_attached as u32);
    let supported_offloads = known::set_unless(used, first.fd, name, vnet_header)?;
    Ok(Adopted {
        link,
        links,
        name,
        multi_queue: first.has(flag::MULTI_QUEUE),
        vnet_header,
        persistent: first.has(flag::PERSIST),
        supported_offloads,
        kind: Kind::Tap,
    })
}

/// The same for queues of a macvtap or ipvtap, of which each has its own header, and which the kernel does not say where they are.
fn look_by_node(found: &[Found<'_>]) -> Result<Adopted, Error> {
    let first = &found[0];
    let (name, vnet_header) = (first.name, first.has(flag::VNET_HDR));
    let links = Links::open()?;
    let link = links.find(name)?.filter(|link| found.iter().all(|one| macvtap::leads_to(one.fd, link)));
    let Some((link, kind)) = link.and_then(|link| Kind::of(&link).map(|kind| (link, kind))) else {
        return Err(Error::NotHere { fd: first.number(), interface: name });
    };
    let supported_offloads = known::set_offloads(first.fd, name, vnet_header)?;
    found.iter().try_for_each(|one| known::set_header(one.fd, name))?;
    Ok(Adopted {
        link,
        links,
        name,
        multi_queue: true,
        vnet_header,
        persistent: true,
        supported_offloads,
        kind,
    })
}

/// Is it a queue of a tap?
fn examine(fd: BorrowedFd<'_>) -> Result<Found<'_>, Error> {
    let number = fd.as_raw_fd();
    let by_node = macvtap::is_queue(fd);
    if !by_node && !sys::is_tun_device(fd).unwrap_or(false) {
        return Err(Error::NotATapFd(number));
    }
    let interface = sys::interface(fd).map_err(|errno| match errno {
        Errno::BADFD | Errno::NOLINK => Error::NoDevice(number),
        _ => Error::NotATapFd(number),
    })?;
    let namespace = sys::device_namespace(fd).ok();
    let name = InterfaceName::from_kernel(interface.name).map_err(|_| Error::NotATapFd(number))?;
    let found = Found { fd, name, flags: interface.flags, namespace, by_node };
    if found.has(flag::TUN) {
        return Err(found.wrong("is a tun, which carries IP packets; a virtual NIC needs a tap"));
    }
    Ok(found)
}

/// Are they different queues of one device?
fn agree(found: &[Found<'_>]) -> Result<(), Error> {
    let first = &found[0];
    for (i, one) in found.iter().enumerate() {
        for other in &found[..i] {
            if other.number() == one.number() {
                return Err(Error::FdTwice(one.number()));
            }
            if sys::same_open_file(other.fd, one.fd) == Some(true) {
                return Err(Error::SameQueue(other.number(), one.number()));
            }
        }
        if found.len() > 1 && !one.by_node && !one.has(flag::MULTI_QUEUE) {
            return Err(one.wrong(
                "was opened without multi_queue, so it is the only queue of its device; use fd= with it alone",
            ));
        }
        let elsewhere = match (&first.namespace, &one.namespace) {
            (Some(a), Some(b)) => sys::same_namespace(a.as_fd(), b.as_fd()) == Ok(false),
            _ => false,
        };
        if one.name != first.name || one.by_node != first.by_node || elsewhere {
            return Err(Error::OtherDevice {
                first_fd: first.number(),
                first: first.name,
                fd: one.number(),
                other: one.name,
            });
        }
    }
    if let Some(other) = found.iter().find(|one| one.has(flag::VNET_HDR) != first.has(flag::VNET_HDR)) {
        return Err(other.wrong("has another IFF_VNET_HDR than the first one"));
    }
    Ok(())
}

/// The interface as netlink sees it, from inside its namespace.
fn find(first: &Found<'_>) -> Result<(Links, Link), Error> {
    let links = Links::open()?;
    let link = links.find(first.name)?.ok_or(Error::Changed(first.name))?;
    // A namesake in our namespace, if we could not find out where the device is?
    let tun = link.tun.filter(|tun| {
        (tun.tap, tun.multi_queue, tun.vnet_header)
            == (true, first.has(flag::MULTI_QUEUE), first.has(flag::VNET_HDR))
    });
    let tun = tun.ok_or(Error::Changed(first.name))?;
    // `TUNGETIFF` does not tell: it shows the bit of IFF_NO_PI, which is also IFF_NOFILTER, for any queue without a filter.
    if tun.packet_information {
        return Err(first.wrong("puts packet information in front of each frame; open it with IFF_NO_PI"));
    }
    Ok((links, link))
}
