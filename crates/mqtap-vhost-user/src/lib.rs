//! A vhost-user-net backend: the protocol server and its session state machine.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod device;

pub use device::{Device, RingStart};

/// Rings the protocol can address: `SET_VRING_KICK`, `CALL` and `ERR` carry the ring in 8 bits.
pub const MAX_RINGS: u16 = 256;
