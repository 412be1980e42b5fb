//! CAP_NET_ADMIN, and only while it is needed.

use std::path::PathBuf;

use super::Error;
use crate::sys::{self, NetAdmin};

/// Whether this process has privileges that whoever started it may not have: its file has capabilities, or is set-user-ID or
/// set-group-ID (`AT_SECURE`, getauxval(3)), and the one who started it has not renounced that (PR_SET_NO_NEW_PRIVS).
#[must_use]
pub fn is_elevated() -> bool {
    sys::is_elevated()
}

/// CAP_NET_ADMIN, put aside, if this process has it.
#[derive(Debug)]
#[must_use = "dropped, it is gone"]
pub struct Privilege {
    held: bool,
}

impl Privilege {
    /// Gives up every capability but CAP_NET_ADMIN, and has that as well not count until it is needed. To be called while the
    /// process has one thread: capabilities belong to threads.
    ///
    /// # Errors
    /// [`Error::SetUserId`], [`Error::Capabilities`].
    pub fn restrain() -> Result<Self, Error> {
        if is_set_user_id() {
            return Err(Error::SetUserId);
        }
        Ok(Self { held: sys::keep_net_admin(NetAdmin::PutAside).map_err(failed)? })
    }

    /// Does something with CAP_NET_ADMIN, and gives it up for good.
    pub(super) fn with<T>(self, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if !self.held {
            let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mqtap"));
            return Err(Error::NoCapability { program, no_new_privileges: sys::gains_nothing() });
        }
        sys::keep_net_admin(NetAdmin::InForce).map_err(failed)?;
        let result = act();
        sys::keep_net_admin(NetAdmin::Gone).map_err(failed)?;
        result
    }
}

impl Drop for Privilege {
    fn drop(&mut self) {
        let _ = sys::keep_net_admin(NetAdmin::Gone);
    }
}

/// What every command but the helper does with privileges that come from the program's file, before it does anything else:
/// they are for the helper.
///
/// # Errors
/// [`Error::SetUserId`], [`Error::Capabilities`].
pub fn renounce() -> Result<(), Error> {
    if is_set_user_id() {
        return Err(Error::SetUserId);
    }
    sys::keep_net_admin(NetAdmin::Gone).map(drop).map_err(failed)
}

fn is_set_user_id() -> bool {
    rustix::process::getuid() != rustix::process::geteuid()
        || rustix::process::getgid() != rustix::process::getegid()
}

fn failed(errno: rustix::io::Errno) -> Error {
    Error::Capabilities { what: "change the capabilities of this process (capset)", errno }
}
