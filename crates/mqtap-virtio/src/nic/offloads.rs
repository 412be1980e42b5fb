//! What the kernel may leave undone on the frames that the tap gives us.

use std::sync::Arc;

use mqtap::{Offloads, TapDevice};

use crate::features::substituted;

/// The offloads of a tap: those that we do in place of the driver, always, and those that the driver takes.
///
/// The former do not change from driver to driver, so that most of the time there is nothing to set, and a bridge with
/// the tap in it sees no features come and go.
#[derive(Debug)]
pub(super) struct TapOffloads {
    device: Arc<TapDevice>,
    ours: Offloads,
    /// What the tap was last asked for; `None` while it is not known.
    current: Option<Offloads>,
}

impl TapOffloads {
    /// Nothing is set yet. `substitute`: whether we do for drivers what they do not take.
    pub(super) fn new(device: Arc<TapDevice>, substitute: bool) -> Self {
        let ours = if substitute { substituted() & device.supported_offloads() } else { Offloads::NONE };
        Self { device, ours, current: None }
    }

    /// The driver takes `accepted`.
    pub(super) fn set(&mut self, accepted: Offloads) -> Result<(), mqtap::device::Error> {
        let wanted = accepted | self.ours;
        if !self.device.has_vnet_header() || self.current == Some(wanted) {
            return Ok(());
        }
        self.current = None;
        let given = self.device.set_offloads(wanted)?;
        if !given.contains(accepted) {
            tracing::warn!(
                "{}: the driver takes the offloads {accepted}, the kernel gives {given}",
                self.device.name()
            );
        }
        self.current = Some(wanted);
        Ok(())
    }
}

/// A tap that goes on without us asks nothing of its next user: a persistent one would give super-frames to somebody who
/// does not know them.
impl Drop for TapOffloads {
    fn drop(&mut self) {
        if self.device.has_vnet_header()
            && self.current != Some(Offloads::NONE)
            && let Err(error) = self.device.set_offloads(Offloads::NONE)
        {
            // Most likely the tap was deleted.
            tracing::debug!("{error}");
        }
    }
}
