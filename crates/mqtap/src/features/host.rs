//! What this host lets this process have.

use std::os::fd::AsFd;

use rustix::fs::Access as Wanted;
use rustix::io::Errno;

use crate::sys;

/// Whether a device node can be used. It is not opened, which could load a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// It is there and may be opened.
    Yes,
    /// It is not there.
    Missing,
    /// It may not be opened.
    Refused,
    /// It cannot be looked at.
    Unknown,
}

impl Access {
    pub(super) fn of(path: &str) -> Self {
        match rustix::fs::access(path, Wanted::READ_OK | Wanted::WRITE_OK) {
            Ok(()) => Self::Yes,
            Err(Errno::NOENT | Errno::NOTDIR) => Self::Missing,
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }

    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether io_uring can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoUring {
    /// A ring was made, and dropped.
    Yes,
    /// An administrator switched it off (`kernel.io_uring_disabled`, since Linux 6.6): 1 for those without privilege, 2 for all.
    Disabled(u8),
    /// The kernel has none.
    Missing,
    /// A sandbox or a limit forbids it.
    Refused(Errno),
}

impl IoUring {
    pub(super) fn probe() -> Self {
        match sys::try_io_uring() {
            Ok(()) => Self::Yes,
            Err(Errno::NOSYS) => Self::Missing,
            Err(errno) => match number("/proc/sys/kernel/io_uring_disabled") {
                Some(level @ 1..) if errno == Errno::PERM => Self::Disabled(level),
                _ => Self::Refused(errno),
            },
        }
    }
}

fn number(path: &str) -> Option<u8> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim_end().to_owned()
}

/// Whether this process has `CAP_NET_ADMIN` in the network namespace that it is in.
pub(super) fn may_administer_network() -> bool {
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::NET_ADMIN));
    // Capabilities count in one's own user namespace, and in those below it.
    capable && sys::thread_namespace().and_then(|here| sys::owner_of_namespace(here.as_fd())).is_ok()
}

/// Whether a driver has registered character devices under this name.
pub(super) fn has_character_device(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    has_driver(&text, name)
}

fn has_driver(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().nth(1) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_found_by_their_whole_name() {
        let text = "Character devices:\n  1 mem\n246 macvtap\n\nBlock devices:\n  8 sd\n";
        assert!(has_driver(text, "macvtap"));
        assert!(!has_driver(text, "vtap") && !has_driver("", "macvtap"));
    }

    #[test]
    fn a_node_that_is_not_there_is_missing() {
        assert_eq!(Access::of("/dev/mqtap-no-such-node"), Access::Missing);
        assert_eq!(Access::of("/dev/null"), Access::Yes);
    }
}
