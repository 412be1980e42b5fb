//! What the frontend said about one ring, and whether it runs.
//!
//! ```text
//!                    size, addresses, memory, features, and a kick
//!   Stopped ─────────────────────────────────────────────────────────▶ Started (disabled or enabled)
//!      ▲                                                                │
//!      └──── GET_VRING_BASE, SET_STATUS 0, RESET_DEVICE, memory gone ───┘
//! ```
//!
//! Enabled or disabled is tracked in both states.

use std::os::fd::OwnedFd;

use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::ring::{RingAddresses, RingBase};

use super::RequestError;
use crate::message::VringAddresses;

/// How the driver says that it made chains available. Without being told, a ring does not start.
#[derive(Debug, Default)]
pub(super) enum Kick {
    /// `SET_VRING_KICK` has not come since the ring was stopped.
    #[default]
    Awaited,
    /// It came without a descriptor: the ring is polled.
    Polling,
    /// It came with this one.
    Event(OwnedFd),
}

impl Kick {
    pub(super) fn new(fd: Option<OwnedFd>) -> Self {
        fd.map_or(Kick::Polling, Kick::Event)
    }

    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        match self {
            Kick::Event(fd) => Some(fd),
            Kick::Awaited | Kick::Polling => None,
        }
    }
}

/// Whether a ring runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Life {
    /// The device does not touch it.
    #[default]
    Stopped,
    /// The device has it, at these addresses.
    Started(RingAddresses),
}

/// One ring.
#[derive(Debug, Default)]
pub(super) struct RingState {
    pub(super) size: Option<u16>,
    pub(super) addresses: Option<VringAddresses>,
    /// Where to start. `None` if the frontend did not say: at the beginning.
    pub(super) base: Option<RingBase>,
    pub(super) kick: Kick,
    // Both outlive a stop, as QEMU says them once (error) or after the next start (call).
    pub(super) call: Option<OwnedFd>,
    pub(super) error: Option<OwnedFd>,
    pub(super) enabled: bool,
    pub(super) life: Life,
}

impl RingState {
    pub(super) fn is_started(&self) -> bool {
        matches!(self.life, Life::Started(_))
    }

    /// Forgets all but the call and error descriptors, which belong to the connection.
    pub(super) fn reset(&mut self) {
        *self = RingState { call: self.call.take(), error: self.error.take(), ..RingState::default() };
    }
}

/// Whether a ring of the layout can have this size, apart from what the device can do.
pub(super) fn check_size(ring: u16, size: u16, packed: bool) -> Result<(), RequestError> {
    if packed || size.is_power_of_two() { Ok(()) } else { Err(RequestError::RingSizeNotPower { ring, size }) }
}

/// Where a ring of the layout starts, given what the frontend said.
///
/// Packed: several frontends (DPDK's, those built on rust-vmm) know one index only and leave the upper
/// half, the used index, zero. Taken literally its wrap counter would be 0 at the very beginning,
/// and the ring would never move. A backend that stops a ring after completing what it took, as the
/// protocol demands, has both indices equal; so the one that was given is meant for both.
pub(super) fn start_base(ring: u16, base: Option<RingBase>, packed: bool) -> Result<RingBase, RequestError> {
    match (base, packed) {
        (None, false) => Ok(RingBase(0)),
        // Both indices 0, both wrap counters 1.
        (None, true) => Ok(RingBase(0x8000_8000)),
        (Some(RingBase(base)), false) if base > 0xffff => Err(RequestError::RingBase { ring, base }),
        (Some(RingBase(base)), true) if base >> 16 == 0 => Ok(RingBase(base << 16 | base)),
        (Some(base), _) => Ok(base),
    }
}

/// The guest addresses of a ring, if all of it is in memory.
pub(super) fn translate(
    memory: &GuestMemory,
    addresses: &VringAddresses,
    size: u16,
    packed: bool,
) -> Option<RingAddresses> {
    let size = usize::from(size);
    // virtio 1.2, sections 2.7 and 2.8; the split parts with their event index.
    let (driver, device) = if packed { (4, 4) } else { (6 + 2 * size, 6 + 8 * size) };
    let part = |user: u64, len: usize| -> Option<GuestAddress> {
        let at = memory.user_to_guest(user)?;
        memory.host_slice(at, len).map(|_| at)
    };
    Some(RingAddresses {
        descriptors: part(addresses.descriptors, 16 * size)?,
        driver: part(addresses.available, driver)?,
        device: part(addresses.used, device)?,
        log: (addresses.flags & VringAddresses::LOG != 0).then_some(GuestAddress(addresses.log)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mqtap_virtio::memory::SharedMemory;

    use super::*;

    #[test]
    fn base_of_a_split_ring_has_16_bits() {
        assert_eq!(start_base(0, None, false).unwrap(), RingBase(0));
        assert_eq!(start_base(0, Some(RingBase(0xffff)), false).unwrap(), RingBase(0xffff));
        assert!(matches!(
            start_base(3, Some(RingBase(0x1_0000)), false),
            Err(RequestError::RingBase { ring: 3, base: 0x1_0000 })
        ));
    }

    #[test]
    fn base_of_a_packed_ring_from_a_frontend_that_knows_one_index() {
        assert_eq!(start_base(0, None, true).unwrap(), RingBase(0x8000_8000));
        assert_eq!(start_base(0, Some(RingBase(0x8000)), true).unwrap(), RingBase(0x8000_8000));
        assert_eq!(start_base(0, Some(RingBase(0x0007)), true).unwrap(), RingBase(0x0007_0007));
        assert_eq!(start_base(0, Some(RingBase(0x8003_8005)), true).unwrap(), RingBase(0x8003_8005));
    }

    #[test]
    fn a_ring_is_in_memory_with_its_last_byte_or_not_at_all() {
        let ram = SharedMemory::create(0x2000).unwrap();
        let memory = GuestMemory::new(vec![Arc::new(ram.region(0x10_0000, 0x7f00_0000).unwrap())]).unwrap();
        // 256 entries: 4096 bytes of descriptors, 518 available, 2054 used.
        let mut addresses = VringAddresses {
            index: 0,
            flags: 0,
            descriptors: 0x7f00_0000,
            available: 0x7f00_1000,
            used: 0x7f00_2000 - 2054,
            log: 0x1234,
        };
        let translated = translate(&memory, &addresses, 256, false).unwrap();
        assert_eq!(translated.descriptors, GuestAddress(0x10_0000));
        assert_eq!(translated.driver, GuestAddress(0x10_1000));
        assert_eq!(translated.device, GuestAddress(0x10_2000 - 2054));
        assert_eq!(translated.log, None);

        addresses.flags = VringAddresses::LOG;
        assert_eq!(translate(&memory, &addresses, 256, false).unwrap().log, Some(GuestAddress(0x1234)));
        addresses.used += 1;
        assert_eq!(translate(&memory, &addresses, 256, false), None);
        assert!(translate(&memory, &addresses, 256, true).is_some());
        addresses.available = 0x10_1000;
        assert_eq!(translate(&memory, &addresses, 256, true), None);
    }
}
