//! What can go wrong with a device, each in its own words.

mod text;

use std::os::fd::RawFd;
use std::path::PathBuf;

use rustix::io::Errno;
pub(crate) use text::a_kind;
pub(super) use text::{held_by, named_node};
use text::{hint, made_for_user, make_node, owners, reserved};

use super::Namespace;
use crate::fd::InheritError;
use crate::inspect::Kind;
use crate::link::{self, Holder, describe};
use crate::name::{InterfaceName, NameRequest};
use crate::offload::Offloads;
use crate::queue;

/// Why a device could not be opened, adopted or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not on this operating system.
    #[error("tap devices are supported on Linux only")]
    Unsupported,
    /// Not 1 to 256 queues.
    #[error("a tap has 1 to 256 queues, not {0}")]
    QueueCount(usize),
    /// ENOENT.
    #[error(
        "/dev/net/tun does not exist (ENOENT); load the tun module, or in a container pass the device in (--device /dev/net/tun)"
    )]
    TunMissing,
    /// EACCES, EPERM.
    #[error("cannot open /dev/net/tun: {}; give this user read and write permission on it, or pass open queues with fds=", describe(*.errno))]
    TunPermission {
        /// Why.
        errno: Errno,
    },
    /// Anything else about `/dev/net/tun`.
    #[error("cannot use /dev/net/tun: {}", describe(*.errno))]
    TunOpen {
        /// Why.
        errno: Errno,
    },
    /// EMFILE, ENFILE.
    #[error("cannot open /dev/net/tun: {}; each queue is a file descriptor: raise the limit (ulimit -n, LimitNOFILE=), or use fewer queues", describe(*.errno))]
    TooManyFiles {
        /// Why.
        errno: Errno,
    },
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace {path}: {source}")]
    Namespace {
        /// Of the namespace.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The namespace of an open queue could not be entered.
    #[error("the interface is in another network namespace, which cannot be entered: {}; start mqtap in it", describe(*.errno))]
    DeviceNamespace {
        /// Why.
        errno: Errno,
    },
    /// An old kernel.
    #[error("this kernel has no multiqueue taps (no IFF_MULTI_QUEUE; Linux 3.8 brought it); use queues=1")]
    NoMultiQueue,
    /// An old kernel.
    #[error("this kernel has no taps with a virtio-net header (no IFF_VNET_HDR); use vnet_hdr=off")]
    NoVnetHeader,
    /// It was to be made, and is there.
    #[error("cannot make {0}: it exists; choose another name, or delete it with `mqtap delete {0}`")]
    Exists(InterfaceName),
    /// The name belongs to something else.
    #[error(
        "{0} exists and is not a tap; choose another name; a bridge that the tap is to join is said with br="
    )]
    NotATap(InterfaceName),
    /// Several queues of a device that can have one.
    #[error(
        "cannot open {queues} queues of {interface}: it exists and was made without multi_queue; use queues=1, or make it again with multi_queue: `mqtap doctor {interface} --queues {queues}` has the commands"
    )]
    SingleQueue {
        /// The device.
        interface: InterfaceName,
        /// Queues that were asked for.
        queues: u16,
    },
    /// Somebody else has queues, and the device was wanted for us alone.
    #[error(
        "{interface} is in use ({queues} queues are open), and it was to be used exclusively{}",
        held_by(holders)
    )]
    InUse {
        /// The device.
        interface: InterfaceName,
        /// Queues that are open.
        queues: u32,
        /// Who has them, as far as it can be seen.
        holders: Vec<Holder>,
    },
    /// EBUSY.
    #[error(
        "cannot open a queue of {interface}: EBUSY: a device without multi_queue has one queue, and it is open already{}",
        held_by(holders)
    )]
    Busy {
        /// The device.
        interface: NameRequest,
        /// Who has it, as far as it can be seen.
        holders: Vec<Holder>,
    },
    /// E2BIG.
    #[error(
        "cannot open queue {queue} of {interface}: E2BIG: the kernel allows 256 queues on a device, and others have some of them{}",
        held_by(holders)
    )]
    TooManyQueues {
        /// The device.
        interface: InterfaceName,
        /// The queue that was one too many.
        queue: u16,
        /// Who has queues, as far as it can be seen.
        holders: Vec<Holder>,
    },
    /// EPERM on a new device.
    #[error(
        "cannot make {name}: EPERM: this needs CAP_NET_ADMIN; or have an administrator make {}",
        made_for_user(*.name, *.multi_queue, *.vnet_header, .namespace.as_ref())
    )]
    CreatePermission {
        /// How it was to be called.
        name: NameRequest,
        /// Whether it was to have room for several queues.
        multi_queue: bool,
        /// Whether it was to have a virtio-net header.
        vnet_header: bool,
        /// Where, if not in the caller's network namespace.
        namespace: Option<Namespace>,
    },
    /// EPERM on an existing device.
    #[error("cannot open a queue of {interface}: EPERM: {}, and this process has no CAP_NET_ADMIN there", owners(*.owner, *.group))]
    OwnerPermission {
        /// The device.
        interface: InterfaceName,
        /// Its owner.
        owner: Option<u32>,
        /// Its group.
        group: Option<u32>,
    },
    /// Any other refusal of `TUNSETIFF`.
    #[error(
        "cannot open queue {queue} of {interface} (TUNSETIFF): {}{}",
        describe(*.errno), reserved(*.interface, *.errno)
    )]
    Open {
        /// The device.
        interface: NameRequest,
        /// The queue.
        queue: u16,
        /// Why.
        errno: Errno,
    },
    /// The kernel kept other flags than those asked for, without a word.
    #[error(
        "{interface} was opened, but the kernel kept its {flag} {state}: another process set it so and has it open{}",
        held_by(holders)
    )]
    FlagKept {
        /// The device.
        interface: InterfaceName,
        /// The flag.
        flag: &'static str,
        /// `on` or `off`.
        state: &'static str,
        /// Who has queues, as far as it can be seen.
        holders: Vec<Holder>,
    },
    /// The device was deleted or renamed between two queues.
    #[error("{0} was deleted or renamed while its queues were opened; try again")]
    Changed(InterfaceName),
    /// Somebody opened a new device in the moment before its owner was said, and made it his.
    #[error(
        "another user took {interface} while it was made ({}); see who tries, and try again",
        owners(*.owner, *.group)
    )]
    Taken {
        /// The device.
        interface: InterfaceName,
        /// Its owner now.
        owner: Option<u32>,
        /// Its group now.
        group: Option<u32>,
    },
    /// EBADFD; ENOLINK for a macvtap or ipvtap.
    #[error("cannot {what} of {interface}: {}: the interface was deleted; make it again and reopen it", queue::gone(*.errno))]
    DeviceGone {
        /// What was attempted.
        what: &'static str,
        /// The device.
        interface: InterfaceName,
        /// How the kernel said it.
        errno: Errno,
    },
    /// The device node of a macvtap or ipvtap is not there.
    #[error(
        "cannot open a queue of {interface}: it is {}, and {}, by which its queues are opened, does not exist; in a container pass it in (--device {}), or make it: `{}`",
        a_kind(*.kind), .node.display(), .node.display(), make_node(*.interface, *.index, .node, *.number)
    )]
    NodeMissing {
        /// The device.
        interface: InterfaceName,
        /// Which of the two.
        kind: Kind,
        /// The node.
        node: PathBuf,
        /// The device's index.
        index: u32,
        /// The node's major and minor number, if they are known.
        number: Option<(u32, u32)>,
    },
    /// EACCES, EPERM.
    #[error(
        "cannot open {}, the device node of {interface}: {}; give this user read and write permission on it (a udev rule for SUBSYSTEM==\"{}\" keeps it), and a container or unit with a list of devices this device as well (--device, DeviceAllow=)",
        .node.display(), describe(*.errno), .kind.as_str()
    )]
    NodePermission {
        /// The device.
        interface: InterfaceName,
        /// Which of the two.
        kind: Kind,
        /// The node.
        node: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The node is of something else.
    #[error(
        "cannot open a queue of {interface}: {} is not its device node but that of something else, such as an interface with the same number in another network namespace; make one with its name: `{}`",
        .node.display(), make_node(*.interface, *.index, &named_node(*.interface), *.number)
    )]
    NodeOfAnother {
        /// The device.
        interface: InterfaceName,
        /// The node.
        node: PathBuf,
        /// The device's index.
        index: u32,
        /// The right node's major and minor number, if they are known.
        number: Option<(u32, u32)>,
    },
    /// Something that makes no sense for a macvtap or ipvtap.
    #[error("{what} makes no sense for {interface}, which is {}: {why}", a_kind(*.kind))]
    MacvtapOption {
        /// The device.
        interface: InterfaceName,
        /// Which of the two.
        kind: Kind,
        /// What was asked for.
        what: &'static str,
        /// Why it makes no sense.
        why: &'static str,
    },
    /// A setting was refused.
    #[error("cannot {what} of {interface}: {}{}", describe(*.errno), hint(what, *.errno))]
    Setting {
        /// What was attempted.
        what: &'static str,
        /// The device.
        interface: InterfaceName,
        /// Why.
        errno: Errno,
    },
    /// Offloads would come without the header that describes them.
    #[error(
        "{interface} has no virtio-net header, so it cannot have the offloads {offloads}; open it with vnet_hdr=on"
    )]
    OffloadsWithoutHeader {
        /// The device.
        interface: InterfaceName,
        /// What was asked for.
        offloads: Offloads,
    },
    /// A number that names no usable descriptor.
    #[error(transparent)]
    Inherit {
        /// Why.
        #[from]
        source: InheritError,
    },
    /// The same number twice.
    #[error("file descriptor {0} is given twice; each queue has its own")]
    FdTwice(RawFd),
    /// Two numbers, one open file.
    #[error(
        "file descriptors {0} and {1} are the same queue (one was made from the other by dup); each queue is opened on its own"
    )]
    SameQueue(RawFd, RawFd),
    /// Not `/dev/net/tun`.
    #[error(
        "file descriptor {0} is not a tap queue; it must be an open /dev/net/tun on which TUNSETIFF was done, or the open /dev/tapN of a macvtap or ipvtap"
    )]
    NotATapFd(RawFd),
    /// No device behind it.
    #[error(
        "file descriptor {0} is a queue without a device (EBADFD, ENOLINK): its interface was deleted, or TUNSETIFF was not done on it"
    )]
    NoDevice(RawFd),
    /// A tun, or a tap with a packet information header.
    #[error("file descriptor {fd} ({interface}) {problem}")]
    FdFlags {
        /// The number.
        fd: RawFd,
        /// Its interface.
        interface: InterfaceName,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A macvtap or ipvtap that is not found.
    #[error(
        "file descriptor {fd} is a queue of {interface}, which is not in this network namespace; start mqtap in that of {interface} (`ip netns exec`, nsenter --net)"
    )]
    NotHere {
        /// The number.
        fd: RawFd,
        /// Its interface.
        interface: InterfaceName,
    },
    /// Queues of two devices (which can have one name, in two namespaces).
    #[error(
        "file descriptors {first_fd} ({first}) and {fd} ({other}) belong to different devices; all queues of a netdev are one device's"
    )]
    OtherDevice {
        /// A number.
        first_fd: RawFd,
        /// Its interface.
        first: InterfaceName,
        /// Another number.
        fd: RawFd,
        /// Its interface.
        other: InterfaceName,
    },
    /// A queue.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The link.
    #[error(transparent)]
    Link(#[from] link::Error),
}

impl Error {
    /// What to type to have the device node of a macvtap or ipvtap, if that is what is missing.
    pub(super) fn make_node(&self) -> Option<String> {
        match self {
            Self::NodeMissing { interface, index, node, number, .. } => {
                Some(make_node(*interface, *index, node, *number))
            }
            Self::NodeOfAnother { interface, index, number, .. } => {
                Some(make_node(*interface, *index, &named_node(*interface), *number))
            }
            _ => None,
        }
    }

    pub(crate) fn from_open(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NXIO | Errno::NODEV => Self::TunMissing,
            Errno::ACCESS | Errno::PERM => Self::TunPermission { errno },
            Errno::MFILE | Errno::NFILE => Self::TooManyFiles { errno },
            errno => Self::TunOpen { errno },
        }
    }
}
