//! MAC addresses that are given as options, for a tap or for a guest's card.

use std::error::Error;

use mqtap::MacAddress;

use crate::per_nic::{PerNic, split};

/// An address that an interface can have.
pub(crate) fn station(text: &str) -> Result<MacAddress, Box<dyn Error + Send + Sync>> {
    Ok(text.parse::<MacAddress>()?.station()?)
}

/// The same, of one NIC among several.
pub(crate) fn of_nic(text: &str) -> Result<PerNic<MacAddress>, Box<dyn Error + Send + Sync>> {
    split(text, station)
}
