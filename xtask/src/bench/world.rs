//! A namespace of its own for each run, and where the frames of the tap go.

use std::process::Command;
use std::time::Duration;

use rustix::process::Pid;

use super::procfs;
use crate::netns::Namespace;
use crate::outcome::{Result, fail};

const QUICK: Duration = Duration::from_secs(20);

/// The Ethernet address that the tap is given.
pub(super) const TAP_MAC: &str = "02:00:00:00:00:01";
/// An Ethernet address that is nobody's here.
pub(super) const OTHER_MAC: &str = "02:00:00:00:00:99";
/// Frames that a tap queue holds, so that a whole round fits.
pub(super) const QUEUE_LENGTH: u64 = 20_000;

/// Where the kernel takes the frames that come out of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// They are for somebody else: the IP layer drops them at once.
    Drop,
    /// A UDP socket takes them.
    Socket,
    /// A bridge forwards them to a veth, behind which IP drops them.
    Bridge,
    /// The IP layer forwards them to a veth, behind which IP drops them.
    Routed,
    /// A bridge forwards them to another tap, where they are read back and checked.
    Checked,
}

impl Sink {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Drop => "dropped by IP (foreign MAC)",
            Self::Socket => "local UDP socket",
            Self::Bridge => "bridge to a veth",
            Self::Routed => "routed to a veth",
            Self::Checked => "bridge to a tap that checks them",
        }
    }

    /// What the frames have to say to get there, as part of their shape.
    pub(super) const fn address(self) -> &'static str {
        match self {
            Self::Drop | Self::Bridge | Self::Checked => ",mac=02:00:00:00:00:99",
            Self::Socket => ",mac=02:00:00:00:00:01,to=10.77.0.1:9",
            Self::Routed => ",mac=02:00:00:00:00:01,to=10.78.0.2:9",
        }
    }
}

/// Which CPU does what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    /// Driver, injector, sink.
    pub(super) driver: usize,
    /// Backend, or what is measured in its place.
    pub(super) backend: usize,
    /// The kernel's thread for what it puts off on the backend's CPU.
    put_off: Option<Pid>,
}

impl Cpus {
    /// The first two that we may use; the same one twice if there is no second.
    pub(super) fn choose() -> Result<Self> {
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let mut usable = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        match (usable.next(), usable.next()) {
            (Some(driver), backend) => {
                let backend = backend.unwrap_or(driver);
                Ok(Self { driver, backend, put_off: procfs::softirq_thread(backend) })
            }
            (None, _) => fail("no CPU may be used"),
        }
    }
}

pub(super) struct World {
    pub(super) namespace: Namespace,
    pub(super) cpus: Cpus,
}

impl World {
    pub(super) fn new(cpus: Cpus) -> Result<Self> {
        let namespace = Namespace::new()?;
        // Nothing on the taps but what we put there.
        namespace.shell(
            "for c in all default; do echo 1 > /proc/sys/net/ipv6/conf/$c/disable_ipv6; done 2> /dev/null || true",
            QUICK,
        )?;
        Ok(Self { namespace, cpus })
    }

    /// A command on the CPU of the driver.
    pub(super) fn on_driver_cpu(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.on(&self.cpus.driver.to_string(), program)
    }

    /// A command on the CPU of the backend.
    pub(super) fn on_backend_cpu(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.on(&self.cpus.backend.to_string(), program)
    }

    /// A command on some CPUs.
    pub(super) fn on(&self, cpus: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.namespace.command("taskset");
        command.args(["-c", cpus]).arg(program);
        command
    }

    /// CPU time of what the kernel put off on the backend's CPU: the frames that it could not take on at once.
    pub(super) fn put_off_ns(&self) -> u64 {
        self.cpus.put_off.and_then(|pid| procfs::cpu_ns(pid).ok()).unwrap_or(0)
    }

    fn script(&self, script: &str) -> Result<()> {
        self.namespace.shell(&format!("set -e; {script}"), QUICK).map(|_| ())
    }

    /// Brings the tap up with its frames going to `sink`.
    pub(super) fn lead_to(&self, tap: &str, sink: Sink) -> Result<()> {
        let up = format!("ip link set {tap} up");
        let bridge = "ip link add br0 type bridge; ip link set br0 up";
        let veth = "ip link add end0 type veth peer name end1; ip link set end0 up; ip link set end1 up";
        match sink {
            Sink::Drop => self.script(&up),
            Sink::Socket => self.script(&format!(
                "ip link set {tap} address {TAP_MAC}; ip address add 10.77.0.1/24 dev {tap}; {up}"
            )),
            Sink::Bridge => self.script(&format!(
                "{bridge}; {veth}; ip link set end0 master br0; ip link set {tap} master br0; {up}; bridge fdb add {OTHER_MAC} dev end0 master static"
            )),
            Sink::Routed => self.script(&format!(
                "ip link set {tap} address {TAP_MAC}; ip address add 10.77.0.1/24 dev {tap}; {up}; \
                 {veth}; ip address add 10.78.0.1/24 dev end0; \
                 ip neighbour add 10.78.0.2 lladdr {OTHER_MAC} dev end0; echo 1 > /proc/sys/net/ipv4/ip_forward"
            )),
            // The tap at the end has to be there first: see `check`.
            Sink::Checked => Ok(()),
        }
    }

    /// Forwards what comes out of tap `from` to tap `to`, which can hold a whole round of them.
    pub(super) fn bridge(&self, from: &str, to: &str) -> Result<()> {
        self.script(&format!(
            "ip link add br0 type bridge; ip link set br0 up; ip link set {from} master br0; \
             ip link set {to} master br0; ip link set {to} txqueuelen {QUEUE_LENGTH}; \
             ip link set {from} up; ip link set {to} up; \
             tc qdisc replace dev {to} root noqueue; bridge fdb add {OTHER_MAC} dev {to} master static"
        ))
    }
}
