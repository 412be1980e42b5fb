//! The network backend under test: our daemon, or QEMU's own tap backend to check the test itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::netns::Namespace;
use crate::outcome::{Result, fail};
use crate::process::{self, Supervised};
use crate::qemu::Nic;
use crate::{counters, paths};

const PATIENCE: Duration = Duration::from_secs(20);

/// Who moves the frames between guest and tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BackendKind {
    /// `mqtap serve`, over vhost-user.
    Mqtap,
    /// QEMU's `-netdev tap`: shows whether a scenario is fair.
    Qemu,
}

/// One tap to serve.
#[derive(Clone)]
pub(crate) struct TapSpec {
    pub(crate) name: String,
    pub(crate) pairs: u16,
    /// The daemon connects to the frontend instead of listening for it.
    pub(crate) client: bool,
}

impl TapSpec {
    /// `tap<index>` with that many queue pairs.
    pub(crate) fn numbered(index: usize, pairs: u16) -> Self {
        Self { name: format!("tap{index}"), pairs, client: false }
    }
}

/// A backend that runs, its taps up and addressed in the namespace.
pub(crate) struct Backend {
    kind: BackendKind,
    taps: Vec<TapSpec>,
    daemon: Option<Supervised>,
    sockets: Vec<PathBuf>,
}

impl Backend {
    /// Starts it and waits until its taps exist.
    pub(crate) fn start(
        kind: BackendKind,
        namespace: &Namespace,
        logs: &Path,
        taps: &[TapSpec],
    ) -> Result<Self> {
        let sockets: Vec<PathBuf> = taps.iter().map(|tap| logs.join(format!("{}.sock", tap.name))).collect();
        let mut backend = Self { kind, taps: taps.to_vec(), daemon: None, sockets };
        match kind {
            BackendKind::Mqtap => backend.start_daemon(namespace, logs)?,
            BackendKind::Qemu => {
                for tap in taps {
                    // Persistent, so that a second QEMU finds it as it would find a daemon's, and root's, as the daemon's is.
                    let many = if tap.pairs > 1 { "multi_queue" } else { "" };
                    namespace.ip(&format!("tuntap add dev {} mode tap user 0 vnet_hdr {many}", tap.name))?;
                }
            }
        }
        for (index, tap) in taps.iter().enumerate() {
            address(namespace, &tap.name, index)?;
        }
        Ok(backend)
    }

    /// Starts the daemon with a command line as a person types it in bash, which makes `tap0` and this socket.
    pub(crate) fn typed(
        command_line: &str,
        pairs: u16,
        socket: &Path,
        namespace: &Namespace,
        logs: &Path,
    ) -> Result<Self> {
        let tap = TapSpec::numbered(0, pairs);
        let mut command = namespace.command("bash");
        command.args(["-euc", &format!("exec {command_line}")]).env("PATH", path_with_ours()?);
        let mut backend = Self {
            kind: BackendKind::Mqtap,
            taps: vec![tap],
            daemon: None,
            sockets: vec![socket.to_path_buf()],
        };
        backend.await_daemon(&mut command, namespace, logs)?;
        address(namespace, "tap0", 0)?;
        Ok(backend)
    }

    fn start_daemon(&mut self, namespace: &Namespace, logs: &Path) -> Result<()> {
        let mut command = namespace.command(mqtap_binary()?);
        command.arg("serve");
        // As in the tests of the crates.
        let engine = std::env::var("MQTAP_TEST_ENGINE").ok();
        for (index, (tap, socket)) in self.taps.iter().zip(&self.sockets).enumerate() {
            let engine = engine.as_ref().map(|engine| format!(",engine={engine}")).unwrap_or_default();
            command
                .arg("--netdev")
                .arg(format!("tap,id=hn{index},ifname={},queues={}{engine}", tap.name, tap.pairs));
            command.arg("--socket").arg(socket);
        }
        if self.taps.iter().any(|tap| tap.client) {
            command.arg("--client");
        }
        self.await_daemon(&mut command, namespace, logs)
    }

    /// Starts the daemon and waits for what it is to make.
    fn await_daemon(&mut self, command: &mut Command, namespace: &Namespace, logs: &Path) -> Result<()> {
        command.stdin(Stdio::null());
        let mut daemon = Supervised::start(command, "mqtap serve", &logs.join("mqtap.log"))?;
        process::until(PATIENCE, "mqtap serve to create its taps and sockets", || {
            daemon.must_run()?;
            let ready =
                self.sockets.iter().zip(&self.taps).all(|(socket, tap)| tap.client || socket.exists())
                    && self.taps.iter().all(|tap| namespace.has_link(&tap.name));
            Ok(ready.then_some(()))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The vhost-user socket of a tap.
    pub(crate) fn socket(&self, index: usize) -> &Path {
        &self.sockets[index]
    }

    /// The NIC that QEMU must be given for a tap.
    pub(crate) fn nic(&self, index: usize, properties: &str) -> Nic {
        let tap = &self.taps[index];
        let queues = if tap.pairs > 1 { format!(",queues={}", tap.pairs) } else { String::new() };
        let (netdev, chardev) = match self.kind {
            BackendKind::Mqtap => (
                format!("vhost-user{queues}"),
                Some(format!("socket,path={}", self.sockets[index].display())),
            ),
            BackendKind::Qemu => {
                (format!("tap,ifname={},script=no,downscript=no,vhost=off{queues}", tap.name), None)
            }
        };
        Nic { netdev, chardev, pairs: tap.pairs, properties: properties.to_owned() }
    }

    /// The daemon's process; none with QEMU's backend.
    pub(crate) fn pid(&self) -> Result<Option<rustix::process::Pid>> {
        self.daemon.as_ref().map(Supervised::pid).transpose()
    }

    /// The daemon's counters now; none with QEMU's backend, which keeps none.
    pub(crate) fn counters(&mut self) -> Result<Option<counters::Table>> {
        let netdevs = self.taps.len();
        let Some(daemon) = &mut self.daemon else {
            return Ok(None);
        };
        daemon.must_run()?;
        let before = daemon.log().len();
        daemon.signal(Signal::USR1)?;
        process::until(PATIENCE, "mqtap serve to print its counters", || {
            daemon.must_run()?;
            let log = daemon.log();
            Ok(counters::Table::parse(log.get(before..).unwrap_or_default(), netdevs))
        })
        .map(Some)
    }

    /// What the daemon printed.
    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().map(Supervised::log).unwrap_or_default()
    }

    /// An error when the daemon has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Supervised::must_run)
    }

    /// Waits for the daemon to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        self.daemon.as_mut().map_or(Ok(None), |daemon| daemon.wait(limit))
    }

    /// Ends the daemon as a service manager would, and checks that it ends cleanly.
    pub(crate) fn terminate(&mut self) -> Result<Option<ExitStatus>> {
        let Some(daemon) = &mut self.daemon else {
            return Ok(None);
        };
        daemon.must_run()?;
        daemon.signal(Signal::TERM)?;
        match daemon.wait(PATIENCE)? {
            Some(status) => Ok(Some(status)),
            None => fail(format!("mqtap serve did not end within {} s of SIGTERM", PATIENCE.as_secs())),
        }
    }
}

/// Puts the host's addresses on a tap and brings it up.
pub(crate) fn address(namespace: &Namespace, tap: &str, index: usize) -> Result<()> {
    let wire = 77 + index;
    namespace.ip(&format!("address add 10.{wire}.0.1/24 dev {tap}"))?;
    namespace.ip(&format!("-6 address add fd{wire}::1/64 dev {tap} nodad"))?;
    namespace.ip(&format!("link set {tap} up")).map(|_| ())
}

/// `PATH` with the release builds, and with the places that only root's has.
pub(crate) fn path_with_ours() -> Result<OsString> {
    let ours = mqtap_binary()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = ours.parent().map(Path::to_path_buf).into_iter();
    let all = ours.chain(std::env::split_paths(&path)).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    Ok(std::env::join_paths(all)?)
}

/// The release build of the daemon.
pub(crate) fn mqtap_binary() -> Result<PathBuf> {
    release_binary("mqtap")
}

/// The release build of the driver that plays the guest.
pub(crate) fn driver_binary() -> Result<PathBuf> {
    release_binary("mqtap-driver")
}

/// The release build of the benchmark's floors.
pub(crate) fn bench_binary() -> Result<PathBuf> {
    release_binary("mqtap-bench")
}

fn release_binary(name: &str) -> Result<PathBuf> {
    let path = paths::target().join("release").join(name);
    if path.is_file() { Ok(path) } else { fail(format!("{} has not been built", path.display())) }
}

/// Builds the programs that the tasks start, once.
pub(crate) fn build_release(packages: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args(["build", "--release", "--quiet", "--bins"]);
    for package in packages {
        command.args(["--package", package]);
    }
    process::show(&mut command)
}
