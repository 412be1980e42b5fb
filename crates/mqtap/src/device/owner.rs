//! Who may open a device.

use std::os::fd::BorrowedFd;

use super::verify::other_holders;
use super::{Error, OpenOptions, setting};
use crate::link::TunLink;
use crate::name::InterfaceName;
use crate::sys;

/// Says whose a new device is. As soon as it is there: until then it is open to every user (drivers/net/tun.c: `tun_not_capable`).
pub(super) fn claim(
    fd: BorrowedFd<'_>,
    interface: InterfaceName,
    options: &OpenOptions,
) -> Result<(), Error> {
    if let Some(uid) = options.owner {
        set_user(fd, interface, uid)?;
    }
    if let Some(gid) = options.group {
        set_group(fd, interface, gid)?;
    }
    Ok(())
}

/// Makes sure that nobody was quicker than [`claim`], and so may do to the device what we may.
pub(super) fn verify_claim(
    interface: InterfaceName,
    tun: TunLink,
    options: &OpenOptions,
) -> Result<(), Error> {
    if (options.owner, options.group) == (None, None) {
        return Ok(());
    }
    let strangers = tun.queues().saturating_sub(1);
    if strangers > 0 {
        return Err(Error::InUse { interface, queues: strangers, holders: other_holders(interface, None) });
    }
    // Somebody who came and went may have left something.
    let as_said = tun.owner == options.owner && tun.group == options.group && !tun.persistent;
    if as_said { Ok(()) } else { Err(Error::Taken { interface, owner: tun.owner, group: tun.group }) }
}

pub(super) fn set_user(fd: BorrowedFd<'_>, interface: InterfaceName, uid: u32) -> Result<(), Error> {
    sys::set_owner(fd, uid).map_err(|errno| setting(interface, "set the owner (TUNSETOWNER)", errno))
}

pub(super) fn set_group(fd: BorrowedFd<'_>, interface: InterfaceName, gid: u32) -> Result<(), Error> {
    sys::set_group(fd, gid).map_err(|errno| setting(interface, "set the group (TUNSETGROUP)", errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_quicker_is_found_out() {
        let interface = "tap0".parse().unwrap();
        let ours = TunLink { tap: true, owner: Some(7), attached_queues: 1, ..TunLink::default() };
        let options = OpenOptions { owner: Some(7), ..OpenOptions::default() };
        let result = |tun| verify_claim(interface, tun, &options);
        assert!(result(ours).is_ok());
        for (attached_queues, detached_queues) in [(2, 0), (1, 1)] {
            let error = result(TunLink { attached_queues, detached_queues, ..ours }).unwrap_err();
            assert!(matches!(error, Error::InUse { queues: 1, .. }), "{error}");
        }
        for left in [
            TunLink { owner: Some(8), ..ours },
            TunLink { owner: None, ..ours },
            TunLink { group: Some(8), ..ours },
            TunLink { persistent: true, ..ours },
        ] {
            let error = result(left).unwrap_err();
            assert!(matches!(error, Error::Taken { .. }), "{error}");
            assert!(error.to_string().contains("took tap0 while it was made"), "{error}");
        }
        // Nobody's is open to everybody.
        let nobodys = TunLink { owner: None, attached_queues: 5, ..ours };
        assert!(verify_claim(interface, nobodys, &OpenOptions::default()).is_ok());
    }
}
