//! Virtio feature bits of a network device, and what each set of them means for the tap and the rings.
//!
//! The names and numbers are those of the virtio 1.3 specification, sections 5.1.3 (network device) and 6
//! (reserved feature bits).

use mqtap::{Offloads, VnetHeaderSize};

use crate::ring::RingFeatures;

/// Names the bits and keeps the list that [`describe`] prints from.
macro_rules! feature_bits {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        $($(#[$doc])* pub const $name: u64 = 1 << $bit;)*
        const NAMES: &[(u64, &str)] = &[$(($name, stringify!($name)),)*];
    };
}

feature_bits! {
    /// The driver may hand over frames with a partial checksum (device completes it).
    CSUM = 0,
    /// The driver accepts received frames with a partial checksum.
    GUEST_CSUM = 1,
    /// The device tells the MTU in its configuration space.
    MTU = 3,
    /// The device tells its MAC address in its configuration space.
    MAC = 5,
    /// The driver accepts IPv4 TCP super-frames.
    GUEST_TSO4 = 7,
    /// The driver accepts IPv6 TCP super-frames.
    GUEST_TSO6 = 8,
    /// The driver accepts TCP super-frames with ECN.
    GUEST_ECN = 9,
    /// The driver accepts UDP fragments as super-frames.
    GUEST_UFO = 10,
    /// The driver may send IPv4 TCP super-frames.
    HOST_TSO4 = 11,
    /// The driver may send IPv6 TCP super-frames.
    HOST_TSO6 = 12,
    /// The driver may send TCP super-frames with ECN.
    HOST_ECN = 13,
    /// The driver may send UDP fragments as super-frames.
    HOST_UFO = 14,
    /// One received frame may span several buffers.
    MRG_RXBUF = 15,
    /// The configuration space has a link status.
    STATUS = 16,
    /// There is a control queue. Frontends keep it to themselves; a backend says yes so that they may offer it.
    CTRL_VQ = 17,
    /// The driver can be asked to announce itself (done by the frontend through its control queue).
    GUEST_ANNOUNCE = 21,
    /// More than one queue pair.
    MQ = 22,
    /// Descriptors may point to a table of descriptors.
    INDIRECT_DESC = 28,
    /// Notifications are suppressed by ring index rather than by flag.
    EVENT_IDX = 29,
    /// Virtio 1.0 or later.
    VERSION_1 = 32,
    /// The packed ring layout.
    RING_PACKED = 34,
    /// The device uses buffers in the order in which they were made available.
    IN_ORDER = 35,
    /// The driver accepts IPv4 UDP super-frames that are segmented rather than fragmented.
    GUEST_USO4 = 54,
    /// The same over IPv6.
    GUEST_USO6 = 55,
    /// The driver may send UDP super-frames that are segmented rather than fragmented.
    HOST_USO = 56,
}

/// The feature bits in words, for logs: `CSUM|MRG_RXBUF|VERSION_1`. Bits without a name are left out.
pub fn describe(features: u64) -> String {
    let names: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| features & bit != 0).map(|&(_, name)| name).collect();
    names.join("|")
}

/// The features that whoever works on the rings must have.
pub(crate) const OF_RINGS: u64 = MRG_RXBUF | INDIRECT_DESC | EVENT_IDX | VERSION_1 | RING_PACKED | IN_ORDER;

/// What a NIC can offer, given the tap under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Offloads that the kernel accepted for this tap.
    pub(crate) offloads: Offloads,
    /// Whether the tap carries a virtio-net header: without one no offload works in either direction.
    pub(crate) vnet_header: bool,
    pub(crate) queue_pairs: u16,
    pub(crate) mac: bool,
}

impl Offer {
    pub(crate) fn features(self) -> u64 {
        let mut features = VERSION_1
            | MRG_RXBUF
            | STATUS
            | CTRL_VQ
            | GUEST_ANNOUNCE
            | MTU
            | INDIRECT_DESC
            | EVENT_IDX
            | RING_PACKED
            | IN_ORDER;
        if self.queue_pairs > 1 {
            features |= MQ;
        }
        if self.mac {
            features |= MAC;
        }
        if self.vnet_header {
            features |= CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO;
            for (offload, bits) in GUEST_OFFLOADS {
                if self.offloads.contains(offload) {
                    features |= bits;
                }
            }
            // A kernel that can take UDP super-frames out of a tap (6.2) can take them in as well.
            if self.offloads.contains(Offloads::USO4) {
                features |= HOST_USO;
            }
        }
        features
    }
}

const GUEST_OFFLOADS: [(Offloads, u64); 7] = [
    (Offloads::CSUM, GUEST_CSUM),
    (Offloads::TSO4, GUEST_TSO4),
    (Offloads::TSO6, GUEST_TSO6),
    (Offloads::TSO_ECN, GUEST_ECN),
    (Offloads::UFO, GUEST_UFO),
    (Offloads::USO4, GUEST_USO4),
    (Offloads::USO6, GUEST_USO6),
];

/// The offloads that we do for a driver that does not take them.
pub(crate) fn substituted() -> Offloads {
    Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::TSO_ECN | Offloads::USO4 | Offloads::USO6
}

/// The driver's choice, once made: read through methods that say what each bit is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged(pub u64);

impl Acknowledged {
    fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// How the rings are laid out and notified.
    pub fn ring_features(self) -> RingFeatures {
        RingFeatures {
            packed: self.has(RING_PACKED),
            event_index: self.has(EVENT_IDX),
            indirect: self.has(INDIRECT_DESC),
            in_order: self.has(IN_ORDER),
        }
    }

    /// The offloads that this driver takes as they are.
    pub fn offloads(self) -> Offloads {
        GUEST_OFFLOADS
            .iter()
            .filter(|(_, bit)| self.has(*bit))
            .fold(Offloads::NONE, |all, &(offload, _)| all | offload)
    }

    /// The virtio-net header of this driver: 12 bytes with `num_buffers` for virtio 1.0 and for mergeable buffers,
    /// else 10 (virtio 1.3, 5.1.6.1 "Legacy Interface: Device Operation").
    pub fn header_size(self) -> VnetHeaderSize {
        if self.has(VERSION_1 | MRG_RXBUF) { VnetHeaderSize::Modern12 } else { VnetHeaderSize::Legacy10 }
    }

    /// Whether one received frame may span several chains.
    pub fn mergeable(self) -> bool {
        self.has(MRG_RXBUF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(offloads: Offloads) -> u64 {
        Offer { offloads, vnet_header: true, queue_pairs: 4, mac: false }.features()
    }

    #[test]
    fn uso_is_offered_only_when_the_kernel_takes_it() {
        let tso = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6;
        assert_eq!(offer(tso) & (GUEST_USO4 | GUEST_USO6 | HOST_USO), 0);
        let uso = tso | Offloads::USO4 | Offloads::USO6;
        assert_eq!(offer(uso) & (GUEST_USO4 | GUEST_USO6 | HOST_USO), GUEST_USO4 | GUEST_USO6 | HOST_USO);
    }

    #[test]
    fn without_a_vnet_header_no_offload_is_offered() {
        let features =
            Offer { offloads: Offloads::CSUM, vnet_header: false, queue_pairs: 1, mac: true }.features();
        assert_eq!(features & (CSUM | GUEST_CSUM | HOST_TSO4 | HOST_TSO6 | HOST_UFO | HOST_ECN), 0);
        assert_eq!(features & MQ, 0, "one queue pair is not multiqueue");
        assert_ne!(features & MAC, 0);
    }

    #[test]
    fn the_header_grows_with_version_1_or_mergeable_buffers() {
        assert_eq!(Acknowledged(0).header_size(), VnetHeaderSize::Legacy10);
        assert_eq!(Acknowledged(MRG_RXBUF).header_size(), VnetHeaderSize::Modern12);
        assert_eq!(Acknowledged(VERSION_1).header_size(), VnetHeaderSize::Modern12);
    }

    #[test]
    fn acknowledged_offloads_are_the_guest_bits() {
        let acknowledged = Acknowledged(GUEST_CSUM | GUEST_TSO4 | HOST_TSO6);
        assert_eq!(acknowledged.offloads(), Offloads::CSUM | Offloads::TSO4);
    }

    #[test]
    fn features_are_described_by_their_names() {
        assert_eq!(describe(CSUM | VERSION_1 | 1 << 63), "CSUM|VERSION_1");
    }
}
