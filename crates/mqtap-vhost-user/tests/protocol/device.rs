//! A device that writes down what it is told and insists on the rules of the `Device` trait.
//!
//! Every rule is an assertion: whatever a frontend sends, the session must keep them. The fuzz target
//! uses this file, too.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use mqtap::MacAddress;
use mqtap_vhost_user::{Device, RingStart};
use mqtap_virtio::memory::{GuestAddress, GuestMemory};
use mqtap_virtio::ring::{RingAddresses, RingBase};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};

pub(crate) const RING_PACKED: u64 = 1 << 34;
/// CSUM, MRG_RXBUF, MQ, INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED.
pub(crate) const FEATURES: u64 = 1 << 0 | 1 << 15 | 1 << 22 | 1 << 28 | 1 << 29 | 1 << 32 | RING_PACKED;
pub(crate) const MAX_RING_SIZE: u16 = 1024;

/// What a started ring was given.
struct Running {
    addresses: RingAddresses,
    size: u16,
    base: RingBase,
    // Held as a worker would.
    _kick: Option<OwnedFd>,
    _call: Option<OwnedFd>,
    _error: Option<OwnedFd>,
}

/// What the device was told, and which call is to fail.
#[derive(Clone, Default)]
pub(crate) struct Record {
    calls: Arc<Mutex<Vec<String>>>,
    failures: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Record {
    /// Makes the next call whose name is `call` fail.
    pub(crate) fn fail(&self, call: &'static str) {
        self.failures.lock().unwrap().push_back(call);
    }

    /// The calls since the last time, oldest first.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn note(&self, call: &str, rest: &str) -> Result<(), Refused> {
        let mut calls = self.calls.lock().unwrap();
        // Enough for any test, and a bound for the fuzzer.
        if calls.len() < 10_000 {
            calls.push(format!("{call} {rest}").trim_end().to_owned());
        }
        let mut failures = self.failures.lock().unwrap();
        if failures.front() == Some(&call) {
            failures.pop_front();
            return Err(Refused(call.to_owned()));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the test wants {} to fail", self.0)
    }
}

impl std::error::Error for Refused {}

pub(crate) struct FakeDevice {
    record: Record,
    features: u64,
    memory: Option<GuestMemory>,
    rings: Vec<Option<Running>>,
    enabled: Vec<bool>,
}

impl FakeDevice {
    pub(crate) fn new(rings: u16, record: Record) -> Self {
        FakeDevice {
            record,
            features: 0,
            memory: None,
            rings: (0..rings).map(|_| None).collect(),
            enabled: vec![false; usize::from(rings)],
        }
    }

    fn running(&mut self, ring: u16) -> &mut Running {
        self.rings[usize::from(ring)].as_mut().expect("a call for started rings only")
    }

    fn assert_inside(memory: &GuestMemory, addresses: &RingAddresses, size: u16, packed: bool) {
        let size = usize::from(size);
        let (driver, device) = if packed { (4, 4) } else { (6 + 2 * size, 6 + 8 * size) };
        assert!(memory.host_slice(addresses.descriptors, 16 * size).is_some());
        assert!(memory.host_slice(addresses.driver, driver).is_some());
        assert!(memory.host_slice(addresses.device, device).is_some());
    }

    fn assert_descriptor(fd: Option<&OwnedFd>) {
        if let Some(fd) = fd {
            assert!(fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK), "must not block a worker");
            assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC), "must not be inherited");
        }
    }
}

fn or_none(fd: Option<&OwnedFd>) -> &'static str {
    if fd.is_some() { "fd" } else { "none" }
}

impl Device for FakeDevice {
    type Error = Refused;

    fn ring_count(&self) -> u16 {
        self.rings.len() as u16
    }

    fn max_ring_size(&self) -> u16 {
        MAX_RING_SIZE
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn set_features(&mut self, acked: u64) -> Result<(), Refused> {
        assert_eq!(acked & !FEATURES, 0, "features that were not offered");
        assert!(self.rings.iter().all(Option::is_none), "features under running rings");
        self.record.note("features", &format!("{acked:#x}"))?;
        self.features = acked;
        Ok(())
    }

    fn set_memory(&mut self, memory: Option<&GuestMemory>) -> Result<(), Refused> {
        let packed = self.features & RING_PACKED != 0;
        for ring in self.rings.iter().flatten() {
            let memory = memory.expect("memory under running rings");
            Self::assert_inside(memory, &ring.addresses, ring.size, packed);
        }
        let text = memory.map_or_else(
            || "none".to_owned(),
            |memory| {
                let log = if memory.is_logging() { " logged" } else { "" };
                format!("{} regions{log}", memory.regions().len())
            },
        );
        self.record.note("memory", &text)?;
        self.memory = memory.cloned();
        Ok(())
    }

    fn start_ring(&mut self, ring: u16, start: RingStart) -> Result<(), Refused> {
        let RingStart { size, addresses, base, kick, call, error } = start;
        let packed = self.features & RING_PACKED != 0;
        assert!(self.rings[usize::from(ring)].is_none(), "started twice");
        assert!((1..=MAX_RING_SIZE).contains(&size));
        assert!(packed || size.is_power_of_two());
        assert!(packed || base.0 <= 0xffff);
        let memory = self.memory.as_ref().expect("memory before a ring starts");
        Self::assert_inside(memory, &addresses, size, packed);
        [&kick, &call, &error].into_iter().for_each(|fd| Self::assert_descriptor(fd.as_ref()));
        let text = format!(
            "{ring} size={size} base={:#x} kick={} call={} error={}{}",
            base.0,
            or_none(kick.as_ref()),
            or_none(call.as_ref()),
            or_none(error.as_ref()),
            if self.enabled[usize::from(ring)] { " enabled" } else { "" },
        );
        self.record.note("start", &text)?;
        self.rings[usize::from(ring)] =
            Some(Running { addresses, size, base, _kick: kick, _call: call, _error: error });
        Ok(())
    }

    /// Pretends to have got five chains further.
    fn stop_ring(&mut self, ring: u16) -> Result<RingBase, Refused> {
        let running = self.rings[usize::from(ring)].take().expect("stopped twice");
        self.record.note("stop", &ring.to_string())?;
        if self.features & RING_PACKED != 0 {
            return Ok(running.base);
        }
        Ok(RingBase(u32::from((running.base.0 as u16).wrapping_add(5))))
    }

    fn set_ring_enabled(&mut self, ring: u16, enabled: bool) -> Result<(), Refused> {
        self.record.note(if enabled { "enable" } else { "disable" }, &ring.to_string())?;
        self.enabled[usize::from(ring)] = enabled;
        Ok(())
    }

    fn set_ring_log(&mut self, ring: u16, log: Option<GuestAddress>) -> Result<(), Refused> {
        self.running(ring).addresses.log = log;
        self.record.note("log", &format!("{ring} {log:?}"))
    }

    fn set_ring_kick(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Refused> {
        Self::assert_descriptor(fd.as_ref());
        self.record.note("kick", &format!("{ring} {}", or_none(fd.as_ref())))?;
        self.running(ring)._kick = fd;
        Ok(())
    }

    fn set_ring_call(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Refused> {
        Self::assert_descriptor(fd.as_ref());
        self.record.note("call", &format!("{ring} {}", or_none(fd.as_ref())))?;
        self.running(ring)._call = fd;
        Ok(())
    }

    fn set_ring_error(&mut self, ring: u16, fd: Option<OwnedFd>) -> Result<(), Refused> {
        Self::assert_descriptor(fd.as_ref());
        self.record.note("error", &format!("{ring} {}", or_none(fd.as_ref())))?;
        self.running(ring)._error = fd;
        Ok(())
    }

    fn config(&self) -> Vec<u8> {
        (1..=12).collect()
    }

    fn set_mtu(&mut self, mtu: u16) -> Result<(), Refused> {
        assert!(mtu >= 68);
        self.record.note("mtu", &mtu.to_string())
    }

    fn announce(&mut self, mac: MacAddress) -> Result<(), Refused> {
        assert!(!mac.is_multicast());
        self.record.note("announce", &mac.to_string())
    }

    fn set_status(&mut self, status: u8) -> Result<(), Refused> {
        if status == 0 {
            assert!(self.rings.iter().all(Option::is_none), "reset under running rings");
        }
        self.record.note("status", &status.to_string())
    }

    fn reset(&mut self) -> Result<(), Refused> {
        self.features = 0;
        self.memory = None;
        self.rings.iter_mut().for_each(|ring| *ring = None);
        self.enabled.fill(false);
        self.record.note("reset", "")
    }
}
