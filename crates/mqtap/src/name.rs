//! Names of interfaces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the kernel's name field, with its terminating zero (`IFNAMSIZ`, include/uapi/linux/if.h).
pub(crate) const IFNAMSIZ: usize = 16;

/// Why a text is no interface name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// No text at all.
    #[error("an interface name cannot be empty")]
    Empty,
    /// More than 15 bytes.
    #[error("interface name {0:?} has {len} bytes, and the kernel takes at most 15", len = .0.len())]
    TooLong(String),
    /// `.` and `..` are directories in sysfs.
    #[error("interface name {0:?} is reserved")]
    Reserved(String),
    /// A character that the kernel refuses (net/core/dev.c: `dev_valid_name`).
    #[error("interface name {name:?} has {character:?} in it, which the kernel does not allow")]
    Character {
        /// The name.
        name: String,
        /// What is wrong with it.
        character: char,
    },
    /// The kernel allows names that are no text.
    #[error("interface name \"{0}\" is not UTF-8; rename the interface")]
    NotText(String),
    /// A pattern where a name is wanted.
    #[error(
        "{0:?} is a pattern, which stands for the name of a tap that is to be made, and this must be a name"
    )]
    IsPattern(String),
    /// A `%` that is not one `%d`.
    #[error("interface name pattern {0:?} must have exactly one %d, and no other %")]
    Pattern(String),
}

/// A name that an interface can have: 1 to 15 bytes, as the kernel checks it (net/core/dev.c: `dev_valid_name`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName {
    bytes: [u8; IFNAMSIZ],
}

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(IFNAMSIZ);
        // Made from text, and never cut.
        std::str::from_utf8(&self.bytes[..end]).unwrap_or_default()
    }

    /// The name as the kernel's interface structures have it, padded with zeros.
    pub(crate) fn to_kernel(self) -> [u8; IFNAMSIZ] {
        self.bytes
    }

    /// The name that the kernel wrote into one of its structures.
    pub(crate) fn from_kernel(bytes: [u8; IFNAMSIZ]) -> Result<Self, InvalidName> {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(IFNAMSIZ);
        let name = &bytes[..end];
        std::str::from_utf8(name).map_err(|_| InvalidName::NotText(name.escape_ascii().to_string()))?.parse()
    }
}

fn check(text: &str) -> Result<[u8; IFNAMSIZ], InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() >= IFNAMSIZ {
        return Err(InvalidName::TooLong(text.to_owned()));
    }
    if text == "." || text == ".." {
        return Err(InvalidName::Reserved(text.to_owned()));
    }
    // The kernel looks at bytes. Its isspace() knows Latin-1, where 0xa0 is a space, and so refuses all characters that have
    // this byte in UTF-8, such as "à".
    let refused_byte = |byte: u8| matches!(byte, b'/' | b':' | 0 | b'\t'..=b'\r' | b' ' | 0xa0);
    let refused = |c: char| c.encode_utf8(&mut [0; 4]).bytes().any(refused_byte);
    if let Some(character) = text.chars().find(|&c| refused(c)) {
        return Err(InvalidName::Character { name: text.to_owned(), character });
    }
    let mut bytes = [0; IFNAMSIZ];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Ok(bytes)
}

impl FromStr for InterfaceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = check(text)?;
        if text.contains('%') {
            // No interface has a name with one (net/core/dev.c: `__dev_alloc_name`).
            return Err(match text.parse::<NamePattern>() {
                Ok(_) => InvalidName::IsPattern(text.to_owned()),
                Err(_) => InvalidName::Character { name: text.to_owned(), character: '%' },
            });
        }
        Ok(Self { bytes })
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A name with one `%d`, for which the kernel puts in the lowest free number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamePattern {
    bytes: [u8; IFNAMSIZ],
}

impl NamePattern {
    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(IFNAMSIZ);
        std::str::from_utf8(&self.bytes[..end]).unwrap_or_default()
    }
}

impl FromStr for NamePattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = check(text)?;
        if text.matches('%').count() != 1 || !text.contains("%d") {
            return Err(InvalidName::Pattern(text.to_owned()));
        }
        Ok(Self { bytes })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a device is to be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NameRequest {
    /// This name. An interface that has it already is attached to.
    Exact(InterfaceName),
    /// A new interface, numbered by the kernel.
    Pattern(NamePattern),
    /// A new interface, named by the kernel: `tap0`, `tap1`, ….
    #[default]
    KernelChoice,
}

impl NameRequest {
    pub(crate) fn to_kernel(self) -> [u8; IFNAMSIZ] {
        match self {
            Self::Exact(name) => name.bytes,
            Self::Pattern(pattern) => pattern.bytes,
            Self::KernelChoice => [0; IFNAMSIZ],
        }
    }
}

impl FromStr for NameRequest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.contains('%') { text.parse().map(Self::Pattern) } else { text.parse().map(Self::Exact) }
    }
}

impl TryFrom<String> for NameRequest {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        if text.is_empty() { Ok(Self::KernelChoice) } else { text.parse() }
    }
}

impl From<NameRequest> for String {
    fn from(name: NameRequest) -> Self {
        match name {
            NameRequest::Exact(name) => name.as_str().to_owned(),
            NameRequest::Pattern(pattern) => pattern.as_str().to_owned(),
            NameRequest::KernelChoice => Self::new(),
        }
    }
}

impl NameRequest {
    /// A name that is asked for, or one that it could stand for.
    pub(crate) fn example(self) -> String {
        match self {
            Self::Exact(name) => name.to_string(),
            Self::Pattern(pattern) => pattern.as_str().replace("%d", "0"),
            Self::KernelChoice => "tap0".to_owned(),
        }
    }
}

impl fmt::Display for NameRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::KernelChoice => f.pad("a new tap"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_takes() {
        assert_eq!("tap0".parse::<InterfaceName>().unwrap().to_string(), "tap0");
        assert_eq!("a".repeat(15).parse::<InterfaceName>().unwrap().as_str().len(), 15);
        assert_eq!("".parse::<InterfaceName>(), Err(InvalidName::Empty));
        assert!(matches!("a".repeat(16).parse::<InterfaceName>(), Err(InvalidName::TooLong(_))));
        for wrong in ["a/b", "a b", "a:1", "a\tb", "a\nb", "a\u{b}b", "voil\u{e0}"] {
            assert!(
                matches!(wrong.parse::<InterfaceName>(), Err(InvalidName::Character { .. })),
                "{wrong:?}"
            );
        }
        for wrong in [".", ".."] {
            assert!(matches!(wrong.parse::<InterfaceName>(), Err(InvalidName::Reserved(_))));
        }
        assert!(matches!("tap%d".parse::<InterfaceName>(), Err(InvalidName::IsPattern(_))));
        assert!(matches!(
            "tap%s".parse::<InterfaceName>(),
            Err(InvalidName::Character { character: '%', .. })
        ));
    }

    #[test]
    fn a_pattern_has_one_number() {
        assert!(matches!("vm%d".parse(), Ok(NameRequest::Pattern(_))));
        for wrong in ["vm%d%d", "vm%s", "vm%", "%dvm%"] {
            assert!(matches!(wrong.parse::<NameRequest>(), Err(InvalidName::Pattern(_))), "{wrong:?}");
        }
        for (text, example) in [("vm%d", "vm0"), ("%dtap", "0tap"), ("tap7", "tap7")] {
            assert_eq!(text.parse::<NameRequest>().unwrap().example(), example);
        }
    }

    #[test]
    fn names_travel_through_the_kernels_structures() {
        let name: InterfaceName = "fifteen_bytes_x".parse().unwrap();
        assert_eq!(InterfaceName::from_kernel(name.to_kernel()), Ok(name));
        let latin1 = *b"na\xefve\0\0\0\0\0\0\0\0\0\0\0";
        assert!(matches!(InterfaceName::from_kernel(latin1), Err(InvalidName::NotText(_))));
    }
}
