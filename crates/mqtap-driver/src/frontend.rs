//! The frontend's end of a vhost-user socket: every message a net frontend sends, well-formed or not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::channel::{Channel, Message};
use crate::error::{Error, Result};
use crate::protocol::{
    Body, FLAG_NEED_REPLY, FLAG_REPLY, HEADER_SIZE, VERSION, VRING_NO_FD, protocol_feature, request,
    request_name,
};

/// For an answer, unless [`Frontend::set_timeout`] says otherwise: only a backend that hangs takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A memory region as the protocol describes it. Addresses and sizes in bytes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MemoryRegion {
    /// Where the guest sees it.
    pub guest_address: u64,
    /// Its length.
    pub size: u64,
    /// Where the frontend sees it; ring addresses are given in this space.
    pub user_address: u64,
    /// Where it starts in the file.
    pub mmap_offset: u64,
}

impl MemoryRegion {
    fn append(&self, body: Body) -> Body {
        body.u64(self.guest_address).u64(self.size).u64(self.user_address).u64(self.mmap_offset)
    }
}

/// What `SET_VRING_ADDR` says: user addresses, and where writes to the used ring are logged.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct VringAddresses {
    /// `VHOST_VRING_F_*`.
    pub flags: u32,
    /// Descriptor table, or the packed ring.
    pub descriptors: u64,
    /// Used ring, or the device event suppression structure.
    pub used: u64,
    /// Available ring, or the driver event suppression structure.
    pub available: u64,
    /// Guest address under which the used ring is logged.
    pub log: u64,
}

/// One connection to a backend.
///
/// Once [`Frontend::set_protocol_features`] negotiated `REPLY_ACK`, every request asks for an acknowledgement and
/// fails with [`Error::Refused`] when the answer is not zero; see [`Frontend::set_wants_acks`] to be a frontend
/// that does not ask. Nothing waits for longer than the timeout (30 seconds unless set).
#[derive(Debug)]
pub struct Frontend {
    channel: Channel,
    protocol_features: u64,
    wants_acks: bool,
}

impl Frontend {
    /// Connects to the backend that listens at `path`.
    pub fn connect(path: &Path) -> Result<Frontend> {
        Frontend::with(Channel::connect(path)?)
    }

    /// Speaks over a connected socket.
    pub fn from_stream(stream: UnixStream) -> Result<Frontend> {
        Frontend::with(Channel::new(stream))
    }

    fn with(channel: Channel) -> Result<Frontend> {
        channel.set_timeout(PATIENCE)?;
        Ok(Frontend { channel, protocol_features: 0, wants_acks: true })
    }

    /// How long to wait for a reply; zero means for ever.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.channel.set_timeout(timeout)
    }

    /// Whether requests ask for acknowledgements where `REPLY_ACK` is negotiated.
    pub fn set_wants_acks(&mut self, wanted: bool) {
        self.wants_acks = wanted;
    }

    /// The protocol features this frontend last set.
    #[must_use]
    pub fn protocol_features(&self) -> u64 {
        self.protocol_features
    }

    /// The socket, to break it in ways no method here offers.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        self.channel.stream()
    }

    // Raw access.

    /// Sends one message as told: flags and body need not make sense.
    pub fn send_message(
        &mut self,
        request: u32,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let size =
            u32::try_from(body.len()).map_err(|_| Error::Options("a body of 4 GiB or more".to_owned()))?;
        self.send_header_and_body(request, flags, size, body, fds)
    }

    /// Like [`Frontend::send_message`], but the header's size field says what it is told.
    pub fn send_header_and_body(
        &mut self,
        request: u32,
        flags: u32,
        size: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let bytes = Body::new().u32(request).u32(flags).u32(size).bytes(body);
        self.channel.send(bytes.as_slice(), fds, request_name(request))
    }

    /// Sends bytes that need not even be a message.
    pub fn send_bytes(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.channel.send(bytes, fds, "raw bytes")
    }

    /// Reads the next message of the backend, whatever it is.
    pub fn read_message(&mut self) -> Result<Message> {
        self.channel.receive("a raw message")
    }

    /// Whether the backend has closed the connection: waits up to `timeout` for it, and fails on unexpected data.
    pub fn wait_for_close(&mut self, timeout: Duration) -> Result<bool> {
        self.channel.set_timeout(timeout)?;
        let outcome = self.channel.receive("the end of the connection");
        self.channel.set_timeout(PATIENCE)?;
        match outcome {
            Err(Error::Disconnected { .. }) => Ok(true),
            Err(Error::TimedOut { .. }) => Ok(false),
            Err(error) => Err(error),
            Ok(message) => Err(Error::BadReply {
                request: request_name(message.request),
                problem: "nothing was asked".to_owned(),
            }),
        }
    }

    /// Sends a request with `NEED_REPLY` whatever was negotiated, and returns the acknowledgement.
    pub fn request_with_ack(&mut self, request: u32, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<u64> {
        self.send_message(request, VERSION | FLAG_NEED_REPLY, body, fds)?;
        let reply = self.reply_to(request)?;
        number(request, &reply.body)
    }

    /// Sends a request that has no reply of its own, and waits for the acknowledgement where there is one.
    pub fn tell(&mut self, request: u32, body: &Body, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let acks = self.wants_acks && self.protocol_features & protocol_feature::REPLY_ACK != 0;
        if !acks {
            return self.send_message(request, VERSION, body.as_slice(), fds);
        }
        match self.request_with_ack(request, body.as_slice(), fds)? {
            0 => Ok(()),
            answer => Err(Error::Refused { request: request_name(request), answer }),
        }
    }

    /// Sends a request that has a reply of its own, and returns the reply.
    pub fn ask(&mut self, request: u32, body: &Body, fds: &[BorrowedFd<'_>]) -> Result<Message> {
        self.send_message(request, VERSION, body.as_slice(), fds)?;
        self.reply_to(request)
    }

    fn ask_number(&mut self, request: u32) -> Result<u64> {
        let reply = self.ask(request, &Body::new(), &[])?;
        number(request, &reply.body)
    }

    fn reply_to(&mut self, request: u32) -> Result<Message> {
        let name = request_name(request);
        let reply = self.channel.receive(name)?;
        let bad = |problem| Err(Error::BadReply { request: name, problem });
        if reply.request != request {
            return bad(format!("it answers {}", request_name(reply.request)));
        }
        if reply.flags & 3 != VERSION || reply.flags & FLAG_REPLY == 0 {
            return bad(format!("its flags are {:#x}", reply.flags));
        }
        Ok(reply)
    }

    /// Waits until the backend has seen everything sent so far, by asking for something harmless.
    pub fn barrier(&mut self) -> Result<()> {
        self.get_features().map(|_| ())
    }

    // The messages of the protocol.

    /// Virtio features the backend offers.
    pub fn get_features(&mut self) -> Result<u64> {
        self.ask_number(request::GET_FEATURES)
    }

    /// Virtio features the driver takes.
    pub fn set_features(&mut self, features: u64) -> Result<()> {
        self.tell(request::SET_FEATURES, &Body::new().u64(features), &[])
    }

    /// Protocol features the backend offers.
    pub fn get_protocol_features(&mut self) -> Result<u64> {
        self.ask_number(request::GET_PROTOCOL_FEATURES)
    }

    /// Takes protocol features. Acknowledgements, if among them, begin with the request after this one.
    pub fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.tell(request::SET_PROTOCOL_FEATURES, &Body::new().u64(features), &[])?;
        self.protocol_features = features;
        Ok(())
    }

    /// Starts the session.
    pub fn set_owner(&mut self) -> Result<()> {
        self.tell(request::SET_OWNER, &Body::new(), &[])
    }

    /// The deprecated end of a session.
    pub fn reset_owner(&mut self) -> Result<()> {
        self.tell(request::RESET_OWNER, &Body::new(), &[])
    }

    /// All memory regions, with one descriptor each.
    pub fn set_memory_table(&mut self, regions: &[(MemoryRegion, BorrowedFd<'_>)]) -> Result<()> {
        let count =
            u32::try_from(regions.len()).map_err(|_| Error::Options("too many regions".to_owned()))?;
        let mut body = Body::new().u32(count).u32(0);
        for (region, _) in regions {
            body = region.append(body);
        }
        let fds: Vec<_> = regions.iter().map(|(_, fd)| *fd).collect();
        self.tell(request::SET_MEM_TABLE, &body, &fds)
    }

    /// How many regions the backend takes.
    pub fn get_max_memory_slots(&mut self) -> Result<u64> {
        self.ask_number(request::GET_MAX_MEM_SLOTS)
    }

    /// One more region.
    pub fn add_memory_region(&mut self, region: MemoryRegion, fd: BorrowedFd<'_>) -> Result<()> {
        self.tell(request::ADD_MEM_REG, &region.append(Body::new().u64(0)), &[fd])
    }

    /// One region less, named by its addresses and size.
    pub fn remove_memory_region(&mut self, region: MemoryRegion) -> Result<()> {
        self.tell(request::REM_MEM_REG, &region.append(Body::new().u64(0)), &[])
    }

    /// Where the backend logs dirty pages. Needs `LOG_SHMFD`, and so always has a reply.
    pub fn set_log_base(&mut self, size: u64, offset: u64, log: BorrowedFd<'_>) -> Result<()> {
        let reply = self.ask(request::SET_LOG_BASE, &Body::new().u64(size).u64(offset), &[log])?;
        // Backends differ in the body: nothing, a number, or the request again. Only a lone number can say no.
        match <[u8; 8]>::try_from(reply.body.as_slice()).map(u64::from_ne_bytes) {
            Ok(answer) if answer != 0 => Err(Error::Refused { request: "SET_LOG_BASE", answer }),
            _ => Ok(()),
        }
    }

    /// Eventfd the backend may signal when it logged something.
    pub fn set_log_fd(&mut self, event: BorrowedFd<'_>) -> Result<()> {
        self.tell(request::SET_LOG_FD, &Body::new(), &[event])
    }

    fn vring(&mut self, request: u32, ring: u32, number: u32) -> Result<()> {
        self.tell(request, &Body::new().u32(ring).u32(number), &[])
    }

    fn vring_fd(&mut self, request: u32, ring: u32, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let ring = u64::from(ring);
        match fd {
            Some(fd) => self.tell(request, &Body::new().u64(ring), &[fd]),
            None => self.tell(request, &Body::new().u64(ring | VRING_NO_FD), &[]),
        }
    }

    /// Number of descriptors of a ring.
    pub fn set_vring_num(&mut self, ring: u32, size: u32) -> Result<()> {
        self.vring(request::SET_VRING_NUM, ring, size)
    }

    /// Where a ring lies.
    pub fn set_vring_addresses(&mut self, ring: u32, at: VringAddresses) -> Result<()> {
        let body = Body::new()
            .u32(ring)
            .u32(at.flags)
            .u64(at.descriptors)
            .u64(at.used)
            .u64(at.available)
            .u64(at.log);
        self.tell(request::SET_VRING_ADDR, &body, &[])
    }

    /// Where the device goes on.
    pub fn set_vring_base(&mut self, ring: u32, base: u32) -> Result<()> {
        self.vring(request::SET_VRING_BASE, ring, base)
    }

    /// Stops a ring and returns where the device got to.
    pub fn get_vring_base(&mut self, ring: u32) -> Result<u32> {
        let reply = self.ask(request::GET_VRING_BASE, &Body::new().u32(ring).u32(0), &[])?;
        let word = |at: usize| {
            let bytes = reply.body.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        match (word(0), word(4)) {
            (Some(index), Some(base)) if index == ring && reply.body.len() == 8 => Ok(base),
            _ => Err(Error::BadReply {
                request: "GET_VRING_BASE",
                problem: format!("{:?} is not the state of ring {ring}", reply.body),
            }),
        }
    }

    /// The kick eventfd; `None` asks the backend to poll. Starts the ring.
    pub fn set_vring_kick(&mut self, ring: u32, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        self.vring_fd(request::SET_VRING_KICK, ring, fd)
    }

    /// The call eventfd; `None` says that we poll.
    pub fn set_vring_call(&mut self, ring: u32, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        self.vring_fd(request::SET_VRING_CALL, ring, fd)
    }

    /// The error eventfd.
    pub fn set_vring_error(&mut self, ring: u32, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        self.vring_fd(request::SET_VRING_ERR, ring, fd)
    }

    /// Enables or disables a ring.
    pub fn set_vring_enable(&mut self, ring: u32, enabled: bool) -> Result<()> {
        self.vring(request::SET_VRING_ENABLE, ring, u32::from(enabled))
    }

    /// Endianness of a legacy ring.
    pub fn set_vring_endian(&mut self, ring: u32, big: bool) -> Result<()> {
        self.vring(request::SET_VRING_ENDIAN, ring, u32::from(big))
    }

    /// How many queues the backend has; frontends disagree on whether that counts pairs or virtqueues.
    pub fn get_queue_num(&mut self) -> Result<u64> {
        self.ask_number(request::GET_QUEUE_NUM)
    }

    /// Asks the backend to announce `mac` on the network.
    pub fn send_rarp(&mut self, mac: [u8; 6]) -> Result<()> {
        // The address is the first six bytes of the number as it lies in memory.
        let body = Body::new().bytes(&mac).bytes(&[0, 0]);
        self.tell(request::SEND_RARP, &body, &[])
    }

    /// The MTU the guest is told.
    pub fn set_mtu(&mut self, mtu: u64) -> Result<()> {
        self.tell(request::NET_SET_MTU, &Body::new().u64(mtu), &[])
    }

    /// The socket for requests of the backend.
    pub fn set_backend_request_fd(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.tell(request::SET_BACKEND_REQ_FD, &Body::new(), &[fd])
    }

    /// Reads `size` bytes of the configuration space. The answer has no bytes when the backend refuses.
    pub fn get_config(&mut self, offset: u32, size: u32) -> Result<Vec<u8>> {
        let zeroes = vec![0; size as usize];
        let body = Body::new().u32(offset).u32(size).u32(0).bytes(&zeroes);
        let reply = self.ask(request::GET_CONFIG, &body, &[])?;
        Ok(reply.body.get(12..).unwrap_or_default().to_vec())
    }

    /// Writes the configuration space.
    pub fn set_config(&mut self, offset: u32, flags: u32, bytes: &[u8]) -> Result<()> {
        let size = u32::try_from(bytes.len())
            .map_err(|_| Error::Options("a configuration of 4 GiB or more".to_owned()))?;
        let body = Body::new().u32(offset).u32(size).u32(flags).bytes(bytes);
        self.tell(request::SET_CONFIG, &body, &[])
    }

    /// Asks for shared memory to track what is in flight: the reply's body and the descriptor.
    pub fn get_inflight_fd(&mut self, queues: u16, ring_size: u16) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let body = Body::new().u64(0).u64(0).u16(queues).u16(ring_size);
        let mut reply = self.ask(request::GET_INFLIGHT_FD, &body, &[])?;
        Ok((reply.body, reply.fds.pop()))
    }

    /// The virtio device status as the driver set it.
    pub fn set_status(&mut self, status: u8) -> Result<()> {
        self.tell(request::SET_STATUS, &Body::new().u64(status.into()), &[])
    }

    /// The virtio device status as the backend sees it.
    pub fn get_status(&mut self) -> Result<u64> {
        self.ask_number(request::GET_STATUS)
    }

    /// Back to the initial state.
    pub fn reset_device(&mut self) -> Result<()> {
        self.tell(request::RESET_DEVICE, &Body::new(), &[])
    }
}

impl AsFd for Frontend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.stream().as_fd()
    }
}

/// Length of a message on the wire, for tests that cut one short.
#[must_use]
pub fn message_length(body: &[u8]) -> usize {
    HEADER_SIZE + body.len()
}

fn number(request: u32, body: &[u8]) -> Result<u64> {
    body.try_into().map(u64::from_ne_bytes).map_err(|_| Error::BadReply {
        request: request_name(request),
        problem: format!("its body has {} bytes, not 8", body.len()),
    })
}

#[cfg(test)]
mod tests;
