//! Capabilities: capabilities(7).

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, no_new_privs, set_capabilities};

use crate::sys::NetAdmin;

/// Whether the program's file gave this process privileges.
pub(crate) fn is_elevated() -> bool {
    // SAFETY: getauxval(3) takes a number and reads what the kernel gave the process when it began.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    secure && !gains_nothing()
}

/// Whether no file gives this process anything that its parent had not (PR_SET_NO_NEW_PRIVS, security/commoncap.c:
/// `cap_bprm_creds_from_file`). Then it may look as if one did: ambient capabilities become those of the file, if it has the same.
pub(crate) fn gains_nothing() -> bool {
    no_new_privs().unwrap_or(false)
}

/// Gives up every capability of this thread but CAP_NET_ADMIN, and does with that what is said. False if there is none, and
/// then there is none of any other.
pub(crate) fn keep_net_admin(how: NetAdmin) -> Result<bool, Errno> {
    let now = capabilities(None)?;
    let kept = match how {
        NetAdmin::Gone => CapabilitySet::empty(),
        NetAdmin::PutAside | NetAdmin::InForce => now.permitted & CapabilitySet::NET_ADMIN,
    };
    let in_force = if how == NetAdmin::InForce { kept } else { CapabilitySet::empty() };
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: in_force, permitted: kept, inheritable })?;
    Ok(!kept.is_empty())
}
