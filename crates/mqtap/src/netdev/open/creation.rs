//! `persist=`, `user=`, `group=`, `mac=`, `mtu=`: what an interface is to be that is created. One that exists is not changed by
//! them, and must be so already.

use super::super::name::OptionName;
use super::super::options::Options;
use super::Error;
use crate::account::{Account, AccountError};
use crate::create::Expected;
use crate::device::{self, Opening, TapDevice};

/// The owner and the group, looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

impl Owners {
    /// Looks them up. Nothing is to be opened for somebody who does not exist.
    pub(super) fn find(options: &Options) -> Result<Self, Error> {
        let id = |option, account: &Option<Account>, find: fn(&Account) -> Result<u32, AccountError>| {
            let failed = |source| Error::Account { id: options.id.clone(), option, source };
            account.as_ref().map(find).transpose().map_err(failed)
        };
        Ok(Self {
            user: id(OptionName::User, &options.user, Account::user_id)?,
            group: id(OptionName::Group, &options.group, Account::group_id)?,
        })
    }
}

impl Owners {
    /// Whose an interface will be if it is created. One that is nobody's could be opened, and taken, by anybody (drivers/net/tun.c:
    /// `tun_not_capable`), so it is ours. Queues that are open are good for whoever has them, whoever the owner is.
    pub(super) fn of_new(self) -> Self {
        let unclaimed = self.user.is_none() && self.group.is_none();
        Self { user: if unclaimed { ourselves() } else { self.user }, ..self }
    }
}

/// Who we are, where users have numbers: in a user namespace without a map nobody has one that could be told the kernel.
fn ourselves() -> Option<u32> {
    let unmapped = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.trim().is_empty());
    (!unmapped).then(|| rustix::process::geteuid().as_raw())
}

/// Makes a new interface what is asked for, before anybody sees more of it; finds out whether another one is that. Who may open a
/// new one has been said already.
pub(super) fn settle(options: &Options, owners: Owners, opening: &Opening) -> Result<(), Error> {
    let device = opening.device();
    if opening.is_new() {
        return set(options, device).map_err(Error::device(options));
    }
    let link = device.link().map_err(Error::device(options))?;
    let expected = Expected {
        persist: options.persist,
        owner: owners.user.map(Some),
        group: owners.group.map(Some),
        mac: options.mac,
        mtu: options.mtu,
        ..Expected::default()
    };
    let differences = expected.differences(&link, None);
    if differences.is_empty() {
        return Ok(());
    }
    let (id, interface, kind) = (options.id.clone(), link.name, device.kind());
    Err(Error::Different { id, interface, kind, differences })
}

fn set(options: &Options, device: &TapDevice) -> Result<(), device::Error> {
    if let Some(mac) = options.mac {
        device.set_mac(mac)?;
    }
    if let Some(mtu) = options.mtu {
        device.set_mtu(mtu)?;
    }
    Ok(())
}

/// The last step of all: from here on, the interface stays, also if something fails.
pub(super) fn persist(options: &Options, opening: &Opening) -> Result<(), Error> {
    if options.persist == Some(true) && opening.is_new() {
        opening.device().set_persist(true).map_err(Error::device(options))?;
    }
    Ok(())
}
