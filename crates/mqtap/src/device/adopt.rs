//! Taking over queues that somebody else opened.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use super::namespace::visit_device;
use super::open::used_by_others;
use super::{Error, MAX_QUEUES, TapDevice, known};
use crate::fd;
use crate::link::{Link, Links};
use crate::name::InterfaceName;
use crate::queue::TapQueue;
use crate::sys::{self, flag};

/// What one descriptor turned out to be.
struct Found {
    number: RawFd,
    name: InterfaceName,
    flags: u16,
    /// Where its device is; the kernel tells only those who may administer it.
    namespace: Option<OwnedFd>,
}

impl Found {
    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn wrong(&self, problem: &'static str) -> Error {
        Error::FdFlags { fd: self.number, interface: self.name, problem }
    }
}

pub(super) fn adopt(numbers: &[RawFd]) -> Result<TapDevice, Error> {
    if !sys::SUPPORTED {
        return Err(Error::Unsupported);
    }
    if numbers.is_empty() || numbers.len() > usize::from(MAX_QUEUES) {
        return Err(Error::QueueCount(numbers.len()));
    }
    let found = numbers.iter().map(|&number| examine(number)).collect::<Result<Vec<_>, _>>()?;
    agree(&found)?;
    let first = &found[0];
    let (name, multi_queue, vnet_header) =
        (first.name, first.has(flag::MULTI_QUEUE), first.has(flag::VNET_HDR));
    let (links, link) = sys::with_inherited(first.number, |fd| visit_device(fd, || find(first)))??;

    // Last what changes the device, and the open files, which their former users may share.
    let our_attached = found.iter().filter(|one| !one.has(flag::DETACH_QUEUE)).count();
    let used = used_by_others(&link, our_attached as u32);
    let supported_offloads =
        sys::with_inherited(first.number, |fd| known::set_unless(used, fd, name, vnet_header))??;
    let prepare = |fd: BorrowedFd<'_>| sys::set_close_on_exec(fd).and_then(|()| sys::set_nonblocking(fd));
    let fds = sys::claim_inherited(numbers, prepare)?;
    Ok(TapDevice {
        queues: (0..)
            .zip(fds)
            .map(|(index, fd)| Arc::new(TapQueue::new(fd, index, name, multi_queue)))
            .collect(),
        name,
        index: link.index,
        multi_queue,
        vnet_header,
        persistent: AtomicBool::new(first.has(flag::PERSIST)),
        supported_offloads,
        links: Arc::new(links),
    })
}

/// Is it a queue of a tap?
fn examine(number: RawFd) -> Result<Found, Error> {
    fd::check(number)?;
    let (interface, namespace) = sys::with_inherited(number, |fd| {
        if !sys::is_tun_device(fd).unwrap_or(false) {
            return Err(Error::NotATapFd(number));
        }
        let interface = sys::interface(fd).map_err(|errno| match errno {
            Errno::BADFD => Error::NoDevice(number),
            _ => Error::NotATapFd(number),
        })?;
        Ok((interface, sys::device_namespace(fd).ok()))
    })??;
    let name = InterfaceName::from_kernel(interface.name).map_err(|_| Error::NotATapFd(number))?;
    let found = Found { number, name, flags: interface.flags, namespace };
    if found.has(flag::TUN) {
        return Err(found.wrong("is a tun, which carries IP packets; a virtual NIC needs a tap"));
    }
    Ok(found)
}

/// Are they different queues of one device?
fn agree(found: &[Found]) -> Result<(), Error> {
    let first = &found[0];
    for (i, one) in found.iter().enumerate() {
        for other in &found[..i] {
            if other.number == one.number {
                return Err(Error::FdTwice(one.number));
            }
            if sys::with_inherited(other.number, |a| {
                sys::with_inherited(one.number, |b| sys::same_open_file(a, b))
            })?? == Some(true)
            {
                return Err(Error::SameQueue(other.number, one.number));
            }
        }
        if found.len() > 1 && !one.has(flag::MULTI_QUEUE) {
            return Err(one.wrong(
                "was opened without multi_queue, so it is the only queue of its device; use fd= with it alone",
            ));
        }
        let elsewhere = match (&first.namespace, &one.namespace) {
            (Some(a), Some(b)) => sys::same_namespace(a.as_fd(), b.as_fd()) == Ok(false),
            _ => false,
        };
        if one.name != first.name || elsewhere {
            return Err(Error::OtherDevice {
                first_fd: first.number,
                first: first.name,
                fd: one.number,
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
fn find(first: &Found) -> Result<(Links, Link), Error> {
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
