//! A tap device: one interface, its queues, and the settings that all of them share.

mod adopt;
mod end;
mod error;
mod known;
mod macvtap;
mod namespace;
mod open;
mod owner;
mod restore;
mod verify;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

pub use end::EndWatch;
pub use error::Error;
pub(crate) use error::a_kind;
pub(crate) use known::offloads_of_kernel;
pub(crate) use macvtap::Obstacle;
pub use namespace::{InvalidNamespace, Namespace};
pub(crate) use namespace::{find_in_named as find_in_named_namespaces, visit, visit_if};
pub(crate) use open::Opening;

use crate::inspect::Kind;
use crate::link::{self, Link, Links};
use crate::mac::MacAddress;
use crate::name::{InterfaceName, NameRequest};
use crate::offload::Offloads;
use crate::queue::{self, TapQueue};
use crate::sys;
use crate::vnet_header::VnetHeaderSize;

/// The most queues of a device, attached and detached together (drivers/net/tun.c: `MAX_TAP_QUEUES`).
pub const MAX_QUEUES: u16 = 256;

/// Whether frames have a virtio-net header (`IFF_VNET_HDR`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VnetHeaderMode {
    /// It is an error if the kernel cannot.
    Require,
    /// If the kernel can.
    #[default]
    IfAvailable,
    /// Frames only. There are no offloads then.
    Off,
}

/// Whether the device can have several queues (`IFF_MULTI_QUEUE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiQueue {
    /// As an existing device has it; a new one if more than one queue is asked for.
    #[default]
    Auto,
    /// Always, so that queues can be added later.
    Always,
}

/// How a device is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What it is called.
    pub name: NameRequest,
    /// Queues to open: 1 to 256.
    pub queues: u16,
    /// Whether frames have a virtio-net header.
    pub vnet_header: VnetHeaderMode,
    /// Whether the device can have several queues.
    pub multi_queue: MultiQueue,
    /// Refuse a device of which somebody else has queues open.
    pub exclusive: bool,
    /// Refuse a device that exists.
    pub create_new: bool,
    /// Leave a new device the kernel's default qdisc: `mq` for a multi-queue device, which costs 6 MiB of kernel memory once it is
    /// up and gives tc counters for each queue. Otherwise it gets `noqueue`.
    pub keep_mq_qdisc: bool,
    /// Limit of what may be on its way into the host, in bytes (`TUNSETSNDBUF`). Setting any turns off the kernel's fast
    /// path for writes.
    pub send_buffer: Option<u32>,
    /// Whether the device outlives its last queue.
    pub persist: Option<bool>,
    /// User that may open it, by the side of those who have CAP_NET_ADMIN, if it is made: a device that exists keeps its owner
    /// and group. A device with neither may be opened by everybody.
    pub owner: Option<u32>,
    /// Group whose members may open it. Together with an owner it narrows: only this user, and only as a member of this
    /// group.
    pub group: Option<u32>,
    /// Leave all queues detached.
    pub start_detached: bool,
    /// Whether the interface has carrier.
    pub carrier: bool,
    /// Where: in the caller's namespace if `None`.
    pub namespace: Option<Namespace>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            name: NameRequest::KernelChoice,
            queues: 1,
            vnet_header: VnetHeaderMode::default(),
            multi_queue: MultiQueue::default(),
            exclusive: false,
            create_new: false,
            keep_mq_qdisc: false,
            send_buffer: None,
            persist: None,
            owner: None,
            group: None,
            start_detached: false,
            carrier: true,
            namespace: None,
        }
    }
}

/// A tap device with the queues that we have of it.
///
/// A device that is not persistent goes away with its last queue.
#[derive(Debug)]
pub struct TapDevice {
    queues: Vec<Arc<TapQueue>>,
    name: InterfaceName,
    index: u32,
    multi_queue: bool,
    vnet_header: bool,
    persistent: AtomicBool,
    supported_offloads: Offloads,
    links: Arc<Links>,
    kind: Kind,
    /// Where a macvtap or ipvtap is, of which the kernel does not tell.
    namespace: Option<OwnedFd>,
}

impl TapDevice {
    /// Opens a device: makes it, or opens queues of one that exists. All queues or none: whatever was made is undone if
    /// anything fails.
    ///
    /// The flags are read back after each queue, and what the device may have inherited from former users is set to
    /// known values: no offloads, a virtio-net header of 10 bytes in little-endian, no steering program. A device on which
    /// others have queues attached is left as it is, its carrier included unless it is to be on.
    ///
    /// An interface that is a macvtap or ipvtap is opened by its device node, `/dev/tapN` with its index, or one with its name.
    /// There header, byte order and send buffer are each queue's, and it is not known whether others have queues.
    ///
    /// # Errors
    /// See [`Error`]: each cause has its own.
    pub fn open(options: &OpenOptions) -> Result<Self, Error> {
        open::open(options)
    }

    /// Takes over queues of one device that somebody else opened, by their inherited numbers.
    ///
    /// Nothing is taken unless all are good: taps with `IFF_NO_PI`, of one device, with the same flags, with
    /// `IFF_MULTI_QUEUE` if there are several, each its own open file. They are made non-blocking, which whoever shares
    /// the open files with us sees as well, and close-on-exec.
    ///
    /// # Errors
    /// See [`Error`]. The descriptors stay open and untaken.
    pub fn adopt(numbers: &[i32]) -> Result<Self, Error> {
        adopt::adopt(numbers)
    }

    /// Takes over queues of one device that this process was handed over a socket, say. As [`adopt`](Self::adopt) else.
    ///
    /// # Errors
    /// See [`Error`]. The descriptors are closed.
    pub fn adopt_owned(queues: Vec<OwnedFd>) -> Result<Self, Error> {
        adopt::adopt_owned(queues)
    }

    /// The interface's name when it was opened.
    #[must_use]
    pub fn name(&self) -> InterfaceName {
        self.name
    }

    /// The interface's index in its namespace.
    #[must_use]
    pub fn interface_index(&self) -> u32 {
        self.index
    }

    /// The queues, in the order in which they were opened or given.
    #[must_use]
    pub fn queues(&self) -> &[Arc<TapQueue>] {
        &self.queues
    }

    /// How many queues we have.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        // At most MAX_QUEUES.
        self.queues.len() as u16
    }

    /// Whether the device can have several queues.
    #[must_use]
    pub fn is_multi_queue(&self) -> bool {
        self.multi_queue
    }

    /// Which kind of tap it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether frames have a virtio-net header.
    #[must_use]
    pub fn has_vnet_header(&self) -> bool {
        self.vnet_header
    }

    /// Whether the device outlives its last queue, as far as we know: as it was when it was opened, or was
    /// [set](Self::set_persist) since.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.persistent.load(Ordering::Relaxed)
    }

    /// The offloads that this kernel accepts for a device like this: learned when it was opened.
    #[must_use]
    pub fn supported_offloads(&self) -> Offloads {
        self.supported_offloads
    }

    /// Says which offloads frames read from this device may have, and returns what the kernel accepted: what it does not
    /// know is left out, newest first. Tunnel offloads are left out as well unless the header has room for them: set
    /// [`VnetHeaderSize::Tunnel24`] first.
    ///
    /// # Errors
    /// [`Error::OffloadsWithoutHeader`], [`Error::DeviceGone`], [`Error::Setting`].
    pub fn set_offloads(&self, wanted: Offloads) -> Result<Offloads, Error> {
        if !self.vnet_header && !wanted.is_empty() {
            return Err(Error::OffloadsWithoutHeader { interface: self.name, offloads: wanted });
        }
        let mut wanted = wanted;
        if wanted.intersects(Offloads::TUNNEL) {
            // The kernel would accept them, and then drop each frame that comes out of a tunnel.
            let size = sys::vnet_header_size(self.control())
                .map_err(|errno| self.setting("read the virtio-net header size (TUNGETVNETHDRSZ)", errno))?;
            if usize::try_from(size).is_ok_and(|size| size < VnetHeaderSize::Tunnel24.len()) {
                wanted = wanted - Offloads::TUNNEL;
            }
        }
        known::descend(self.control(), wanted)
            .map_err(|errno| self.setting("set the offloads (TUNSETOFFLOAD)", errno))
    }

    /// Sets the length of the virtio-net header, for all queues.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Setting`].
    pub fn set_vnet_header_size(&self, size: VnetHeaderSize) -> Result<(), Error> {
        // At most 24.
        let bytes = size.len() as i32;
        self.for_each_setting(|fd| sys::set_vnet_header_size(fd, bytes))
            .map_err(|errno| self.setting("set the virtio-net header size (TUNSETVNETHDRSZ)", errno))
    }

    /// Limits what may be on its way into the host, in bytes. The kernel applies it to queues that are attached; ours that
    /// are not get it when they are.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Setting`] (EINVAL for 0).
    pub fn set_send_buffer(&self, bytes: u32) -> Result<(), Error> {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.for_each_setting(|fd| sys::set_send_buffer(fd, bytes))
            .map_err(|errno| self.setting("set the send buffer (TUNSETSNDBUF)", errno))?;
        self.queues.iter().for_each(|queue| queue.remember_send_buffer(bytes));
        Ok(())
    }

    /// Gives the interface carrier, or takes it. When this returns, frames pass, or do not; before Linux 6.8 they may take up
    /// to a second more. Does nothing for a macvtap or ipvtap, which has the carrier of the interface that it stands on.
    ///
    /// # Errors
    /// [`Error::DeviceGone`]; [`Error::Setting`] with EPERM to give carrier while no queue is attached.
    pub fn set_carrier(&self, on: bool) -> Result<(), Error> {
        if self.kind.is_on_another_interface() {
            return Ok(());
        }
        sys::set_carrier(self.control(), on)
            .map_err(|errno| self.setting("set the carrier (TUNSETCARRIER)", errno))?;
        // The kernel acts on it later (net/core/link_watch.c), up to a second, and until then it drops what is sent. Whoever
        // asks for the state of the link has it act first, since Linux 6.8. What is answered does not matter.
        if let Err(error) = self.link() {
            tracing::debug!("{}: the carrier may take a moment: {error}", self.name);
        }
        Ok(())
    }

    /// Has the device outlive its last queue, or not.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Setting`].
    pub fn set_persist(&self, on: bool) -> Result<(), Error> {
        sys::set_persist(self.control(), on)
            .map_err(|errno| self.setting("set the persistence (TUNSETPERSIST)", errno))?;
        self.persistent.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Lets this user open the device.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Setting`].
    pub fn set_owner(&self, uid: u32) -> Result<(), Error> {
        owner::set_user(self.control(), self.name, uid)
    }

    /// Lets members of this group open the device.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::Setting`].
    pub fn set_group(&self, gid: u32) -> Result<(), Error> {
        owner::set_group(self.control(), self.name, gid)
    }

    /// Attaches the first `n` queues, in ascending order, and detaches the others, in descending order: so the
    /// kernel's numbers of the attached queues are ours.
    ///
    /// A queue that is attached already while one before it is not has another number, which only detaching it mends; what
    /// waits in it is lost then.
    ///
    /// # Errors
    /// See [`queue::Error`].
    pub fn attach_first(&self, n: u16) -> Result<(), queue::Error> {
        let wanted = &self.queues[..usize::from(n).min(self.queues.len())];
        let mut kept = 0;
        while kept < wanted.len() && wanted[kept].is_attached()? {
            kept += 1;
        }
        self.queues[kept..].iter().rev().try_for_each(|queue| queue.detach())?;
        wanted[kept..].iter().try_for_each(|queue| queue.attach())
    }

    /// The interface as the network stack sees it now, in the namespace in which it was opened: one that was moved is
    /// not found there any more.
    ///
    /// # Errors
    /// See [`link::Error`].
    pub fn link(&self) -> Result<Link, link::Error> {
        self.links.get(self.index)
    }

    /// What tells of the end of the device where its queues do not: a tap that is deleted ends epoll's wait on them with
    /// `EPOLLERR`, and for it this is `None`. Queues of a macvtap or ipvtap stay silent for ever, and what is written to them vanishes.
    ///
    /// # Errors
    /// [`Error::Link`] if there is no netlink socket to be had.
    pub fn watch_end(&self) -> Result<Option<EndWatch>, Error> {
        if self.kind.is_on_another_interface() { self.watch_end_aside().map(Some) } else { Ok(None) }
    }

    /// What tells of the end of the device without a wait on its queues, for those who leave the queues to somebody else.
    ///
    /// # Errors
    /// [`Error::Link`] if there is no netlink socket to be had.
    pub fn watch_end_aside(&self) -> Result<EndWatch, Error> {
        EndWatch::new(self)
    }

    /// Brings the interface up or down.
    ///
    /// # Errors
    /// See [`Links::set_up`].
    pub fn set_up(&self, up: bool) -> Result<(), link::Error> {
        self.links.set_up(self.index, up)
    }

    /// Sets the interface's MTU, in bytes.
    ///
    /// # Errors
    /// See [`Links::set_mtu`].
    pub fn set_mtu(&self, mtu: u32) -> Result<(), link::Error> {
        self.links.set_mtu(self.index, mtu)
    }

    /// Sets the interface's own address: the host's end, not the guest's.
    ///
    /// # Errors
    /// See [`Links::set_mac`].
    pub fn set_mac(&self, mac: MacAddress) -> Result<(), link::Error> {
        self.links.set_mac(self.index, mac)
    }

    /// The view of its namespace.
    pub(crate) fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// The namespace that it is in, if this thread is in another, and that is known.
    pub(crate) fn namespace_elsewhere(&self) -> Option<OwnedFd> {
        match &self.namespace {
            Some(namespace) => namespace::unless_here(namespace.try_clone().ok()?),
            None => namespace::elsewhere(self.control()),
        }
    }

    /// Makes a setting that taps have once, and macvtaps and ipvtaps for each queue.
    fn for_each_setting(&self, set: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>) -> Result<(), Errno> {
        let count = if self.kind.is_on_another_interface() { self.queues.len() } else { 1 };
        self.queues.iter().take(count).try_for_each(|queue| set(queue.as_fd()))
    }

    /// Any queue will do for what is the device's.
    fn control(&self) -> BorrowedFd<'_> {
        self.queues[0].as_fd()
    }

    fn setting(&self, what: &'static str, errno: Errno) -> Error {
        setting(self.name, what, errno)
    }
}

fn setting(interface: InterfaceName, what: &'static str, errno: Errno) -> Error {
    if queue::says_gone(errno) {
        return Error::DeviceGone { what, interface, errno };
    }
    Error::Setting { what, interface, errno }
}

/// The last queue goes first: the kernel moves its last queue into the hole that another leaves.
impl Drop for TapDevice {
    fn drop(&mut self) {
        while self.queues.pop().is_some() {}
    }
}
