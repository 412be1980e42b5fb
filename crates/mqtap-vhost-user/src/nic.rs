//! The virtio-net NICs as the device of a session.

use std::os::fd::OwnedFd;

use mqtap::MacAddress;
use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::nic::{Error, KernelNic, Nic};
use mqtap_virtio::ring::RingBase;

use crate::{Device, RingStart};

/// They have the same vocabulary, which is that of a device.
macro_rules! device {
    ($nic:ty $(, $own:item)*) => {
        impl Device for $nic {
            type Error = Error;

            fn ring_count(&self) -> u16 {
                <$nic>::ring_count(self)
            }

            fn max_ring_size(&self) -> u16 {
                <$nic>::max_ring_size(self)
            }

            fn features(&self) -> u64 {
                <$nic>::features(self)
            }

            fn set_features(&mut self, acked: u64) -> Result<(), Error> {
                <$nic>::set_features(self, acked)
            }

            fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Error> {
                <$nic>::set_memory(self, memory)
            }

            fn start_ring(&mut self, ring: u16, start: RingStart) -> Result<(), Error> {
                <$nic>::start_ring(self, ring, start)
            }

            fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Error> {
                <$nic>::stop_ring(self, ring)
            }

            fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Error> {
                <$nic>::set_ring_enabled(self, ring, enabled)
            }

            fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Error> {
                <$nic>::set_ring_log(self, ring, log)
            }

            fn set_ring_kick(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
                <$nic>::set_ring_kick(self, ring, fd)
            }

            fn set_ring_call(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
                <$nic>::set_ring_call(self, ring, fd)
            }

            fn set_ring_error(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
                <$nic>::set_ring_error(self, ring, fd)
            }

            fn config(&self) -> Vec<u8> {
                <$nic>::config(self)
            }

            fn set_mtu(&mut self, mtu: u16) -> Result<(), Error> {
                <$nic>::set_mtu(self, mtu)
            }

            fn announce(&mut self, mac: MacAddress) -> Result<(), Error> {
                <$nic>::announce(self, mac)
            }

            /// Rings are started and stopped by messages of their own; the status adds nothing to that.
            fn set_status(&mut self, _status: u8) -> Result<(), Error> {
                Ok(())
            }

            fn reset(&mut self) -> Result<(), Error> {
                <$nic>::reset(self)
            }

            $($own)*
        }
    };
}

device!(Nic);
device!(
    KernelNic,
    fn max_memory_regions(&self) -> usize {
        KernelNic::max_memory_regions(self)
    }
);
