//! Why a NIC refuses.

use mqtap::MacAddress;

use crate::{ring, worker};

/// Why a request to a [`Nic`](super::Nic) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of workers or pairs makes no sense, or a thread could not be started.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// A ring that this NIC does not have.
    #[error(
        "ring {ring} does not exist: this NIC has {pairs} queue pairs ({rings} virtqueues); give the VMM queues={pairs}, or mqtap more queues"
    )]
    NoSuchRing {
        /// The ring that was asked for.
        ring: u16,
        /// Queue pairs of the NIC.
        pairs: u16,
        /// Twice as many.
        rings: u16,
    },
    /// Coalescing is asked for on a tap without a virtio-net header.
    #[error(
        "cannot coalesce frames on {interface}: it has no virtio header, which only can say that a frame is several; open it with vnet_hdr=on, or use coalesce=auto"
    )]
    NoHeaderToCoalesce {
        /// The interface.
        interface: String,
    },
    /// The guest is to use a larger MTU than the tap has.
    #[error(
        "the guest is to have MTU {mtu}, and {interface} has {tap}: set it with mtu={mtu} or `--mtu {mtu}`, or with `ip link set dev {interface} mtu {mtu}`, and on its bridge"
    )]
    Mtu {
        /// What the frontend asked for, bytes.
        mtu: u16,
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        tap: u32,
    },
    /// Features that were not offered.
    #[error("the driver acknowledged features that were not offered: {0:#x}")]
    NotOffered(u64),
    /// Features may not change under running rings.
    #[error("features cannot change while rings are started")]
    RingsStarted,
    /// Start of a started ring.
    #[error("ring {0} is started already")]
    Started(u16),
    /// Stop of a stopped ring.
    #[error("ring {0} is not started")]
    NotStarted(u16),
    /// A ring needs guest memory.
    #[error("ring {0} cannot start: there is no guest memory yet")]
    NoMemory(u16),
    /// A file descriptor of the frontend that is no eventfd: writing to it might block for ever.
    #[error("the {what} file descriptor of ring {ring} is not an eventfd but {kind}")]
    NotAnEventfd {
        /// `kick`, `call` or `error`.
        what: &'static str,
        /// Its ring.
        ring: u16,
        /// What it is.
        kind: String,
    },
    /// The ring's layout makes no sense.
    #[error("ring {ring} cannot start: {source}")]
    Ring {
        /// The ring.
        ring: u16,
        /// Why.
        source: ring::Error,
    },
    /// Not one vhost-net handle for each queue pair.
    #[error("{handles} vhost-net handles are not enough, or too many, for {pairs} queue pairs")]
    Handles {
        /// Handles that were given.
        handles: usize,
        /// Queue pairs there are.
        pairs: u16,
    },
    /// The kernel's vhost-net refused something.
    #[error(transparent)]
    Vhost(#[from] mqtap::vhost_net::Error),
    /// The kernel's vhost-net refused something about a ring.
    #[error("ring {ring}: {source}")]
    VhostRing {
        /// The ring.
        ring: u16,
        /// Why.
        source: mqtap::vhost_net::Error,
    },
    /// A ring without a kick eventfd, in the kernel.
    #[error(
        "ring {0} has no kick eventfd: vhost-net cannot look for chains by itself; have the VMM pass one, or use vhost=off"
    )]
    NoKick(u16),
    /// Guest memory that cannot be told to vhost-net.
    #[error(transparent)]
    Memory(#[from] mqtap::vhost_net::BadRegion),
    /// An eventfd of our own could not be made.
    #[error("cannot make an eventfd: {0}")]
    Eventfd(std::io::Error),
    /// A file descriptor of a ring could not be duplicated.
    #[error("cannot duplicate a file descriptor of ring {ring}: {source}")]
    Duplicate {
        /// The ring.
        ring: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The tap refused a setting.
    #[error(transparent)]
    Device(#[from] mqtap::device::Error),
    /// A queue could not be attached or detached.
    #[error(transparent)]
    Queue(#[from] mqtap::queue::Error),
    /// The link could not be read or changed.
    #[error(transparent)]
    Link(#[from] mqtap::link::Error),
    /// A frame of our own could not be sent.
    #[error("cannot announce {mac} on {interface}: {source}")]
    Announce {
        /// The address that was to be announced.
        mac: MacAddress,
        /// The interface.
        interface: String,
        /// Why.
        source: std::io::Error,
    },
    /// The tap is gone.
    #[error("{interface} is gone: the tap was deleted while it was served")]
    TapGone {
        /// The interface.
        interface: String,
    },
}
