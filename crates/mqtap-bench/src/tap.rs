//! The tap under the floors: the flags that the daemon's has.

use clap::Args;
use mqtap::{Offloads, OpenOptions, TapDevice, VnetHeaderSize, device::VnetHeaderMode};

use crate::talk::BoxError;

#[derive(Debug, Args)]
pub(crate) struct TapOptions {
    /// Tap to make, with one queue and a virtio-net header of 12 bytes
    #[arg(long)]
    tap: String,
    /// Take super-frames and partial checksums from the kernel
    #[arg(long)]
    pub(crate) offloads: bool,
}

impl TapOptions {
    pub(crate) fn open(&self) -> Result<TapDevice, BoxError> {
        let tap = TapDevice::open(&OpenOptions {
            name: self.tap.parse()?,
            vnet_header: VnetHeaderMode::Require,
            ..OpenOptions::default()
        })?;
        tap.set_vnet_header_size(VnetHeaderSize::Modern12)?;
        tap.set_offloads(if self.offloads { Offloads::ALL } else { Offloads::NONE })?;
        Ok(tap)
    }
}
