//! Who moves the frames: the bare system call, ours with any options, or another's backend.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::model::Side;
use super::procfs;
use super::world::World;
use crate::outcome::{Context as _, Result, fail};
use crate::process::{self, Supervised};
use crate::serve;

const PATIENCE: Duration = Duration::from_secs(20);

/// The tap that frames go through, whoever serves it.
pub(super) const TAP: &str = "tap0";

/// Stands for the driver's CPU in the arguments of a floor.
pub(super) const DRIVER_CPU: &str = "{driver-cpu}";

/// One of those that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare system call of `mqtap-bench`, which plays backend and driver in one; its further arguments.
    Floor(Vec<String>),
    /// `mqtap serve` with these further netdev options (`engine=syscall,…`) and arguments.
    Ours { options: String, arguments: Vec<String> },
    /// A command with `{socket}`, `{tap}`, `{queues}`, `{ring}` and `{cpu}` in it.
    Peer(Peer),
}

/// Somebody else's backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) command: String,
    /// It never sleeps: its CPU time is the time.
    pub(super) polls: bool,
    pub(super) environment: Vec<(String, PathBuf)>,
}

impl Contender {
    pub(super) fn floor(call: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["--call".to_owned(), call.to_owned()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self { name: call.to_owned(), kind: Kind::Floor(all) }
    }

    /// With frames that the driver's CPU makes or looks at, as `option` has it do.
    pub(super) fn floor_across(call: &str, option: &str, arguments: &[&str]) -> Self {
        let floor = Self::floor(call, &[&[option, DRIVER_CPU], arguments].concat());
        Self { name: format!("{call} across CPUs"), ..floor }
    }

    /// With a name that says more.
    pub(super) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(super) fn ours(name: &str, options: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Ours { options: options.to_owned(), arguments: Vec::new() },
        }
    }

    pub(super) fn is_floor(&self) -> bool {
        matches!(self.kind, Kind::Floor(_))
    }

    pub(super) fn side(&self) -> Side {
        match self.kind {
            Kind::Floor(_) => Side::Floor,
            Kind::Ours { .. } => Side::Ours,
            Kind::Peer(_) => Side::Peer,
        }
    }

    /// True when it uses a CPU whether there is work or not.
    pub(super) fn polls(&self) -> bool {
        matches!(&self.kind, Kind::Peer(peer) if peer.polls)
    }
}

/// `NAME=OPTIONS` or `NAME=COMMAND`, as the command line has contenders.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) text: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            Some((name, text)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), text: text.to_owned() })
            }
            _ => Err("expected NAME=…".to_owned()),
        }
    }
}

/// What a backend has to serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) pairs: u16,
    pub(super) ring_size: u16,
    /// Let the workers run on every CPU, each on one of its own, instead of all on one.
    pub(super) spread: bool,
}

/// A backend that runs.
pub(super) struct Backend {
    process: Supervised,
    pub(super) socket: PathBuf,
}

impl Backend {
    /// Starts it and waits until tap and socket are there.
    pub(super) fn start(contender: &Contender, world: &World, logs: &Path, service: Service) -> Result<Self> {
        let socket = logs.join("backend.sock");
        let _ = std::fs::remove_file(&socket);
        let cpus = if service.spread {
            format!("{},{}", world.cpus.backend, world.cpus.driver)
        } else {
            world.cpus.backend.to_string()
        };
        let mut command = match &contender.kind {
            Kind::Floor(_) => return fail(format!("{} is no backend", contender.name)),
            Kind::Ours { options, arguments } => {
                let mut command = world.on(&cpus, serve::mqtap_binary()?);
                let more = if options.is_empty() { String::new() } else { format!(",{options}") };
                command
                    .args(["serve", "--netdev"])
                    .arg(format!("tap,id=hn0,ifname={TAP},queues={}{more}", service.pairs))
                    .arg("--socket")
                    .arg(&socket)
                    .args(["--queue-size", &service.ring_size.max(1024).to_string()])
                    .args(arguments);
                if service.spread {
                    command.args(["--cpus", &cpus]);
                }
                command
            }
            Kind::Peer(peer) => peer_command(peer, world, &cpus, &socket, service),
        };
        // Some end when their input does.
        command.stdin(Stdio::piped());
        let mut process = Supervised::start(&mut command, &contender.name, &logs.join("backend.log"))?;
        process::until(PATIENCE, &format!("{} to make its tap and its socket", contender.name), || {
            process.must_run()?;
            Ok((socket.exists() && world.namespace.has_link(TAP)).then_some(()))
        })?;
        Ok(Self { process, socket })
    }

    pub(super) fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    pub(super) fn pid(&self) -> Result<Pid> {
        self.process.pid()
    }

    /// CPU time of all its threads so far.
    pub(super) fn cpu_ns(&self) -> Result<u64> {
        procfs::cpu_ns(self.pid()?)
    }

    /// Stops it in its tracks, so that work piles up.
    pub(super) fn hold(&self) -> Result<()> {
        let pid = self.pid()?;
        kill_process(pid, Signal::STOP).context(|| "cannot stop the backend".to_owned())?;
        process::until(PATIENCE, "the backend to stop", || Ok(procfs::all_stopped(pid)?.then_some(())))
    }

    /// Lets it go on.
    pub(super) fn release(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::CONT).context(|| "cannot let the backend go on".to_owned())
    }
}

fn peer_command(peer: &Peer, world: &World, cpus: &str, socket: &Path, service: Service) -> Command {
    let text = peer
        .command
        .replace("{socket}", &socket.display().to_string())
        .replace("{tap}", TAP)
        .replace("{queues}", &service.pairs.to_string())
        .replace("{ring}", &service.ring_size.to_string())
        .replace("{cpu}", &world.cpus.backend.to_string());
    let mut command = world.on(cpus, "sh");
    command.args(["-c", &format!("exec {text}")]);
    command.envs(peer.environment.iter().map(|(name, value)| (name, value)));
    command
}
