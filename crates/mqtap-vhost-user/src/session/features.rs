//! Feature bits, and who may acknowledge what.

/// `VHOST_F_LOG_ALL`: log every write to guest memory.
pub(super) const LOG_ALL: u64 = 1 << 26;
/// `VHOST_USER_F_PROTOCOL_FEATURES`
pub(super) const PROTOCOL_FEATURES: u64 = 1 << 30;
/// `VIRTIO_F_RING_PACKED`
pub(super) const RING_PACKED: u64 = 1 << 34;

/// Features between the driver and the frontend, which serves the control queue and the configuration
/// space itself. Some frontends acknowledge them to the backend whether it offered them or not; the
/// rings look the same either way, so it is no reason to refuse.
pub(super) const OF_THE_FRONTEND: u64 = {
    const MTU: u64 = 1 << 3;
    const MAC: u64 = 1 << 5;
    const STATUS: u64 = 1 << 16;
    const CTRL_VQ: u64 = 1 << 17;
    const CTRL_RX: u64 = 1 << 18;
    const CTRL_VLAN: u64 = 1 << 19;
    const GUEST_ANNOUNCE: u64 = 1 << 21;
    const MQ: u64 = 1 << 22;
    const CTRL_MAC_ADDR: u64 = 1 << 23;
    const STANDBY: u64 = 1 << 62;
    const SPEED_DUPLEX: u64 = 1 << 63;
    MTU | MAC
        | STATUS
        | CTRL_VQ
        | CTRL_RX
        | CTRL_VLAN
        | GUEST_ANNOUNCE
        | MQ
        | CTRL_MAC_ADDR
        | STANDBY
        | SPEED_DUPLEX
};

/// `VHOST_USER_PROTOCOL_F_*`
pub(super) mod protocol {
    pub(in crate::session) const MQ: u64 = 1 << 0;
    pub(in crate::session) const LOG_SHMFD: u64 = 1 << 1;
    pub(in crate::session) const RARP: u64 = 1 << 2;
    pub(in crate::session) const REPLY_ACK: u64 = 1 << 3;
    pub(in crate::session) const NET_MTU: u64 = 1 << 4;
    pub(in crate::session) const CONFIG: u64 = 1 << 9;
    pub(in crate::session) const RESET_DEVICE: u64 = 1 << 13;
    pub(in crate::session) const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    pub(in crate::session) const STATUS: u64 = 1 << 16;

    /// Offered to everybody. Nothing more, as QEMU acknowledges whatever is offered, also what it does
    /// not implement.
    const ALWAYS: u64 =
        MQ | LOG_SHMFD | RARP | REPLY_ACK | NET_MTU | RESET_DEVICE | CONFIGURE_MEM_SLOTS | STATUS;

    /// What is offered to this frontend. QEMU keeps a network card's configuration itself and warns
    /// about a backend that offers CONFIG; the others want it. They can be told apart: QEMU asks for the
    /// protocol features of the first queue pair before it says SET_OWNER, the others say it first.
    pub(in crate::session) fn offered(owned: bool) -> u64 {
        ALWAYS | if owned { CONFIG } else { 0 }
    }
}
