//! Numbers and layouts of the vhost-user protocol, as a frontend writes them.
//!
//! Names are those of the specification (QEMU's `docs/interop/vhost-user.rst`) without the `VHOST_USER_` prefix.

/// Length of the header of every message.
pub const HEADER_SIZE: usize = 12;
/// Protocol version, in the two lowest bits of the flags.
pub const VERSION: u32 = 1;
/// Flag of every reply.
pub const FLAG_REPLY: u32 = 1 << 2;
/// Flag that asks for an acknowledgement (with `REPLY_ACK`).
pub const FLAG_NEED_REPLY: u32 = 1 << 3;
/// In the `u64` of `SET_VRING_KICK`, `_CALL` and `_ERR`: no descriptor comes along.
pub const VRING_NO_FD: u64 = 1 << 8;
/// In the flags of `SET_VRING_ADDR`: log writes to the used ring.
pub const VRING_F_LOG: u32 = 1;
/// Size of the page that one bit of the dirty log stands for.
pub const LOG_PAGE: u64 = 4096;
/// Most regions in one `SET_MEM_TABLE`.
pub const MAX_TABLE_REGIONS: usize = 8;

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal;)*) => {
        /// Request ids of messages a frontend sends.
        pub mod request {
            $($(#[$doc])* pub const $name: u32 = $id;)*
        }
        /// Name of a request, for messages.
        #[must_use]
        pub fn request_name(id: u32) -> &'static str {
            match id {
                $($id => $text,)*
                _ => "an unknown request",
            }
        }
    };
}

requests! {
    /// Virtio features the backend can do.
    GET_FEATURES = 1, "GET_FEATURES";
    /// Virtio features the driver took.
    SET_FEATURES = 2, "SET_FEATURES";
    /// Start of a session.
    SET_OWNER = 3, "SET_OWNER";
    /// Deprecated end of a session.
    RESET_OWNER = 4, "RESET_OWNER";
    /// All memory regions at once.
    SET_MEM_TABLE = 5, "SET_MEM_TABLE";
    /// Where to log dirty pages.
    SET_LOG_BASE = 6, "SET_LOG_BASE";
    /// Eventfd for log changes.
    SET_LOG_FD = 7, "SET_LOG_FD";
    /// Size of a ring.
    SET_VRING_NUM = 8, "SET_VRING_NUM";
    /// Addresses of a ring.
    SET_VRING_ADDR = 9, "SET_VRING_ADDR";
    /// Where the device goes on in a ring.
    SET_VRING_BASE = 10, "SET_VRING_BASE";
    /// Stop a ring; where did the device get to?
    GET_VRING_BASE = 11, "GET_VRING_BASE";
    /// Kick eventfd; starts the ring.
    SET_VRING_KICK = 12, "SET_VRING_KICK";
    /// Call eventfd.
    SET_VRING_CALL = 13, "SET_VRING_CALL";
    /// Error eventfd.
    SET_VRING_ERR = 14, "SET_VRING_ERR";
    /// Protocol features the backend can do.
    GET_PROTOCOL_FEATURES = 15, "GET_PROTOCOL_FEATURES";
    /// Protocol features the frontend takes.
    SET_PROTOCOL_FEATURES = 16, "SET_PROTOCOL_FEATURES";
    /// How many queues the backend has.
    GET_QUEUE_NUM = 17, "GET_QUEUE_NUM";
    /// Enable or disable a ring.
    SET_VRING_ENABLE = 18, "SET_VRING_ENABLE";
    /// Announce a MAC address after migration.
    SEND_RARP = 19, "SEND_RARP";
    /// The MTU the guest is told.
    NET_SET_MTU = 20, "NET_SET_MTU";
    /// Socket for requests of the backend.
    SET_BACKEND_REQ_FD = 21, "SET_BACKEND_REQ_FD";
    /// IOTLB update or invalidation.
    IOTLB_MSG = 22, "IOTLB_MSG";
    /// Endianness of a legacy ring.
    SET_VRING_ENDIAN = 23, "SET_VRING_ENDIAN";
    /// Read the device's configuration space.
    GET_CONFIG = 24, "GET_CONFIG";
    /// Write the device's configuration space.
    SET_CONFIG = 25, "SET_CONFIG";
    /// Shared memory for in-flight tracking.
    GET_INFLIGHT_FD = 31, "GET_INFLIGHT_FD";
    /// Hand that memory back after a reconnect.
    SET_INFLIGHT_FD = 32, "SET_INFLIGHT_FD";
    /// Back to the initial state.
    RESET_DEVICE = 34, "RESET_DEVICE";
    /// How many memory slots the backend has.
    GET_MAX_MEM_SLOTS = 36, "GET_MAX_MEM_SLOTS";
    /// One more memory region.
    ADD_MEM_REG = 37, "ADD_MEM_REG";
    /// One memory region less.
    REM_MEM_REG = 38, "REM_MEM_REG";
    /// Virtio device status.
    SET_STATUS = 39, "SET_STATUS";
    /// Virtio device status.
    GET_STATUS = 40, "GET_STATUS";
}

/// Protocol features (`VHOST_USER_PROTOCOL_F_*`), as masks.
pub mod protocol_feature {
    /// `GET_QUEUE_NUM`.
    pub const MQ: u64 = 1;
    /// Dirty log in shared memory.
    pub const LOG_SHMFD: u64 = 1 << 1;
    /// `SEND_RARP`.
    pub const RARP: u64 = 1 << 2;
    /// Acknowledgements on demand.
    pub const REPLY_ACK: u64 = 1 << 3;
    /// `NET_SET_MTU`.
    pub const MTU: u64 = 1 << 4;
    /// Requests of the backend.
    pub const BACKEND_REQ: u64 = 1 << 5;
    /// `SET_VRING_ENDIAN`.
    pub const CROSS_ENDIAN: u64 = 1 << 6;
    /// Post-copy migration.
    pub const PAGEFAULT: u64 = 1 << 8;
    /// `GET_CONFIG`, `SET_CONFIG`.
    pub const CONFIG: u64 = 1 << 9;
    /// In-flight tracking.
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    /// `RESET_DEVICE`.
    pub const RESET_DEVICE: u64 = 1 << 13;
    /// Kicks and calls as messages.
    pub const INBAND_NOTIFICATIONS: u64 = 1 << 14;
    /// `ADD_MEM_REG`, `REM_MEM_REG`, `GET_MAX_MEM_SLOTS`.
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    /// `SET_STATUS`, `GET_STATUS`.
    pub const STATUS: u64 = 1 << 16;
}

/// Virtio feature bits a net driver may take (virtio 1.3, 5.1.3 and 6), as masks, and the two of vhost.
pub mod feature {
    /// `VIRTIO_NET_F_CSUM`: the device completes checksums of what we transmit.
    pub const CSUM: u64 = 1;
    /// `VIRTIO_NET_F_GUEST_CSUM`: we take frames with partial checksums.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// `VIRTIO_NET_F_MTU`.
    pub const MTU: u64 = 1 << 3;
    /// `VIRTIO_NET_F_MAC`.
    pub const MAC: u64 = 1 << 5;
    /// `VIRTIO_NET_F_GUEST_TSO4`.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// `VIRTIO_NET_F_GUEST_TSO6`.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// `VIRTIO_NET_F_GUEST_ECN`.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// `VIRTIO_NET_F_GUEST_UFO`.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// `VIRTIO_NET_F_HOST_TSO4`.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// `VIRTIO_NET_F_HOST_TSO6`.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// `VIRTIO_NET_F_HOST_ECN`.
    pub const HOST_ECN: u64 = 1 << 13;
    /// `VIRTIO_NET_F_HOST_UFO`.
    pub const HOST_UFO: u64 = 1 << 14;
    /// `VIRTIO_NET_F_MRG_RXBUF`.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// `VIRTIO_NET_F_STATUS`.
    pub const STATUS: u64 = 1 << 16;
    /// `VIRTIO_NET_F_GUEST_ANNOUNCE`.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// `VIRTIO_NET_F_MQ`.
    pub const MQ: u64 = 1 << 22;
    /// `VHOST_F_LOG_ALL`: log every write to guest memory.
    pub const LOG_ALL: u64 = 1 << 26;
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_EVENT_IDX`.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VHOST_USER_F_PROTOCOL_FEATURES`.
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    /// `VIRTIO_F_VERSION_1`.
    pub const VERSION_1: u64 = 1 << 32;
    /// `VIRTIO_F_RING_PACKED`.
    pub const RING_PACKED: u64 = 1 << 34;
    /// `VIRTIO_F_IN_ORDER`.
    pub const IN_ORDER: u64 = 1 << 35;
    /// `VIRTIO_NET_F_GUEST_USO4`.
    pub const GUEST_USO4: u64 = 1 << 54;
    /// `VIRTIO_NET_F_GUEST_USO6`.
    pub const GUEST_USO6: u64 = 1 << 55;
    /// `VIRTIO_NET_F_HOST_USO`.
    pub const HOST_USO: u64 = 1 << 56;

    /// Everything that lets the device hand us super-frames.
    pub const GUEST_GSO: u64 = GUEST_TSO4 | GUEST_TSO6 | GUEST_UFO | GUEST_USO4 | GUEST_USO6;
    /// UDP super-frames of either kind, both ways.
    pub const UDP_GSO: u64 = GUEST_UFO | GUEST_USO4 | GUEST_USO6 | HOST_UFO | HOST_USO;
    /// Every checksum and segmentation offload, both ways.
    pub const OFFLOADS: u64 =
        CSUM | GUEST_CSUM | GUEST_GSO | GUEST_ECN | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO | HOST_USO;
}

/// Builds the body of a message: numbers in the machine's byte order, one after the other.
#[derive(Debug, Default, Clone)]
pub struct Body(Vec<u8>);

impl Body {
    /// An empty body.
    #[must_use]
    pub fn new() -> Body {
        Body::default()
    }

    /// Appends a 16-bit number.
    #[must_use]
    pub fn u16(mut self, value: u16) -> Body {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Appends a 32-bit number.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Body {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Appends a 64-bit number.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Body {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}
