//! Users and groups of the host, by name or number.

use std::fmt;
use std::str::FromStr;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::io::Errno;

use crate::link::describe;

/// Why an account could not be read or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// No text at all.
    #[error("a user or group has a name or a number")]
    Empty,
    /// A number that no account can have: -1 means nobody at all to the kernel.
    #[error("{0} is too large for the number of a user or group; the largest is {largest}", largest = u32::MAX - 1)]
    TooLarge(String),
    /// A NUL byte or a colon, which separates the fields of the databases.
    #[error("{0:?} is no name of a user or group")]
    Name(String),
    /// No such account.
    #[error(
        "there is no {what} {name}; `getent {}` lists those there are, and a number may be given as well",
        database(what)
    )]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The database could not be read.
    #[error("cannot look up the {what} {name}: {}; give the number instead", describe(*.errno))]
    Lookup {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// Why.
        errno: Errno,
    },
}

fn database(what: &str) -> &'static str {
    if what == "user" { "passwd" } else { "group" }
}

/// A user or a group, as somebody wrote it. All digits are a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// Its number.
    Id(u32),
    /// Its name, which is looked up when it is needed (`getpwnam(3)`, `getgrnam(3)`).
    Name(String),
}

impl Account {
    /// The user's number.
    ///
    /// # Errors
    /// [`AccountError::Unknown`], [`AccountError::Lookup`].
    pub fn user_id(&self) -> Result<u32, AccountError> {
        self.id("user", |name| User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())))
    }

    /// The group's number.
    ///
    /// # Errors
    /// [`AccountError::Unknown`], [`AccountError::Lookup`].
    pub fn group_id(&self) -> Result<u32, AccountError> {
        self.id("group", |name| Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())))
    }

    fn id(
        &self,
        what: &'static str,
        find: impl FnOnce(&str) -> nix::Result<Option<u32>>,
    ) -> Result<u32, AccountError> {
        let name = match self {
            Self::Id(id) => return Ok(*id),
            Self::Name(name) => name,
        };
        match find(name) {
            Ok(Some(id)) => Ok(id),
            // No database at all says the latter (getpwnam(3)).
            Ok(None) | Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ESRCH) => {
                Err(AccountError::Unknown { what, name: name.clone() })
            }
            Err(errno) => {
                let errno = Errno::from_raw_os_error(errno as i32);
                Err(AccountError::Lookup { what, name: name.clone(), errno })
            }
        }
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        if text.is_empty() {
            return Err(AccountError::Empty);
        }
        if text.contains([':', '\0', '\n']) {
            return Err(AccountError::Name(text.to_owned()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        match text.parse() {
            Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
            _ => Err(AccountError::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// A user for people: `alice (1000)`, or the number alone if it has no name.
#[must_use]
pub fn describe_user(uid: u32) -> String {
    named(uid, user_name(uid))
}

/// A group for people: `kvm (107)`, or the number alone if it has no name.
#[must_use]
pub fn describe_group(gid: u32) -> String {
    named(gid, group_name(gid))
}

/// The name of a user, if it has one.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// The name of a group, if it has one.
#[must_use]
pub fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

/// Whether a user is a member of a group. `None` if the host does not know the one or the other.
#[must_use]
pub fn is_member(uid: u32, gid: u32) -> Option<bool> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    if user.gid.as_raw() == gid {
        return Some(true);
    }
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten()?;
    Some(group.mem.contains(&user.name))
}

fn named(id: u32, name: Option<String>) -> String {
    match name {
        Some(name) => format!("{name} ({id})"),
        None => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_told_apart() {
        assert_eq!("1000".parse(), Ok(Account::Id(1000)));
        assert_eq!("root".parse(), Ok(Account::Name("root".to_owned())));
        assert_eq!("4294967294".parse(), Ok(Account::Id(u32::MAX - 1)));
        for (text, error) in [
            ("", AccountError::Empty),
            ("4294967295", AccountError::TooLarge("4294967295".to_owned())),
            ("99999999999", AccountError::TooLarge("99999999999".to_owned())),
            ("a:b", AccountError::Name("a:b".to_owned())),
        ] {
            assert_eq!(text.parse::<Account>(), Err(error), "{text:?}");
        }
        // Not a number: a name, which will not be found.
        assert_eq!("-1".parse(), Ok(Account::Name("-1".to_owned())));
    }

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root: Account = "root".parse().unwrap();
        assert_eq!((root.user_id(), root.group_id()), (Ok(0), Ok(0)));
        assert_eq!(Account::Id(4321).user_id(), Ok(4321));
        assert_eq!(describe_user(0), "root (0)");
        assert_eq!(describe_group(0), "root (0)");
        assert_eq!((is_member(0, 0), is_member(4_000_000_000, 0)), (Some(true), None));
    }

    #[test]
    fn what_does_not_exist_is_said_to_be_missing() {
        let nobody: Account = "no-such-account".parse().unwrap();
        let error = nobody.user_id().unwrap_err().to_string();
        assert!(error.starts_with("there is no user no-such-account; `getent passwd`"), "{error}");
        let error = nobody.group_id().unwrap_err().to_string();
        assert!(error.starts_with("there is no group no-such-account; `getent group`"), "{error}");
    }
}
