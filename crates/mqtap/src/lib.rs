//! Multiqueue TAP devices on Linux.
//!
//! A tap is a network interface whose other end is a file descriptor: frames that the host sends through the interface are
//! read from it, frames written to it enter the host. A *multiqueue* tap has up to 256 such descriptors, its queues, and
//! the kernel spreads flows over those that are attached. It is what stands behind a virtual machine's network card with
//! as many queues as the machine has CPUs.
//!
//! * [`TapDevice`] is one interface with the queues that we have of it, and the settings that all of them share.
//! * [`TapQueue`] is one queue: [attached](TapQueue::attach) and [detached](TapQueue::detach) at run time, read and
//!   written.
//! * [`helper`] hands queues to users who may not make them.
//! * [`netdev`] is what people write: QEMU's `-netdev tap,…`.
//! * [`vhost_net`] has the kernel move the frames between a guest's rings and the queues.
//! * [`link`] is the interface as `ip link` shows it, [`bridge`] puts it on one.
//! * [`inspect`] is all that can be known of a tap from outside, its holders included, without touching it.
//! * [`create`] makes and deletes taps that stay when nobody has them open.
//! * [`doctor`] says what is wrong with one, why, and what to type.
//!
//! The kernel's interface has traps, and this crate's job is that nobody falls into them: an attach that
//! silently keeps another process's flags, offloads left over from a former user, a detached queue whose number changed, an
//! errno that means five things. What it returns is verified, and its errors say what was attempted on which interface, why
//! it failed, and what to do.
//!
//! ```no_run
//! use mqtap::{OpenOptions, TapDevice};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = OpenOptions { name: "tap0".parse()?, queues: 4, ..OpenOptions::default() };
//! let tap = TapDevice::open(&options)?;
//! tap.attach_first(2)?; // the kernel now spreads frames over queues 0 and 1
//! tap.set_up(true)?;
//!
//! let mut frame = [0; 65_550];
//! match tap.queues()[0].read(&mut frame) {
//!     Ok(length) => println!("{length} bytes, of which the first 10 are the virtio-net header"),
//!     Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => println!("nothing yet"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! On other operating systems the crate builds, and opening anything fails with an error that says so.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod account;
pub mod bridge;
pub mod capabilities;
pub mod create;
pub mod device;
pub mod doctor;
pub mod fd;
pub mod features;
pub mod helper;
pub mod inspect;
pub mod link;
pub mod mac;
pub mod name;
pub mod netdev;
pub mod offload;
mod program;
pub mod queue;
mod shell;
#[allow(unsafe_code)]
mod sys;
pub mod vhost_net;
pub mod vnet_header;

pub use account::Account;
pub use capabilities::Capabilities;
pub use device::{MultiQueue, Namespace, OpenOptions, TapDevice, VnetHeaderMode};
pub use link::{Link, Links};
pub use mac::MacAddress;
pub use name::{InterfaceName, NamePattern, NameRequest};
pub use offload::Offloads;
pub use queue::TapQueue;
pub use vhost_net::VhostNet;
pub use vnet_header::{VnetHeader, VnetHeaderSize};
