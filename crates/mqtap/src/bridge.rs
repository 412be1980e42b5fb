//! Putting a tap on a bridge, as a step that can be taken back.

use std::sync::Arc;

use crate::device::TapDevice;
use crate::link::{self, Link, Links};
use crate::mac::MacAddress;
use crate::name::InterfaceName;

mod error;

pub use error::Error;

/// What an interface that becomes a port keeps.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinOptions {
    /// Its MTU, where otherwise it takes that of the bridge. A port with a smaller one lowers that of the bridge, unless
    /// somebody has set the latter.
    pub keep_mtu: bool,
    /// Its MAC address, where otherwise the first byte becomes fe. A bridge that was not given an address takes the lowest of
    /// its ports' (net/bridge/br_stp_if.c: `br_stp_recalculate_bridge_id`), and a host whose address changes is not heard for
    /// a while. With fe it stays that of a card on the bridge; where there are such ports only, it is the lowest of theirs.
    pub keep_mac: bool,
    /// Its state, where otherwise it is brought up.
    pub keep_state: bool,
}

/// An interface that was put on a bridge. Dropped, it leaves, and gets back what it had; what was so before is left alone.
#[derive(Debug)]
#[must_use = "dropped, the interface leaves the bridge"]
pub struct Port {
    links: Arc<Links>,
    index: u32,
    done: Vec<Done>,
}

/// What was done, with what takes it back.
#[derive(Clone, Copy, Debug)]
enum Done {
    Mtu { before: u32 },
    Mac { before: MacAddress },
    Joined,
    Up,
}

impl Port {
    /// Gives the device the MTU of the bridge, makes it a port of it, and brings it up, unless `options` keep what it has.
    ///
    /// The bridge is looked for in the namespace of the device. A device that is on it already is brought up and left alone
    /// otherwise.
    ///
    /// # Errors
    /// See [`Error`]: what was done before it is taken back.
    pub fn join(device: &TapDevice, bridge: InterfaceName, options: JoinOptions) -> Result<Self, Error> {
        let links = device.links();
        let before =
            device.link().map_err(|source| Error::Link { bridge, interface: device.name(), source })?;
        let interface = before.name;
        let attempt = |source| Error::from_link(bridge, interface, source);
        let target = links.find(bridge).map_err(attempt)?;
        let target = target.ok_or_else(|| Error::not_found(bridge, interface))?;
        // The kernel finds an interface also by its alternative names, and what may be done with one is said by its name.
        if target.name != bridge {
            return Err(Error::OtherName { bridge, interface, name: target.name });
        }
        if target.kind.as_deref() != Some("bridge") {
            return Err(Error::NotABridge { bridge, interface, kind: target.kind });
        }
        if !target.up {
            tracing::warn!(
                "bridge {bridge} is down, so nothing passes it; bring it up with `ip link set {bridge} up`"
            );
        }
        let mut port = Self { links: Arc::clone(links), index: before.index, done: Vec::new() };
        match before.master {
            Some(master) if master == target.index => {}
            Some(master) => return Err(Error::other_master(links, bridge, interface, master)),
            None => port.enter(&before, &target, options).map_err(attempt)?,
        }
        if !before.up && !options.keep_state {
            port.links.set_up(port.index, true).map_err(attempt)?;
            port.done.push(Done::Up);
        }
        Ok(port)
    }

    /// Whether anything was done that dropping it takes back.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        !self.done.is_empty()
    }

    /// Leaves the interface on the bridge.
    pub fn keep(mut self) {
        self.done.clear();
    }

    fn enter(&mut self, before: &Link, bridge: &Link, options: JoinOptions) -> Result<(), link::Error> {
        let mtu = bridge.mtu.min(link::MAX_MTU);
        if !options.keep_mtu && mtu != before.mtu {
            self.links.set_mtu(self.index, mtu)?;
            self.done.push(Done::Mtu { before: before.mtu });
        }
        if let Some(mac) = before.mac.filter(|mac| !options.keep_mac && mac.octets()[0] != HIGH) {
            self.links.set_mac(self.index, high(mac))?;
            self.done.push(Done::Mac { before: mac });
        }
        self.links.set_master(self.index, Some(bridge.index))?;
        self.done.push(Done::Joined);
        Ok(())
    }
}

/// First byte of an address that a bridge takes for its own last of all: the highest of those that are an interface's (no group
/// bit) and made up (local bit).
const HIGH: u8 = 0xfe;

fn high(mac: MacAddress) -> MacAddress {
    let [_, rest @ ..] = mac.octets();
    let mut octets = [HIGH; 6];
    octets[1..].copy_from_slice(&rest);
    MacAddress::new(octets)
}

impl Drop for Port {
    fn drop(&mut self) {
        while let Some(done) = self.done.pop() {
            let result = match done {
                Done::Mtu { before } => self.links.set_mtu(self.index, before),
                Done::Mac { before } => self.links.set_mac(self.index, before),
                Done::Joined => self.links.set_master(self.index, None),
                Done::Up => self.links.set_up(self.index, false),
            };
            // An interface that is gone has nothing to take back.
            if let Err(error) = result {
                tracing::debug!("leaving the bridge: {error}");
            }
        }
    }
}
