//! What a session drives: the [`Device`] behind the socket.

use std::os::fd::OwnedFd;

use mqtap::MacAddress;
use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::ring::RingBase;

pub use mqtap_virtio::nic::RingSetup as RingStart;

/// A virtio-net device as the protocol sees it: features, memory, and rings 2i (receive) and 2i+1
/// (transmit) of queue pair i.
///
/// Every call returns when it took effect: after [`stop_ring`](Device::stop_ring) nothing touches the
/// ring any more, after [`set_memory`](Device::set_memory) nothing touches memory that is not in the new
/// snapshot. A call that fails leaves the device as it was; the session reports the failure to the
/// frontend and goes on.
///
/// The session calls with ring numbers below [`ring_count`](Device::ring_count) only, starts no ring
/// twice, and never without memory.
///
/// Descriptors come from the frontend. The session made them close-on-exec and non-blocking and
/// refused files and devices, but they are still shared with a process that is not trusted: a read may
/// find nothing, a write may find no room, neither is an error.
pub trait Device {
    /// Why a call failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How many rings there are: two for each queue pair. The protocol can address 256
    /// ([`crate::MAX_RINGS`]); the session ignores those beyond.
    fn ring_count(&self) -> u16;

    /// The largest number of descriptors a ring may have.
    fn max_ring_size(&self) -> u16;

    /// The most regions that guest memory may have.
    fn max_memory_regions(&self) -> usize {
        usize::MAX
    }

    /// The virtio features the device offers. The session adds `VHOST_F_LOG_ALL` (26) and
    /// `VHOST_USER_F_PROTOCOL_FEATURES` (30), which are its own.
    fn features(&self) -> u64;

    /// The features the driver acknowledged: a subset of [`features`](Device::features). Never called
    /// with other features while a ring is started.
    ///
    /// # Errors
    /// If the device cannot be set up so.
    fn set_features(&mut self, acked: u64) -> Result<(), Self::Error>;

    /// Replaces guest memory, or, with the same regions, switches the dirty log on or off. Started rings
    /// stay started, and the parts of every started ring are in the new memory at the same guest addresses.
    ///
    /// # Errors
    /// If the device cannot; it goes on with the memory it had.
    fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Self::Error>;

    /// Starts a ring. It looks for chains at once, without waiting for a kick.
    ///
    /// # Errors
    /// If the ring cannot run; it stays stopped.
    fn start_ring(&mut self, ring: u16, start: RingStart) -> Result<(), Self::Error>;

    /// Stops a ring, completing what can be completed, and returns where to go on. Its descriptors
    /// are closed.
    ///
    /// # Errors
    /// If where to go on is unknown. The ring is stopped in any case.
    fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Self::Error>;

    /// Enables or disables a ring, started or not. A device begins with all rings disabled. A ring that
    /// is started and disabled discards what the driver transmits and receives nothing.
    ///
    /// # Errors
    /// If the device cannot; the ring is as before.
    fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Self::Error>;

    /// Moves where the used-ring writes of a started ring are logged, at the start and the end of a
    /// migration ([`RingAddresses::log`](mqtap_virtio::ring::RingAddresses::log)); the ring goes on where it is.
    ///
    /// # Errors
    /// If the device cannot; the ring is as before.
    fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Self::Error>;

    /// Replaces the kick descriptor of a started ring. The device looks at the ring once, since a kick may
    /// have gone to the old one.
    ///
    /// # Errors
    /// If the device cannot watch this descriptor.
    fn set_ring_kick(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Self::Error>;

    /// Replaces the call descriptor of a started ring. The device signals the new one once: completions
    /// may have been announced on the old one (QEMU starts a ring before it sets the final descriptor),
    /// and a driver takes a call too many in its stride.
    ///
    /// # Errors
    /// If the device cannot.
    fn set_ring_call(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Self::Error>;

    /// Replaces the error descriptor of a started ring.
    ///
    /// # Errors
    /// If the device cannot.
    fn set_ring_error(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Self::Error>;

    /// The bytes of `struct virtio_net_config`, for frontends that ask the backend for it.
    fn config(&self) -> Vec<u8>;

    /// The frontend tells the MTU the guest sees, in bytes. Nothing of the host's is to be changed by it.
    ///
    /// # Errors
    /// If the device cannot carry frames of that size.
    fn set_mtu(&mut self, mtu: u16) -> Result<(), Self::Error>;

    /// Announces the guest's address on the network (a broadcast RARP) after a migration.
    ///
    /// # Errors
    /// If the frame could not be sent.
    fn announce(&mut self, mac: MacAddress) -> Result<(), Self::Error>;

    /// The device status field as the driver set it (virtio 1.2, section 2.1). The session stops
    /// all rings before it passes on a reset (0).
    ///
    /// # Errors
    /// If the device cannot.
    fn set_status(&mut self, status: u8) -> Result<(), Self::Error>;

    /// Back to the beginning: all rings stopped and disabled, no features, no memory. Called at
    /// `RESET_DEVICE` and at the end of every session.
    ///
    /// # Errors
    /// If the device cannot be brought to rest; the server then gives up.
    fn reset(&mut self) -> Result<(), Self::Error>;
}
