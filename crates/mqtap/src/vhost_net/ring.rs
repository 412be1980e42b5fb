//! What a ring is made of, as the kernel needs to know it.

use std::os::fd::OwnedFd;

use super::Error;
use crate::sys::guest::{GuestRange, MemoryTable, RingParts};

/// `VIRTIO_RING_F_EVENT_IDX`: an index behind each of the two rings.
const EVENT_IDX: u64 = 1 << 29;

/// One of the two rings of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ring {
    /// Tap to guest.
    Receive,
    /// Guest to tap.
    Transmit,
}

impl Ring {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Receive, Self::Transmit];

    /// The number by which vhost-net knows it (`VHOST_NET_VQ_RX`, `VHOST_NET_VQ_TX`).
    pub(super) fn index(self) -> u8 {
        match self {
            Self::Receive => 0,
            Self::Transmit => 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Transmit => "transmit",
        }
    }
}

/// A split virtqueue: where it is in guest memory, and where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// Descriptors: a power of two, up to 32768.
    pub size: u16,
    /// Guest address of the descriptor table.
    pub descriptors: u64,
    /// Guest address of the available ring.
    pub available: u64,
    /// Guest address of the used ring.
    pub used: u64,
    /// Where writes to the used ring are marked in the dirty bitmap while there is one; at `used`, if not given.
    pub log: Option<u64>,
    /// The available index of the next chain to be taken.
    pub base: u16,
}

/// The eventfds of a ring. The kernel reads and writes them itself.
#[derive(Debug)]
pub struct RingEvents {
    /// Signalled by the driver when there are new chains. vhost-net has no other way to know.
    pub kick: OwnedFd,
    /// Signalled when chains were used; `None`: the driver polls.
    pub call: Option<OwnedFd>,
    /// Signalled when the driver broke the ring.
    pub error: Option<OwnedFd>,
}

impl RingLayout {
    /// Finds the parts in memory, and checks what the kernel checks or relies on.
    pub(super) fn find(&self, ring: Ring, memory: &MemoryTable, features: u64) -> Result<RingParts, Error> {
        if !self.size.is_power_of_two() {
            return Err(Error::RingSize { ring: ring.name(), size: self.size });
        }
        let size = u64::from(self.size);
        let event = if features & EVENT_IDX == 0 { 0 } else { 2 };
        let parts = [
            GuestRange { name: "descriptor table", address: self.descriptors, len: 16 * size },
            GuestRange { name: "available ring", address: self.available, len: 4 + 2 * size + event },
            GuestRange { name: "used ring", address: self.used, len: 4 + 8 * size + event },
        ];
        let found = memory.ring_parts(parts).map_err(|part| Error::RingNotInMemory {
            ring: ring.name(),
            part: part.name,
            address: part.address,
            len: part.len,
        })?;
        let aligned = found.available().is_multiple_of(2)
            && found.used().is_multiple_of(4)
            && self.log_address().is_multiple_of(4);
        if aligned { Ok(found) } else { Err(Error::RingMisaligned { ring: ring.name() }) }
    }

    pub(super) fn log_address(&self) -> u64 {
        self.log.unwrap_or(self.used)
    }

    /// The end of what is marked for the used ring. Of an address near the end of all addresses, that end.
    pub(super) fn log_end(&self) -> u64 {
        self.log_address().saturating_add(4 + 8 * u64::from(self.size) + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::guest::tests::table;

    fn memory() -> MemoryTable {
        table(&[(0x1000, 0x7000_1000, 0x3000)]).unwrap()
    }

    fn layout() -> RingLayout {
        RingLayout { size: 256, descriptors: 0x1000, available: 0x2000, used: 0x3000, log: None, base: 0 }
    }

    #[test]
    fn a_ring_lies_where_memory_is() {
        let find = |layout: RingLayout, features| layout.find(Ring::Transmit, &memory(), features);
        let parts = find(layout(), 0).unwrap();
        assert_eq!(
            [parts.descriptors(), parts.available(), parts.used()],
            [0x7000_1000, 0x7000_2000, 0x7000_3000]
        );
        let beyond = RingLayout { used: 0x4000 - (4 + 8 * 256), ..layout() };
        assert!(find(beyond, 0).is_ok());
        let error = find(beyond, EVENT_IDX).unwrap_err();
        assert!(matches!(error, Error::RingNotInMemory { part: "used ring", len: 2054, .. }), "{error}");
        for address in [0, 0x4000, u64::MAX] {
            assert!(find(RingLayout { descriptors: address, ..layout() }, 0).is_err(), "{address:#x}");
        }
    }

    #[test]
    fn sizes_and_addresses_that_the_kernel_refuses_have_errors_of_their_own() {
        let find = |layout: RingLayout| layout.find(Ring::Receive, &memory(), 0).unwrap_err();
        for size in [0, 3, 255] {
            assert!(matches!(find(RingLayout { size, ..layout() }), Error::RingSize { .. }));
        }
        for odd in [
            RingLayout { available: 0x2001, ..layout() },
            RingLayout { used: 0x3002, ..layout() },
            RingLayout { log: Some(0x3001), ..layout() },
        ] {
            assert!(matches!(find(odd), Error::RingMisaligned { ring: "receive" }));
        }
    }

    #[test]
    fn the_log_of_a_ring_ends_somewhere() {
        assert_eq!(layout().log_end(), 0x3000 + 4 + 8 * 256 + 2);
        assert_eq!(RingLayout { log: Some(u64::MAX - 3), ..layout() }.log_end(), u64::MAX);
    }
}
