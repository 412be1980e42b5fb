//! The virtio-net NIC as the device of a session.

use std::os::fd::OwnedFd;

use mqtap::MacAddress;
use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::nic::{Error, Nic};
use mqtap_virtio::ring::RingBase;

use crate::{Device, RingStart};

impl Device for Nic {
    type Error = Error;

    fn ring_count(&self) -> u16 {
        Nic::ring_count(self)
    }

    fn max_ring_size(&self) -> u16 {
        Nic::max_ring_size(self)
    }

    fn features(&self) -> u64 {
        Nic::features(self)
    }

    fn set_features(&mut self, acked: u64) -> Result<(), Error> {
        Nic::set_features(self, acked)
    }

    fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Error> {
        Nic::set_memory(self, memory)
    }

    fn start_ring(&mut self, ring: u16, start: RingStart) -> Result<(), Error> {
        Nic::start_ring(self, ring, start)
    }

    fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Error> {
        Nic::stop_ring(self, ring)
    }

    fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Error> {
        Nic::set_ring_enabled(self, ring, enabled)
    }

    fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Error> {
        Nic::set_ring_log(self, ring, log)
    }

    fn set_ring_kick(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
        Nic::set_ring_kick(self, ring, fd)
    }

    fn set_ring_call(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
        Nic::set_ring_call(self, ring, fd)
    }

    fn set_ring_error(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Error> {
        Nic::set_ring_error(self, ring, fd)
    }

    fn config(&self) -> Vec<u8> {
        Nic::config(self)
    }

    fn set_mtu(&mut self, mtu: u16) -> Result<(), Error> {
        Nic::set_mtu(self, mtu)
    }

    fn announce(&mut self, mac: MacAddress) -> Result<(), Error> {
        Nic::announce(self, mac)
    }

    /// Rings are started and stopped by messages of their own; the status adds nothing to that.
    fn set_status(&mut self, _status: u8) -> Result<(), Error> {
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Error> {
        Nic::reset(self)
    }
}
