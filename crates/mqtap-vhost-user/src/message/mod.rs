//! Messages of the vhost-user protocol: header, request codes, bodies, replies.
//!
//! Everything is taken from byte slices field by field; what a frontend writes is never reinterpreted.
//! All numbers are in the byte order of the machine (the two ends share it).

mod body;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::OwnedFd;

pub use body::{Config, Log, MemoryRegion, MemoryTable, VringAddresses, VringFile, VringState};
pub(crate) use body::{mac, number};

/// Size of a header in bytes.
pub const HEADER_SIZE: usize = 12;

/// The largest body accepted, in bytes. The largest a network backend is ever sent is a memory table of
/// [`MAX_FDS`] regions (1032 bytes); what is beyond this limit is not vhost-user, or not a request we could
/// skip at a reasonable price.
pub const MAX_BODY: usize = 4096;

/// The most descriptors accepted with one message. Frontends send up to 8; rust-vmm's library allows 32.
pub const MAX_FDS: usize = 32;

/// The most bytes of configuration space one message can carry (`VHOST_USER_MAX_CONFIG_SIZE`).
pub const MAX_CONFIG: usize = 256;

const VERSION_MASK: u32 = 0x3;
const VERSION: u32 = 0x1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The version bits of the header are not 1.
    #[error(
        "message flags {flags:#x} do not say protocol version 1; the peer does not speak vhost-user, or a message before was cut"
    )]
    Version {
        /// The flags as received.
        flags: u32,
    },
    /// The header announces a body no request has.
    #[error(
        "request {code} announces a body of {size} bytes, more than the {MAX_BODY} any request has; the peer does not speak vhost-user, or a message before was cut"
    )]
    Oversize {
        /// Request code.
        code: u32,
        /// Announced size in bytes.
        size: u32,
    },
    /// The body is not as long as the request needs.
    #[error("the body has {size} bytes, not {expected}")]
    BodySize {
        /// Bytes received.
        size: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// A memory table with more regions than descriptors a message can have.
    #[error(
        "{count} memory regions in one table, at most {MAX_FDS} are possible; more need memory slots (ADD_MEM_REG)"
    )]
    TooManyRegions {
        /// Announced count.
        count: u32,
    },
    /// More configuration space than there can be.
    #[error("{size} bytes of configuration space from offset {offset}, there are at most {MAX_CONFIG}")]
    ConfigRange {
        /// First byte.
        offset: u32,
        /// Bytes.
        size: u32,
    },
}

macro_rules! requests {
    ($($name:ident = $code:literal $text:literal,)*) => {
        /// What a frontend can ask, with the number it has on the wire.
        ///
        /// All of the protocol is named, so that logs are readable; which of them a network backend
        /// does is the session's matter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Request {
            $(
                #[doc = concat!("`VHOST_USER_", $text, "`")]
                $name = $code,
            )*
        }

        impl Request {
            /// All of them, by number.
            pub const ALL: &[Request] = &[$(Request::$name),*];

            /// The name in the specification, without `VHOST_USER_`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Request::$name => $text,)*
                }
            }

            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> u32 {
                match self {
                    $(Request::$name => $code,)*
                }
            }
        }

        impl TryFrom<u32> for Request {
            type Error = UnknownRequest;

            fn try_from(code: u32) -> Result<Self, UnknownRequest> {
                match code {
                    $($code => Ok(Request::$name),)*
                    code => Err(UnknownRequest { code }),
                }
            }
        }
    };
}

requests! {
    GetFeatures = 1 "GET_FEATURES",
    SetFeatures = 2 "SET_FEATURES",
    SetOwner = 3 "SET_OWNER",
    ResetOwner = 4 "RESET_OWNER",
    SetMemTable = 5 "SET_MEM_TABLE",
    SetLogBase = 6 "SET_LOG_BASE",
    SetLogFd = 7 "SET_LOG_FD",
    SetVringNum = 8 "SET_VRING_NUM",
    SetVringAddr = 9 "SET_VRING_ADDR",
    SetVringBase = 10 "SET_VRING_BASE",
    GetVringBase = 11 "GET_VRING_BASE",
    SetVringKick = 12 "SET_VRING_KICK",
    SetVringCall = 13 "SET_VRING_CALL",
    SetVringErr = 14 "SET_VRING_ERR",
    GetProtocolFeatures = 15 "GET_PROTOCOL_FEATURES",
    SetProtocolFeatures = 16 "SET_PROTOCOL_FEATURES",
    GetQueueNum = 17 "GET_QUEUE_NUM",
    SetVringEnable = 18 "SET_VRING_ENABLE",
    SendRarp = 19 "SEND_RARP",
    NetSetMtu = 20 "NET_SET_MTU",
    SetBackendReqFd = 21 "SET_BACKEND_REQ_FD",
    IotlbMsg = 22 "IOTLB_MSG",
    SetVringEndian = 23 "SET_VRING_ENDIAN",
    GetConfig = 24 "GET_CONFIG",
    SetConfig = 25 "SET_CONFIG",
    CreateCryptoSession = 26 "CREATE_CRYPTO_SESSION",
    CloseCryptoSession = 27 "CLOSE_CRYPTO_SESSION",
    PostcopyAdvise = 28 "POSTCOPY_ADVISE",
    PostcopyListen = 29 "POSTCOPY_LISTEN",
    PostcopyEnd = 30 "POSTCOPY_END",
    GetInflightFd = 31 "GET_INFLIGHT_FD",
    SetInflightFd = 32 "SET_INFLIGHT_FD",
    GpuSetSocket = 33 "GPU_SET_SOCKET",
    ResetDevice = 34 "RESET_DEVICE",
    VringKick = 35 "VRING_KICK",
    GetMaxMemSlots = 36 "GET_MAX_MEM_SLOTS",
    AddMemReg = 37 "ADD_MEM_REG",
    RemMemReg = 38 "REM_MEM_REG",
    SetStatus = 39 "SET_STATUS",
    GetStatus = 40 "GET_STATUS",
    GetSharedObject = 41 "GET_SHARED_OBJECT",
    SetDeviceStateFd = 42 "SET_DEVICE_STATE_FD",
    CheckDeviceState = 43 "CHECK_DEVICE_STATE",
    GetShmemConfig = 44 "GET_SHMEM_CONFIG",
    GetVringBaseSkipDrain = 45 "GET_VRING_BASE_SKIP_DRAIN",
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request code this version of the protocol does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the protocol has no request {code}")]
pub struct UnknownRequest {
    /// The code as received.
    pub code: u32,
}

/// What is in front of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Request code; see [`Request`].
    pub code: u32,
    /// Version, reply and need-reply bits.
    pub flags: u32,
    /// Bytes of body that follow.
    pub size: u32,
}

impl Header {
    /// Reads a header and checks what tells a message from noise: the version and the size.
    ///
    /// # Errors
    /// [`Error::Version`], [`Error::Oversize`]. After either the stream cannot be read on, as nobody knows
    /// where the next message begins.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Header, Error> {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = Header { code: word(0), flags: word(4), size: word(8) };
        if header.flags & VERSION_MASK != VERSION {
            return Err(Error::Version { flags: header.flags });
        }
        if header.body_size() > MAX_BODY {
            return Err(Error::Oversize { code: header.code, size: header.size });
        }
        Ok(header)
    }

    /// Bytes of body that follow.
    #[must_use]
    pub fn body_size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// Whether the sender calls this a reply, which a frontend has none to give.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flags & REPLY != 0
    }

    /// Whether the sender asks for an acknowledgement (it may only if `REPLY_ACK` was negotiated).
    #[must_use]
    pub fn needs_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }
}

/// One message as received. Dropping it closes its descriptors.
#[derive(Debug)]
pub struct Message {
    /// Its header; the size is the length of `body`.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// Descriptors came that are not in `fds`: more than [`MAX_FDS`], or more than this process may open.
    pub fds_lost: bool,
}

impl Message {
    /// A message as a frontend would send it; for tests and tools.
    #[must_use]
    pub fn new(code: u32, need_reply: bool, body: Vec<u8>, fds: Vec<OwnedFd>) -> Message {
        let flags = VERSION | if need_reply { NEED_REPLY } else { 0 };
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        Message { header: Header { code, flags, size }, body, fds, fds_lost: false }
    }
}

/// What goes back to the frontend.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    bytes: Vec<u8>,
}

impl Reply {
    /// A reply with this body to the request of the header.
    pub(crate) fn new(to: &Header, body: &[u8]) -> Reply {
        // Bodies are made here and are short: at most a configuration space.
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER_SIZE + body.len());
        bytes.extend_from_slice(&to.code.to_ne_bytes());
        bytes.extend_from_slice(&(VERSION | REPLY).to_ne_bytes());
        bytes.extend_from_slice(&size.to_ne_bytes());
        bytes.extend_from_slice(body);
        Reply { bytes }
    }

    /// The whole message as it goes over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is behind the header.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_SIZE..).unwrap_or(&[])
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({:02x?})", self.bytes)
    }
}
