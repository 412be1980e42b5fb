//! Settings of the device that follow from the options.

use super::super::options::{CarrierMode, MAX_SEND_BUFFER, Options};
use super::{Error, OpenMode};
use crate::device::TapDevice;
use crate::queue;

/// Brings queues that come in any state, and the carrier, into the state that is asked for.
pub(super) fn attach(device: &TapDevice, options: &Options, mode: OpenMode) -> Result<(), Error> {
    // The kernel switches the carrier only while a queue is attached.
    let attached = match mode {
        OpenMode::Attached => device.queue_count(),
        OpenMode::Detached => 1,
    };
    device.attach_first(attached).map_err(Error::device::<queue::Error>(options))?;
    device.set_carrier(carrier_at_open(options.carrier, mode)).map_err(Error::device(options))?;
    if mode == OpenMode::Detached {
        device.attach_first(0).map_err(Error::device::<queue::Error>(options))?;
    }
    Ok(())
}

/// Whether the interface is to have a carrier as soon as it is open.
pub(super) fn carrier_at_open(carrier: CarrierMode, mode: OpenMode) -> bool {
    match carrier {
        CarrierMode::On => true,
        CarrierMode::Off => false,
        CarrierMode::Guest => mode == OpenMode::Attached,
    }
}

/// The send buffer to set, in bytes; 0 in the options means no limit, and is not what the kernel calls it.
pub(super) fn send_buffer(options: &Options) -> Option<u32> {
    let bytes = match options.sndbuf? {
        0 => MAX_SEND_BUFFER,
        bytes => bytes,
    };
    u32::try_from(bytes).ok()
}
