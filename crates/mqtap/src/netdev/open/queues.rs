//! The queues: opened here, or open already.

use super::super::options::{Options, Qdisc};
use super::creation::Owners;
use super::settings::{attach, carrier_at_open, send_buffer};
use super::{Error, OpenMode};
use crate::device::{OpenOptions, Opening, TapDevice, VnetHeaderMode};

/// Opens queue 0. The others wait for [`Opening::open_queues`].
pub(super) fn begin(options: &Options, owners: Owners, mode: OpenMode) -> Result<Opening, Error> {
    Opening::begin(&open_options(options, owners, mode)).map_err(Error::device(options))
}

/// Takes over queues that are open, and brings the device into the state that [`begin`] and what follows it would have left it in.
pub(super) fn adopt(options: &Options, fds: &[i32], mode: OpenMode) -> Result<TapDevice, Error> {
    let device = TapDevice::adopt(fds).map_err(Error::device(options))?;
    set_up_adopted(options, &device, mode)?;
    Ok(device)
}

/// Makes the settings of a device that was opened elsewhere.
pub(super) fn set_up_adopted(options: &Options, device: &TapDevice, mode: OpenMode) -> Result<(), Error> {
    if let Some(bytes) = send_buffer(options) {
        device.set_send_buffer(bytes).map_err(Error::device(options))?;
    }
    attach(device, options, mode)
}

fn open_options(options: &Options, owners: Owners, mode: OpenMode) -> OpenOptions {
    let owners = owners.of_new();
    OpenOptions {
        name: options.ifname,
        // Validation has seen to the range.
        queues: options.queues.and_then(|queues| u16::try_from(queues).ok()).unwrap_or(1),
        vnet_header: match options.vnet_hdr {
            None => VnetHeaderMode::IfAvailable,
            Some(true) => VnetHeaderMode::Require,
            Some(false) => VnetHeaderMode::Off,
        },
        exclusive: options.exclusive,
        keep_mq_qdisc: options.qdisc == Qdisc::Mq,
        send_buffer: send_buffer(options),
        carrier: carrier_at_open(options.carrier, mode),
        owner: owners.user,
        group: owners.group,
        namespace: options.netns.clone(),
        start_detached: mode == OpenMode::Detached,
        ..OpenOptions::default()
    }
}
