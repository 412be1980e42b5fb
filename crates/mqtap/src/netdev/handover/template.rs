//! `{hn0}` and `{hn0.fds}` in the arguments of a program.

use thiserror::Error;

use super::super::options::Id;
use super::super::suggest;
use super::super::text::{DidYouMean, Shown, Words};
use super::{Handover, joined};

/// Replaces the names of netdevs in braces.
///
/// * `{ID}` becomes the argument of QEMU's `-netdev`, `{ID.KEY}` one value: see [`Template::KEYS`].
/// * `{{NAME}}` is `{NAME}` itself.
/// * `${NAME}` stays as it is: a shell's variable.
/// * Any other brace is nothing but a brace. A name is a letter, then letters, digits, `-`, `.` and `_`, with nothing between
///   it and its braces, so JSON, `{}` and `{ list; }` are left alone.
///
/// ```
/// use mqtap::netdev::{Handover, Options, Template};
///
/// let options: Options = "tap,id=hn0,queues=2".parse()?;
/// let netdevs = [Handover::numbered(&options, 3, false)];
/// let template = Template::new(&netdevs)?;
/// assert_eq!(template.fill(b"{hn0}")?, b"tap,id=hn0,fds=3:4");
/// assert_eq!(template.fill(b"fd=[{hn0.fds.csv}]")?, b"fd=[3,4]");
/// assert_eq!(template.fill(br#"{"id":"hn0","fds":"{hn0.fds}"}"#)?, br#"{"id":"hn0","fds":"3:4"}"#);
/// assert_eq!(template.fill(b"{{print}} ${HOME}")?, b"{print} ${HOME}");
///
/// let error = template.fill(b"{hn1}").unwrap_err();
/// assert!(error.to_string().starts_with("`{hn1}` names no netdev; there is `hn0`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    netdevs: &'a [Handover],
}

/// Why an argument cannot be filled in.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A name in braces that no netdev has.
    #[error(
        "`{{{}}}` names no netdev; there is {}{}; for the text itself write `{{{{{}}}}}`",
        Shown(.name), List(.known), DidYouMean(.suggestion.as_ref().map(Id::as_str)), Shown(.name)
    )]
    UnknownNetdev {
        /// What is in the braces.
        name: String,
        /// The netdevs that there are.
        known: Vec<Id>,
        /// The netdev that was probably meant.
        suggestion: Option<Id>,
    },
    /// A netdev has no value of this name.
    #[error(
        "`{{{id}.{}}}`: netdev {id} has no `{}`; it has {}{}", Shown(.key), Shown(.key), Words(Template::KEYS), DidYouMean(*.suggestion)
    )]
    UnknownKey {
        /// The netdev.
        id: Id,
        /// What comes after its id.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A list of handles of a netdev without vhost, or with `vhost=try` where there is none.
    #[error(
        "`{{{id}.{key}}}`: netdev {id} has no vhost-net handles; with vhost=on it has them or fails, with vhost=try it may have none"
    )]
    NoVhost {
        /// The netdev.
        id: Id,
        /// The key.
        key: &'static str,
    },
    /// The guest's address was not given.
    #[error("`{{{id}.mac}}`: no address is known for the guest's card on netdev {id}; give it one")]
    NoMac {
        /// The netdev.
        id: Id,
    },
    /// One netdev is called what a value of another one is called.
    #[error("netdev ids {first} and {second}: `{{{second}}}` would mean two things; rename one of them")]
    Ambiguous {
        /// A netdev.
        first: Id,
        /// One whose id is the first one's and a key.
        second: Id,
    },
}

/// Names, quoted, and readable however many there are.
struct List<'a>(&'a [Id]);

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(Id::as_str).collect();
        Words(&names).fmt(f)
    }
}

impl<'a> Template<'a> {
    /// What can follow an id and a dot:
    ///
    /// | key | value for four queues |
    /// | --- | --- |
    /// | `fds`, `fds.csv` | the tap queues: `3:4:5:6`, `3,4,5,6` |
    /// | `vhostfds`, `vhostfds.csv` | the vhost-net handles: `7:8:9:10`, `7,8,9,10` |
    /// | `ifname` | the interface: `tap0` |
    /// | `queues` | queue pairs: `4` |
    /// | `virtqueues` | virtqueues, two for each pair: `8` |
    /// | `vectors` | interrupts of a PCI card, two for each pair and two more: `10` |
    /// | `mac` | the guest's address |
    pub const KEYS: &'static [&'static str] =
        &["fds", "fds.csv", "vhostfds", "vhostfds.csv", "ifname", "queues", "virtqueues", "vectors", "mac"];

    /// A template that knows these netdevs.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Ambiguous`].
    pub fn new(netdevs: &'a [Handover]) -> Result<Self, TemplateError> {
        for first in netdevs {
            let names = |other: &&Handover| Self::key_of(first, other.id.as_str()).is_some();
            if let Some(second) = netdevs.iter().find(names) {
                return Err(TemplateError::Ambiguous { first: first.id.clone(), second: second.id.clone() });
            }
        }
        Ok(Self { netdevs })
    }

    /// The text with its names replaced. It need not be UTF-8, as arguments need not be.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], for the first name that cannot be replaced.
    pub fn fill(&self, text: &[u8]) -> Result<Vec<u8>, TemplateError> {
        let mut filled = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.iter().position(|&byte| byte == b'{') {
            let (before, braces) = rest.split_at(at);
            filled.extend_from_slice(before);
            rest = if let Some(name) =
                in_braces(&braces[1..]).filter(|name| braces.get(name.len() + 3) == Some(&b'}'))
            {
                // The inner pair of braces is what is meant.
                filled.extend_from_slice(&braces[1..name.len() + 3]);
                &braces[name.len() + 4..]
            } else if let Some(name) = in_braces(braces).filter(|_| filled.last() != Some(&b'$')) {
                filled.extend_from_slice(self.value(name)?.as_bytes());
                &braces[name.len() + 2..]
            } else {
                filled.push(b'{');
                &braces[1..]
            };
        }
        filled.extend_from_slice(rest);
        Ok(filled)
    }

    fn value(&self, name: &str) -> Result<String, TemplateError> {
        if let Some(netdev) = self.netdevs.iter().find(|netdev| netdev.id.as_str() == name) {
            return Ok(netdev.to_string());
        }
        for netdev in self.netdevs {
            if let Some(key) = Self::key_of(netdev, name) {
                return value_of(netdev, key);
            }
        }
        // Whose value was probably meant? Ids may have dots, so the longest one that fits.
        let prefix = |netdev: &&Handover| rest_after(netdev, name).is_some();
        match self.netdevs.iter().filter(prefix).max_by_key(|netdev| netdev.id.as_str().len()) {
            Some(netdev) => {
                let key = rest_after(netdev, name).unwrap_or_default();
                let suggestion = suggest::closest(key, Self::KEYS.iter().copied());
                Err(TemplateError::UnknownKey { id: netdev.id.clone(), key: key.to_owned(), suggestion })
            }
            None => {
                let word = name.split('.').next().unwrap_or_default();
                let closest = suggest::closest(word, self.netdevs.iter().map(|netdev| netdev.id.as_str()));
                Err(TemplateError::UnknownNetdev {
                    name: name.to_owned(),
                    known: self.netdevs.iter().map(|netdev| netdev.id.clone()).collect(),
                    suggestion: closest.and_then(|id| Id::new(id).ok()),
                })
            }
        }
    }

    /// The key, if the name is this netdev's id, a dot and a key.
    fn key_of(netdev: &Handover, name: &str) -> Option<&'static str> {
        let rest = rest_after(netdev, name)?;
        Self::KEYS.iter().copied().find(|key| *key == rest)
    }
}

fn rest_after<'n>(netdev: &Handover, name: &'n str) -> Option<&'n str> {
    name.strip_prefix(netdev.id.as_str())?.strip_prefix('.')
}

fn value_of(netdev: &Handover, key: &'static str) -> Result<String, TemplateError> {
    let pairs = netdev.tap_fds.len();
    Ok(match key {
        "fds" => joined(&netdev.tap_fds, ":"),
        "fds.csv" => joined(&netdev.tap_fds, ","),
        "vhostfds" | "vhostfds.csv" if netdev.vhost_fds.is_empty() => {
            return Err(TemplateError::NoVhost { id: netdev.id.clone(), key });
        }
        "vhostfds" => joined(&netdev.vhost_fds, ":"),
        "vhostfds.csv" => joined(&netdev.vhost_fds, ","),
        "ifname" => netdev.ifname.clone(),
        "queues" => pairs.to_string(),
        "virtqueues" => (2 * pairs).to_string(),
        "vectors" => (2 * pairs + 2).to_string(),
        "mac" => match netdev.mac {
            Some(mac) => mac.to_string(),
            None => return Err(TemplateError::NoMac { id: netdev.id.clone() }),
        },
        // A key of the table above that has no line here: a test tries them all.
        _ => {
            return Err(TemplateError::UnknownKey {
                id: netdev.id.clone(),
                key: key.to_owned(),
                suggestion: None,
            });
        }
    })
}

/// The name between the brace that the text begins with and the next one, if there is nothing else between them.
fn in_braces(text: &[u8]) -> Option<&str> {
    let inside = text.strip_prefix(b"{")?;
    let length = inside.iter().position(|&byte| !is_name(byte))?;
    let name = inside.get(..length).filter(|_| inside.get(length) == Some(&b'}'))?;
    name.first().filter(|byte| byte.is_ascii_alphabetic())?;
    std::str::from_utf8(name).ok()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}
