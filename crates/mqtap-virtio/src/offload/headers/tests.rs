use proptest::collection::vec;
use proptest::prelude::*;

use super::super::testing::{Frame, any_network, any_transport};
use super::*;

fn any_frame() -> impl Strategy<Value = Frame> {
    let options = (0..=10_usize).prop_flat_map(|words| vec(any::<u8>(), 4 * words));
    let payload = vec(any::<u8>(), 0..200);
    let vlans = vec(any::<u16>(), 0..=MAX_VLAN_TAGS);
    (vlans, any_network(), any_transport(), options.clone(), options, payload).prop_map(
        |(vlans, network, transport, ip_options, tcp_options, payload)| Frame {
            vlans,
            ip_options: if network == Network::V4 { ip_options } else { Vec::new() },
            tcp_options: if transport == Transport::Tcp { tcp_options } else { Vec::new() },
            ..Frame::new(network, transport, &payload)
        },
    )
}

proptest! {
    #[test]
    fn headers_are_found_where_they_were_put(frame in any_frame()) {
        let bytes = frame.bytes();
        for head in [&bytes[..], &bytes[..bytes.len().min(MAX_HEADERS)], &bytes[..frame.payload_at()]] {
            let headers = Headers::parse(head).unwrap();
            prop_assert_eq!((headers.network(), headers.transport()), (frame.network, frame.transport));
            prop_assert_eq!(headers.network_at(), frame.network_at());
            prop_assert_eq!(headers.transport_at(), frame.transport_at());
            prop_assert_eq!(headers.payload_at(), frame.payload_at());
            prop_assert_eq!(headers.end(), bytes.len());
            prop_assert_eq!(headers.payload_len(), frame.payload.len());
            prop_assert_eq!(headers.transport_len(), bytes.len() - frame.transport_at());
        }
    }

    #[test]
    fn a_head_without_all_headers_is_nothing(frame in any_frame(), cut in any::<prop::sample::Index>()) {
        let bytes = frame.bytes();
        prop_assert_eq!(Headers::parse(&bytes[..cut.index(frame.payload_at())]), None);
    }

    #[test]
    fn whatever_a_guest_sends_places_are_in_order_and_inside(
        frame in any_frame(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = frame.bytes();
        for (at, value) in changes {
            let at = at.index(frame.payload_at());
            bytes[at] = value;
        }
        if let Some(headers) = Headers::parse(&bytes) {
            prop_assert!(headers.network_at() < headers.transport_at());
            prop_assert!(headers.transport_at() < headers.payload_at());
            prop_assert!(headers.payload_at() <= headers.end());
            prop_assert!(headers.payload_at() <= bytes.len().min(MAX_HEADERS));
        }
    }
}

fn changed(frame: &Frame, at: usize, value: u8) -> Option<Headers> {
    let mut bytes = frame.bytes();
    bytes[at] = value;
    Headers::parse(&bytes)
}

#[test]
fn only_tcp_and_udp_behind_ip_are_understood() {
    let v4 = Frame::new(Network::V4, Transport::Tcp, &[1; 40]);
    let v6 = Frame::new(Network::V6, Transport::Udp, &[1; 40]);
    assert!(Headers::parse(&v4.bytes()).is_some() && Headers::parse(&v6.bytes()).is_some());
    assert_eq!(changed(&v4, 13, 0x06), None, "ARP");
    assert_eq!(changed(&v4, 14, 0x65), None, "version");
    assert_eq!(changed(&v4, 14, 0x44), None, "IPv4 header length");
    assert_eq!(changed(&v4, 14 + 9, 1), None, "ICMP");
    assert_eq!(changed(&v4, 14 + 6, 0x20), None, "first fragment");
    assert_eq!(changed(&v4, 14 + 7, 1), None, "later fragment");
    assert_eq!(changed(&v4, 14 + 2, 0xff).map(|h| h.end()), Some(14 + 0xff50), "longer than the frame");
    assert_eq!(changed(&v4, 14 + 3, 39), None, "total length without room for TCP");
    assert_eq!(changed(&v4, 34 + 12, 0x40), None, "TCP header length");
    assert_eq!(changed(&v4, 34 + 12, 0xf0).map(|h| h.payload_at()), Some(34 + 60));
    assert_eq!(changed(&v6, 14, 0x45), None, "version");
    assert_eq!(changed(&v6, 14 + 6, 0), None, "extension header");
    assert_eq!(changed(&v6, 14 + 5, 7), None, "payload length without room for UDP");
    let tagged = |tags| Headers::parse(&Frame { vlans: vec![5; tags], ..v4.clone() }.bytes());
    assert_eq!(tagged(MAX_VLAN_TAGS).map(|h| h.network_at()), Some(22));
    assert_eq!(tagged(MAX_VLAN_TAGS + 1), None, "too many tags");
}

#[test]
fn fields_are_read_and_written_in_network_order() {
    let mut bytes = [0; 8];
    assert_eq!(put_u16(&mut bytes, 1, 0x0102), Some(()));
    assert_eq!(put_u32(&mut bytes, 4, 0x0304_0506), Some(()));
    assert_eq!(bytes, [0, 1, 2, 0, 3, 4, 5, 6]);
    assert_eq!((get_u16(&bytes, 1), get_u32(&bytes, 4)), (Some(0x0102), Some(0x0304_0506)));
    assert_eq!((put_u16(&mut bytes, 7, 0), put_u32(&mut bytes, 5, 0)), (None, None));
    assert_eq!((get_u16(&bytes, 7), get_u32(&bytes, 5)), (None, None));
    assert_eq!(bytes, [0, 1, 2, 0, 3, 4, 5, 6]);
}
