//! The guest side of a multiqueue virtio-net backend.
//!
//! * [`memory`]: the guest's RAM as the frontend shared it, address translation, the dirty log of
//!   live migration, and protection against a frontend that truncates the file under us.
//! * [`ring`]: split and packed virtqueues behind one batch interface.
//! * [`nic`]: a NIC on a tap: N queue pairs, the workers that serve them, and when each tap queue is attached.
//! * [`features`]: the virtio feature bits and what they mean for tap and rings.
//! * [`offload`]: what is done to frames between ring and tap.
//! * [`counters`]: what passed each queue pair, and what was dropped, by reason.
//!
//! A frontend (the vhost-user server, or a VMM that links this library) makes a [`nic::Nic`] on an open
//! [`mqtap::TapDevice`], hands it guest memory and rings, and enables them as the driver asks. The frames move
//! in the NIC's own threads.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod counters;
#[allow(unsafe_code)]
mod engine;
pub mod features;
#[allow(unsafe_code)]
pub mod memory;
pub mod nic;
pub mod offload;
mod queue_pair;
#[allow(unsafe_code)]
pub mod ring;
pub mod worker;

#[doc(hidden)]
pub use engine::BurstIo;
