//! Taking over queues that somebody else opened.

use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::{Error, MAX_QUEUES, TapDevice, open};
use crate::fd::{self, InheritError};
use crate::link::Links;
use crate::name::InterfaceName;
use crate::offload::Offloads;
use crate::queue::TapQueue;
use crate::sys::{self, flag};

/// What one descriptor turned out to be.
struct Found {
    number: RawFd,
    name: InterfaceName,
    flags: u16,
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
    let name = first.name;
    let links = Links::open()?;
    let link = links.find(name)?.ok_or(Error::Changed(name))?;

    // Last of what can fail without having taken anything.
    for &number in numbers {
        sys::with_inherited(number, sys::prepare)
            .unwrap_or(Err(Errno::BADF))
            .map_err(|errno| InheritError::Prepare { fd: number, errno })?;
    }
    let fds = sys::claim_inherited(numbers).ok_or(InheritError::Taken(numbers[0]))?;
    let multi_queue = first.flags & flag::MULTI_QUEUE != 0;
    let vnet_header = first.flags & flag::VNET_HDR != 0;
    let queues: Vec<_> = (0..)
        .zip(fds)
        .map(|(index, fd)| Arc::new(TapQueue::new(fd, index, name, multi_queue)))
        .collect();
    let supported_offloads =
        if vnet_header { open::learn(queues[0].as_fd(), name)? } else { Offloads::NONE };
    Ok(TapDevice {
        queues,
        name,
        index: link.index,
        multi_queue,
        vnet_header,
        persistent: first.flags & flag::PERSIST != 0,
        supported_offloads,
        links,
    })
}

/// Is it a queue of a tap?
fn examine(number: RawFd) -> Result<Found, Error> {
    fd::check(number)?;
    let looked = sys::with_inherited(number, |fd| {
        if !sys::is_tun_device(fd).unwrap_or(false) {
            return Err(Error::NotATapFd(number));
        }
        sys::interface(fd).map_err(|errno| match errno {
            Errno::BADFD => Error::NoDevice(number),
            _ => Error::NotATapFd(number),
        })
    });
    let interface = looked.ok_or(InheritError::NotOpen(number))??;
    let name = InterfaceName::from_kernel(interface.name).map_err(|_| Error::NotATapFd(number))?;
    let flags = interface.flags;
    let problem = if flags & flag::TUN != 0 {
        Some("is a tun, which carries IP packets; a virtual NIC needs a tap")
    } else if flags & flag::NO_PI == 0 {
        Some("puts packet information in front of each frame; open it with IFF_NO_PI")
    } else {
        None
    };
    match problem {
        Some(problem) => Err(Error::FdFlags { fd: number, interface: name, problem }),
        None => Ok(Found { number, name, flags }),
    }
}

/// Are they different queues of one device?
fn agree(found: &[Found]) -> Result<(), Error> {
    let first = &found[0];
    if found.len() > 1 && first.flags & flag::MULTI_QUEUE == 0 {
        let (fd, interface) = (first.number, first.name);
        let problem = "was opened without multi_queue, so it is the only queue of its device; use fd= with it alone";
        return Err(Error::FdFlags { fd, interface, problem });
    }
    for (i, one) in found.iter().enumerate() {
        if one.name != first.name {
            return Err(Error::OtherDevice {
                first_fd: first.number,
                first: first.name,
                fd: one.number,
                other: one.name,
            });
        }
        for other in &found[..i] {
            if other.number == one.number {
                return Err(Error::FdTwice(one.number));
            }
            let same = sys::with_inherited(other.number, |a| {
                sys::with_inherited(one.number, |b| sys::same_open_file(a, b))
            });
            if same.flatten().flatten() == Some(true) {
                return Err(Error::SameQueue(other.number, one.number));
            }
        }
        let differing = one.flags ^ first.flags;
        if differing & (flag::VNET_HDR | flag::MULTI_QUEUE) != 0 {
            let (fd, interface) = (one.number, one.name);
            let problem = "has other flags (IFF_VNET_HDR, IFF_MULTI_QUEUE) than the first one";
            return Err(Error::FdFlags { fd, interface, problem });
        }
    }
    Ok(())
}

