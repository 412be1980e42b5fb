//! Doing things in another network namespace.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::io::Errno;

use super::Error;
use crate::link::{Link, Links, describe};
use crate::name::InterfaceName;
use crate::{shell, sys};

/// A network namespace other than the caller's.
///
/// As text, it is a path if it has a `/`, the number of a process if it is all digits, and else a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A file such as `/run/netns/blue`.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
    /// As `ip netns` names it.
    Name(String),
}

/// Why a text is no network namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNamespace {
    /// No text at all.
    #[error("a network namespace is a name (see `ip netns`), a path, or the number of a process")]
    Empty,
    /// A number that no process can have.
    #[error("{0} is not the number of a process; for a namespace of this name write `/run/netns/{0}`")]
    Pid(String),
    /// `.`, `..`, or a NUL byte.
    #[error("{0:?} is neither a name of a network namespace nor a path")]
    Name(String),
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        if text.is_empty() {
            return Err(InvalidNamespace::Empty);
        }
        if text.contains('\0') || matches!(text, "." | "..") {
            return Err(InvalidNamespace::Name(text.to_owned()));
        }
        if text.contains('/') {
            return Ok(Self::Path(text.into()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        // A pid_t, of which 0 would be whoever asks.
        match text.parse() {
            Ok(pid) if (1..=i32::MAX as u32).contains(&pid) => Ok(Self::Pid(pid)),
            _ => Err(InvalidNamespace::Pid(text.to_owned())),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Pid(pid) => pid.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl Namespace {
    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Pid(pid) => format!("/proc/{pid}/ns/net").into(),
            // Joined as text: a name that begins with a slash must not become a path of its own.
            Self::Name(name) => format!("/run/netns/{name}").into(),
        }
    }

    /// What goes before a command, in a shell, to have it run in the namespace.
    #[must_use]
    pub fn entry(&self) -> String {
        match self {
            Self::Name(name) => shell::line(["ip", "netns", "exec", name]),
            Self::Path(_) | Self::Pid(_) => {
                shell::line(["nsenter", &format!("--net={}", self.path().display())])
            }
        }
    }

    /// Does something in the namespace: in a thread of its own, since what a descriptor of `/dev/net/tun` and a netlink
    /// socket belong to is the namespace in which they were opened. What they do afterwards, they do there from anywhere.
    ///
    /// # Errors
    /// [`Error::Namespace`] if there is no such namespace or it cannot be entered (EPERM without CAP_SYS_ADMIN in it and
    /// in the caller's user namespace); what `act` returns.
    pub fn visit<T: Send, E: From<Error> + Send>(
        &self,
        act: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported.into());
        }
        let (file, path) = (self.open()?, self.path());
        let failed = |errno| E::from(Error::Namespace { path: path.clone(), source: self.explained(errno) });
        visit(|| sys::enter_namespace(file.as_fd()), act, failed)
    }

    fn open(&self) -> Result<File, Error> {
        self.open_file().map_err(|source| Error::Namespace { path: self.path(), source })
    }

    /// Opens it, or says why it cannot be, in words that fit all who want to go there.
    pub(crate) fn open_file(&self) -> io::Result<File> {
        let is_name = |name: &str| {
            Path::new(name).components().count() == 1 && !name.contains(['/', '\0']) && name != ".."
        };
        let opened = match self {
            Self::Name(name) if !is_name(name) => Err(Errno::INVAL.into()),
            _ => File::open(self.path()),
        };
        opened.map_err(|error| Errno::from_io_error(&error).map_or(error, |errno| self.explained(errno)))
    }

    /// What went wrong, and what to do about it, which depends on how the namespace was named.
    fn explained(&self, errno: Errno) -> io::Error {
        let what = describe(errno);
        let text = match (self, errno) {
            (Self::Pid(pid), Errno::NOENT | Errno::SRCH) => format!("{what}; there is no process {pid}"),
            (_, Errno::NOENT) => format!("{what}; `ip netns` lists those with a name"),
            (_, Errno::INVAL) => format!("{what}; it is no network namespace"),
            (_, Errno::PERM | Errno::ACCESS) => {
                format!("{what}; entering one needs CAP_SYS_ADMIN, here and there")
            }
            _ => what,
        };
        io::Error::new(io::Error::from(errno).kind(), text)
    }
}

/// What a thread of its own, which goes there and ends, brings back: the caller never leaves its own namespace.
///
/// A descriptor of `/dev/net/tun` belongs to the namespace in which it was opened, and so does a netlink socket.
pub(crate) fn visit<T: Send, E: Send>(
    enter: impl FnOnce() -> Result<(), Errno> + Send,
    act: impl FnOnce() -> Result<T, E> + Send,
    failed: impl Fn(Errno) -> E + Sync,
) -> Result<T, E> {
    std::thread::scope(|scope| {
        let visitor = std::thread::Builder::new().name("mqtap-netns".to_owned()).spawn_scoped(scope, || {
            enter().map_err(&failed)?;
            act()
        });
        match visitor {
            Ok(visitor) => visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(failed(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))),
        }
    })
}

/// Acts in the namespace that the device behind `tun` is in, if the kernel tells which, and in the caller's otherwise.
pub(super) fn visit_device<T: Send>(
    tun: BorrowedFd<'_>,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let namespace = elsewhere(tun);
    visit_if(namespace.as_ref().map(|namespace| namespace.as_fd()), act)
}

/// The namespace that the device behind `tun` is in, if the kernel tells and if the caller is in another.
pub(super) fn elsewhere(tun: BorrowedFd<'_>) -> Option<OwnedFd> {
    unless_here(sys::device_namespace(tun).ok()?)
}

/// A namespace, if the caller is in another.
pub(super) fn unless_here(namespace: OwnedFd) -> Option<OwnedFd> {
    let here = sys::thread_namespace().and_then(|here| sys::same_namespace(here.as_fd(), namespace.as_fd()));
    (here != Ok(true)).then_some(namespace)
}

/// Acts in the namespace of a device if one is given, else in the caller's.
pub(crate) fn visit_if<T: Send>(
    namespace: Option<BorrowedFd<'_>>,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    match namespace {
        None => act(),
        Some(namespace) => {
            visit(|| sys::enter_namespace(namespace), act, |errno| Error::DeviceNamespace { errno })
        }
    }
}

/// The namespaces that `ip netns` has a name for in which there is such an interface; for a hint, so what cannot be
/// looked into is left out.
pub(crate) fn find_in_named(name: InterfaceName, is_wanted: impl Fn(&Link) -> bool + Sync) -> Vec<String> {
    let look = || Ok::<_, Error>(Links::open()?.find(name)?.is_some_and(|link| is_wanted(&link)));
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| Namespace::Path(entry.path()).visit(look).unwrap_or(false))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_path_a_process_or_a_name() {
        for (text, namespace, path) in [
            ("blue", Namespace::Name("blue".to_owned()), "/run/netns/blue"),
            ("/proc/7/ns/net", Namespace::Path("/proc/7/ns/net".into()), "/proc/7/ns/net"),
            ("./blue", Namespace::Path("./blue".into()), "./blue"),
            ("4711", Namespace::Pid(4711), "/proc/4711/ns/net"),
            ("4x", Namespace::Name("4x".to_owned()), "/run/netns/4x"),
        ] {
            let parsed: Namespace = text.parse().unwrap();
            assert_eq!(
                (&parsed, parsed.path(), parsed.to_string()),
                (&namespace, path.into(), text.to_owned())
            );
        }
        for (text, error) in [
            ("", InvalidNamespace::Empty),
            ("0", InvalidNamespace::Pid("0".to_owned())),
            ("4294967296", InvalidNamespace::Pid("4294967296".to_owned())),
            ("..", InvalidNamespace::Name("..".to_owned())),
        ] {
            assert_eq!(text.parse::<Namespace>(), Err(error), "{text:?}");
        }
    }
}
