//! One frontend's session: a state machine from messages to calls of a [`Device`].
//!
//! Messages come in any order that frontends were seen to send: the handshake once for each queue pair,
//! rings enabled before features and memory are known, memory regions added twice and removed twice, the
//! descriptors of a running ring exchanged, the dirty log switched while everything runs. What is
//! missing for a ring to run is waited for; what cannot be done is refused, and the session goes on.
//!
//! Decisions where the specification leaves a choice:
//!
//! * `GET_QUEUE_NUM` answers the number of virtqueues. QEMU takes it for queue pairs and may then ask for
//!   more rings than there are; those requests are refused.
//! * `CONFIG` is offered to frontends that say `SET_OWNER` before they ask for the protocol features. QEMU
//!   does not, and would warn about it.
//! * The first queue pair starts out enabled, as vhost-user-net always had it.
//! * A ring waits for `SET_FEATURES`, too: it decides the ring's layout and the frames' header.
//! * `RESET_OWNER` does nothing, as the specification recommends.
//! * `RESET_DEVICE` and `SET_STATUS 0` keep guest memory: a frontend with memory slots sends only what
//!   changed since.
//! * A request that always has a reply gets one without a body when it fails, so that the frontend
//!   does not wait for ever.

mod descriptors;
mod error;
mod features;
mod memory;
mod memory_table;
mod ring_state;
mod rings;

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use mqtap::MacAddress;
use mqtap_virtio::memory::{DirtyLog, GuestMemory};

pub use error::RequestError;

use crate::message::{Config, Message, Reply, Request, mac, number};
use crate::quota::Quota;
use crate::{Device, MAX_RINGS};
use descriptors::Descriptors;
use features::{LOG_ALL, OF_THE_FRONTEND, PROTOCOL_FEATURES, RING_PACKED, protocol};
use memory_table::{MAX_SLOTS, MemoryTable};
use ring_state::RingState;

/// What a successful request is answered with.
enum Answer {
    /// Nothing, or an acknowledgement if one was asked for.
    Done,
    /// The reply every such request has.
    Body(Vec<u8>),
}

impl Answer {
    fn number(number: u64) -> Self {
        Answer::Body(number.to_ne_bytes().to_vec())
    }
}

/// How a request that fails is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// By an acknowledgement that says no, if one was asked for.
    Acknowledge,
    /// The frontend waits for a reply of its own kind; an empty one says that there is none.
    Empty,
    /// The frontend waits for a number; this one says no.
    Number(u64),
}

/// The state of one frontend's session. Made for each connection, ended with [`Session::end`].
#[derive(Debug)]
pub struct Session<'d, D: Device> {
    device: &'d mut D,
    rings: Vec<RingState>,
    owned: bool,
    /// The device's features as acknowledged, without the two of the session.
    features: Option<u64>,
    offered_protocol_features: Option<u64>,
    protocol_features: u64,
    table: MemoryTable,
    /// What `table` amounts to.
    memory: Option<GuestMemory>,
    log: Option<Arc<DirtyLog>>,
    log_all: bool,
    status: u8,
    /// Causes that had their line in the log.
    warned: HashSet<(u32, Discriminant<RequestError>)>,
    /// What this session and others may log.
    complaints: Arc<Quota>,
}

impl<'d, D: Device> Session<'d, D> {
    /// Begins a session on a device that is as [`Device::reset`] leaves it.
    ///
    /// # Errors
    /// If the device cannot enable its first queue pair.
    pub fn new(device: &'d mut D) -> Result<Self, D::Error> {
        Self::with_complaints(device, Arc::default())
    }

    /// As [`new`](Self::new), one of many sessions with one quota of the log.
    pub(crate) fn with_complaints(device: &'d mut D, complaints: Arc<Quota>) -> Result<Self, D::Error> {
        let count = device.ring_count().min(MAX_RINGS);
        let rings = (0..count).map(|_| RingState::default()).collect();
        let mut session = Session {
            device,
            rings,
            owned: false,
            features: None,
            offered_protocol_features: None,
            protocol_features: 0,
            table: MemoryTable::default(),
            memory: None,
            log: None,
            log_all: false,
            status: 0,
            warned: HashSet::new(),
            complaints,
        };
        session.enable_first_pair()?;
        Ok(session)
    }

    /// Ends the session: the device is reset, memory unmapped, every descriptor closed.
    ///
    /// # Errors
    /// If the device cannot be brought to rest.
    pub fn end(self) -> Result<(), D::Error> {
        self.device.reset()
    }

    /// Takes one message and returns what goes back, if anything does. Never fails: a request that cannot be
    /// done is refused, in the log (once for each cause) and in the reply (if there is one).
    pub fn handle(&mut self, message: Message) -> Option<Reply> {
        let Message { header, body, fds, fds_lost } = message;
        let request = Request::try_from(header.code);
        tracing::debug!(code = header.code, request = ?request.ok(), size = body.len(), fds = fds.len(), "request");
        let descriptors = Descriptors { fds, lost: fds_lost };
        let outcome = match request {
            _ if header.is_reply() => Err(RequestError::NotARequest),
            Ok(request) => self.dispatch(request, &body, descriptors),
            Err(unknown) => Err(unknown.into()),
        };
        // After the request: the one that negotiates acknowledgements may ask for one itself.
        let acknowledged = header.needs_reply() && self.protocol_features & protocol::REPLY_ACK != 0;
        let body = match outcome {
            Ok(Answer::Body(body)) => body,
            Ok(Answer::Done) if acknowledged => 0_u64.to_ne_bytes().to_vec(),
            Ok(Answer::Done) => return None,
            Err(error) => {
                self.report(request.ok(), &error);
                match request.map_or(OnFailure::Acknowledge, |request| self.on_failure(request)) {
                    _ if header.is_reply() => return None,
                    OnFailure::Empty => Vec::new(),
                    OnFailure::Number(number) => number.to_ne_bytes().to_vec(),
                    OnFailure::Acknowledge if acknowledged => 1_u64.to_ne_bytes().to_vec(),
                    OnFailure::Acknowledge => return None,
                }
            }
        };
        Some(Reply::new(&header, &body))
    }

    fn dispatch(
        &mut self,
        request: Request,
        body: &[u8],
        descriptors: Descriptors,
    ) -> Result<Answer, RequestError> {
        match request {
            Request::GetFeatures => {
                return Ok(Answer::number(self.device.features() | LOG_ALL | PROTOCOL_FEATURES));
            }
            Request::SetFeatures => self.set_features(number(body)?)?,
            Request::GetProtocolFeatures => return Ok(Answer::number(self.offered_protocol_features())),
            Request::SetProtocolFeatures => self.set_protocol_features(number(body)?)?,
            Request::SetOwner => self.owned = true,
            Request::ResetOwner | Request::SetLogFd => {}
            Request::GetQueueNum => return Ok(Answer::number(self.rings.len() as u64)),
            Request::SetMemTable => self.set_mem_table(body, descriptors)?,
            Request::GetMaxMemSlots => {
                return Ok(Answer::number(MAX_SLOTS.min(self.device.max_memory_regions()) as u64));
            }
            Request::AddMemReg => self.add_mem_reg(body, descriptors)?,
            Request::RemMemReg => self.rem_mem_reg(body)?,
            Request::SetLogBase => {
                self.set_log_base(body, descriptors)?;
                // QEMU and rust-vmm's library wait for a reply; the latter wants the request back.
                return Ok(Answer::Body(body.to_vec()));
            }
            Request::SetVringNum => self.set_vring_num(body)?,
            Request::SetVringAddr => self.set_vring_addr(body)?,
            Request::SetVringBase => self.set_vring_base(body)?,
            Request::GetVringBase => return self.get_vring_base(body).map(Answer::Body),
            Request::SetVringKick => self.set_vring_kick(body, descriptors)?,
            Request::SetVringCall => self.set_vring_call(body, descriptors)?,
            Request::SetVringErr => self.set_vring_err(body, descriptors)?,
            Request::SetVringEnable => self.set_vring_enable(body)?,
            Request::SetVringEndian => self.set_vring_endian(body)?,
            Request::SendRarp => self.send_rarp(mac(body)?)?,
            Request::NetSetMtu => self.set_mtu(number(body)?)?,
            Request::GetConfig => return self.get_config(body).map(Answer::Body),
            Request::SetConfig => self.set_config(body)?,
            Request::SetStatus => self.set_status(number(body)?)?,
            Request::GetStatus => return Ok(Answer::number(self.status.into())),
            Request::ResetDevice => self.reset_device()?,
            _ => return Err(RequestError::Unsupported),
        }
        Ok(Answer::Done)
    }

    fn on_failure(&self, request: Request) -> OnFailure {
        match request {
            Request::GetFeatures
            | Request::GetProtocolFeatures
            | Request::GetQueueNum
            | Request::GetMaxMemSlots
            | Request::GetStatus
            | Request::GetVringBase
            | Request::GetVringBaseSkipDrain
            | Request::GetConfig
            | Request::GetInflightFd
            | Request::GetSharedObject
            | Request::GetShmemConfig
            | Request::CreateCryptoSession
            | Request::PostcopyAdvise => OnFailure::Empty,
            Request::IotlbMsg | Request::PostcopyEnd | Request::CheckDeviceState => OnFailure::Number(1),
            // Bit 8: no descriptor comes with it.
            Request::SetDeviceStateFd => OnFailure::Number(1 << 8 | 1),
            Request::SetLogBase if self.protocol_features & protocol::LOG_SHMFD != 0 => OnFailure::Number(1),
            _ => OnFailure::Acknowledge,
        }
    }

    /// One warning for each cause and request, and for rings that do not exist and requests that are not
    /// known one in all: a frontend cannot fill the log. Nor can it by session after session.
    fn report(&mut self, request: Option<Request>, error: &RequestError) {
        let code = match (request, error) {
            (None, _) | (_, RequestError::NoSuchRing { .. }) => 0,
            (Some(request), _) => request.code(),
        };
        let what = request.map_or("request", Request::name);
        if self.warned.insert((code, discriminant(error))) && self.complaints.admits() {
            tracing::warn!("vhost-user: {what} failed: {error}");
        } else {
            tracing::debug!("vhost-user: {what} failed: {error}");
        }
    }

    fn packed(&self) -> bool {
        self.features.unwrap_or(0) & RING_PACKED != 0
    }

    fn set_features(&mut self, bits: u64) -> Result<(), RequestError> {
        let of_the_device = bits & !(LOG_ALL | PROTOCOL_FEATURES);
        let offered = self.device.features();
        let excess = of_the_device & !offered & !OF_THE_FRONTEND;
        if excess != 0 {
            return Err(RequestError::FeaturesNotOffered { bits: excess });
        }
        let acked = of_the_device & offered;
        // Said again for every queue pair, with the rings of those before running.
        if self.features != Some(acked) {
            if self.rings.iter().any(RingState::is_started) {
                return Err(RequestError::FeaturesInUse { from: self.features.unwrap_or(0), to: acked });
            }
            self.device.set_features(acked).map_err(RequestError::device)?;
            self.features = Some(acked);
        }
        let log_all = bits & LOG_ALL != 0;
        if log_all != self.log_all {
            self.switch_log(log_all)?;
        }
        if bits & PROTOCOL_FEATURES == 0 {
            for ring in 0..self.ring_count() {
                self.enable(ring, true)?;
            }
        }
        self.start_waiting_rings();
        Ok(())
    }

    /// Decided once: QEMU asks again for the second queue pair, when it has said SET_OWNER.
    fn offered_protocol_features(&mut self) -> u64 {
        let owned = self.owned;
        *self.offered_protocol_features.get_or_insert_with(|| protocol::offered(owned))
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<(), RequestError> {
        let excess = bits & !self.offered_protocol_features();
        if excess != 0 {
            return Err(RequestError::ProtocolFeaturesNotOffered { bits: excess });
        }
        self.protocol_features = bits;
        Ok(())
    }

    fn send_rarp(&mut self, mac: [u8; 6]) -> Result<(), RequestError> {
        let address = MacAddress::new(mac);
        if !address.is_station() {
            return Err(RequestError::Mac { mac });
        }
        self.device.announce(address).map_err(RequestError::device)
    }

    fn set_mtu(&mut self, mtu: u64) -> Result<(), RequestError> {
        // The least IPv4 lives with (RFC 791), which is also the least Linux gives a network card.
        let bytes = u16::try_from(mtu).ok().filter(|bytes| *bytes >= 68);
        self.device.set_mtu(bytes.ok_or(RequestError::Mtu { mtu })?).map_err(RequestError::device)
    }

    /// What is beyond the device's configuration reads as zeros, as the structure grows with the versions of
    /// the specification and a frontend asks for as much as it knows.
    fn config_bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        self.device.config().into_iter().chain(std::iter::repeat(0)).skip(offset).take(len).collect()
    }

    fn get_config(&mut self, body: &[u8]) -> Result<Vec<u8>, RequestError> {
        let config = Config::parse(body)?;
        Ok(Config::reply(body, &self.config_bytes(config.offset, config.payload.len())))
    }

    /// Nothing in it can be written; a migrated frontend that brings what we have anyway is content.
    fn set_config(&mut self, body: &[u8]) -> Result<(), RequestError> {
        let config = Config::parse(body)?;
        if config.payload == self.config_bytes(config.offset, config.payload.len()) {
            Ok(())
        } else {
            Err(RequestError::ConfigReadOnly)
        }
    }

    fn set_status(&mut self, status: u64) -> Result<(), RequestError> {
        let status = u8::try_from(status).map_err(|_| RequestError::Status { status })?;
        if status == 0 {
            // QEMU 7.2 asks for the bases only afterwards.
            for ring in 0..self.ring_count() {
                if let Err(error) = self.stop(ring) {
                    self.report(Some(Request::SetStatus), &error);
                }
            }
        }
        self.device.set_status(status).map_err(RequestError::device)?;
        self.status = status;
        Ok(())
    }

    fn reset_device(&mut self) -> Result<(), RequestError> {
        self.device.reset().map_err(RequestError::device)?;
        self.rings.iter_mut().for_each(RingState::reset);
        self.features = None;
        self.log_all = false;
        self.status = 0;
        // The device forgot its memory; the frontend counts on its being there. It is ours again when the device has it.
        let (table, memory) = (std::mem::take(&mut self.table), self.memory.take());
        self.enable_first_pair().map_err(RequestError::device)?;
        if memory.is_some() {
            self.give_memory(memory.as_ref())?;
        }
        (self.table, self.memory) = (table, memory);
        Ok(())
    }
}
