//! The requests about rings.

use std::os::fd::OwnedFd;

use mqtap_virtio::memory::GuestMemory;
use mqtap_virtio::ring::{RingAddresses, RingBase};

use super::descriptors::{Descriptors, duplicate, notifier};
use super::ring_state::{Kick, Life, RingState, check_size, start_base, translate};
use super::{RequestError, Session};
use crate::message::{VringAddresses, VringFile, VringState};
use crate::{Device, RingStart};

impl<D: Device> Session<'_, D> {
    pub(super) fn ring_count(&self) -> u16 {
        // Made with at most `MAX_RINGS`.
        u16::try_from(self.rings.len()).unwrap_or(u16::MAX)
    }

    /// The ring of that number, if there is one.
    fn ring(&self, index: u32) -> Result<u16, RequestError> {
        let ring = u16::try_from(index).ok().filter(|ring| *ring < self.ring_count());
        ring.ok_or(RequestError::NoSuchRing { ring: index, rings: self.ring_count() })
    }

    fn state(&mut self, ring: u16) -> Result<&mut RingState, RequestError> {
        let no_such_ring = RequestError::NoSuchRing { ring: ring.into(), rings: self.ring_count() };
        self.rings.get_mut(usize::from(ring)).ok_or(no_such_ring)
    }

    /// The ring and the state of a request about it.
    fn vring(&self, body: &[u8]) -> Result<(u16, u32), RequestError> {
        let VringState { index, number } = VringState::parse(body)?;
        Ok((self.ring(index)?, number))
    }

    pub(super) fn set_vring_num(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (ring, number) = self.vring(body)?;
        let max = self.device.max_ring_size();
        let size = u16::try_from(number).ok().filter(|size| (1..=max).contains(size));
        let size = size.ok_or(RequestError::RingSize { ring, size: number, max })?;
        if self.features.is_some() {
            check_size(ring, size, self.packed())?;
        }
        let state = self.state(ring)?;
        if state.is_started() && state.size != Some(size) {
            return Err(RequestError::RingStarted { ring });
        }
        state.size = Some(size);
        self.start_if_told(ring)
    }

    pub(super) fn set_vring_addr(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let addresses = VringAddresses::parse(body)?;
        let ring = self.ring(addresses.index)?;
        if let Life::Started(running) = self.state(ring)?.life {
            return self.set_vring_log(ring, running, addresses);
        }
        self.state(ring)?.addresses = Some(addresses);
        self.start_if_told(ring)
    }

    /// The addresses of a running ring are said again at the start and the end of a migration, to log its
    /// used ring or not to.
    fn set_vring_log(
        &mut self,
        ring: u16,
        running: RingAddresses,
        addresses: VringAddresses,
    ) -> Result<(), RequestError> {
        let packed = self.packed();
        let size = self.state(ring)?.size;
        let new = match (&self.memory, size) {
            (Some(memory), Some(size)) => translate(memory, &addresses, size, packed),
            _ => None,
        };
        let new = new.ok_or(RequestError::RingNotInMemory { ring })?;
        if (RingAddresses { log: running.log, ..new }) != running {
            return Err(RequestError::RingStarted { ring });
        }
        if new.log != running.log {
            self.device.set_ring_log(ring, new.log).map_err(RequestError::device)?;
        }
        let state = self.state(ring)?;
        state.addresses = Some(addresses);
        state.life = Life::Started(new);
        Ok(())
    }

    pub(super) fn set_vring_base(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (ring, number) = self.vring(body)?;
        let base = RingBase(number);
        if self.features.is_some() {
            start_base(ring, Some(base), self.packed())?;
        }
        let state = self.state(ring)?;
        if state.is_started() {
            return Err(RequestError::RingStarted { ring });
        }
        state.base = Some(base);
        Ok(())
    }

    /// Stops the ring and says where it got to; a stopped ring says where it would start.
    pub(super) fn get_vring_base(&mut self, body: &[u8]) -> Result<Vec<u8>, RequestError> {
        let (ring, _) = self.vring(body)?;
        self.stop(ring)?;
        let packed = self.packed();
        let state = self.state(ring)?;
        let RingBase(number) = start_base(ring, state.base, packed)?;
        Ok(VringState { index: ring.into(), number }.to_bytes().to_vec())
    }

    pub(super) fn set_vring_enable(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (ring, number) = self.vring(body)?;
        self.enable(ring, number != 0)
    }

    pub(super) fn set_vring_endian(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let (_, endian) = self.vring(body)?;
        if endian == 0 { Ok(()) } else { Err(RequestError::Endian { endian }) }
    }

    /// Enables or disables, if it is not so already: QEMU says it for every ring whenever one changes.
    pub(super) fn enable(&mut self, ring: u16, enabled: bool) -> Result<(), RequestError> {
        if self.state(ring)?.enabled != enabled {
            self.device.set_ring_enabled(ring, enabled).map_err(RequestError::device)?;
            self.state(ring)?.enabled = enabled;
        }
        Ok(())
    }

    /// What the first pair of a network card always was.
    pub(super) fn enable_first_pair(&mut self) -> Result<(), D::Error> {
        for (ring, state) in (0..2).zip(&mut self.rings) {
            self.device.set_ring_enabled(ring, true)?;
            state.enabled = true;
        }
        Ok(())
    }

    /// The ring and the descriptor (or that there is none) of a request that brings one.
    fn vring_file(
        &self,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<(u16, Option<OwnedFd>), RequestError> {
        let file = VringFile::parse(body)?;
        let ring = self.ring(file.index.into())?;
        let fd = if file.has_fd { Some(notifier(ring, descriptors.one()?)?) } else { None };
        Ok((ring, fd))
    }

    pub(super) fn set_vring_kick(
        &mut self,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<(), RequestError> {
        let (ring, fd) = self.vring_file(body, descriptors)?;
        if self.state(ring)?.is_started() {
            let copy = duplicate(ring, fd.as_ref())?;
            self.device.set_ring_kick(ring, copy).map_err(RequestError::device)?;
        }
        self.state(ring)?.kick = Kick::new(fd);
        self.start_if_told(ring)
    }

    pub(super) fn set_vring_call(
        &mut self,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<(), RequestError> {
        let (ring, fd) = self.vring_file(body, descriptors)?;
        if self.state(ring)?.is_started() {
            let copy = duplicate(ring, fd.as_ref())?;
            self.device.set_ring_call(ring, copy).map_err(RequestError::device)?;
        }
        self.state(ring)?.call = fd;
        Ok(())
    }

    pub(super) fn set_vring_err(
        &mut self,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<(), RequestError> {
        let (ring, fd) = self.vring_file(body, descriptors)?;
        if self.state(ring)?.is_started() {
            let copy = duplicate(ring, fd.as_ref())?;
            self.device.set_ring_error(ring, copy).map_err(RequestError::device)?;
        }
        self.state(ring)?.error = fd;
        Ok(())
    }

    /// Starts a stopped ring if everything has been said that it needs; otherwise it waits for the rest.
    fn start_if_told(&mut self, ring: u16) -> Result<(), RequestError> {
        let packed = self.packed();
        let (Some(_), Some(memory), Some(state)) =
            (self.features, &self.memory, self.rings.get_mut(usize::from(ring)))
        else {
            return Ok(());
        };
        let (Life::Stopped, Some(size), Some(addresses)) = (state.life, state.size, &state.addresses) else {
            return Ok(());
        };
        if matches!(state.kick, Kick::Awaited) {
            return Ok(());
        }
        check_size(ring, size, packed)?;
        let base = start_base(ring, state.base, packed)?;
        let addresses = translate(memory, addresses, size, packed);
        let addresses = addresses.ok_or(RequestError::RingNotInMemory { ring })?;
        let start = RingStart {
            size,
            addresses,
            base,
            // Copies: should the ring have to stop while its memory is exchanged, it starts again with these.
            kick: duplicate(ring, state.kick.fd())?,
            call: duplicate(ring, state.call.as_ref())?,
            error: duplicate(ring, state.error.as_ref())?,
        };
        self.device.start_ring(ring, start).map_err(RequestError::device)?;
        state.life = Life::Started(addresses);
        Ok(())
    }

    /// After a request that was not about a ring: those that waited for it start. That one of them
    /// cannot is not that request's failure.
    pub(super) fn start_waiting_rings(&mut self) {
        for ring in 0..self.ring_count() {
            match self.start_if_told(ring) {
                // More memory may be coming, one slot after the other.
                Ok(()) | Err(RequestError::RingNotInMemory { .. }) => {}
                Err(error) => self.report(None, &error),
            }
        }
    }

    /// Stops a ring if it runs; it starts again at the next kick descriptor.
    pub(super) fn stop(&mut self, ring: u16) -> Result<(), RequestError> {
        let state = self.state(ring)?;
        state.kick = Kick::Awaited;
        if state.is_started() {
            state.life = Life::Stopped;
            state.base = None;
            // Stopped in any case; if it is unknown where, the next start is at the beginning.
            let base = self.device.stop_ring(ring).map_err(RequestError::device)?;
            self.state(ring)?.base = Some(base);
        }
        Ok(())
    }

    /// Stops the rings that `memory` does not hold where they are, to start again where they got to, when
    /// memory that holds them comes: a frontend may take a region away and bring a larger one.
    pub(super) fn park_rings_outside(&mut self, memory: Option<&GuestMemory>) {
        let packed = self.packed();
        for ring in 0..self.ring_count() {
            let Some(state) = self.rings.get_mut(usize::from(ring)) else { continue };
            let (Life::Started(running), Some(size), Some(addresses)) =
                (state.life, state.size, &state.addresses)
            else {
                continue;
            };
            if memory.and_then(|memory| translate(memory, addresses, size, packed)) == Some(running) {
                continue;
            }
            // The kick descriptor is kept: the frontend will not send it again.
            let kick = std::mem::take(&mut state.kick);
            match self.stop(ring) {
                Ok(()) => {
                    if let Some(state) = self.rings.get_mut(usize::from(ring)) {
                        state.kick = kick;
                    }
                }
                Err(error) => self.report(None, &error),
            }
        }
    }
}
