//! `br=`: the interface becomes a port of a bridge.

use super::super::options::Options;
use super::Error;
use crate::bridge::{JoinOptions, Port};
use crate::device::TapDevice;

/// Puts the device on the bridge that was asked for, if one was. `is_new`: nobody has used the interface before.
pub(super) fn join(options: &Options, device: &TapDevice, is_new: bool) -> Result<Option<Port>, Error> {
    // An address that the interface had before is somebody's choice, too.
    let how = JoinOptions {
        keep_mac: !is_new || options.mac.is_some(),
        keep_mtu: options.mtu.is_some(),
        ..JoinOptions::default()
    };
    let Some(bridge) = options.br else { return Ok(None) };
    let failed = |source| Error::Bridge { id: options.id.clone(), source };
    Port::join(device, bridge, how).map(Some).map_err(failed)
}
