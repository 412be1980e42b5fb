//! Why an interface could not be put on a bridge.

use rustix::io::Errno;

use crate::device::find_in_named_namespaces;
use crate::link::{self, Links};
use crate::name::InterfaceName;

/// Why an interface could not be put on a bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No interface of that name where the tap is.
    #[error(
        "cannot put {interface} on bridge {bridge}: there is no {bridge} in the network namespace of {interface}{}",
        not_found_remedy(*.bridge, *.interface, .elsewhere)
    )]
    NotFound {
        /// The bridge.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
        /// Namespaces, as `ip netns` names them, that have a bridge of that name, as far as this process may look into them.
        elsewhere: Vec<String>,
    },
    /// An alternative name of the interface (`ip link property`).
    #[error("cannot put {interface} on bridge {bridge}: that is another name of {name}; write that one")]
    OtherName {
        /// The bridge, as asked for.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
        /// The name of the bridge.
        name: InterfaceName,
    },
    /// Something else has that name.
    #[error(
        "cannot put {interface} on bridge {bridge}: {bridge} {}",
        not_a_bridge(*.bridge, *.interface, .kind.as_deref())
    )]
    NotABridge {
        /// The name.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
        /// What the kernel calls it.
        kind: Option<String>,
    },
    /// The tap belongs to another bridge.
    #[error(
        "cannot put {interface} on bridge {bridge}: it is on {master}; take it off with `ip link set {interface} nomaster`, or name that bridge"
    )]
    OtherMaster {
        /// The bridge.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
        /// Where it is.
        master: String,
    },
    /// EPERM.
    #[error(
        "cannot put {interface} on bridge {bridge}: EPERM: this needs CAP_NET_ADMIN in their network namespace; use helper=mqtap, which has it, or have an administrator do it: `ip link set {interface} master {bridge} up`"
    )]
    Permission {
        /// The bridge.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
    },
    /// Any other refusal.
    #[error("cannot put {interface} on bridge {bridge}: {source}")]
    Link {
        /// The bridge.
        bridge: InterfaceName,
        /// The tap.
        interface: InterfaceName,
        /// Why.
        source: link::Error,
    },
}

impl Error {
    pub(super) fn from_link(bridge: InterfaceName, interface: InterfaceName, source: link::Error) -> Self {
        match source {
            link::Error::Refused { errno: Errno::PERM, .. } => Self::Permission { bridge, interface },
            source => Self::Link { bridge, interface, source },
        }
    }

    pub(super) fn not_found(bridge: InterfaceName, interface: InterfaceName) -> Self {
        let elsewhere = find_in_named_namespaces(bridge, |link| link.kind.as_deref() == Some("bridge"));
        Self::NotFound { bridge, interface, elsewhere }
    }

    pub(super) fn other_master(
        links: &Links,
        bridge: InterfaceName,
        interface: InterfaceName,
        master: u32,
    ) -> Self {
        let master =
            links.get(master).map_or_else(|_| format!("interface #{master}"), |link| link.name.to_string());
        Self::OtherMaster { bridge, interface, master }
    }
}

fn not_found_remedy(bridge: InterfaceName, interface: InterfaceName, elsewhere: &[String]) -> String {
    match elsewhere {
        [] => format!("; make it with `ip link add {bridge} type bridge` and `ip link set {bridge} up`"),
        [one, ..] => format!(
            "; there is one in the namespace {}: both must be in one, so make {interface} there (netns={one}, and --netns {one} for `mqtap create`)",
            elsewhere.join(", ")
        ),
    }
}

fn not_a_bridge(bridge: InterfaceName, interface: InterfaceName, kind: Option<&str>) -> String {
    match kind {
        _ if bridge == interface => "is the tap itself; br= names the bridge, ifname= the tap".to_owned(),
        Some("openvswitch") => {
            "is a bridge of Open vSwitch, which has its own ways; use script= with a program that calls `ovs-vsctl add-port`"
                .to_owned()
        }
        Some(kind) => format!("is of kind {kind}, and not a bridge"),
        None => "is not a bridge".to_owned(),
    }
}
