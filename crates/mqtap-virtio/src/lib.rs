//! The guest side of a multiqueue virtio-net backend: guest memory and rings.
//!
//! * [`memory`]: the guest's RAM as the frontend shared it, address translation, the dirty log of
//!   live migration, and protection against a frontend that truncates the file under us.
//! * [`ring`]: split and packed virtqueues behind one batch interface.

#![deny(unsafe_code)]
#![warn(missing_docs)]

#[allow(unsafe_code)]
pub mod memory;
#[allow(unsafe_code)]
pub mod ring;
