//! Offloads, as the features of the interface show them.

use crate::offload::Offloads;

/// What `TUNSETOFFLOAD` set, from the names of the features that are on: it turns the same features on and off that
/// `ethtool -K` does (drivers/net/tun.c: `set_offload`). UFO does not show.
#[must_use]
pub fn offloads_of<T: AsRef<str>>(active: &[T]) -> Offloads {
    let bit = |name: &T| match name.as_ref() {
        "tx-checksum-ip-generic" => Offloads::CSUM,
        "tx-tcp-segmentation" => Offloads::TSO4,
        "tx-tcp6-segmentation" => Offloads::TSO6,
        "tx-tcp-ecn-segmentation" => Offloads::TSO_ECN,
        "tx-udp-segmentation" => Offloads::USO4 | Offloads::USO6,
        "tx-udp_tnl-segmentation" => Offloads::UDP_TUNNEL_GSO,
        "tx-udp_tnl-csum-segmentation" => Offloads::UDP_TUNNEL_GSO_CSUM,
        _ => Offloads::NONE,
    };
    active.iter().map(bit).fold(Offloads::NONE, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_no_offloads_of_a_tap_are_left_out() {
        let none: [&str; 0] = [];
        assert_eq!(offloads_of(&none), Offloads::NONE);
        assert_eq!(offloads_of(&["tx-vlan-hw-insert", "tx-scatter-gather"]), Offloads::NONE);
        let active =
            ["tx-checksum-ip-generic", "tx-scatter-gather", "tx-tcp-segmentation", "tx-udp-segmentation"];
        let expected = Offloads::CSUM | Offloads::TSO4 | Offloads::USO4 | Offloads::USO6;
        assert_eq!(offloads_of(&active), expected);
    }
}
