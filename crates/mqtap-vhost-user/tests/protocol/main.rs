//! The protocol against a device that writes down what it is told.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers of tests, too

mod alone;
mod connection;
mod device;
mod frontend;
mod handshakes;
mod hostile;
mod leak;
mod memory;
mod rings;
mod server;
mod vhost_crate;
