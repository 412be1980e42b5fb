//! Why a netdev could not be opened.

use std::path::PathBuf;

use thiserror::Error;

use super::super::error::OptionsError;
use super::super::name::OptionName;
use super::super::options::{Id, Options};
use super::helper::HelperError;
use crate::account::AccountError;
use crate::create::Differences;
use crate::inspect::Kind;
use crate::name::InterfaceName;
use crate::program::RunError;
use crate::{bridge, device, vhost_net};

/// Why a netdev could not be opened. Nothing is left behind: no interface that was not there, and no open queue.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum Error {
    /// The options make no sense.
    #[error("netdev {id}: {source}")]
    Options {
        /// The netdev.
        id: Id,
        /// The mistake.
        source: OptionsError,
    },
    /// vhost-net was asked for and could not be had.
    #[error("netdev {id}: {source}{}", vhost_advice(source))]
    Vhost {
        /// The netdev.
        id: Id,
        /// What went wrong.
        source: vhost_net::Error,
    },
    /// The device could not be opened or adopted, or a setting of it could not be made.
    #[error("netdev {id}: {source}")]
    Device {
        /// The netdev.
        id: Id,
        /// What went wrong.
        source: device::Error,
    },
    /// Who is to own the interface cannot be found.
    #[error("netdev {id}: {option}=: {source}")]
    Account {
        /// The netdev.
        id: Id,
        /// `user` or `group`.
        option: OptionName,
        /// What went wrong.
        source: AccountError,
    },
    /// The interface exists, and is not as it would have been created.
    #[error(
        "netdev {id}: {interface} exists and is not as asked for: {differences}; persist=, user=, group=, mac= and mtu= say how to create an interface, and change none: change it by other means, leave them out, or delete it with `{} {interface}`",
        deleting(*.kind)
    )]
    Different {
        /// The netdev.
        id: Id,
        /// The interface.
        interface: InterfaceName,
        /// Which kind of tap it is.
        kind: Kind,
        /// In what it differs.
        differences: Differences,
    },
    /// The script failed.
    #[error("netdev {id}: script={} for {interface}: {source}{}", .program.display(), script_advice(source))]
    Script {
        /// The netdev.
        id: Id,
        /// The interface.
        interface: InterfaceName,
        /// The script.
        program: PathBuf,
        /// What went wrong.
        source: RunError,
    },
    /// The helper passed no queues.
    #[error("netdev {id}: helper={helper}: {source}")]
    Helper {
        /// The netdev.
        id: Id,
        /// The helper.
        helper: String,
        /// What went wrong.
        source: Box<HelperError>,
    },
    /// The interface could not be put on the bridge.
    #[error("netdev {id}: {source}")]
    Bridge {
        /// The netdev.
        id: Id,
        /// What went wrong.
        source: bridge::Error,
    },
}

impl Error {
    /// Says which netdev an error of the device is about.
    pub(super) fn device<E: Into<device::Error>>(options: &Options) -> impl Fn(E) -> Self {
        let id = &options.id;
        move |source| Self::Device { id: id.clone(), source: source.into() }
    }
}

fn deleting(kind: Kind) -> &'static str {
    if kind.is_on_another_interface() { "ip link del" } else { "mqtap delete" }
}

fn script_advice(source: &RunError) -> &'static str {
    match source {
        RunError::NotFound => "; write `script=no` to run none",
        _ => "",
    }
}

/// How to do without vhost-net; of no use to whoever has handles and gave the wrong ones.
fn vhost_advice(source: &vhost_net::Error) -> &'static str {
    use vhost_net::Error as Vhost;
    match source {
        Vhost::Inherit(_) | Vhost::NotVhostNet(_) | Vhost::SameHandle(..) => "",
        _ => "; `vhost=try` does without it where it must, `vhost=off` always",
    }
}
