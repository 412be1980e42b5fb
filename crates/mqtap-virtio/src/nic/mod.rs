//! The device side of a multiqueue virtio-net NIC: N queue pairs on the N queues of a tap.
//!
//! A [`Nic`] is driven by whoever speaks for the guest: the vhost-user session, or a VMM that links this library. Its
//! methods are the vocabulary of vhost: features, memory, rings started, stopped, enabled. Each returns when it took
//! effect.
//!
//! A tap queue is attached exactly while its receive ring is started and enabled, so the kernel never gives a frame to
//! a pair that nobody serves. Without a guest no queue is attached, and by default the interface has no carrier.

mod announce;
mod attach;
mod error;
mod eventfd;
mod kernel;
mod offloads;
mod options;
mod snapshot;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mqtap::{MacAddress, Offloads, TapDevice};
use rustix::io::Errno;

use crate::counters::PairCounters;
pub use crate::engine::Engine;
use crate::features::{Acknowledged, Offer};
use crate::memory::{GuestAddress, GuestMemory};
use crate::queue_pair::{Coalescing, Notifier, Receive, ReceiveOptions, Transmit, TransmitOptions};
use crate::ring::{Direction, Ring, RingBase, RingConfig};
use crate::worker::{GivenUp, RingFds, WorkerHandle};
use announce::reverse_arp;
use attach::Attachments;
pub use error::Error;
use eventfd::check_eventfd;
pub use kernel::KernelNic;
use offloads::TapOffloads;
pub use options::{Carrier, Coalesce, MAX_RING_SIZE, NicOptions, RingSetup};
pub use snapshot::{KernelCounters, NicCounters, NicSnapshot};

/// What is called, once, from a worker's thread, when the tap of a NIC is gone. It gets the reason.
pub type OnFailure = Box<dyn Fn(&Error) + Send + Sync>;

/// A NIC: see the [module](self).
#[derive(Debug)]
pub struct Nic {
    device: Arc<TapDevice>,
    options: NicOptions,
    counters: NicCounters,
    workers: Vec<WorkerHandle>,
    failed: Arc<AtomicBool>,
    /// `None` while it is not known what the tap is set to.
    acknowledged: Option<Acknowledged>,
    attachments: Attachments,
    offloads: TapOffloads,
    memory: Option<GuestMemory>,
    rings: Vec<RingState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RingState {
    started: bool,
    enabled: bool,
}

/// Ring 2i receives, ring 2i + 1 transmits (virtio 1.3, 5.1.2).
fn is_receive(ring: u16) -> bool {
    ring.is_multiple_of(2)
}

impl Nic {
    /// Puts a NIC on `device`. Detaches all its queues, takes its carrier (unless told otherwise) and starts the
    /// workers.
    pub fn new(device: Arc<TapDevice>, options: NicOptions, on_failure: OnFailure) -> Result<Self, Error> {
        if options.coalesce == Coalesce::On && !device.has_vnet_header() {
            return Err(Error::NoHeaderToCoalesce { interface: device.name().to_string() });
        }
        let pairs = device.queue_count();
        let counters: Arc<[Arc<PairCounters>]> = (0..pairs).map(|_| Arc::default()).collect();
        let failed = Arc::new(AtomicBool::new(false));
        let on_tap_gone = {
            let failed = Arc::clone(&failed);
            let interface = device.name().to_string();
            Arc::new(move |pair: u16, errno: Errno| {
                if !failed.swap(true, Ordering::AcqRel) {
                    tracing::debug!("queue pair {pair} found the tap gone: {errno}");
                    on_failure(&Error::TapGone { interface: interface.clone() });
                }
            })
        };
        let count = if options.workers == 0 { pairs } else { options.workers.min(pairs) };
        let given_up = GivenUp::default();
        let workers = (0..count)
            .map(|i| {
                let cpu = options.cpus.get(usize::from(i) % options.cpus.len().max(1));
                let name = format!("{}.{i}", device.name());
                WorkerHandle::start(
                    name,
                    cpu.map(std::slice::from_ref).unwrap_or_default(),
                    on_tap_gone.clone(),
                    Arc::clone(&given_up),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let attachments = Attachments::new(Arc::clone(&device), options.carrier)?;
        let offloads = TapOffloads::new(Arc::clone(&device), options.segment);
        let mut nic = Self {
            counters: NicCounters {
                interface: device.name().to_string(),
                device: Arc::downgrade(&device),
                before: None,
                pairs: counters,
            },
            device,
            options,
            workers,
            failed,
            acknowledged: None,
            attachments,
            offloads,
            memory: None,
            rings: vec![RingState::default(); usize::from(pairs) * 2],
        };
        for worker in &nic.workers {
            let (engine, poll) = (nic.options.engine, nic.options.poll);
            worker.call(move |worker| worker.configure(engine, poll))??;
        }
        for (pair, (queue, counters)) in
            (0..pairs).zip(nic.device.queues().iter().zip(nic.counters.pairs.iter()))
        {
            let (queue, counters) = (Arc::clone(queue), Arc::clone(counters));
            nic.worker(pair).call(move |worker| worker.add_pair(pair, queue, counters))??;
        }
        if let Some(end) = nic.device.watch_end()? {
            nic.worker(0).call(move |worker| worker.watch_end(end))??;
        }
        nic.set_features(0)?;
        nic.attachments.settle()?;
        Ok(nic)
    }

    /// The tap.
    pub fn device(&self) -> &Arc<TapDevice> {
        &self.device
    }

    /// Virtqueues: two for each queue pair. A control queue is the frontend's.
    pub fn ring_count(&self) -> u16 {
        self.device.queue_count() * 2
    }

    /// The largest ring that a driver may use, in descriptors.
    pub fn max_ring_size(&self) -> u16 {
        self.options.max_ring_size
    }

    /// The counters, to be read from wherever they are wanted.
    pub fn counters(&self) -> NicCounters {
        self.counters.clone()
    }

    /// The virtio features that this NIC offers.
    pub fn features(&self) -> u64 {
        Offer {
            offloads: self.device.supported_offloads(),
            vnet_header: self.device.has_vnet_header(),
            queue_pairs: self.device.queue_count(),
            mac: self.options.mac.is_some(),
        }
        .features()
    }

    /// The `virtio_net_config` of this NIC (virtio 1.3, 5.1.4), all fields up to `supported_hash_types`.
    pub fn config(&self) -> Vec<u8> {
        const LINK_UP: u16 = 1;
        let mtu = self.device.link().map_or(1500, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        let mut config = Vec::with_capacity(24);
        config.extend_from_slice(&self.options.mac.map_or([0; 6], MacAddress::octets));
        config.extend_from_slice(&LINK_UP.to_le_bytes());
        config.extend_from_slice(&self.device.queue_count().to_le_bytes());
        config.extend_from_slice(&mtu.to_le_bytes());
        // Speed and duplex are unknown; no receive-side scaling, no hash reports.
        config.extend_from_slice(&u32::MAX.to_le_bytes());
        config.push(u8::MAX);
        config.extend_from_slice(&[0; 7]);
        config
    }

    /// The driver's choice of the features. It decides the offloads and the header size of the tap.
    pub fn set_features(&mut self, acknowledged: u64) -> Result<(), Error> {
        let unknown = acknowledged & !self.features();
        if unknown != 0 {
            return Err(Error::NotOffered(unknown));
        }
        let acknowledged = Acknowledged(acknowledged);
        if Some(acknowledged) == self.acknowledged {
            return Ok(());
        }
        if self.rings.iter().any(|ring| ring.started) {
            return Err(Error::RingsStarted);
        }
        self.check_alive()?;
        self.acknowledged = None;
        if self.device.has_vnet_header() {
            self.device.set_vnet_header_size(acknowledged.header_size())?;
            self.offloads.set(acknowledged.offloads())?;
        }
        self.acknowledged = Some(acknowledged);
        Ok(())
    }

    /// The guest's memory, or another view of it (more of it, or with a dirty log). Started rings go on in it.
    pub fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Error> {
        match memory {
            Some(memory) => {
                for worker in &self.workers {
                    let memory = memory.clone();
                    worker.call(move |worker| worker.update_memory(&memory))?;
                }
            }
            None if self.rings.iter().any(|ring| ring.started) => return Err(Error::RingsStarted),
            None => {}
        }
        self.memory = memory.cloned();
        Ok(())
    }

    /// Starts a ring. It carries frames once it is enabled, too.
    pub fn start_ring(&mut self, ring: u16, setup: RingSetup) -> Result<(), Error> {
        let state = self.state(ring)?;
        if state.started {
            return Err(Error::Started(ring));
        }
        self.check_alive()?;
        let memory = self.memory.clone().ok_or(Error::NoMemory(ring))?;
        let acknowledged = self.acknowledged();
        check_eventfd("kick", ring, setup.kick.as_ref())?;
        check_eventfd("call", ring, setup.call.as_ref())?;
        check_eventfd("error", ring, setup.error.as_ref())?;
        let pair = ring / 2;
        let direction = if is_receive(ring) { Direction::Receive } else { Direction::Transmit };
        let config = RingConfig {
            size: setup.size,
            addresses: setup.addresses,
            features: acknowledged.ring_features(),
            direction,
            base: setup.base,
        };
        let started = Ring::new(&config, &memory).map_err(|source| Error::Ring { ring, source })?;
        let tap = Arc::clone(&self.device.queues()[usize::from(pair)]);
        let counters = Arc::clone(&self.counters.pairs[usize::from(pair)]);
        let notifier = Notifier { call: self.worker(pair).share(setup.call) };
        let header = acknowledged.header_size().len();
        let tap_header = if self.device.has_vnet_header() { header } else { 0 };
        let fds = RingFds { kick: setup.kick, error: self.worker(pair).share(setup.error) };
        let enabled = state.enabled;
        if is_receive(ring) {
            let receive = Receive::new(
                started,
                ReceiveOptions {
                    tap,
                    counters,
                    notifier,
                    memory,
                    header: acknowledged.header_size(),
                    tap_has_header: self.device.has_vnet_header(),
                    mergeable: acknowledged.mergeable(),
                    accepted: acknowledged.offloads(),
                    enabled,
                },
            );
            self.worker(pair).call(move |worker| worker.start_receive(pair, receive, fds))??;
        } else {
            let coalescing = self.coalescing();
            let transmit = Transmit::new(
                started,
                TransmitOptions { tap, counters, notifier, header, tap_header, coalescing, enabled },
            );
            self.worker(pair).call(move |worker| worker.start_transmit(pair, transmit, fds))??;
        }
        self.rings[usize::from(ring)].started = true;
        if is_receive(ring)
            && enabled
            && let Err(error) = self.attachments.attach(pair)
        {
            self.rings[usize::from(ring)].started = false;
            self.attachments.detach(pair);
            self.worker(pair).call(move |worker| worker.stop_receive(pair))?;
            return Err(error);
        }
        Ok(())
    }

    /// What becomes of frames of one flow, if anything.
    fn coalescing(&self) -> Option<Coalescing> {
        if !self.device.has_vnet_header() {
            return None;
        }
        // TCP super-frames were there before multiqueue taps were.
        let udp = self.device.supported_offloads().contains(Offloads::USO4 | Offloads::USO6);
        Coalescing::new(self.options.coalesce, self.acknowledged().header_size(), udp)
    }

    /// Stops a ring and tells where it stands.
    pub fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Error> {
        let state = self.state(ring)?;
        if !state.started {
            return Err(Error::NotStarted(ring));
        }
        let pair = ring / 2;
        self.rings[usize::from(ring)].started = false;
        let base = if is_receive(ring) {
            if state.enabled {
                let disabled =
                    self.worker(pair).call(move |worker| worker.with_receive(pair, Receive::disable));
                self.attachments.detach(pair);
                disabled?;
            }
            self.worker(pair).call(move |worker| worker.stop_receive(pair))?
        } else {
            self.worker(pair).call(move |worker| worker.stop_transmit(pair))?
        };
        base.ok_or(Error::NotStarted(ring))
    }

    /// Enables or disables a ring, started or not.
    pub fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Error> {
        let state = self.state(ring)?;
        if state.enabled == enabled {
            return Ok(());
        }
        let pair = ring / 2;
        if !state.started {
            self.rings[usize::from(ring)].enabled = enabled;
            return Ok(());
        }
        if !is_receive(ring) {
            self.worker(pair)
                .call(move |worker| worker.with_transmit(pair, |ring| ring.set_enabled(enabled)))?;
            self.rings[usize::from(ring)].enabled = enabled;
            return Ok(());
        }
        if enabled {
            self.check_alive()?;
            self.worker(pair).call(move |worker| worker.with_receive(pair, Receive::enable))?;
            self.rings[usize::from(ring)].enabled = true;
            let attached = self.attachments.attach(pair);
            if attached.is_ok() {
                return Ok(());
            }
            self.disable_receive(ring)?;
            attached
        } else {
            self.disable_receive(ring)
        }
    }

    /// The worker first, so that nothing is delivered while the queue goes.
    fn disable_receive(&mut self, ring: u16) -> Result<(), Error> {
        let pair = ring / 2;
        self.rings[usize::from(ring)].enabled = false;
        let disabled = self.worker(pair).call(move |worker| worker.with_receive(pair, Receive::disable));
        self.attachments.detach(pair);
        Ok(disabled?)
    }

    /// Replaces the kick eventfd of a started ring.
    pub fn set_ring_kick(&mut self, ring: u16, kick: Option<OwnedFd>) -> Result<(), Error> {
        self.check_started(ring)?;
        check_eventfd("kick", ring, kick.as_ref())?;
        let pair = ring / 2;
        Ok(self.worker(pair).call(move |worker| worker.set_kick(pair, is_receive(ring), kick))??)
    }

    /// Replaces the call eventfd of a started ring, and signals the new one once: what was used in between was told to
    /// the old one.
    pub fn set_ring_call(&mut self, ring: u16, call: Option<OwnedFd>) -> Result<(), Error> {
        self.check_started(ring)?;
        check_eventfd("call", ring, call.as_ref())?;
        let pair = ring / 2;
        let notifier = Notifier { call: self.worker(pair).share(call) };
        Ok(self.worker(pair).call(move |worker| {
            if is_receive(ring) {
                worker.with_receive(pair, |ring| ring.set_notifier(notifier));
            } else {
                worker.with_transmit(pair, |ring| ring.set_notifier(notifier));
            }
        })?)
    }

    /// Moves where used-ring writes of a started ring are logged.
    pub fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Error> {
        self.check_started(ring)?;
        let memory = self.memory.clone().ok_or(Error::NoMemory(ring))?;
        let pair = ring / 2;
        let mut result = Ok(());
        let result = self.worker(pair).call(move |worker| {
            if is_receive(ring) {
                worker.with_receive(pair, |ring| result = ring.set_log(log, &memory));
            } else {
                worker.with_transmit(pair, |ring| result = ring.set_log(log, &memory));
            }
            result
        })?;
        result.map_err(|source| Error::Ring { ring, source })
    }

    /// Replaces the error eventfd of a started ring.
    pub fn set_ring_error(&mut self, ring: u16, error: Option<OwnedFd>) -> Result<(), Error> {
        self.check_started(ring)?;
        check_eventfd("error", ring, error.as_ref())?;
        let pair = ring / 2;
        let error = self.worker(pair).share(error);
        Ok(self.worker(pair).call(move |worker| worker.set_error(pair, is_receive(ring), error))?)
    }

    /// Stops and disables all rings, last to first, and forgets features and memory. Tries everything even where
    /// something fails, and then returns the first error.
    pub fn reset(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for ring in (0..self.ring_count()).rev() {
            if self.rings[usize::from(ring)].started {
                result = result.and(self.stop_ring(ring).map(drop));
            }
            self.rings[usize::from(ring)].enabled = false;
        }
        self.memory = None;
        if self.check_alive().is_err() {
            // There is no tap to set back.
            self.acknowledged = None;
            return Ok(());
        }
        result.and(self.set_features(0))
    }

    /// The MTU that the guest will use, in bytes. The tap must take frames of this size. Its own MTU stays as whoever runs the host has
    /// set it: a bridge takes the smallest of its ports, and with less than 1280 the host loses IPv6 on it.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), Error> {
        let tap = self.device.link()?.mtu;
        if u32::from(mtu) > tap {
            return Err(Error::Mtu { mtu, interface: self.device.name().to_string(), tap });
        }
        Ok(())
    }

    /// Tells the network where `mac` is now, by a reverse ARP request (RFC 903) sent out of the tap.
    pub fn announce(&self, mac: MacAddress) -> Result<(), Error> {
        let header = if self.device.has_vnet_header() { self.acknowledged().header_size().len() } else { 0 };
        let mut frame = vec![0; header];
        frame.extend_from_slice(&reverse_arp(mac));
        let queue = &self.device.queues()[0];
        queue.write(&frame).map(drop).map_err(|source| Error::Announce {
            mac,
            interface: self.device.name().to_string(),
            source,
        })
    }

    fn acknowledged(&self) -> Acknowledged {
        self.acknowledged.unwrap_or_default()
    }

    fn worker(&self, pair: u16) -> &WorkerHandle {
        &self.workers[usize::from(pair) % self.workers.len()]
    }

    fn state(&self, ring: u16) -> Result<RingState, Error> {
        let pairs = self.device.queue_count();
        self.rings.get(usize::from(ring)).copied().ok_or(Error::NoSuchRing { ring, pairs, rings: pairs * 2 })
    }

    fn check_started(&self, ring: u16) -> Result<(), Error> {
        if self.state(ring)?.started { Ok(()) } else { Err(Error::NotStarted(ring)) }
    }

    fn check_alive(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::TapGone { interface: self.device.name().to_string() });
        }
        Ok(())
    }
}
