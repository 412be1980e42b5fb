//! What can go wrong with a tap that is to be made or deleted.

use super::Differences;
use crate::bridge;
use crate::device;
use crate::link;
use crate::name::{InterfaceName, NameRequest};

/// Why a tap could not be made or deleted. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is there, and is not what was asked for.
    #[error(
        "{interface} exists and is not as asked for: {differences}; change it or what is asked for, or delete it with `mqtap delete {interface}`"
    )]
    Different {
        /// The interface.
        interface: InterfaceName,
        /// In what it differs.
        differences: Differences,
    },
    /// There is no such interface.
    #[error(
        "there is no interface {interface} in this network namespace; `ip -brief link` lists those there are"
    )]
    NotFound {
        /// Its name.
        interface: InterfaceName,
    },
    /// A tun.
    #[error(
        "{interface} is a tun, which carries IP packets, and not a tap, which carries Ethernet frames; `ip link del {interface}` deletes it"
    )]
    Tun {
        /// The interface.
        interface: InterfaceName,
    },
    /// Any other kind of interface.
    #[error(
        "{interface} is not a tap{}; choose another name",
        .kind.as_ref().map(|kind| format!(" but a {kind}")).unwrap_or_default()
    )]
    NotATap {
        /// The interface.
        interface: InterfaceName,
        /// What the kernel calls its kind.
        kind: Option<String>,
    },
    /// It may be there already, and has no name by which it could be found.
    #[error(
        "{} is new each time, so there is nothing to be content with if it exists; give a name, such as {}",
        nameless(*.0), .0.example()
    )]
    NewEachTime(NameRequest),
    /// `mq` on a device with one queue.
    #[error("the qdisc mq is for taps with several queues; add multi_queue, or leave out the qdisc")]
    MqNeedsMultiQueue,
    /// It could not be put on the bridge.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    /// The tap could not be made.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// The interface could not be looked at or changed.
    #[error(transparent)]
    Link(#[from] link::Error),
}

fn nameless(name: NameRequest) -> String {
    match name {
        NameRequest::Pattern(pattern) => format!("what the pattern {pattern} stands for"),
        NameRequest::Exact(name) => name.to_string(),
        NameRequest::KernelChoice => "a tap that the kernel names".to_owned(),
    }
}
