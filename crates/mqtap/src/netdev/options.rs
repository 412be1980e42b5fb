//! What `-netdev tap,…` says, as plain data.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::OptionsError;
use crate::{Account, InterfaceName, MacAddress, NameRequest, Namespace};

/// The most queues a tap device can have (`MAX_TAP_QUEUES` in the kernel's `drivers/net/tun.c`).
pub const MAX_QUEUES: u32 = 256;

/// The largest send buffer the kernel takes (`TUNSETSNDBUF` reads a C `int`), in bytes. It is also the kernel's default and means no limit.
pub const MAX_SEND_BUFFER: u64 = i32::MAX as u64;

/// Everything `-netdev tap,…` can say. See the [module](super) for the syntax and what each option means.
///
/// A field that is `None` was not given, which is not always the same as its default: QEMU and this crate decide which options exclude each
/// other by what was given, so `queues=1,fd=3` is refused.
///
/// Any combination can be written into the fields; [`validate`](Self::validate) says whether it makes sense, and
/// [`Netdev::open`](super::Netdev::open) asks it first.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `id`: what the netdev is called in messages and counters, and by the VMM.
    pub id: Id,
    /// `ifname`: the interface to create or attach to. [`NameRequest::KernelChoice`] if it was not given.
    pub ifname: NameRequest,
    /// `fd`: the number of one inherited tap file descriptor.
    pub fd: Option<i32>,
    /// `fds`: the numbers of inherited tap file descriptors, queue 0 first.
    pub fds: Option<Vec<i32>>,
    /// `queues`: how many queues to open, 1 to [`MAX_QUEUES`]. `None` is 1.
    pub queues: Option<u32>,
    /// `script`: what to run when the interface has been opened.
    pub script: Option<Script>,
    /// `downscript`: what to run before the interface is closed.
    pub downscript: Option<Script>,
    /// `br`: the bridge to put the interface on; with `helper`, which then does it. A helper without it is told `br0`.
    pub br: Option<InterfaceName>,
    /// `helper`: a program that opens one tap queue for us and passes it back. Run by a shell if it contains a blank, as in QEMU.
    /// `mqtap` is our own, which passes as many as `queues` says.
    pub helper: Option<String>,
    /// `sndbuf`: bytes the interface may hold on the way from guest to kernel, up to [`MAX_SEND_BUFFER`]; 0 is no limit. `None` leaves the
    /// setting alone.
    pub sndbuf: Option<u64>,
    /// `vnet_hdr`: whether each frame carries a virtio header, which offloads need. `None` uses it if the kernel has it.
    pub vnet_hdr: Option<bool>,
    /// `vhost`: whether the kernel's vhost-net moves the frames. `None` follows the other vhost options; see [`Options::vhost_mode`].
    pub vhost: Option<VhostMode>,
    /// `vhostfd`: the number of one inherited `/dev/vhost-net` file descriptor.
    pub vhostfd: Option<i32>,
    /// `vhostfds`: the numbers of inherited `/dev/vhost-net` file descriptors, one for each queue.
    pub vhostfds: Option<Vec<i32>>,
    /// `vhostforce`: in today's QEMU another way to say `vhost=on`.
    pub vhostforce: Option<bool>,
    /// `poll-us`: how long whoever moves the frames (vhost-net, or a worker of `mqtap serve`) looks for more of them, busily, before it
    /// sleeps, in microseconds.
    pub poll_us: Option<u32>,
    /// `carrier`: when the interface shows a carrier (link). Not in QEMU.
    pub carrier: CarrierMode,
    /// `exclusive`: refuse an interface on which somebody else has a queue. Not in QEMU.
    pub exclusive: bool,
    /// `qdisc`: the queueing discipline of an interface that is created. Not in QEMU.
    pub qdisc: Qdisc,
    /// `netns`: the network namespace that the interface is in, or is to be in. Not in QEMU.
    pub netns: Option<Namespace>,
    /// `persist`: whether an interface that is created stays when the netdev ends. Not in QEMU.
    pub persist: Option<bool>,
    /// `user`: who may open an interface that is created. Without it and `group`, the user who creates it. Not in QEMU.
    pub user: Option<Account>,
    /// `group`: whose members may open an interface that is created. Together with `user` it narrows: both must match. Not in
    /// QEMU.
    pub group: Option<Account>,
    /// `mac`: the address of an interface that is created: the host's end, not the guest's. Not in QEMU.
    pub mac: Option<MacAddress>,
    /// `mtu`: the MTU of an interface that is created, in bytes. Not in QEMU.
    pub mtu: Option<u32>,
    /// `engine`: how `mqtap serve` writes bursts of frames to the interface. Not in QEMU.
    pub engine: Engine,
    /// `segment`: whether `mqtap serve` takes super-frames apart that the guest's driver does not take, or has the kernel do so before it gives
    /// them. Not in QEMU.
    pub segment: bool,
    /// `coalesce`: whether `mqtap serve` makes one frame for the interface of several of a flow. Not in QEMU.
    pub coalesce: Coalesce,
}

impl Options {
    /// A netdev with this id and nothing else: one queue of an interface the kernel names.
    pub fn new(id: Id) -> Self {
        Self {
            id,
            ifname: NameRequest::KernelChoice,
            fd: None,
            fds: None,
            queues: None,
            script: None,
            downscript: None,
            br: None,
            helper: None,
            sndbuf: None,
            vnet_hdr: None,
            vhost: None,
            vhostfd: None,
            vhostfds: None,
            vhostforce: None,
            poll_us: None,
            carrier: CarrierMode::default(),
            exclusive: false,
            qdisc: Qdisc::default(),
            netns: None,
            persist: None,
            user: None,
            group: None,
            mac: None,
            mtu: None,
            engine: Engine::default(),
            segment: true,
            coalesce: Coalesce::default(),
        }
    }

    /// How many queues the netdev will have: as many as `queues` says or `fds` lists, else one.
    pub fn queue_count(&self) -> usize {
        match (&self.fds, self.queues) {
            (Some(fds), _) => fds.len(),
            (None, Some(queues)) => usize::try_from(queues).unwrap_or(usize::MAX),
            (None, None) => 1,
        }
    }

    /// Whether opening it runs somebody's program, a script or a helper, which may take its time.
    pub fn runs_programs(&self) -> bool {
        matches!(self.script, Some(Script::Program(_))) || self.helper.is_some()
    }

    /// Whether the queues come from our own helper, `mqtap helper`.
    pub fn uses_own_helper(&self) -> bool {
        self.helper.as_deref() == Some("mqtap")
    }

    /// The queues that are open already, by number: those of `fd` or `fds`.
    pub(super) fn tap_fds(&self) -> Option<&[i32]> {
        self.fds.as_deref().or(self.fd.as_ref().map(std::slice::from_ref))
    }

    /// Whether vhost-net is asked for: `vhost` if given, else on when `vhostforce=on` or vhost file descriptors are given, as in QEMU.
    pub fn vhost_mode(&self) -> VhostMode {
        let asked = self.vhostforce == Some(true) || self.vhostfd.is_some() || self.vhostfds.is_some();
        self.vhost.unwrap_or(if asked { VhostMode::On } else { VhostMode::Off })
    }

    /// Whether vhost-net is asked for, as a must or as a wish.
    pub fn wants_vhost(&self) -> bool {
        self.vhost_mode() != VhostMode::Off
    }

    /// The vhost-net handles that are open already.
    pub(super) fn vhost_fds(&self) -> Option<&[i32]> {
        match &self.vhostfd {
            Some(fd) => Some(std::slice::from_ref(fd)),
            None => self.vhostfds.as_deref(),
        }
    }
}

/// The name of a netdev: a letter, then letters, digits, `-`, `.` and `_`, all ASCII. QEMU has the same rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// Checks and wraps a name.
    ///
    /// # Errors
    ///
    /// [`OptionsError::InvalidId`] if it is not of that form.
    pub fn new(name: impl Into<String>) -> Result<Self, OptionsError> {
        let name = name.into();
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if well_formed { Ok(Self(name)) } else { Err(OptionsError::InvalidId { id: name }) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Id {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        Self::new(name)
    }
}

/// The value of `script` and `downscript`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// `no`: nothing is run.
    None,
    /// A program, run with the interface's name as its argument. It is not searched for in `PATH`.
    Program(PathBuf),
}

/// Whether the kernel's vhost-net moves the frames.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VhostMode {
    /// `off`: the frames are moved in user space.
    Off,
    /// `on`: it must.
    On,
    /// `try`: it does if it can, and otherwise the frames are moved in user space. Not in QEMU.
    Try,
}

impl VhostMode {
    pub(super) const CHOICES: &'static [&'static str] = &["on", "off", "try"];
}

/// When the interface shows a carrier (link) to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CarrierMode {
    /// `guest`: while a guest's driver is up. A netdev opened with its queues attached has its guest, so it has a carrier.
    #[default]
    Guest,
    /// `on`: as long as the kernel lets it.
    On,
    /// `off`: not until somebody switches it on.
    Off,
}

impl CarrierMode {
    pub(super) const CHOICES: &'static [&'static str] = &["guest", "on", "off"];

    /// The value as written in the option string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The queueing discipline of an interface that is created; one that exists keeps what it has.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Qdisc {
    /// `noqueue`: frames go straight to the tap's rings.
    #[default]
    Noqueue,
    /// `mq`: what the kernel would set up, with one queue for each of the 256 a multiqueue tap may have (about 6 MiB of kernel memory).
    Mq,
}

impl Qdisc {
    pub(super) const CHOICES: &'static [&'static str] = &["noqueue", "mq"];

    /// The value as written in the option string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Noqueue => "noqueue",
            Self::Mq => "mq",
        }
    }
}

/// How bursts of frames are written to the interface by whoever serves the netdev.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `auto`: with io_uring if the system allows it.
    #[default]
    Auto,
    /// `syscall`: one system call for each frame.
    Syscall,
    /// `io_uring`: with io_uring, or not at all.
    IoUring,
}

impl Engine {
    pub(super) const CHOICES: &'static [&'static str] = &["auto", "syscall", "io_uring"];

    /// The value as written in the option string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Syscall => "syscall",
            Self::IoUring => "io_uring",
        }
    }
}

/// Whether whoever serves the netdev makes one frame for the interface of several that follow each other in a flow, for
/// the kernel to segment again where that is needed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coalesce {
    /// `auto`: while there are such frames.
    #[default]
    Auto,
    /// `on`: all frames are looked at.
    On,
    /// `off`: frames go to the interface as they are.
    Off,
}

impl Coalesce {
    pub(super) const CHOICES: &'static [&'static str] = &["auto", "on", "off"];

    /// The value as written in the option string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
