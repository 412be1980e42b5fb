//! Doing things in another network namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Error;
use crate::link::{Link, Links};
use crate::name::InterfaceName;
use crate::sys;

/// A network namespace other than the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// A file such as `/run/netns/blue`.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
    /// As `ip netns` names it.
    Name(String),
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

    pub(super) fn open(&self) -> Result<File, Error> {
        self.open_file().map_err(|source| Error::Namespace { path: self.path(), source })
    }

    pub(crate) fn open_file(&self) -> std::io::Result<File> {
        let is_name = |name: &str| {
            Path::new(name).components().count() == 1 && !name.contains(['/', '\0']) && name != ".."
        };
        match self {
            Self::Name(name) if !is_name(name) => Err(Errno::INVAL.into()),
            _ => File::open(self.path()),
        }
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

/// As [`visit`], into an open namespace.
pub(super) fn visit_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    path: &Path,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let failed = |errno: Errno| Error::Namespace { path: path.to_owned(), source: errno.into() };
    visit(|| sys::enter_namespace(namespace), act, failed)
}

/// Acts in the namespace that the device behind `tun` is in, if the kernel tells which, and in the caller's otherwise.
pub(super) fn visit_device<T: Send>(
    tun: BorrowedFd<'_>,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let Ok(namespace) = sys::device_namespace(tun) else { return act() };
    let here = sys::thread_namespace().and_then(|here| sys::same_namespace(here.as_fd(), namespace.as_fd()));
    if here == Ok(true) {
        return act();
    }
    visit(|| sys::enter_namespace(namespace.as_fd()), act, |errno| Error::DeviceNamespace { errno })
}

/// The namespaces that `ip netns` has a name for in which there is such an interface; for a hint, so what cannot be
/// looked into is left out.
pub(crate) fn find_in_named(name: InterfaceName, is_wanted: impl Fn(&Link) -> bool + Sync) -> Vec<String> {
    let look = || Ok(Links::open()?.find(name)?.is_some_and(|link| is_wanted(&link)));
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| {
            let path = entry.path();
            let file = File::open(&path).ok();
            file.is_some_and(|file| visit_namespace(file.as_fd(), &path, look).unwrap_or(false))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    found
}
