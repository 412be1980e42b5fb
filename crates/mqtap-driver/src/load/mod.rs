//! Traffic for measurements: numbered frames made at the cost of a few stores each, and a check of what arrives.
//!
//! [`crate::traffic`] is for tests: it makes each frame anew and knows every loss. This is for millions of frames a
//! second: a [`Shape`] says what they look like, a [`Generator`] gives each a new number and leaves the rest of it
//! alone, and a [`Checker`] knows the numbers again wherever the frames come out, merged or cut as they may be.
//! [`Sender`] and [`Collector`] move them through a queue pair without allocating.

mod check;
mod generate;
mod receive;
mod round_trip;
mod shape;
#[cfg(test)]
mod tests;
mod transmit;

pub use check::{CheckCounters, Checker, segments_of};
pub use generate::{Generator, STAMP};
pub use receive::{Collector, Limit};
pub use round_trip::{RoundTrips, echo_request, is_answer};
pub use shape::{ParseShapeError, Protocol, Shape};
pub use transmit::Sender;
