//! As whom the command runs.

use std::collections::BTreeSet;
use std::ffi::CString;

use mqtap::account::Account;
use nix::errno::Errno as Named;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Error;

/// User, main group and further groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    /// Who runs as `user` and `group`: a user is in the groups that the system says; a group without a user is the only one.
    pub(crate) fn find(user: Option<&Account>, group: Option<&Account>) -> Result<Option<Self>, Error> {
        let group = group.map(Account::group_id).transpose()?;
        let Some(user) = user else {
            let uid = rustix::process::getuid().as_raw();
            return Ok(group.map(|gid| Self { uid, gid, groups: vec![gid] }));
        };
        let uid = user.user_id()?;
        let known = match user {
            Account::Name(name) => nix::unistd::User::from_name(name),
            Account::Id(uid) => nix::unistd::User::from_uid((*uid).into()),
        };
        let known = match known {
            Ok(known) => known,
            // No database at all (getpwuid(3)), as in a container without one: a number will do.
            Err(Named::ENOENT | Named::ESRCH) => None,
            Err(errno) => return Err(format!("cannot look up user {user}: {errno}").into()),
        };
        let own = known.as_ref().map(|known| known.gid.as_raw());
        let Some(gid) = group.or(own) else {
            return Err(
                format!("user {user} is in no group that the system knows; say which with --group").into()
            );
        };
        let groups = match known {
            Some(known) => {
                let name = CString::new(known.name)?;
                let groups = nix::unistd::getgrouplist(&name, gid.into())
                    .map_err(|errno| format!("cannot look up the groups of user {user}: {errno}"))?;
                groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
            }
            None => vec![gid],
        };
        Ok(Some(Self { uid, gid, groups }))
    }

    /// Whether this is a user without privilege whom we are not. The kernel takes the capabilities of who ceases to be root, and
    /// leaves somebody else all of them (capabilities(7)), as a service has that runs as a user with `AmbientCapabilities=`.
    fn is_another_user(&self) -> bool {
        let ours = [rustix::process::getuid(), rustix::process::geteuid()];
        self.uid != 0 && ours.iter().any(|uid| uid.as_raw() != self.uid)
    }

    /// Makes the calling thread, which must be the only one, somebody else for good.
    fn assume(&self) -> Result<(), Error> {
        let refused = |what: String, errno: Errno| -> Error {
            let remedy = match errno {
                Errno::PERM => "; start mqtap as root, or leave out --user and --group",
                Errno::INVAL => ", because it does not exist in this user namespace",
                _ => "",
            };
            format!("cannot become {what}: {}{remedy}", Named::from_raw(errno.raw_os_error())).into()
        };
        let set: BTreeSet<u32> = self.groups.iter().copied().collect();
        let now = rustix::process::getgroups()?.into_iter().map(Gid::as_raw).collect::<BTreeSet<_>>();
        // Whoever is that already needs no privilege to stay so.
        if now != set {
            let groups: Vec<Gid> = set.iter().copied().map(Gid::from_raw).collect();
            rustix::thread::set_thread_groups(&groups).map_err(|errno| refused(member_of(&set), errno))?;
        }
        let gid = Gid::from_raw(self.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .map_err(|errno| refused(format!("group {}", self.gid), errno))?;
        let uid = Uid::from_raw(self.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .map_err(|errno| refused(format!("user {}", self.uid), errno))
    }
}

fn member_of(groups: &BTreeSet<u32>) -> String {
    let numbers: Vec<String> = groups.iter().map(u32::to_string).collect();
    match numbers.as_slice() {
        [] => "a member of no further group".to_owned(),
        [one] => format!("a member of group {one}"),
        several => format!("a member of groups {}", several.join(", ")),
    }
}

/// Gives up what the command is not to have: other users' rights, and capabilities.
pub(crate) fn give_up(identity: Option<&Identity>, drop_capabilities: bool) -> Result<(), Error> {
    if drop_capabilities {
        // While we may.
        empty_bounding_set()?;
        rustix::thread::set_no_new_privs(true)?;
    }
    let another = identity.is_some_and(Identity::is_another_user);
    if let Some(identity) = identity {
        identity.assume()?;
    }
    if drop_capabilities || another {
        clear_capabilities()?;
    }
    Ok(())
}

/// Leaves no capability in any set but the bounding one.
fn clear_capabilities() -> Result<(), Error> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_told_as_people_do() {
        let told = |groups: &[u32]| member_of(&groups.iter().copied().collect());
        assert_eq!(told(&[]), "a member of no further group");
        assert_eq!(told(&[0]), "a member of group 0");
        assert_eq!(told(&[108, 0]), "a member of groups 0, 108");
    }
}
