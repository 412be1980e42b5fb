//! The netdev: what a user asks for with `-netdev tap,…`, in QEMU's syntax.
//!
//! [`Options`] are what is asked for. They are read from the text that QEMU takes, from the JSON that QEMU takes, and through serde from
//! any format; they print as either; and [`Options::validate`] says whether they make sense. [`Netdev::open`] opens the tap device that
//! they describe.
//!
//! ```
//! use mqtap::netdev::Options;
//!
//! let options: Options = "tap,id=hn0,ifname=tap0,queues=4,sndbuf=1.5M".parse()?;
//! assert_eq!(options.queues, Some(4));
//! assert_eq!(options.to_string(), "tap,id=hn0,ifname=tap0,queues=4,sndbuf=1572864");
//!
//! let json: Options = r#"{"type":"tap","id":"hn0","ifname":"tap0","queues":4,"sndbuf":1572864}"#.parse()?;
//! assert_eq!(json, options);
//!
//! let error = "tap,id=hn0,queue=4".parse::<Options>().unwrap_err();
//! assert_eq!(error.to_string(), "`queue` is not an option of netdev tap; did you mean `queues`?");
//!
//! let error = "tap,id=hn0,queues=257".parse::<Options>()?.validate().unwrap_err();
//! assert_eq!(error.to_string(), "queues=257: a tap device has at most 256 queues (a limit of the kernel)");
//! # Ok::<(), mqtap::netdev::OptionsError>(())
//! ```
//!
//! `docs/options.md` in the repository describes every option, and every difference from QEMU. Where QEMU ignores a mistake, or dies of it,
//! there is an error here; each mistake has an [`OptionsError`] of its own.

mod builder;
mod document;
mod error;
mod fds;
mod handover;
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

pub use error::OptionsError;
pub use handover::{Handover, Template, TemplateError};
pub use name::OptionName;
pub use open::{Error, HelperError, Netdev, OpenMode};
pub use options::{
    CarrierMode, Coalesce, Engine, Id, MAX_QUEUES, MAX_SEND_BUFFER, Options, Qdisc, Script, VhostMode,
};
pub use value::{NumberError, ProgramError, SizeError};

pub use crate::program::{Denied, RunError, TIME_LIMIT as PROGRAM_TIME_LIMIT};
