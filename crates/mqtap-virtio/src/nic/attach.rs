//! Which tap queues take part in the device, and whether the device has carrier.

use std::sync::Arc;

use mqtap::TapDevice;

use super::{Carrier, Error};

/// The queues of a NIC's tap: attached while a guest is served through them.
#[derive(Debug)]
pub(super) struct Attachments {
    device: Arc<TapDevice>,
    mode: Carrier,
    /// Whether we gave the tap its carrier because of a guest.
    carrier: bool,
    /// The pairs whose queues are attached, or were to be.
    pairs: Vec<bool>,
}

impl Attachments {
    /// Detaches all queues, and takes the carrier unless it is to be there always.
    pub(super) fn new(device: Arc<TapDevice>, mode: Carrier) -> Result<Self, Error> {
        device.attach_first(0)?;
        if mode != Carrier::AlwaysOn {
            device.set_carrier(false)?;
        }
        let pairs = vec![false; usize::from(device.queue_count())];
        Ok(Self { device, mode, carrier: false, pairs })
    }

    /// Gives the carrier that is to be there always. The kernel gives it only to a tap with an attached queue, but lets it
    /// keep the carrier without one.
    pub(super) fn settle(&self) -> Result<(), Error> {
        if self.mode == Carrier::AlwaysOn {
            self.device.attach_first(1)?;
            self.device.set_carrier(true)?;
            self.device.attach_first(0)?;
        }
        Ok(())
    }

    /// Lets a queue take part. If that fails, it is still to be detached.
    pub(super) fn attach(&mut self, pair: u16) -> Result<(), Error> {
        self.pairs[usize::from(pair)] = true;
        self.device.queues()[usize::from(pair)].attach()?;
        if self.mode == Carrier::FollowsGuest && !self.carrier {
            self.device.set_carrier(true)?;
            self.carrier = true;
        }
        Ok(())
    }

    /// Takes a queue out of the device. Fails only where there is no device any more, which others report.
    pub(super) fn detach(&mut self, pair: u16) {
        self.pairs[usize::from(pair)] = false;
        if self.carrier && !self.pairs.contains(&true) {
            self.carrier = false;
            if let Err(error) = self.device.set_carrier(false) {
                tracing::debug!("{error}");
            }
        }
        if let Err(error) = self.device.queues()[usize::from(pair)].detach() {
            tracing::debug!("{error}");
        }
    }
}
