//! Taps that stay: made once, by an administrator or a script, for somebody to open later.
//!
//! [`create`] makes a persistent tap the way `ip tuntap add` does, with what that leaves to further commands, and all or
//! nothing: until the last step has succeeded, the device is one that goes away with our descriptor of it. [`delete`] deletes
//! a tap and nothing else.
//!
//! ```no_run
//! use mqtap::create::{CreateOptions, create, delete};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tap = create(&CreateOptions {
//!     multi_queue: true,
//!     vnet_header: true,
//!     owner: Some(1000),
//!     up: true,
//!     ..CreateOptions::new("vm%d".parse()?)
//! })?;
//! println!("{} is there", tap.link.name);
//! delete(tap.link.name, None)?;
//! # Ok(())
//! # }
//! ```

mod differences;
mod error;

use std::time::Duration;

pub(crate) use differences::Expected;
pub use differences::{Difference, Differences};
pub use error::Error;
use rustix::io::Errno;

use crate::bridge::{JoinOptions, Port};
use crate::device::{self, MultiQueue, Namespace, OpenOptions, TapDevice, VnetHeaderMode};
use crate::inspect::{self, Holder};
use crate::link::{self, Link, Links};
use crate::mac::MacAddress;
use crate::name::{InterfaceName, NameRequest};
use crate::netdev::Qdisc;

/// What tap to make.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// What it is called.
    pub name: NameRequest,
    /// User that may open it, by the side of those who have CAP_NET_ADMIN.
    ///
    /// A tap with neither owner nor group may be opened by every user of the host who has its name, and that user may then
    /// make himself its owner (drivers/net/tun.c: `tun_not_capable`, `TUNSETOWNER`).
    pub owner: Option<u32>,
    /// Group whose members may open it. Together with an owner it narrows: only this user, and only as a member of this
    /// group.
    pub group: Option<u32>,
    /// Frames have a virtio-net header. Whoever opens the idle tap first decides anew; this is what others see until then.
    pub vnet_header: bool,
    /// The tap can have several queues. Who opens it must ask for the same.
    pub multi_queue: bool,
    /// The interface's own address: the host's end, not the guest's. If `None`, the kernel chooses one, and on a bridge its first
    /// byte is made fe, so that the bridge does not take it for its own if it has one, or a port that is a card.
    pub mac: Option<MacAddress>,
    /// The MTU, in bytes. `None` is the bridge's if there is one, else 1500.
    pub mtu: Option<u32>,
    /// Bring it up.
    pub up: bool,
    /// Make it a port of this bridge.
    pub bridge: Option<InterfaceName>,
    /// The queueing discipline. `None` is `noqueue`; with [`Qdisc::Mq`] the kernel sets up `mq` when the tap first comes up.
    pub qdisc: Option<Qdisc>,
    /// Where: in the caller's network namespace if `None`.
    pub namespace: Option<Namespace>,
    /// Be content with a tap of this name that is there and is as asked for. Takes a name, not a pattern.
    pub if_not_exists: bool,
}

impl CreateOptions {
    /// A single-queue tap without header, owner or anything else.
    #[must_use]
    pub fn new(name: NameRequest) -> Self {
        Self {
            name,
            owner: None,
            group: None,
            vnet_header: false,
            multi_queue: false,
            mac: None,
            mtu: None,
            up: false,
            bridge: None,
            qdisc: None,
            namespace: None,
            if_not_exists: false,
        }
    }

    /// Finds what can be seen to be wrong before anything is tried.
    ///
    /// # Errors
    /// [`Error::MqNeedsMultiQueue`]; [`Error::NotAStation`]; [`Error::NewEachTime`].
    pub fn validate(&self) -> Result<(), Error> {
        if self.qdisc == Some(Qdisc::Mq) && !self.multi_queue {
            return Err(Error::MqNeedsMultiQueue);
        }
        if let Some(mac) = self.mac {
            mac.station()?;
        }
        if self.if_not_exists && !matches!(self.name, NameRequest::Exact(_)) {
            return Err(Error::NewEachTime(self.name));
        }
        Ok(())
    }
}

/// A tap that is there now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Created {
    /// What it is.
    pub link: Link,
    /// The bridge it is a port of.
    pub bridge: Option<InterfaceName>,
    /// Whether it was made now. If not, it was there and is as asked for.
    pub new: bool,
}

/// Makes a persistent tap.
///
/// The owner and group are set before anybody else can have opened it, the queueing discipline before the tap comes up, and
/// last of all the tap is made persistent, so that a failure leaves nothing.
///
/// # Errors
/// See [`Error`]: each cause has its own.
pub fn create(options: &CreateOptions) -> Result<Created, Error> {
    options.validate()?;
    in_namespace(options.namespace.as_ref(), || create_here(options))
}

/// Deletes a tap, also while somebody has it open, and returns what it was.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Tun`] and [`Error::KeptNotATap`] for any other interface, which stays; [`Error::Link`] (EPERM without
/// CAP_NET_ADMIN).
pub fn delete(name: InterfaceName, namespace: Option<&Namespace>) -> Result<Deleted, Error> {
    in_namespace(namespace, || {
        let links = Links::open()?;
        let link = links.find(name)?.ok_or(Error::NotFound { interface: name })?;
        tap(&link).map_err(|error| match error {
            Error::NotATap { interface, kind } => Error::KeptNotATap { interface, kind },
            error => error,
        })?;
        // For a word about it; that it cannot be seen who they are is no reason to keep the tap.
        let holders = inspect::find(name, None).map(|tap| tap.holders).unwrap_or_default();
        links.delete(link.index)?;
        Ok(Deleted { link, holders })
    })
}

/// A tap that is gone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deleted {
    /// What it was.
    pub link: Link,
    /// Who had it open, as far as it can be seen.
    pub holders: Vec<Holder>,
}

fn in_namespace<T: Send>(
    namespace: Option<&Namespace>,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    match namespace {
        None => act(),
        Some(namespace) => namespace.visit(act),
    }
}

fn create_here(options: &CreateOptions) -> Result<Created, Error> {
    /// How often another who makes the same tap just now is waited for, and how long each time.
    const PATIENCE: (u32, Duration) = (50, Duration::from_millis(20));
    let links = Links::open()?;
    let mut attempt = 0;
    loop {
        let existing = match options.name {
            NameRequest::Exact(name) => links.find(name)?,
            NameRequest::Pattern(_) | NameRequest::KernelChoice => None,
        };
        let result = match existing {
            Some(link) => keep(&links, link, options),
            None => make(&links, options),
        };
        let half_made = match &result {
            Err(Error::Different { differences, .. }) => differences.not_persistent(),
            Err(Error::Device(device::Error::Exists(_))) => options.if_not_exists,
            _ => false,
        };
        if !half_made || attempt == PATIENCE.0 {
            return result;
        }
        attempt += 1;
        std::thread::sleep(PATIENCE.1);
    }
}

/// Whether an interface is a tap.
fn tap(link: &Link) -> Result<(), Error> {
    match link.tun {
        Some(tun) if tun.tap => Ok(()),
        Some(_) => Err(Error::Tun { interface: link.name }),
        None => Err(Error::NotATap { interface: link.name, kind: link.kind.clone() }),
    }
}

/// What is there is kept if it is as asked for.
fn keep(links: &Links, link: Link, options: &CreateOptions) -> Result<Created, Error> {
    tap(&link)?;
    if !options.if_not_exists {
        return Err(device::Error::Exists(link.name).into());
    }
    let bridge = link.master.map(|index| links.get(index)).transpose()?.map(|master| master.name);
    let differences = Expected::of(options).differences(&link, bridge);
    if !differences.is_empty() {
        return Err(Error::Different { interface: link.name, differences });
    }
    Ok(Created { link, bridge, new: false })
}

fn make(links: &Links, options: &CreateOptions) -> Result<Created, Error> {
    let device = TapDevice::open(&OpenOptions {
        name: options.name,
        vnet_header: if options.vnet_header { VnetHeaderMode::Require } else { VnetHeaderMode::Off },
        multi_queue: if options.multi_queue { MultiQueue::Always } else { MultiQueue::Auto },
        create_new: true,
        // Set here, where a failure of it is one.
        keep_mq_qdisc: true,
        owner: options.owner,
        group: options.group,
        // A bridge need not see it come and go with our descriptor.
        carrier: false,
        ..OpenOptions::default()
    })?;
    let index = device.interface_index();
    if options.qdisc != Some(Qdisc::Mq) {
        set_noqueue(links, index)?;
    }
    if let Some(mac) = options.mac {
        links.set_mac(index, mac)?;
    }
    // Before it joins: a bridge takes the smallest MTU of its ports.
    if let Some(mtu) = options.mtu {
        links.set_mtu(index, mtu)?;
    }
    let how =
        JoinOptions { keep_mtu: options.mtu.is_some(), keep_mac: options.mac.is_some(), keep_state: true };
    let port = options.bridge.map(|bridge| Port::join(&device, bridge, how)).transpose()?;
    if options.up {
        links.set_up(index, true)?;
    }
    device.set_persist(true)?;
    if let Some(port) = port {
        port.keep();
    }
    drop(device);
    Ok(Created { link: links.get(index)?, bridge: options.bridge, new: true })
}

fn set_noqueue(links: &Links, index: u32) -> Result<(), Error> {
    match links.set_noqueue(index) {
        // A kernel without queueing disciplines.
        Err(link::Error::Refused { errno: Errno::OPNOTSUPP, .. }) => Ok(()),
        result => Ok(result?),
    }
}
