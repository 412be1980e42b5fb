//! The daemon's end.

use std::convert::Infallible;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::{Report, SUFFIX, connect};

/// How long somebody who asks may take to read the answer. Others who ask wait meanwhile; the NICs do not.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many may wait for an answer.
const BACKLOG: i32 = 16;

/// Where the socket is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Directory {
    /// Where such things are for this user, if there is such a place.
    #[default]
    Usual,
    /// Here.
    At(PathBuf),
    /// Nowhere.
    No,
}

impl FromStr for Directory {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "no" => Self::No,
            path => Self::At(path.into()),
        })
    }
}

/// A socket at which reports are given, until it is dropped; its file goes with it.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket. `None` if there shall be none, or if the usual place is not there, which is no failure: a daemon in a
    /// sandbox may write nowhere.
    pub(crate) fn open(directory: &Directory) -> Result<Option<Self>, String> {
        let (place, is_asked_for) = match directory {
            Directory::No => return Ok(None),
            Directory::At(path) => (Some(path.clone()), true),
            Directory::Usual => (usual_place(), false),
        };
        let Some(place) = place else { return Ok(None) };
        match Self::bind(&place) {
            Ok(server) => Ok(Some(server)),
            Err(error) if is_asked_for => {
                Err(format!("cannot make the status socket in {}: {error}", place.display()))
            }
            Err(error) => {
                tracing::debug!("no status socket in {}: {error}", place.display());
                Ok(None)
            }
        }
    }

    fn bind(directory: &Path) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        forget_the_dead(directory);
        let path = directory.join(format!("{}{SUFFIX}", std::process::id()));
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The file gets the mode of the socket (net/unix/af_unix.c: `unix_bind_bsd`): nobody else can connect at any time.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let address = SocketAddrUnix::new(&path)?;
        match bind(&socket, &address) {
            // A former process of this number was killed; or one of another PID namespace shares the directory.
            Err(Errno::ADDRINUSE) if is_deserted(&path) => {
                std::fs::remove_file(&path)?;
                bind(&socket, &address)?;
            }
            result => result?,
        }
        let server = Self { listener: UnixListener::from(socket), path };
        listen(&server.listener, BACKLOG)?;
        Ok(server)
    }

    #[cfg(test)]
    fn path(&self) -> &Path {
        &self.path
    }

    /// Answers everybody who asks, until [`stop`](Self::stop).
    pub(crate) fn run(&self, report: impl Fn() -> Report) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &report()) {
                        tracing::debug!("somebody asked for the status and did not take it: {error}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Stopped.
                Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                Err(error) => {
                    tracing::debug!("status socket: {error}");
                    // Too many open files, say: there may be fewer in a while.
                    std::thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// Has [`run`](Self::run) return.
    pub(crate) fn stop(&self) {
        // Never fails: it is a listening socket.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("cannot remove the status socket {}: {error}", self.path.display());
        }
    }
}

fn answer(mut stream: UnixStream, report: &Report) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(report)?;
    text.push(b'\n');
    let deadline = Instant::now() + PATIENCE;
    let mut rest = &text[..];
    while !rest.is_empty() {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_write_timeout(Some(left.ok_or(ErrorKind::TimedOut)?))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What systemd gave the service (systemd.exec(5): `RuntimeDirectory=`), else root's place, else the user's own.
fn usual_place() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(given) = variable("RUNTIME_DIRECTORY") {
        return std::env::split_paths(&given).next();
    }
    if rustix::process::geteuid().is_root() {
        return Some("/run/mqtap".into());
    }
    variable("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("mqtap"))
}

/// Removes what daemons that were killed left behind.
fn forget_the_dead(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_dead = entry.file_name().to_str().is_some_and(|name| {
            // One that lives may be about to listen.
            let pid = name.strip_suffix(SUFFIX).and_then(|pid| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        });
        if is_dead && is_deserted(&path) {
            tracing::debug!("removing {}, at which nobody listens", path.display());
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether a path is that of a socket at which nobody listens.
fn is_deserted(path: &Path) -> bool {
    connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        && std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use mqtap_virtio::counters::PairSnapshot;
    use mqtap_virtio::nic::NicSnapshot;

    use super::super::NicReport;
    use super::*;

    /// A server whose answers have that many NICs, one after the other, and none when they are used up.
    fn served(directory: &Path, nics: &'static [usize]) -> (Arc<Server>, std::thread::JoinHandle<()>) {
        let server = Arc::new(Server::open(&Directory::At(directory.into())).unwrap().unwrap());
        let nic = || NicReport {
            id: "hn0".to_owned(),
            ifindex: 2,
            counters: NicSnapshot {
                interface: "tap0".to_owned(),
                kernel: None,
                pairs: vec![PairSnapshot::default(); 128],
            },
        };
        let thread = std::thread::spawn({
            let server = Arc::clone(&server);
            let answers = RefCell::new(nics.iter());
            move || {
                server.run(|| {
                    let nics = answers.borrow_mut().next().copied().unwrap_or_default();
                    Report::of((0..nics).map(|_| nic()).collect())
                });
            }
        });
        (server, thread)
    }

    #[test]
    fn everybody_gets_one_line_and_the_file_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let (server, thread) = served(directory.path(), &[]);
        let path = server.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..3 {
            let mut text = String::new();
            UnixStream::connect(&path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text.lines().count(), 1);
            let report: Report = serde_json::from_str(&text).unwrap();
            assert_eq!((report.version, report.pid), (1, std::process::id()));
        }
        // Who goes without reading hurts nobody.
        drop(UnixStream::connect(&path).unwrap());
        server.stop();
        thread.join().unwrap();
        drop(server);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_asks_and_does_not_read_is_let_go() {
        let directory = tempfile::tempdir().unwrap();
        // More than a socket's buffer takes for those who do not read, and less for the one who does, however slowly.
        let (server, thread) = served(directory.path(), &[100, 100, 1]);
        let silent: Vec<UnixStream> = (0..2).map(|_| UnixStream::connect(server.path()).unwrap()).collect();
        let mut bytes = Vec::new();
        UnixStream::connect(server.path()).unwrap().read_to_end(&mut bytes).unwrap();
        let report: Report = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report.nics.len(), 1);
        drop(silent);
        server.stop();
        thread.join().unwrap();
    }

    #[test]
    fn files_of_the_dead_are_removed_and_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        drop(UnixListener::bind(at("999999991.status")).unwrap());
        let _alive = UnixListener::bind(at("999999992.status")).unwrap();
        std::fs::write(at("999999993.status"), "a file").unwrap();
        drop(UnixListener::bind(at("vm0.sock")).unwrap());
        let server = Server::open(&Directory::At(directory.path().into())).unwrap().unwrap();
        assert!(!at("999999991.status").exists());
        assert!(["999999992.status", "999999993.status", "vm0.sock"].iter().all(|name| at(name).exists()));
        drop(server);
    }

    #[test]
    fn a_former_process_of_the_same_number_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("{}{SUFFIX}", std::process::id()));
        drop(UnixListener::bind(&path).unwrap());
        let at = Directory::At(directory.path().into());
        let server = Server::open(&at).unwrap().unwrap();
        let error = Server::open(&at).unwrap_err();
        assert!(error.contains("in use"), "{error}");
        assert!(path.exists());
        drop(server);
    }

    #[test]
    fn only_a_place_that_was_asked_for_must_be_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Server::open(&Directory::At(file.path().join("sub"))).unwrap_err();
        assert!(error.contains("cannot make the status socket"), "{error}");
        assert!(Server::open(&Directory::No).unwrap().is_none());
        assert_eq!("no".parse(), Ok(Directory::No));
        assert_eq!("/run/x".parse(), Ok(Directory::At("/run/x".into())));
    }
}
