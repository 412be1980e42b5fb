//! What makes no sense for an interface that stands on another: options that say nothing are errors, not ignored.

use super::super::options::{CarrierMode, Options, Qdisc};
use super::Error;
use crate::device::{self, TapDevice};

/// Finds an option that was given, and that a macvtap or ipvtap cannot have.
pub(super) fn check(options: &Options, device: &TapDevice) -> Result<(), Error> {
    if !device.kind().is_on_another_interface() {
        return Ok(());
    }
    let permissions = "who may open it is said by the permissions of its device node";
    let given = [
        (
            "carrier=",
            options.carrier != CarrierMode::default(),
            "it has the carrier of the interface that it stands on",
        ),
        ("qdisc=", options.qdisc != Qdisc::default(), "it exists, and keeps what it has"),
        ("persist=", options.persist.is_some(), "it stays until it is deleted, whoever has it open"),
        ("user=", options.user.is_some(), permissions),
        ("group=", options.group.is_some(), permissions),
        ("br=", options.br.is_some(), "it is on the network of the interface that it stands on"),
    ];
    let Some((what, _, why)) = given.into_iter().find(|(_, given, _)| *given) else { return Ok(()) };
    let source = device::Error::MacvtapOption { interface: device.name(), kind: device.kind(), what, why };
    Err(Error::Device { id: options.id.clone(), source })
}
