//! A vhost-user frontend and a virtio-net driver in one process: it plays the guest in tests, in the benchmark and in
//! the demo.
//!
//! * [`Frontend`] speaks the protocol: every message a net frontend sends, and any other bytes.
//! * [`Driver`] is a guest NIC: it negotiates, shares memory, starts rings, transmits and receives.
//! * [`frames`], [`host`] and [`traffic`] make and check what goes through it.
//! * [`load`] makes and checks millions of frames a second, for measurements.
//! * [`RawRing`] writes into rings what no driver should; [`lies`] are ready-made.
//!
//! It shares no code with the server but guest memory: two independent readings of the specifications test each other.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod channel;
mod dirty;
mod driver;
mod error;
mod events;
pub mod frames;
mod frontend;
mod header;
pub mod host;
pub mod lies;
pub mod load;
mod options;
mod pair;
pub mod protocol;
mod ram;
mod raw;
mod receive;
pub mod ring;
#[cfg(test)]
mod testing;
pub mod traffic;
mod transmit;

pub use channel::Message;
pub use dirty::DirtyPages;
pub use driver::Driver;
pub use error::{Error, Result};
pub use events::{RingEvents, wait_readable};
pub use frontend::{Frontend, MemoryRegion, VringAddresses, message_length};
pub use header::*;
pub use options::{DriverOptions, LARGEST_FRAME};
pub use pair::{Pair, PairCounters};
pub use ram::GuestRam;
pub use raw::RawRing;
pub use receive::{ReceiveCounters, Received, Receiver};
pub use transmit::{TransmitCounters, Transmitter};
