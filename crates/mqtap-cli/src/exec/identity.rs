//! As whom the command runs.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Error;

/// `--user`, found among the users of the system.
#[derive(Clone, Debug)]
pub(crate) struct User {
    uid: u32,
    /// Main group and name, if the system knows the user.
    known: Option<(u32, String)>,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lookup = |errno| format!("cannot look up user {text}: {errno}");
        let found = match text.parse() {
            Ok(uid) => nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).map_err(lookup)?,
            Err(_) => nix::unistd::User::from_name(text).map_err(lookup)?,
        };
        match (found, text.parse()) {
            (Some(user), _) => {
                Ok(Self { uid: user.uid.as_raw(), known: Some((user.gid.as_raw(), user.name)) })
            }
            (None, Ok(uid)) if uid != u32::MAX => Ok(Self { uid, known: None }),
            _ => Err(format!("there is no user {text}")),
        }
    }
}

/// `--group`, found among the groups of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group(u32);

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match nix::unistd::Group::from_name(text) {
            Ok(Some(group)) => Ok(Self(group.gid.as_raw())),
            Ok(None) => match text.parse() {
                Ok(gid) if gid != u32::MAX => Ok(Self(gid)),
                _ => Err(format!("there is no group {text}")),
            },
            Err(errno) => Err(format!("cannot look up group {text}: {errno}")),
        }
    }
}

/// User, main group and further groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    /// Who runs as `user` and `group`: a user is in the groups that the system says; a group without a user is the only one.
    pub(crate) fn find(user: Option<&User>, group: Option<Group>) -> Result<Option<Self>, String> {
        let Some(user) = user else {
            let uid = rustix::process::getuid().as_raw();
            return Ok(group.map(|Group(gid)| Self { uid, gid, groups: vec![gid] }));
        };
        let (own, name) = user.known.as_ref().map_or((None, None), |(gid, name)| (Some(*gid), Some(name)));
        let Some(gid) = group.map(|Group(gid)| gid).or(own) else {
            return Err(format!(
                "user {} is in no group that the system knows; say which with --group",
                user.uid
            ));
        };
        let groups = match name {
            Some(name) => {
                let failed = |errno| format!("cannot look up the groups of {name}: {errno}");
                let text = CString::new(name.as_str()).map_err(|_| failed(nix::errno::Errno::EINVAL))?;
                let groups =
                    nix::unistd::getgrouplist(&text, nix::unistd::Gid::from_raw(gid)).map_err(failed)?;
                groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
            }
            None => vec![gid],
        };
        Ok(Some(Self { uid: user.uid, gid, groups }))
    }

    /// Makes the calling thread, which must be the only one, somebody else for good.
    fn assume(&self) -> Result<(), Error> {
        let refused = |what: String, errno: Errno| -> Error {
            let remedy = match errno {
                Errno::PERM => "; start mqtap as root, or leave out --user and --group",
                Errno::INVAL => ", because it does not exist in this user namespace",
                _ => "",
            };
            format!("cannot become {what}: {errno}{remedy}").into()
        };
        let set: BTreeSet<u32> = self.groups.iter().copied().collect();
        let now = rustix::process::getgroups()?.into_iter().map(Gid::as_raw).collect::<BTreeSet<_>>();
        // Whoever is that already needs no privilege to stay so.
        if now != set {
            let groups: Vec<Gid> = set.iter().copied().map(Gid::from_raw).collect();
            rustix::thread::set_thread_groups(&groups)
                .map_err(|errno| refused(format!("a member of groups {set:?}"), errno))?;
        }
        let gid = Gid::from_raw(self.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .map_err(|errno| refused(format!("group {}", self.gid), errno))?;
        let uid = Uid::from_raw(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .map_err(|errno| refused(format!("user {}", self.uid), errno))
    }
}

/// Gives up what the command is not to have: other users' rights, and capabilities.
pub(crate) fn give_up(identity: Option<&Identity>, drop_capabilities: bool) -> Result<(), Error> {
    if drop_capabilities {
        // While we may.
        empty_bounding_set()?;
    }
    if let Some(identity) = identity {
        identity.assume()?;
    }
    if drop_capabilities {
        rustix::thread::set_no_new_privs(true)?;
        rustix::thread::clear_ambient_capability_set()?;
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            CapabilitySets { effective: none, permitted: none, inheritable: none },
        )?;
    }
    Ok(())
}

/// Whoever lacks CAP_SETPCAP keeps the bounding set, which does no harm: nothing is gained from it under no_new_privs.
fn empty_bounding_set() -> Result<(), Error> {
    for bit in 0..u64::BITS {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // One more than the kernel knows, or none may be removed.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(errno) => return Err(format!("cannot drop capability {bit}: {errno}").into()),
        }
    }
    Ok(())
}
