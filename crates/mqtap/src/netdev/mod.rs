//! The netdev: what a user asks for with `-netdev tap,…`, in QEMU's syntax.
mod builder;
mod document;
mod error;
mod fds;
mod name;
mod open;
mod options;
mod parse;
mod print;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod validate;
mod value;

pub use error::{OptionsError, ProgramError};
pub use name::OptionName;
pub use open::{Error, Netdev, OpenMode};
pub use options::{CarrierMode, Id, MAX_QUEUES, MAX_SEND_BUFFER, Options, Qdisc, Script};
pub use value::{NumberError, SizeError};
