//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 52:54:00:12:34:56")]
pub struct InvalidMac(String);

/// An address that no interface can have: a group's, or all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an interface has an address of its own, and this is {}",
    if .0.is_multicast() { "that of a group (its first byte is odd)" } else { "that of nobody" }
)]
pub struct NotAStation(MacAddress);

impl NotAStation {
    /// The address.
    #[must_use]
    pub fn address(self) -> MacAddress {
        self.0
    }
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address with these bytes, in the order in which they are sent.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The address that belongs to these bytes: always the same one, and for other bytes another one, as far as 46 bits go. It
    /// is locally administered and unicast (IEEE 802-2014, 8.4).
    #[must_use]
    pub fn derived(from: &[u8]) -> Self {
        // FNV-1a, whose low bits alone would be poor, and the finalizer of MurmurHash3, which spreads them. Neither may ever change.
        let hash = from.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let [_, _, first, b, c, d, e, f] = (hash ^ (hash >> 33)).to_be_bytes();
        Self([first & 0xfc | 0x02, b, c, d, e, f])
    }

    /// The bytes, in the order in which they are sent.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether it names a group of stations (broadcast included): no station can have it.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl MacAddress {
    /// Whether an interface can have it: not a group's, and not all zeros (include/linux/etherdevice.h:
    /// `is_valid_ether_addr`).
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }

    /// The address, if an interface [can have it](Self::is_station), be it a tap or a guest's card.
    ///
    /// # Errors
    /// [`NotAStation`] says what it is.
    pub fn station(self) -> Result<Self, NotAStation> {
        if self.is_station() { Ok(self) } else { Err(NotAStation(self)) }
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let wrong = || InvalidMac(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(wrong)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_printed() {
        let mac: MacAddress = "52:54:00:aB:cd:0f".parse().unwrap();
        assert_eq!(mac.octets(), [0x52, 0x54, 0, 0xab, 0xcd, 0x0f]);
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:0f");
        assert!(!mac.is_multicast());
        assert!(MacAddress::new([0xff; 6]).is_multicast());
        for wrong in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:0f:11",
            "52:54:0:ab:cd:0f",
            "5254:00:ab:cd:0f",
            "+2:54:00:ab:cd:0f",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_interface_has_an_address_of_its_own() {
        for (text, piece) in [
            ("01:00:00:00:00:01", "that of a group"),
            ("ff:ff:ff:ff:ff:ff", "that of a group"),
            ("00:00:00:00:00:00", "that of nobody"),
        ] {
            let mac: MacAddress = text.parse().unwrap();
            let error = mac.station().unwrap_err();
            assert!(error.address() == mac && error.to_string().contains(piece), "{text}: {error}");
        }
        let own = MacAddress::new([2, 0, 0, 0, 0, 1]);
        assert_eq!(own.station(), Ok(own));
    }

    #[test]
    fn derived_addresses_stay_the_same_and_differ() {
        // Guests remember them: these must not change.
        assert_eq!(MacAddress::derived(b"").to_string(), "1e:60:ba:99:29:26");
        assert_eq!(MacAddress::derived(b"host tap0").to_string(), "1e:35:92:cf:d6:7a");
        let many: std::collections::BTreeSet<_> =
            (0..10_000).map(|i| MacAddress::derived(format!("host tap{i}").as_bytes())).collect();
        assert_eq!(many.len(), 10_000);
        assert!(many.iter().all(|mac| mac.octets()[0] & 3 == 2), "locally administered, unicast");
    }
}
