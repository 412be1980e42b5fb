//! The driver: a whole guest NIC behind one vhost-user socket.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::dirty::DirtyPages;
use crate::error::{Error, Result};
use crate::events::RingEvents;
use crate::frontend::{Frontend, VringAddresses};
use crate::header::VirtioNetHeader;
use crate::options::DriverOptions;
use crate::pair::{Pair, PairCounters};
use crate::protocol::{VRING_F_LOG, feature, protocol_feature};
use crate::ram::GuestRam;
use crate::raw::RawRing;
use crate::receive::{Received, Receiver};
use crate::ring::{DriverRing, RingLayout, RingOptions};
use crate::transmit::Transmitter;

/// Virtio device status of a driver that is up: ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.
const STATUS_UP: u8 = 1 | 2 | 8 | 4;

/// A virtio-net driver, connected to a backend.
///
/// Dropping it closes the socket, which is how a guest that dies looks to a backend.
#[derive(Debug)]
pub struct Driver {
    frontend: Frontend,
    options: DriverOptions,
    offered: u64,
    features: u64,
    ram: GuestRam,
    pairs: Vec<Pair>,
    active: u16,
    dirty: Option<DirtyPages>,
}

impl Driver {
    /// Connects to the backend that listens at `path`, sets everything up and starts the rings, pair 0 enabled.
    pub fn connect(path: &Path, options: DriverOptions) -> Result<Driver> {
        Driver::start_on(Frontend::connect(path)?, options)
    }

    /// The same over a connected socket.
    pub fn from_stream(stream: UnixStream, options: DriverOptions) -> Result<Driver> {
        Driver::start_on(Frontend::from_stream(stream)?, options)
    }

    /// The same over a frontend, which may have sent messages already.
    pub fn start_on(frontend: Frontend, options: DriverOptions) -> Result<Driver> {
        options.check()?;
        let mut frontend = frontend;
        let offered = handshake(&mut frontend, &options)?;
        let features = offered & options.wanted_features();
        let ram = GuestRam::create(memory_needed(&options, features), options.memory_regions)?;
        let mut driver =
            Driver { frontend, options, offered, features, ram, pairs: Vec::new(), active: 1, dirty: None };
        driver.make_pairs()?;
        driver.start()?;
        Ok(driver)
    }

    fn make_pairs(&mut self) -> Result<()> {
        let modern = feature::VERSION_1 | feature::MRG_RXBUF;
        let header_size =
            if self.features & modern != 0 { VirtioNetHeader::SIZE } else { VirtioNetHeader::LEGACY_SIZE };
        let options = &self.options;
        let ring_options = RingOptions {
            event_index: self.features & feature::EVENT_IDX != 0,
            in_order: self.features & feature::IN_ORDER != 0,
            indirect: self.features & feature::INDIRECT_DESC != 0,
        };
        // All rings first: they must not straddle regions, and there is most room at the start.
        let mut layouts = Vec::new();
        for _ in 0..2 * options.queue_pairs {
            let [descriptors, driver, device] = RingLayout::lengths(options.packed, options.ring_size);
            layouts.push(RingLayout {
                packed: options.packed,
                size: options.ring_size,
                descriptors: self.ram.allocate_whole(descriptors, 64)?,
                driver: self.ram.allocate_whole(driver, 64)?,
                device: self.ram.allocate_whole(device, 64)?,
            });
        }
        for i in 0..options.queue_pairs {
            let (receive, transmit) = (2 * i, 2 * i + 1);
            let receiver = Receiver::new(
                receive,
                &mut self.ram,
                layouts[usize::from(receive)],
                options,
                ring_options,
                self.features,
                header_size,
            )?;
            let transmitter = Transmitter::new(
                transmit,
                &mut self.ram,
                layouts[usize::from(transmit)],
                options,
                ring_options,
                header_size,
            )?;
            self.pairs.push(Pair::new(receiver, transmitter, options.polling));
        }
        Ok(())
    }

    /// Tells the backend everything a starting driver tells it, with the rings where they are.
    fn start(&mut self) -> Result<()> {
        let repeats = if self.options.handshake_per_pair { self.pairs.len() } else { 1 };
        for _ in 0..repeats {
            self.send_features()?;
        }
        self.send_memory()?;
        let bases: Vec<u32> = (0..self.ring_count()).map(|r| self.ring_of(r).base()).collect();
        for ring in 0..self.ring_count() {
            self.start_ring_at(ring, bases[usize::from(ring)])?;
        }
        if self.options.fill_receive {
            for pair in &mut self.pairs {
                pair.receiver.post(usize::MAX)?;
            }
        }
        self.send_enables(self.active)?;
        if self.has_protocol(protocol_feature::STATUS) {
            self.frontend.set_status(STATUS_UP)?;
        }
        Ok(())
    }

    fn send_features(&mut self) -> Result<()> {
        let log = if self.dirty.is_some() { feature::LOG_ALL } else { 0 };
        self.frontend.set_features(self.features | log)
    }

    fn send_memory(&mut self) -> Result<()> {
        let regions: Vec<_> = self.ram.regions().collect();
        if self.options.memory_slots
            && self.frontend.protocol_features() & protocol_feature::CONFIGURE_MEM_SLOTS != 0
        {
            for (region, fd) in regions {
                self.frontend.add_memory_region(region, fd)?;
            }
            return Ok(());
        }
        self.frontend.set_memory_table(&regions)
    }

    fn send_addresses(&mut self, ring: u16) -> Result<()> {
        let layout = self.ring_of(ring).layout();
        let log = self.dirty.is_some();
        let addresses = VringAddresses {
            flags: if log { VRING_F_LOG } else { 0 },
            descriptors: self.ram.user_address(layout.descriptors)?,
            used: self.ram.user_address(layout.device)?,
            available: self.ram.user_address(layout.driver)?,
            log: layout.device.0,
        };
        self.frontend.set_vring_addresses(ring.into(), addresses)
    }

    /// Starts one ring, the device going on at `base`.
    pub fn start_ring_at(&mut self, ring: u16, base: u32) -> Result<()> {
        self.ring_of_mut(ring).suppress_calls()?;
        let size = self.ring_of(ring).layout().size;
        self.frontend.set_vring_num(ring.into(), size.into())?;
        self.frontend.set_vring_base(ring.into(), base)?;
        self.send_addresses(ring)?;
        let pair = &self.pairs[usize::from(ring / 2)];
        let events = events_of(pair, ring);
        let (kick, call) = if self.options.polling {
            (None, None)
        } else {
            (Some(events.kick_fd()), Some(events.call_fd()))
        };
        self.frontend.set_vring_error(ring.into(), Some(events.error_fd()))?;
        self.frontend.set_vring_call(ring.into(), call)?;
        self.frontend.set_vring_kick(ring.into(), kick)?;
        // Chains may be waiting from before; nobody will kick for those.
        if !self.options.polling {
            events.kick()?;
        }
        Ok(())
    }

    /// Stops one ring; returns its base.
    pub fn stop_ring(&mut self, ring: u16) -> Result<u32> {
        self.frontend.get_vring_base(ring.into())
    }

    /// Stops a ring, forgets all that is in it and starts it anew, as after a device reset: what to do with a ring
    /// that is broken. Receive buffers are posted again if the options say so.
    pub fn restart_ring(&mut self, ring: u16) -> Result<()> {
        self.stop_ring(ring)?;
        let fill = self.options.fill_receive;
        let pair = &mut self.pairs[usize::from(ring / 2)];
        events_of(pair, ring).take_errors()?;
        events_of(pair, ring).take_calls()?;
        if ring.is_multiple_of(2) {
            pair.receiver.clear()?;
        } else {
            pair.transmitter.clear()?;
        }
        let base = self.ring_of(ring).base();
        self.start_ring_at(ring, base)?;
        if ring.is_multiple_of(2) && fill {
            self.pairs[usize::from(ring / 2)].receiver.post(usize::MAX)?;
        }
        Ok(())
    }

    /// Stops every ring, as a guest's reset or a stopped VM does; returns the bases.
    pub fn stop(&mut self) -> Result<Vec<u32>> {
        let mut bases = Vec::new();
        for ring in 0..self.ring_count() {
            bases.push(self.stop_ring(ring)?);
        }
        Ok(bases)
    }

    /// Starts every ring at the bases that [`Driver::stop`] returned.
    pub fn resume(&mut self, bases: &[u32]) -> Result<()> {
        if bases.len() != usize::from(self.ring_count()) {
            return Err(Error::Options(format!("{} bases for {} rings", bases.len(), self.ring_count())));
        }
        for (ring, base) in (0..).zip(bases) {
            self.start_ring_at(ring, *base)?;
        }
        self.send_enables(self.active)
    }

    /// Drops the connection, and sets everything up again at `path` with the same memory and the same rings: the
    /// backend goes on behind what it had used, as after its crash.
    pub fn reconnect(&mut self, path: &Path) -> Result<()> {
        self.frontend = Frontend::connect(path)?;
        let offered = handshake(&mut self.frontend, &self.options)?;
        if offered & self.features != self.features {
            return Err(Error::NotOffered("every feature it offered before the reconnect"));
        }
        self.offered = offered;
        self.dirty = None;
        self.start()
    }

    /// Enables pairs `0..n` and disables the others, with two messages for every pair, as QEMU does when the guest
    /// sets the number of its queue pairs.
    pub fn set_active_pairs(&mut self, n: u16) -> Result<()> {
        if n == 0 || usize::from(n) > self.pairs.len() {
            return Err(Error::Options(format!("{n} active queue pairs of {}", self.pairs.len())));
        }
        self.send_enables(n)?;
        self.active = n;
        Ok(())
    }

    fn send_enables(&mut self, n: u16) -> Result<()> {
        if self.features & feature::PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        for ring in 0..self.ring_count() {
            self.frontend.set_vring_enable(ring.into(), ring / 2 < n)?;
        }
        Ok(())
    }

    /// Pairs that are enabled.
    #[must_use]
    pub fn active_pairs(&self) -> u16 {
        self.active
    }

    /// Begins to log dirty pages, from no page dirty.
    pub fn start_dirty_log(&mut self) -> Result<()> {
        let log = DirtyPages::new(self.ram.end())?;
        self.frontend.set_log_base(log.size(), 0, log.fd())?;
        self.dirty = Some(log);
        self.send_log_state()
    }

    /// Ends logging; returns what was logged.
    pub fn stop_dirty_log(&mut self) -> Result<Option<DirtyPages>> {
        let log = self.dirty.take();
        self.send_log_state()?;
        Ok(log)
    }

    fn send_log_state(&mut self) -> Result<()> {
        self.send_features()?;
        for ring in 0..self.ring_count() {
            self.send_addresses(ring)?;
        }
        Ok(())
    }

    /// The dirty log, while logging.
    #[must_use]
    pub fn dirty_pages(&self) -> Option<&DirtyPages> {
        self.dirty.as_ref()
    }

    /// Asks the backend to announce a MAC address.
    pub fn announce(&mut self, mac: [u8; 6]) -> Result<()> {
        self.require(protocol_feature::RARP, "RARP")?;
        self.frontend.send_rarp(mac)
    }

    /// Tells the backend the MTU.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<()> {
        self.require(protocol_feature::MTU, "NET_MTU")?;
        self.frontend.set_mtu(mtu.into())
    }

    /// Resets the device: everything has to be set up again, see [`Driver::restart`].
    pub fn reset(&mut self) -> Result<()> {
        self.require(protocol_feature::RESET_DEVICE, "RESET_DEVICE")?;
        self.frontend.reset_device()
    }

    /// Stops every ring and sets everything up again over the same connection with empty rings, as a guest does that
    /// boots again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        for pair in &mut self.pairs {
            pair.receiver.clear()?;
            pair.transmitter.clear()?;
        }
        self.active = 1;
        self.start()
    }

    fn require(&self, bit: u64, name: &'static str) -> Result<()> {
        if self.has_protocol(bit) { Ok(()) } else { Err(Error::NotOffered(name)) }
    }

    fn has_protocol(&self, bit: u64) -> bool {
        self.frontend.protocol_features() & bit != 0
    }

    /// Virtio features the backend offered.
    #[must_use]
    pub fn offered_features(&self) -> u64 {
        self.offered
    }

    /// Virtio features in use.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// The protocol, to say things no driver says.
    pub fn frontend(&mut self) -> &mut Frontend {
        &mut self.frontend
    }

    /// The guest's memory.
    #[must_use]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The guest's memory, to take spare room from.
    pub fn ram_mut(&mut self) -> &mut GuestRam {
        &mut self.ram
    }

    /// Number of virtqueues: two for each pair.
    #[must_use]
    pub fn ring_count(&self) -> u16 {
        2 * self.pairs.len() as u16
    }

    /// Every queue pair.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Every queue pair, to use, or to spread over threads.
    pub fn pairs_mut(&mut self) -> &mut [Pair] {
        &mut self.pairs
    }

    /// A queue pair. Panics if there is none of that number.
    pub fn pair(&mut self, pair: u16) -> &mut Pair {
        &mut self.pairs[usize::from(pair)]
    }

    /// Transmits on a pair; see [`Pair::transmit`].
    pub fn transmit(&mut self, pair: u16, frame: &[u8]) -> Result<()> {
        self.pair(pair).transmit(frame)
    }

    /// Transmits on a pair; see [`Pair::transmit_with_header`].
    pub fn transmit_with_header(&mut self, pair: u16, header: &VirtioNetHeader, frame: &[u8]) -> Result<()> {
        self.pair(pair).transmit_with_header(header, frame)
    }

    /// Transmits on a pair; see [`Pair::transmit_batch`].
    pub fn transmit_batch<F: AsRef<[u8]>>(&mut self, pair: u16, frames: &[F]) -> Result<usize> {
        self.pair(pair).transmit_batch(frames)
    }

    /// The next frame of a pair, without its header.
    pub fn receive(&mut self, pair: u16) -> Result<Option<Vec<u8>>> {
        Ok(self.receive_with_header(pair)?.map(|received| received.frame))
    }

    /// The next frame of a pair.
    pub fn receive_with_header(&mut self, pair: u16) -> Result<Option<Received>> {
        self.pair(pair).receive()
    }

    /// Waits until pair `pair` has a frame to receive. False if none comes in time.
    pub fn wait(&mut self, pair: u16, timeout: Duration) -> Result<bool> {
        self.pair(pair).wait(timeout)
    }

    /// What a pair has done.
    #[must_use]
    pub fn counters(&self, pair: u16) -> PairCounters {
        self.pairs[usize::from(pair)].counters()
    }

    /// The eventfds of a ring.
    #[must_use]
    pub fn events(&self, ring: u16) -> &RingEvents {
        events_of(&self.pairs[usize::from(ring / 2)], ring)
    }

    /// Raw access to a ring's memory and kick, for a driver that lies.
    pub fn raw_ring(&self, ring: u16) -> Result<RawRing> {
        let kick = self.events(ring).kick_fd().as_fd().try_clone_to_owned();
        let kick = kick.map_err(|source| Error::System { what: "clone a kick eventfd", source })?;
        Ok(RawRing::new(ring, self.ram.memory().clone(), self.ring_of(ring), kick, self.ram.end()))
    }

    fn ring_of(&self, ring: u16) -> &DriverRing {
        let pair = &self.pairs[usize::from(ring / 2)];
        if ring.is_multiple_of(2) { &pair.receiver.ring } else { &pair.transmitter.ring }
    }

    fn ring_of_mut(&mut self, ring: u16) -> &mut DriverRing {
        let pair = &mut self.pairs[usize::from(ring / 2)];
        if ring.is_multiple_of(2) { &mut pair.receiver.ring } else { &mut pair.transmitter.ring }
    }
}

fn events_of(pair: &Pair, ring: u16) -> &RingEvents {
    if ring.is_multiple_of(2) { pair.receiver.events() } else { pair.transmitter.events() }
}

/// Everything up to features and owner; returns what the backend offers.
fn handshake(frontend: &mut Frontend, options: &DriverOptions) -> Result<u64> {
    let mut offered = frontend.get_features()?;
    if options.owner_first {
        frontend.set_owner()?;
    }
    let repeats = if options.handshake_per_pair { options.queue_pairs } else { 1 };
    for i in 0..repeats {
        if i > 0 {
            offered = frontend.get_features()?;
        }
        if offered & feature::PROTOCOL_FEATURES != 0 {
            let protocol = frontend.get_protocol_features()? & options.protocol_features;
            frontend.set_protocol_features(protocol)?;
            if i == 0 && protocol & protocol_feature::MQ != 0 {
                let queues = frontend.get_queue_num()?;
                if queues < options.queue_pairs.into() {
                    return Err(Error::NotOffered("that many queue pairs"));
                }
            }
            if protocol & protocol_feature::CONFIGURE_MEM_SLOTS != 0 {
                frontend.get_max_memory_slots()?;
            }
        }
        if i == 0 && !options.owner_first {
            frontend.set_owner()?;
        }
    }
    if offered & feature::VERSION_1 == 0 {
        return Err(Error::NotOffered("VIRTIO_F_VERSION_1"));
    }
    if options.packed && offered & feature::RING_PACKED == 0 {
        return Err(Error::NotOffered("VIRTIO_F_RING_PACKED"));
    }
    Ok(offered)
}

fn memory_needed(options: &DriverOptions, features: u64) -> u64 {
    if let Some(size) = options.memory_size {
        return size;
    }
    let size = u64::from(options.ring_size);
    let ring: u64 = RingLayout::lengths(options.packed, options.ring_size).iter().sum();
    let chain = u64::from(options.receive_chain(features)) + 1;
    let receive = size * chain * (u64::from(options.buffer_size.next_multiple_of(16)) + 16 + 16);
    let transmit = u64::from(options.transmit_buffers()) * u64::from(options.transmit_buffer_size);
    let tables = size * 16 * (u64::from(options.largest_transmit_chain()) + chain);
    // Rings and tables must not straddle regions: each border may waste one of the largest.
    let borders = u64::from(options.memory_regions) * (tables + ring);
    let pair = 2 * (ring + 256) + receive + transmit + tables + 256;
    u64::from(options.queue_pairs) * pair + borders + options.spare_memory
}
