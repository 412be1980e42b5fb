//! How a NIC is made, and what starts a ring of it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use mqtap::MacAddress;

use crate::engine::Engine;
use crate::ring::{RingAddresses, RingBase};

/// The largest ring of virtio (virtio 1.3, 2.7 "Split Virtqueues": 2^15).
pub const MAX_RING_SIZE: u16 = 32_768;

/// When the tap has carrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// While the guest has a queue enabled.
    #[default]
    FollowsGuest,
    /// Always; the host sees no difference between a guest and none.
    AlwaysOn,
    /// Never.
    AlwaysOff,
}

/// Whether frames that follow each other in a flow are given to the kernel as one
/// ([`coalesce`](crate::offload::coalesce)). It takes a tap with a virtio-net header, and for UDP one that knows USO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coalesce {
    /// While there is something to gain: after bursts in which there was nothing, some are not looked at.
    #[default]
    Auto,
    /// All bursts are looked at.
    On,
    /// None is.
    Off,
}

/// How a [`Nic`](super::Nic) is made.
#[derive(Clone, Debug)]
pub struct NicOptions {
    /// Told to the driver by frontends that ask for the configuration space; others choose for themselves.
    pub mac: Option<MacAddress>,
    /// The largest ring that a driver may use, in descriptors.
    pub max_ring_size: u16,
    /// Threads that serve the queue pairs: 0 for one for each pair.
    pub workers: u16,
    /// Where the workers run: worker i on the CPU `cpus[i % len]`. Anywhere if empty.
    pub cpus: Vec<usize>,
    /// When the tap has carrier.
    pub carrier: Carrier,
    /// How bursts of frames are written to the tap.
    pub engine: Engine,
    /// Whether frames of one flow are written together.
    pub coalesce: Coalesce,
    /// How long a worker looks for more work, using its CPU, before it sleeps; zero: not at all.
    pub poll: Duration,
    /// Whether the tap gives super-frames and partial checksums also where the driver does not take them: we segment and
    /// complete them then, which costs less than reading each frame. Otherwise the kernel does, before it gives them.
    pub segment: bool,
}

impl Default for NicOptions {
    fn default() -> Self {
        Self {
            mac: None,
            max_ring_size: 1024,
            workers: 0,
            cpus: Vec::new(),
            carrier: Carrier::default(),
            engine: Engine::default(),
            coalesce: Coalesce::default(),
            poll: Duration::ZERO,
            segment: true,
        }
    }
}

/// What starts a ring.
#[derive(Debug)]
pub struct RingSetup {
    /// Descriptors of the ring.
    pub size: u16,
    /// Where its parts are in guest memory.
    pub addresses: RingAddresses,
    /// Where to go on.
    pub base: RingBase,
    /// Signalled by the driver; `None`: the ring is looked at every 100 µs.
    pub kick: Option<OwnedFd>,
    /// Signalled when buffers were used; `None`: the driver polls.
    pub call: Option<OwnedFd>,
    /// Signalled when the driver broke the ring.
    pub error: Option<OwnedFd>,
}
