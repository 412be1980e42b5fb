//! From options to an open netdev, one step after the other. A step with something to it has a file here.
//!
//! What a step did, dropping its result undoes. So a failure undoes the steps before it, and the end of the netdev all of
//! them, in reverse, without anybody having to say so: results are local variables here, which Rust drops last to first,
//! and fields of [`Netdev`], which it drops first to last and which are thus in reverse.

mod bridge;
mod creation;
mod error;
mod helper;
mod macvtap;
mod queues;
mod scripts;
mod settings;
mod vhost;

use std::sync::Arc;

use creation::Owners;
pub use error::Error;
pub use helper::HelperError;
use scripts::Downscript;

use super::options::{Id, Options};
use crate::bridge::Port;
use crate::device::TapDevice;
use crate::vhost_net::VhostNet;

/// A netdev that is open: a tap device with its queues, and what was asked for.
///
/// Dropping it runs the downscript, and waits for it, at most [`PROGRAM_TIME_LIMIT`](super::PROGRAM_TIME_LIMIT). Dropping the last
/// reference to the device closes its queues, in reverse order; the interface goes away with the last of them unless it is
/// persistent.
#[derive(Debug)]
pub struct Netdev {
    options: Options,
    // From here on in reverse: what was made last goes first.
    port: Option<Port>,
    downscript: Option<Downscript>,
    device: Arc<TapDevice>,
    vhost: Vec<VhostNet>,
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

impl Netdev {
    /// Opens a netdev with every queue attached.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(options: &Options) -> Result<Self, Error> {
        Self::open_with(options, OpenMode::Attached)
    }

    /// Checks the options, opens or adopts the vhost-net handles and the queues, makes the device-wide settings, and puts the
    /// interface on its bridge. The script runs when queue 0 is open and a new interface has its address and MTU.
    ///
    /// File descriptors given by number become this netdev's own, and are closed with it.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if [`Options::validate`] fails; [`Error::Account`]; [`Error::Different`]; [`Error::Vhost`] if vhost-net is
    /// a must and cannot be had; [`Error::Helper`]; [`Error::Script`]; [`Error::Device`] or [`Error::Bridge`] if the kernel refuses.
    /// Either way everything is as before, except that file descriptors which were found to be good, and only then, are closed.
    pub fn open_with(options: &Options, mode: OpenMode) -> Result<Self, Error> {
        let id = &options.id;
        options.validate().map_err(|source| Error::Options { id: id.clone(), source })?;
        let vhost = vhost::open(options)?;
        if let Some(fds) = options.tap_fds() {
            let device = queues::adopt(options, fds, mode)?;
            macvtap::check(options, &device)?;
            let port = bridge::join(options, &device, false)?;
            return Ok(Self {
                options: options.clone(),
                port,
                downscript: None,
                device: Arc::new(device),
                vhost,
            });
        }
        if let Some(helper) = &options.helper {
            let device = helper::open(options, helper, mode)?;
            return Ok(Self {
                options: options.clone(),
                port: None,
                downscript: None,
                device: Arc::new(device),
                vhost,
            });
        }
        let owners = Owners::find(options)?;
        let mut opening = queues::begin(options, owners, mode)?;
        macvtap::check(options, opening.device())?;
        creation::settle(options, owners, &opening)?;
        let downscript = scripts::run(options, opening.device())?;
        opening.open_queues().map_err(Error::device(options))?;
        opening.settle().map_err(Error::device(options))?;
        let port = bridge::join(options, opening.device(), opening.is_new())?;
        creation::persist(options, &opening)?;
        Ok(Self { options: options.clone(), port, downscript, device: Arc::new(opening.finish()), vhost })
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

    /// Whether the end of this netdev runs a downscript, or takes something back that would otherwise outlive its queues.
    ///
    /// A process that becomes another program, and so never ends itself, leaves that undone: somebody has to wait for the program.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        self.downscript.is_some()
            || self.device.is_persistent() && self.port.as_ref().is_some_and(Port::has_undo)
    }

    /// Closes the queues and takes nothing else back, for a process that hands copies of them to somebody else. The downscript is
    /// not run.
    pub fn keep(self) {
        if let Some(downscript) = self.downscript {
            downscript.forget();
        }
        if let Some(port) = self.port {
            port.keep();
        }
    }

    /// The vhost-net handles, handle i for queue i. None if vhost-net was not asked for, or with `vhost=try` could not be had.
    ///
    /// Nobody owns them yet: they are for a VMM that inherits them, and that sets its own busy loop.
    pub fn vhost(&self) -> &[VhostNet] {
        &self.vhost
    }

    /// Takes the vhost-net handles out of the netdev, for whoever shall own them.
    pub fn take_vhost(&mut self) -> Vec<VhostNet> {
        std::mem::take(&mut self.vhost)
    }
}
