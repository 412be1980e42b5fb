//! Work on frames that an offload leaves to somebody else, as pure functions: no guest memory, no descriptors.

pub mod checksum;
