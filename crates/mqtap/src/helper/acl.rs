//! Who may use which bridge: QEMU's `bridge.conf`.
//!
//! One rule for each line: `allow BRIDGE`, `deny BRIDGE`, `allow all`, `deny all`, `include FILE`; `#` begins a comment line. What
//! is denied anywhere is denied; what is not allowed anywhere is denied.
//!
//! Who may use a bridge is said by who may read a file: `include /etc/mqtap/alice.conf`, which only the group `alice` may
//! read, is passed over for all others.
//!
//! Where QEMU's helper goes on, this one refuses: a rule that it does not understand, a file that is missing, that others than its
//! owner may write to, that does not belong to root, or whose name depends on the caller's directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::is_elevated;
use crate::name::InterfaceName;

/// The largest access list, in bytes.
const LARGEST: u64 = 64 * 1024;

/// How many files may include one another, and how many there may be in all.
const DEEPEST: usize = 8;
const MOST_FILES: usize = 64;

/// What is wrong with an access list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be read.
    #[error("cannot read the access list {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that cannot be relied upon.
    #[error("the access list {} {problem}", .path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A line that means nothing.
    #[error("the access list {}, line {line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// An access list that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// All of them if `None`.
    bridge: Option<InterfaceName>,
}

impl Acl {
    /// Reads a file, and what it includes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut reader = Reader { acl: Self::default(), files: 0 };
        reader.read(path, 0)?;
        Ok(reader.acl)
    }

    /// Whether the bridge may be used.
    #[must_use]
    pub fn allows(&self, bridge: InterfaceName) -> bool {
        self.has(true, bridge) && !self.denies(bridge)
    }

    /// Whether a rule denies it, whatever the others say.
    #[must_use]
    pub fn denies(&self, bridge: InterfaceName) -> bool {
        self.has(false, bridge)
    }

    fn has(&self, allow: bool, bridge: InterfaceName) -> bool {
        self.rules.iter().any(|rule| rule.allow == allow && rule.bridge.is_none_or(|named| named == bridge))
    }
}

struct Reader {
    acl: Acl,
    files: usize,
}

impl Reader {
    fn read(&mut self, path: &Path, depth: usize) -> Result<(), Error> {
        self.files += 1;
        if depth > DEEPEST || self.files > MOST_FILES {
            return Err(untrusted(path, "is one include too many; do they include one another?"));
        }
        let text = match trusted(path)? {
            Some(text) => text,
            // Rules for others.
            None if depth > 0 => return Ok(()),
            None => {
                let source = io::Error::from(Errno::ACCESS);
                return Err(Error::Read { path: path.to_owned(), source });
            }
        };
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |problem| Error::Line { path: path.to_owned(), line: number, problem };
            match rule(line).map_err(wrong)? {
                None => {}
                Some(Line::Rule(rule)) => self.acl.rules.push(rule),
                Some(Line::Include(path)) => self.read(path, depth + 1)?,
            }
        }
        Ok(())
    }
}

enum Line<'a> {
    Rule(Rule),
    Include(&'a Path),
}

/// What a line says; `None` if nothing.
fn rule(line: &str) -> Result<Option<Line<'_>>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim_start();
    let allow = match word {
        "allow" => true,
        "deny" => false,
        "include" if argument.starts_with('/') => return Ok(Some(Line::Include(Path::new(argument)))),
        "include" => return Err("`include` takes the whole path of a file, from `/`".to_owned()),
        _ => {
            return Err(format!(
                "`{}` is no rule; the rules are allow, deny and include",
                word.escape_default()
            ));
        }
    };
    let bridge = match argument {
        "all" => None,
        _ => Some(argument.parse().map_err(|error| format!("`{word}` takes a bridge, or `all`: {error}"))?),
    };
    Ok(Some(Line::Rule(Rule { allow, bridge })))
}

fn untrusted(path: &Path, problem: &'static str) -> Error {
    Error::Untrusted { path: path.to_owned(), problem }
}

/// The text of a file, if only those who administer the machine can have written it; `None` if the caller may not read it.
fn trusted(path: &Path) -> Result<Option<String>, Error> {
    let unreadable = |source: io::Error| Error::Read { path: path.to_owned(), source };
    // Not blocked by a pipe, nor given a terminal.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ACCESS) => return Ok(None),
        Err(errno) => return Err(unreadable(errno.into())),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    let owner = metadata.uid();
    // Who has no privileges that are not his own may as well decide for himself.
    let is_callers = !is_elevated() && owner == rustix::process::getuid().as_raw();
    if !metadata.is_file() {
        return Err(untrusted(path, "is not a file"));
    }
    if owner != 0 && !is_callers {
        return Err(untrusted(path, "does not belong to root; `chown root` it"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(untrusted(path, "can be written to by others than its owner; `chmod go-w` it"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(untrusted(path, "is larger than 64 KiB"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
