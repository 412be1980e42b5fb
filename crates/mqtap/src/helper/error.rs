//! Why the helper did not help.

use std::path::PathBuf;

use rustix::io::Errno;

use super::ACCESS_LISTS;
use super::acl;
use crate::fd::InheritError;
use crate::link::describe;
use crate::name::InterfaceName;
use crate::{bridge, device};

/// Why no queues were passed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program's file is set-user-ID.
    #[error(
        "this program must not be set-user-ID: it would have more privilege than it needs; as root, `chmod u-s` its file, and `setcap cap_net_admin+ep` a copy of it for this helper"
    )]
    SetUserId,
    /// Capabilities could not be read or given up.
    #[error("cannot {what}: {}", describe(*.errno))]
    Capabilities {
        /// What was attempted.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// No CAP_NET_ADMIN.
    #[error(
        "the helper has no CAP_NET_ADMIN; give it to its file, as root: `setcap cap_net_admin+ep {}`{}", .program.display(),
        if *.no_new_privileges { ", and start mqtap without no_new_privs (NoNewPrivileges= of systemd), which keeps it from having that" } else { "" }
    )]
    NoCapability {
        /// The program.
        program: PathBuf,
        /// Whether it could not have had it from the file (PR_SET_NO_NEW_PRIVS).
        no_new_privileges: bool,
    },
    /// A number that is no inherited descriptor.
    #[error("--fd: {0}")]
    Inherit(#[from] InheritError),
    /// An access list was named by somebody who may not.
    #[error(
        "--config cannot be given to a helper with capabilities of its own: whoever runs it would decide himself what he may do"
    )]
    OtherAccessList,
    /// No access list.
    #[error(
        "there is no access list, so no bridge may be used; make {} with lines such as `allow br0` (or {})", ACCESS_LISTS[0], ACCESS_LISTS[1]
    )]
    NoAccessList,
    /// The access list could not be read.
    #[error(transparent)]
    AccessList(#[from] acl::Error),
    /// The access list says no.
    #[error(
        "{} {}", .path.display(),
        if *.named { format!("denies bridge {bridge}") } else { format!("does not allow bridge {bridge}; its administrator can add the line `allow {bridge}`") }
    )]
    Denied {
        /// The bridge.
        bridge: InterfaceName,
        /// The access list.
        path: PathBuf,
        /// Whether it is denied, rather than not allowed.
        named: bool,
    },
    /// The tap could not be made.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// The tap could not be put on the bridge.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    /// The queues could not be sent.
    #[error("cannot pass the queues over --fd={fd}: {}{}", describe(*.errno), if matches!(*.errno, Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::INVAL) { "; it must be a Unix socket" } else { "" })]
    Send {
        /// The socket.
        fd: i32,
        /// Why.
        errno: Errno,
    },
}
