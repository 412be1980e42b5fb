//! A vhost-user-net backend: the protocol server and its session state machine.
//!
//! A virtual machine monitor (the *frontend*) shares its guest's memory and the virtqueues of a network
//! card over a Unix socket; this crate answers it, and drives a [`Device`] accordingly. Read from the bottom up:
//!
//! * [`message`]: headers, request codes, bodies, taken from byte slices field by field.
//! * [`connection`]: messages with their file descriptors over a stream socket, whatever way the bytes come.
//! * [`session`]: the state machine of one frontend; one [`Message`](message::Message) in, at
//!   most one [`Reply`](message::Reply) out. It does no I/O of its own.
//! * [`server`]: listens or connects, and runs session after session.
//!
//! The frontend is not trusted: a request that makes no sense is refused and the session goes on; a stream
//! that makes no sense ends the session and the server waits for the next frontend. Nothing a
//! frontend sends makes this crate panic, wait without heeding the [`StopHandle`], keep a descriptor that was
//! not asked for, or allocate more than a message can hold.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod connection;
mod device;
pub mod message;
mod nic;
mod quota;
pub mod server;
pub mod session;
mod stop;

pub use device::{Device, RingStart};
pub use server::Server;
pub use session::Session;
pub use stop::StopHandle;

/// Rings the protocol can address: `SET_VRING_KICK`, `CALL` and `ERR` carry the ring in 8 bits.
pub const MAX_RINGS: u16 = 256;
