//! What a doctor says.

use std::fmt;

use crate::device::Namespace;
use crate::name::InterfaceName;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know. Nothing is wrong.
    Info,
    /// It works, and not as it should: slowly, wastefully, at risk, or not for the next who comes.
    Warning,
    /// It does not work: frames are lost or mangled, or nobody can open it.
    Error,
}

impl Severity {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// What was found, by a name that stays the same from version to version. `docs/doctor.md` explains each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Id {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Id {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

ids! {
    /// The flags of a tap in use are not what a VMM will ask for, and the kernel will not say so.
    FlagsKept = "flags-kept",
    /// An idle tap has no virtio-net header: it was made so, or lost it to whoever opened it last.
    VnetHeaderLost = "vnet-header-lost",
    /// Offloads are on that a former user left, or that nobody can understand without a header.
    StaleOffloads = "stale-offloads",
    /// Nobody uses the tap.
    Leftover = "leftover",
    /// `txqueuelen` is 0, so every frame is dropped.
    RingLengthZero = "txqueuelen-zero",
    /// A classic packet filter keeps queues from being attached.
    ClassicFilter = "classic-filter",
    /// Any user of the host may open the tap.
    NoOwner = "no-owner",
    /// A process has a tap of the same name in another namespace.
    Namesake = "namesake",
    /// Frames are cut off because the reader's buffers are too small.
    ShortReads = "short-reads",
    /// The tap was made without `multi_queue`.
    SingleQueue = "single-queue",
    /// The tap was made with `multi_queue`, and the VMM is to open it without.
    NotSingleQueue = "not-single-queue",
    /// There is no room for the queues that are wanted.
    TooManyQueues = "too-many-queues",
    /// The virtio-net header has an odd length.
    HeaderSize = "header-size",
    /// A queue is read and written with a blocking descriptor.
    BlockingDescriptor = "blocking-descriptor",
    /// A send buffer limit turns off the kernel's fast path.
    SendBuffer = "send-buffer",
    /// A steering program may be left over.
    SteeringProgram = "steering-program",
    /// The qdisc `mq` takes megabytes of kernel memory.
    QdiscMemory = "qdisc-memory",
    /// There is carrier and nobody to read.
    CarrierWithoutReader = "carrier-without-reader",
    /// There is a reader and no carrier.
    ReaderWithoutCarrier = "reader-without-carrier",
    /// A queue is attached, and nobody reads it.
    QueueNotRead = "queue-not-read",
    /// A process that has queues attached is stopped.
    HolderStopped = "holder-stopped",
    /// Several processes have queues of the tap.
    SeveralProcesses = "several-processes",
    /// The device node of a macvtap or ipvtap cannot be used.
    DeviceNode = "device-node",
    /// What a macvtap or ipvtap stands on carries nothing.
    LowerDown = "lower-down",
    /// A queue was opened in another namespace than the one in which the tap is now.
    OpenedElsewhere = "opened-elsewhere",
    /// Some holders could not be looked at.
    HiddenHolders = "hidden-holders",
    /// The tap is in use and down.
    InterfaceDown = "interface-down",
    /// The tap and its bridge have different MTUs.
    BridgeMtu = "bridge-mtu",
    /// The bridge is down.
    BridgeDown = "bridge-down",
    /// It is a tun.
    NotATap = "not-a-tap",
    /// There is no such interface.
    NoSuchInterface = "no-such-interface",
    /// There is no `/dev/net/tun`.
    TunMissing = "tun-missing",
    /// `/dev/net/tun` may not be opened.
    TunPermission = "tun-permission",
    /// This user may not make taps.
    CreatePermission = "create-permission",
    /// The kernel lacks what multiqueue taps need.
    KernelFeatures = "kernel-features",
    /// There is no `/dev/vhost-net`.
    VhostNetMissing = "vhost-net-missing",
    /// `/dev/vhost-net` may not be opened.
    VhostNetPermission = "vhost-net-permission",
    /// io_uring is not there, or is switched off.
    IoUring = "io-uring",
    /// This is a namespace of its own, as in a container.
    OwnNamespace = "own-namespace",
    /// Too few descriptors may be open.
    DescriptorLimit = "descriptor-limit",
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub id: Id,
    /// How bad.
    pub severity: Severity,
    /// On which interface; `None` is the host.
    pub interface: Option<InterfaceName>,
    /// What was found, in a sentence.
    pub summary: String,
    /// Why it is so, and what comes of it.
    pub cause: String,
    /// What to do, where commands do not say it all.
    pub advice: Option<String>,
    /// What to type, in this order. Words in capitals stand for what only the reader knows.
    pub commands: Vec<String>,
}

impl Finding {
    pub(super) fn new(
        id: Id,
        severity: Severity,
        summary: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            id,
            severity,
            interface: None,
            summary: summary.into(),
            cause: cause.into(),
            advice: None,
            commands: Vec::new(),
        }
    }

    pub(super) fn on(mut self, interface: InterfaceName) -> Self {
        self.interface = Some(interface);
        self
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds a command, given by its words.
    pub(super) fn command<T: AsRef<str>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.commands.push(crate::shell::line(words));
        self
    }

    /// Its commands are for what is in this namespace.
    pub(super) fn inside(mut self, namespace: Option<&Namespace>) -> Self {
        self.commands =
            self.commands.into_iter().map(|command| super::commands::inside(namespace, command)).collect();
        self
    }

    pub(super) fn commands(mut self, commands: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.commands.extend(commands.into_iter().map(crate::shell::line));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_in_kebab_case() {
        let mut names: Vec<&str> = Id::ALL.iter().map(|id| id.as_str()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Id::ALL.len());
    }

    #[test]
    fn the_manual_explains_each_id() {
        let manual = include_str!("../../../../docs/doctor.md");
        for id in Id::ALL {
            assert!(manual.contains(&format!("\n### `{id}`\n")), "docs/doctor.md does not explain {id}");
        }
        let explained = manual.lines().filter(|line| line.starts_with("### `")).count();
        assert_eq!(explained, Id::ALL.len(), "docs/doctor.md explains what is not there");
    }
}
