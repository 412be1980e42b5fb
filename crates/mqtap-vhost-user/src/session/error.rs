//! Why a request is refused.

use mqtap_virtio::memory::{self, RegionLayout};
use rustix::io::Errno;

use crate::message::{self, UnknownRequest};

/// Why a request of the frontend is refused. The session goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not in the protocol.
    #[error(transparent)]
    Unknown(#[from] UnknownRequest),
    /// In the protocol, but it needs a feature that is not offered.
    #[error("this backend does not do it, and did not offer the protocol feature it needs")]
    Unsupported,
    /// The message is marked as a reply.
    #[error("the message is marked as a reply, but nothing was asked")]
    NotARequest,
    /// The body is malformed.
    #[error(transparent)]
    Body(#[from] message::Error),
    /// Too many or too few file descriptors.
    #[error("{received} file descriptors came with the message, {expected} belong to it")]
    Descriptors {
        /// How many came.
        received: usize,
        /// How many belong.
        expected: usize,
    },
    /// File descriptors were lost on the way.
    #[error(
        "not all file descriptors of the message could be received; if the limit of open files is low (`ulimit -n`), raise it"
    )]
    DescriptorsLost,
    /// A kick, call or error descriptor that cannot be one.
    #[error("the file descriptor for ring {ring} is not an eventfd or a pipe")]
    NotANotifier {
        /// Ring number.
        ring: u16,
    },
    /// A descriptor could not be inspected, prepared or duplicated.
    #[error("cannot prepare a file descriptor of ring {ring}: {errno}")]
    Notifier {
        /// Ring number.
        ring: u16,
        /// What the kernel said.
        errno: Errno,
    },
    /// The device has fewer rings.
    #[error(
        "there is no ring {ring}: the device has {} queue pairs ({rings} virtqueues); give the netdev at least queues={}, or the frontend fewer queues",
        rings / 2,
        ring / 2 + 1
    )]
    NoSuchRing {
        /// Ring asked for.
        ring: u32,
        /// Rings there are.
        rings: u16,
    },
    /// More descriptors than the device can do, or none.
    #[error("ring {ring} cannot have {size} entries; 1 to {max} are possible")]
    RingSize {
        /// Ring number.
        ring: u16,
        /// Size asked for.
        size: u32,
        /// Largest size.
        max: u16,
    },
    /// A split ring whose size is not a power of two.
    #[error("ring {ring} cannot have {size} entries: the size of a split ring is a power of two")]
    RingSizeNotPower {
        /// Ring number.
        ring: u16,
        /// Size asked for.
        size: u16,
    },
    /// An index beyond what the ring's layout has.
    #[error("{base:#x} is not an available index of split ring {ring}: it has 16 bits")]
    RingBase {
        /// Ring number.
        ring: u16,
        /// Base asked for.
        base: u32,
    },
    /// The parts of the ring are not in guest memory.
    #[error(
        "the addresses of ring {ring} are not in the memory the frontend shared; the ring starts when they are"
    )]
    RingNotInMemory {
        /// Ring number.
        ring: u16,
    },
    /// A request that needs the ring stopped.
    #[error("ring {ring} is running; GET_VRING_BASE stops it")]
    RingStarted {
        /// Ring number.
        ring: u16,
    },
    /// Features the device does not have.
    #[error("features {bits:#x} were not offered")]
    FeaturesNotOffered {
        /// The bits in question.
        bits: u64,
    },
    /// Other virtio features while rings run.
    #[error("features cannot change from {from:#x} to {to:#x} while rings are running")]
    FeaturesInUse {
        /// Features in use.
        from: u64,
        /// Features asked for.
        to: u64,
    },
    /// Protocol features that were not offered.
    #[error("protocol features {bits:#x} were not offered")]
    ProtocolFeaturesNotOffered {
        /// The bits in question.
        bits: u64,
    },
    /// Guest memory that cannot be used.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The file of a region could not be inspected.
    #[error("cannot inspect the file of memory region {layout}: {errno}")]
    RegionFile {
        /// The region as announced.
        layout: RegionLayout,
        /// What the kernel said.
        errno: Errno,
    },
    /// More regions than slots.
    #[error("all {max} memory slots are taken")]
    NoFreeSlot {
        /// Slots there are.
        max: usize,
    },
    /// A region to be removed that was never there.
    #[error("there is no memory region {layout} to remove")]
    NoSuchRegion {
        /// The region as announced.
        layout: RegionLayout,
    },
    /// A log that is not shared memory.
    #[error("a dirty log at an address needs shared memory: negotiate LOG_SHMFD")]
    LogNotShared,
    /// A log without a bit for every page.
    #[error("a dirty log of {size:#x} bytes does not cover guest memory; {needed:#x} are needed")]
    LogTooSmall {
        /// Size of the log in bytes.
        size: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Not an MTU.
    #[error("{mtu} is not an MTU; 68 to 65535 are")]
    Mtu {
        /// What was asked for.
        mtu: u64,
    },
    /// Not the address of a network card.
    #[error("{mac:02x?} is not the address of one network card")]
    Mac {
        /// What was asked for.
        mac: [u8; 6],
    },
    /// Not a device status.
    #[error("{status:#x} is not a device status: it has 8 bits")]
    Status {
        /// What was asked for.
        status: u64,
    },
    /// Rings of the other byte order.
    #[error("only little-endian rings are done (0), not {endian}")]
    Endian {
        /// What was asked for.
        endian: u32,
    },
    /// The configuration space cannot be written.
    #[error("the configuration space is read-only")]
    ConfigReadOnly,
    /// The device refused.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
}

impl RequestError {
    /// An error of the device.
    pub(super) fn device(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        RequestError::Device(Box::new(error))
    }
}
