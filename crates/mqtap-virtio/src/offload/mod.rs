//! What is done to frames between ring and tap: several made one, one made several, checksums made.
//!
//! Everything here is a pure function on bytes of our own, or keeps its state in buffers that are allocated once: no
//! system call, no guest memory, no `unsafe`. The bytes come from a guest (or from whoever sends to it) and are
//! believed only as far as they were checked.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod coalesce;
pub mod headers;
pub mod need;
pub mod segment;
#[cfg(test)]
mod testing;
