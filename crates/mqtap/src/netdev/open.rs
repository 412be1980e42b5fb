//! From options to an open device.

use std::sync::Arc;

use thiserror::Error;

use super::error::OptionsError;
use super::name::OptionName;
use super::options::{CarrierMode, Id, MAX_SEND_BUFFER, Options, Qdisc, Script};
use crate::device::{self, OpenOptions, TapDevice, VnetHeaderMode};

/// A netdev that is open: a tap device with its queues, and what was asked for.
///
/// Dropping the last reference to the device closes its queues, in reverse order; the interface goes away with the last of them unless it
/// is persistent.
#[derive(Debug)]
pub struct Netdev {
    options: Options,
    device: Arc<TapDevice>,
}

/// In which state the queues of a netdev are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// Every queue is attached: the kernel spreads frames over all of them at once.
    #[default]
    Attached,
    /// Every queue is detached, and with `carrier=guest` the carrier is off: nothing arrives until a guest's driver has enabled queues. The
    /// one queue of a device without `multi_queue` cannot be detached and stays attached.
    Detached,
}

/// Why a netdev could not be opened. Nothing is left behind: no interface that was not there, and no open queue.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum Error {
    /// The options make no sense.
    #[error("netdev {id}: {source}")]
    Options {
        /// The netdev.
        id: Id,
        /// The mistake.
        source: OptionsError,
    },
    /// The options make sense, but ask for something that this version cannot do.
    #[error("netdev {id}: {option}= is not implemented yet; {}", remedy(*.option))]
    NotImplemented {
        /// The netdev.
        id: Id,
        /// The option.
        option: OptionName,
    },
    /// The device could not be opened or adopted, or a setting of it could not be made.
    #[error("netdev {id}: {source}")]
    Device {
        /// The netdev.
        id: Id,
        /// What went wrong.
        source: device::Error,
    },
}

impl Netdev {
    /// Opens a netdev with every queue attached.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(options: &Options) -> Result<Self, Error> {
        Self::open_with(options, OpenMode::Attached)
    }

    /// Checks the options, opens or adopts the queues, and makes the device-wide settings.
    ///
    /// File descriptors given by number become this netdev's own, and are closed with it.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if [`Options::validate`] fails; [`Error::NotImplemented`]; [`Error::Device`] if the kernel
    /// refuses. Either way everything is as before, except that file descriptors which were found to be good, and only then, are closed.
    pub fn open_with(options: &Options, mode: OpenMode) -> Result<Self, Error> {
        let id = &options.id;
        options.validate().map_err(|source| Error::Options { id: id.clone(), source })?;
        if let Some(option) = not_implemented(options) {
            return Err(Error::NotImplemented { id: id.clone(), option });
        }
        let device = match (options.fd, &options.fds) {
            (Some(fd), _) => adopt(options, &[fd], mode)?,
            (None, Some(fds)) => adopt(options, fds, mode)?,
            (None, None) => TapDevice::open(&open_options(options, mode))
                .map_err(|source| device_error(options, source))?,
        };
        Ok(Self { options: options.clone(), device: Arc::new(device) })
    }

    /// What the netdev is called.
    pub fn id(&self) -> &Id {
        &self.options.id
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The device and its queues.
    pub fn device(&self) -> &Arc<TapDevice> {
        &self.device
    }
}

fn open_options(options: &Options, mode: OpenMode) -> OpenOptions {
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
        start_detached: mode == OpenMode::Detached,
        ..OpenOptions::default()
    }
}

/// Takes over open queues and brings the device into the state that [`TapDevice::open`] would have left it in.
fn adopt(options: &Options, fds: &[i32], mode: OpenMode) -> Result<TapDevice, Error> {
    let device_failed = |source| device_error(options, source);
    let queue_failed = |source| device_failed(device::Error::Queue(source));

    let device = TapDevice::adopt(fds).map_err(device_failed)?;
    if let Some(bytes) = send_buffer(options) {
        device.set_send_buffer(bytes).map_err(device_failed)?;
    }
    // The queues may come in any state, and the kernel switches the carrier only while one of them is attached.
    let attached = match mode {
        OpenMode::Attached => device.queue_count(),
        OpenMode::Detached => 1,
    };
    device.attach_first(attached).map_err(queue_failed)?;
    device.set_carrier(carrier_at_open(options.carrier, mode)).map_err(device_failed)?;
    if mode == OpenMode::Detached {
        device.attach_first(0).map_err(queue_failed)?;
    }
    Ok(device)
}

/// Whether the interface is to have a carrier as soon as it is open.
fn carrier_at_open(carrier: CarrierMode, mode: OpenMode) -> bool {
    match carrier {
        CarrierMode::On => true,
        CarrierMode::Off => false,
        CarrierMode::Guest => mode == OpenMode::Attached,
    }
}

/// The send buffer to set, in bytes; 0 in the options means no limit, and is not what the kernel calls it.
fn send_buffer(options: &Options) -> Option<u32> {
    let bytes = match options.sndbuf? {
        0 => MAX_SEND_BUFFER,
        bytes => bytes,
    };
    u32::try_from(bytes).ok()
}

fn device_error(options: &Options, source: device::Error) -> Error {
    Error::Device { id: options.id.clone(), source }
}

fn not_implemented(options: &Options) -> Option<OptionName> {
    let program = |script: &Option<Script>| matches!(script, Some(Script::Program(_)));
    [
        (OptionName::Script, program(&options.script)),
        (OptionName::Downscript, program(&options.downscript)),
        (OptionName::Helper, options.helper.is_some()),
        (OptionName::Vhost, options.vhost == Some(true)),
        (OptionName::Vhostfd, options.vhostfd.is_some()),
        (OptionName::Vhostfds, options.vhostfds.is_some()),
        (OptionName::Vhostforce, options.vhostforce == Some(true)),
    ]
    .into_iter()
    .find_map(|(option, given)| given.then_some(option))
}

/// What to do instead of an option that is not implemented yet.
fn remedy(option: OptionName) -> String {
    match option {
        OptionName::Script | OptionName::Downscript => {
            format!(
                "write `{option}=no` and set the interface up by other means, for example `ip link set tap0 master br0 up`"
            )
        }
        OptionName::Helper => {
            "name an interface that is on the bridge already with ifname=, or pass an open queue with fd="
                .to_owned()
        }
        OptionName::Vhost | OptionName::Vhostforce => {
            format!("leave it out, or write `{option}=off`: mqtap then moves the frames itself")
        }
        _ => format!("leave out {option}=: mqtap then moves the frames itself"),
    }
}
