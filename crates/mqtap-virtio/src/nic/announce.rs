//! The frame by which a guest is announced.

use mqtap::MacAddress;

/// A broadcast reverse ARP request for `mac`, padded to the shortest Ethernet frame.
pub(super) fn reverse_arp(mac: MacAddress) -> [u8; 60] {
    const ETHERTYPE_RARP: [u8; 2] = [0x80, 0x35];
    // Hardware type Ethernet, protocol type IPv4, their address lengths, operation 3: request reverse.
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 3];
    let mac = mac.octets();
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_RARP);
    frame[14..22].copy_from_slice(&REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[32..38].copy_from_slice(&mac);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_a_reverse_arp_request_for_the_address() {
        let mac = [2, 0, 0, 1, 2, 3];
        let frame = reverse_arp(MacAddress::new(mac));
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], mac);
        assert_eq!(frame[12..14], [0x80, 0x35]);
        assert_eq!(frame[20..22], [0, 3], "request reverse");
        assert_eq!((&frame[22..28], &frame[32..38]), (&mac[..], &mac[..]));
    }
}
