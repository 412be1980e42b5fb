//! What a driver must have accepted to be given a frame as the tap gives it.

use mqtap::vnet_header::Gso;
use mqtap::{Offloads, VnetHeader};

use super::headers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, network_header};

/// The offloads of `frame`, which comes with `header`. A driver that has not accepted all of them gets the frame in another form. `None` for kinds of super-frames that are not known. Without a frame, the answer holds
/// for any.
#[must_use]
pub fn offloads_needed(header: &VnetHeader, frame: &[u8]) -> Option<Offloads> {
    if header.gso_type & (VnetHeader::GSO_UDP_TUNNEL_IPV4 | VnetHeader::GSO_UDP_TUNNEL_IPV6) != 0 {
        return None;
    }
    let kind = match header.gso().ok()? {
        Gso::None => Offloads::NONE,
        Gso::TcpV4 => Offloads::TSO4,
        Gso::TcpV6 => Offloads::TSO6,
        Gso::Udp => Offloads::UFO,
        Gso::UdpL4 => match network_header(frame) {
            Some((ETHERTYPE_IPV4, _)) => Offloads::USO4,
            Some((ETHERTYPE_IPV6, _)) => Offloads::USO6,
            _ => Offloads::USO4 | Offloads::USO6,
        },
    };
    let ecn = if header.gso_type & VnetHeader::GSO_ECN != 0 { Offloads::TSO_ECN } else { Offloads::NONE };
    // "Its checksum was seen to be right" is also something that only they are told who reckon with it.
    let checksum = if header.flags != 0 || kind != Offloads::NONE { Offloads::CSUM } else { Offloads::NONE };
    Some(kind | ecn | checksum)
}

#[cfg(test)]
mod tests {
    use super::super::headers::{Network, Transport};
    use super::super::testing::Frame;
    use super::*;

    fn header(flags: u8, gso_type: u8) -> VnetHeader {
        VnetHeader { flags, gso_type, gso_size: 1000, ..VnetHeader::default() }
    }

    #[test]
    fn each_kind_of_frame_needs_its_offloads() {
        const CSUM: Offloads = Offloads::CSUM;
        let needed = |flags, gso_type| offloads_needed(&header(flags, gso_type), &[]);
        assert_eq!(needed(0, VnetHeader::GSO_NONE), Some(Offloads::NONE));
        assert_eq!(needed(VnetHeader::NEEDS_CSUM, VnetHeader::GSO_NONE), Some(CSUM));
        assert_eq!(needed(VnetHeader::DATA_VALID, VnetHeader::GSO_NONE), Some(CSUM));
        assert_eq!(needed(1, VnetHeader::GSO_TCPV4), Some(CSUM | Offloads::TSO4));
        assert_eq!(needed(0, VnetHeader::GSO_TCPV6), Some(CSUM | Offloads::TSO6));
        let ecn = VnetHeader::GSO_TCPV4 | VnetHeader::GSO_ECN;
        assert_eq!(needed(1, ecn), Some(CSUM | Offloads::TSO4 | Offloads::TSO_ECN));
        assert_eq!(needed(1, VnetHeader::GSO_UDP), Some(CSUM | Offloads::UFO));
        let both = CSUM | Offloads::USO4 | Offloads::USO6;
        assert_eq!(needed(1, VnetHeader::GSO_UDP_L4), Some(both), "of a frame that is not seen");
        assert_eq!(needed(1, 2), None);
        assert_eq!(needed(1, VnetHeader::GSO_TCPV4 | VnetHeader::GSO_UDP_TUNNEL_IPV4), None);
    }

    #[test]
    fn udp_segments_are_accepted_for_each_network_protocol() {
        for (network, uso) in [(Network::V4, Offloads::USO4), (Network::V6, Offloads::USO6)] {
            let frame = Frame { vlans: vec![7], ..Frame::new(network, Transport::Udp, &[1; 3000]) };
            let needed = offloads_needed(&header(1, VnetHeader::GSO_UDP_L4), &frame.partial());
            assert_eq!(needed, Some(Offloads::CSUM | uso), "{network:?}");
        }
    }
}
