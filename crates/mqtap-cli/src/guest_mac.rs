//! The address of the guest, which is not that of the tap, except where it must be.

use mqtap::netdev::Options;
use mqtap::{MacAddress, NameRequest, TapDevice, inspect};

use crate::Error;

/// The guest's address where it follows from an interface that is not open yet.
pub(crate) fn of_existing(options: &Options) -> Option<MacAddress> {
    let NameRequest::Exact(name) = options.ifname else { return None };
    let tap = inspect::find(name, options.netns.as_ref()).ok()?;
    if tap.kind.is_on_another_interface() { tap.link.mac } else { None }
}

/// The guest's address, as it was given, or as it follows from the interface.
pub(crate) fn of(device: &TapDevice, given: Option<MacAddress>) -> Result<Option<MacAddress>, Error> {
    let link = device.link()?;
    let (interface, Some(own)) = (link.name, link.mac) else { return Ok(given) };
    if device.kind().is_on_another_interface() {
        // Only frames for this address come through it.
        if let Some(given) = given.filter(|given| *given != own) {
            tracing::warn!(
                "{interface} has the address {own}, and frames for the guest's, {given}, may not reach it: leave out --mac, or `ip link set {interface} address {given}`"
            );
        }
        return Ok(given.or(Some(own)));
    }
    if given == Some(own) {
        return Err(format!(
            "{own} is the address of {interface}, the host's end of the tap, and --mac gives it to the guest as well; one of them must be another (the netdev's mac= is that of the host's end)"
        )
        .into());
    }
    Ok(given)
}
