//! Every error that opening, making and serving a tap can end with is known to `mqtap doctor --explain`.

use std::path::PathBuf;

use rustix::io::Errno;

use super::explain;
use crate::account::AccountError;
use crate::fd::InheritError;
use crate::helper::acl;
use crate::inspect::Kind;
use crate::mac::MacAddress;
use crate::name::{InterfaceName, NameRequest};
use crate::netdev::{self, HelperError, Options, OptionsError};
use crate::offload::Offloads;
use crate::program::RunError;
use crate::{bridge, create, device, helper, link, queue, vhost_net};

/// What values of an error say, one for each variant. A variant without one does not compile.
macro_rules! texts {
    ($error:ty { $($variant:pat => $value:expr),* $(,)? }) => {{
        fn is_there(error: &$error) {
            match error {
                $($variant => {})*
            }
        }
        let mut texts: Vec<String> = Vec::new();
        $({
            let error: $error = $value;
            is_there(&error);
            assert!(matches!(error, $variant), "{error} is listed for another variant");
            texts.push(error.to_string());
        })*
        texts
    }};
}

/// One that is no more than a number, and that nothing is known of: the text has to do.
const OTHER: Errno = Errno::XFULL;

fn tap0() -> InterfaceName {
    "tap0".parse().unwrap()
}

fn br0() -> InterfaceName {
    "br0".parse().unwrap()
}

fn node() -> PathBuf {
    "/dev/tap5".into()
}

fn io_error() -> std::io::Error {
    OTHER.into()
}

#[track_caller]
fn all_explained(texts: &[String]) {
    for text in texts {
        assert!(!explain(text).is_empty(), "nothing is known of: {text}");
    }
}

/// Without the errno, which is whatever the kernel says.
#[track_caller]
fn explained_but_for_the_errno(texts: &[String]) {
    for text in texts {
        let known = text.replace(&link::describe(OTHER), &link::describe(Errno::INVAL));
        assert!(!explain(&known).is_empty(), "nothing is known of: {text}");
    }
}

#[test]
fn errors_of_a_device_are_explained() {
    use device::Error;
    let texts = texts!(Error {
        Error::Unsupported => Error::Unsupported,
        Error::QueueCount(_) => Error::QueueCount(300),
        Error::TunMissing => Error::TunMissing,
        Error::TunPermission { .. } => Error::TunPermission { errno: Errno::ACCESS },
        Error::TunOpen { .. } => Error::TunOpen { errno: OTHER },
        Error::TooManyFiles { .. } => Error::TooManyFiles { errno: Errno::MFILE },
        Error::Namespace { .. } => Error::Namespace { path: "/run/netns/x".into(), source: io_error() },
        Error::DeviceNamespace { .. } => Error::DeviceNamespace { errno: OTHER },
        Error::NoMultiQueue => Error::NoMultiQueue,
        Error::NoVnetHeader => Error::NoVnetHeader,
        Error::Exists(_) => Error::Exists(tap0()),
        Error::NotATap(_) => Error::NotATap(tap0()),
        Error::SingleQueue { .. } => Error::SingleQueue { interface: tap0(), queues: 4 },
        Error::InUse { .. } => Error::InUse { interface: tap0(), queues: 2, holders: Vec::new() },
        Error::Busy { .. } => Error::Busy { interface: NameRequest::Exact(tap0()), holders: Vec::new() },
        Error::TooManyQueues { .. } => Error::TooManyQueues { interface: tap0(), queue: 256, holders: Vec::new() },
        Error::CreatePermission { .. } => Error::CreatePermission {
            name: NameRequest::KernelChoice, multi_queue: true, vnet_header: true, namespace: None
        },
        Error::OwnerPermission { .. } => Error::OwnerPermission { interface: tap0(), owner: Some(7), group: None },
        Error::Open { .. } => Error::Open { interface: NameRequest::KernelChoice, queue: 0, errno: OTHER },
        Error::FlagKept { .. } => {
            Error::FlagKept { interface: tap0(), flag: "vnet_hdr", state: "off", holders: Vec::new() }
        },
        Error::Changed(_) => Error::Changed(tap0()),
        Error::Taken { .. } => Error::Taken { interface: tap0(), owner: Some(7), group: None },
        Error::DeviceGone { .. } => Error::DeviceGone { what: "x", interface: tap0(), errno: Errno::NOLINK },
        Error::NodeMissing { .. } => {
            Error::NodeMissing { interface: tap0(), kind: Kind::Macvtap, node: node(), index: 5, number: None }
        },
        Error::NodePermission { .. } => {
            Error::NodePermission { interface: tap0(), kind: Kind::Ipvtap, node: node(), errno: OTHER }
        },
        Error::NodeOfAnother { .. } => {
            Error::NodeOfAnother { interface: tap0(), node: node(), index: 5, number: None }
        },
        Error::MacvtapOption { .. } => {
            Error::MacvtapOption { interface: tap0(), kind: Kind::Macvtap, what: "persist=", why: "it stays" }
        },
        Error::Setting { .. } => Error::Setting { what: "set the owner", interface: tap0(), errno: OTHER },
        Error::OffloadsWithoutHeader { .. } => {
            Error::OffloadsWithoutHeader { interface: tap0(), offloads: Offloads::CSUM }
        },
        Error::Inherit { .. } => Error::Inherit { source: InheritError::NotOpen(5) },
        Error::FdTwice(_) => Error::FdTwice(5),
        Error::SameQueue(..) => Error::SameQueue(5, 6),
        Error::NotATapFd(_) => Error::NotATapFd(5),
        Error::NoDevice(_) => Error::NoDevice(5),
        Error::FdFlags { .. } => {
            Error::FdFlags { fd: 5, interface: tap0(), problem: "has another IFF_VNET_HDR than the first one" }
        },
        Error::NotHere { .. } => Error::NotHere { fd: 5, interface: tap0() },
        Error::OtherDevice { .. } => Error::OtherDevice { first_fd: 5, first: tap0(), fd: 6, other: tap0() },
        Error::Queue(_) => Error::Queue(queue::Error::NotAttached { queue: 1, interface: tap0() }),
        Error::Link(_) => Error::Link(link::Error::NotFound("tap0".to_owned())),
    });
    explained_but_for_the_errno(&texts);
}

#[test]
fn errors_of_queues_links_and_descriptors_are_explained() {
    explained_but_for_the_errno(&texts!(queue::Error {
        queue::Error::DeviceGone { .. } => queue::Error::DeviceGone {
            what: "attach", queue: 1, interface: tap0(), errno: Errno::BADFD
        },
        queue::Error::NotAttached { .. } => queue::Error::NotAttached { queue: 1, interface: tap0() },
        queue::Error::Refused { .. } => queue::Error::Refused {
            what: "attach", queue: 1, interface: tap0(), errno: OTHER
        },
    }));
    explained_but_for_the_errno(&texts!(link::Error {
        link::Error::Unsupported => link::Error::Unsupported,
        link::Error::Socket(_) => link::Error::Socket(io_error()),
        link::Error::NotFound(_) => link::Error::NotFound("tap0".to_owned()),
        link::Error::Refused { .. } => link::Error::Refused {
            what: "set the MTU", interface: "tap0".to_owned(), errno: OTHER
        },
        link::Error::Answer(_) => link::Error::Answer("tap0".to_owned()),
    }));
    explained_but_for_the_errno(&texts!(InheritError {
        InheritError::Standard(_) => InheritError::Standard(1),
        InheritError::Negative(_) => InheritError::Negative(-1),
        InheritError::NotOpen(_) => InheritError::NotOpen(5),
        InheritError::CloseOnExec(_) => InheritError::CloseOnExec(5),
        InheritError::Taken(_) => InheritError::Taken(5),
        InheritError::Prepare { .. } => InheritError::Prepare { fd: 5, errno: OTHER },
    }));
}

#[test]
fn errors_of_making_a_tap_are_explained() {
    use create::Error;
    all_explained(&texts!(Error {
        Error::Different { .. } => Error::Different { interface: tap0(), differences: create::Differences::default() },
        Error::NotFound { .. } => Error::NotFound { interface: tap0() },
        Error::Tun { .. } => Error::Tun { interface: tap0() },
        Error::NotATap { .. } => Error::NotATap { interface: tap0(), kind: Some("bridge".to_owned()) },
        Error::KeptNotATap { .. } => Error::KeptNotATap { interface: tap0(), kind: Some("macvtap".to_owned()) },
        Error::TunPermission { .. } => Error::TunPermission { errno: Errno::PERM },
        Error::NotAStation(_) => Error::NotAStation(MacAddress::new([1; 6]).station().unwrap_err()),
        Error::NewEachTime(_) => Error::NewEachTime(NameRequest::KernelChoice),
        Error::MqNeedsMultiQueue => Error::MqNeedsMultiQueue,
        Error::Bridge(_) => Error::Bridge(bridge::Error::Permission { bridge: br0(), interface: tap0() }),
        Error::Device(_) => Error::Device(device::Error::Exists(tap0())),
        Error::Link(_) => Error::Link(link::Error::NotFound("tap0".to_owned())),
    }));
    // Of no kind that has a name.
    all_explained(&[
        Error::NotATap { interface: tap0(), kind: None }.to_string(),
        Error::KeptNotATap { interface: tap0(), kind: None }.to_string(),
    ]);
    use bridge::Error as Bridge;
    let (bridge, interface) = (br0(), tap0());
    all_explained(&texts!(Bridge {
        Bridge::NotFound { .. } => Bridge::NotFound { bridge: br0(), interface: tap0(), elsewhere: Vec::new() },
        Bridge::OtherName { .. } => Bridge::OtherName { bridge: br0(), interface: tap0(), name: br0() },
        Bridge::NotABridge { .. } => Bridge::NotABridge { bridge: br0(), interface: tap0(), kind: None },
        Bridge::OtherMaster { .. } => {
            Bridge::OtherMaster { bridge: br0(), interface: tap0(), master: "br1".to_owned() }
        },
        Bridge::Permission { .. } => Bridge::Permission { bridge: br0(), interface: tap0() },
        Bridge::Link { .. } => {
            Bridge::Link { bridge: br0(), interface: tap0(), source: link::Error::Answer("x".to_owned()) }
        },
    }));
    // As it is seen in part.
    let text = Bridge::NotFound { bridge, interface, elsewhere: Vec::new() }.to_string();
    let part = text.split_once(": ").unwrap().1.to_owned();
    all_explained(&[part]);
}

#[test]
fn errors_of_helpers_are_explained() {
    use helper::Error;
    explained_but_for_the_errno(&texts!(Error {
        Error::SetUserId => Error::SetUserId,
        Error::Capabilities { .. } => Error::Capabilities { what: "read capabilities", errno: OTHER },
        Error::NoCapability { .. } => {
            Error::NoCapability { program: "/usr/bin/mqtap".into(), no_new_privileges: true }
        },
        Error::Inherit(_) => Error::Inherit(InheritError::NotOpen(3)),
        Error::OtherAccessList => Error::OtherAccessList,
        Error::NoAccessList => Error::NoAccessList,
        Error::AccessList(_) => {
            Error::AccessList(acl::Error::Untrusted { path: "/etc/x".into(), problem: "is not root's" })
        },
        Error::Denied { .. } => Error::Denied { bridge: br0(), path: "/etc/x".into(), named: false },
        Error::Device(_) => Error::Device(device::Error::TunMissing),
        Error::Bridge(_) => Error::Bridge(bridge::Error::Permission { bridge: br0(), interface: tap0() }),
        Error::Send { .. } => Error::Send { fd: 3, errno: OTHER },
    }));
    all_explained(&[Error::Denied { bridge: br0(), path: "/etc/x".into(), named: true }.to_string()]);
    explained_but_for_the_errno(&texts!(acl::Error {
        acl::Error::Read { .. } => acl::Error::Read { path: "/etc/x".into(), source: io_error() },
        acl::Error::Untrusted { .. } => acl::Error::Untrusted { path: "/etc/x".into(), problem: "x" },
        acl::Error::Line { .. } => acl::Error::Line { path: "/etc/x".into(), line: 2, problem: "x".to_owned() },
    }));
    explained_but_for_the_errno(&texts!(HelperError {
        HelperError::NoOwnHelper => HelperError::NoOwnHelper,
        HelperError::Socket { .. } => HelperError::Socket { source: io_error() },
        HelperError::Run { .. } => HelperError::Run { source: RunError::NotFound, bridge: "br0".to_owned() },
        HelperError::NothingPassed => HelperError::NothingPassed,
        HelperError::QueueCount { .. } => HelperError::QueueCount { wanted: 2, passed: 1 },
        HelperError::Receive { .. } => HelperError::Receive { errno: OTHER },
        HelperError::Queues { .. } => HelperError::Queues { source: Box::new(device::Error::NotATapFd(5)) },
    }));
    let failed = || std::os::unix::process::ExitStatusExt::from_raw(0x100);
    let limit = std::time::Duration::from_secs(30);
    explained_but_for_the_errno(&texts!(RunError {
        RunError::NotFound => RunError::NotFound,
        RunError::NoInterpreter(_) => RunError::NoInterpreter(None),
        RunError::NotExecutable { .. } => RunError::NotExecutable { path: "/x".into(), remedy: None },
        RunError::NotAProgram { .. } => RunError::NotAProgram { text: true },
        RunError::Start(_) => RunError::Start("x".to_owned()),
        RunError::Failed { .. } => RunError::Failed { status: failed(), last_line: None },
        RunError::TimedOut { .. } => RunError::TimedOut { limit, last_line: None },
        RunError::Wait { .. } => RunError::Wait { source: io_error() },
    }));
}

#[test]
fn errors_of_vhost_net_are_explained() {
    use vhost_net::Error;
    let ring = "receive";
    explained_but_for_the_errno(&texts!(Error {
        Error::Unsupported => Error::Unsupported,
        Error::Missing => Error::Missing,
        Error::NoDriver { .. } => Error::NoDriver { errno: OTHER },
        Error::Permission { .. } => Error::Permission { errno: OTHER },
        Error::TooManyFiles { .. } => Error::TooManyFiles { errno: OTHER },
        Error::Open { .. } => Error::Open { errno: OTHER },
        Error::Inherit(_) => Error::Inherit(InheritError::Taken(5)),
        Error::NotVhostNet(_) => Error::NotVhostNet(5),
        Error::SameHandle(..) => Error::SameHandle(5, 6),
        Error::Owned => Error::Owned,
        Error::Features(_) => Error::Features(1 << 40),
        Error::Started { .. } => Error::Started { ring },
        Error::NotStarted { .. } => Error::NotStarted { ring },
        Error::RingSize { .. } => Error::RingSize { ring, size: 100 },
        Error::RingNotInMemory { .. } => {
            Error::RingNotInMemory { ring, part: "used ring", address: 0x1000, len: 16 }
        },
        Error::RingMisaligned { .. } => Error::RingMisaligned { ring },
        Error::LogTooSmall { .. } => Error::LogTooSmall { len: 1, needed: 2 },
        Error::TooManyRegions { .. } => Error::TooManyRegions { count: 65 },
        Error::BusyLoop { .. } => Error::BusyLoop { asked: 5, now: 4 },
        Error::Refused { .. } => Error::Refused { what: "x", errno: OTHER },
        Error::RingRefused { .. } => Error::RingRefused { what: "start", ring, errno: OTHER },
        Error::Lost(_) => Error::Lost(Box::new(Error::Owned)),
    }));
}

#[test]
fn errors_of_a_netdev_are_explained() {
    use netdev::{Error, OptionName};
    let options: Options = "tap,id=a".parse().unwrap();
    let id = || options.id.clone();
    all_explained(&texts!(Error {
        Error::Options { .. } => Error::Options { id: id(), source: OptionsError::NoQueues },
        Error::Vhost { .. } => Error::Vhost { id: id(), source: vhost_net::Error::Missing },
        Error::Device { .. } => Error::Device { id: id(), source: device::Error::TunMissing },
        Error::Account { .. } => Error::Account {
            id: id(),
            option: OptionName::User,
            source: AccountError::Unknown { what: "user", name: "x".to_owned() },
        },
        Error::Different { .. } => {
            Error::Different {
                id: id(), interface: tap0(), kind: Kind::Tap, differences: create::Differences::default()
            }
        },
        Error::Script { .. } => {
            Error::Script { id: id(), interface: tap0(), program: "/x".into(), source: RunError::NotFound }
        },
        Error::Helper { .. } => {
            let source = Box::new(HelperError::NothingPassed);
            Error::Helper { id: id(), helper: "/x".to_owned(), source }
        },
        Error::Bridge { .. } => {
            Error::Bridge { id: id(), source: bridge::Error::Permission { bridge: br0(), interface: tap0() } }
        },
    }));
    // What is said of accounts, and of options, which say themselves what may be written.
    explained_but_for_the_errno(&texts!(AccountError {
        AccountError::Empty => AccountError::Empty,
        AccountError::TooLarge(_) => AccountError::TooLarge("4294967295".to_owned()),
        AccountError::Name(_) => AccountError::Name("a:b".to_owned()),
        AccountError::Unknown { .. } => AccountError::Unknown { what: "group", name: "x".to_owned() },
        AccountError::Lookup { .. } => AccountError::Lookup { what: "user", name: "x".to_owned(), errno: OTHER },
    }));
    for wrong in [
        "user,id=a",
        "tap,queues=2",
        "tap,id=1a",
        "tap,id=a,queue=2",
        "tap,id=a,queues=four",
        "tap,id=a,queues=0",
        "tap,id=a,queues=257",
        "tap,id=a,vnet_hdr=maybe",
        "tap,id=a,vhost=maybe",
        "tap,id=a,sndbuf=1MB",
        "tap,id=a,fd=3,queues=2",
        "tap,id=a,fd=3,ifname=tap0",
        "tap,id=a,queues=2,vhostfd=3",
        "tap,id=a,vhost=off,vhostfd=3",
        "tap,id=a,ifname=0123456789abcdef",
    ] {
        let error = wrong.parse::<Options>().and_then(|options| options.validate().map(drop)).unwrap_err();
        all_explained(&[error.to_string()]);
    }
}

#[test]
fn numbers_of_errnos_are_explained_in_any_form() {
    for text in ["22", " 22\n", "-22", "errno 22", "errno=22", "Errno: 22", "[Errno 22] x", "os error 22"] {
        let ids: Vec<&str> = explain(text).iter().map(|one| one.id).collect();
        assert_eq!(ids, ["einval"], "{text}");
    }
    for (text, id) in [("11", "eagain"), ("67", "enolink"), ("errno 99", "eaddrnotavail"), ("2", "enoent")] {
        assert_eq!(explain(text).iter().map(|one| one.id).collect::<Vec<_>>(), [id], "{text}");
    }
    for text in ["222", "tap22", "4 queues", "errno", "errno x 22"] {
        assert!(explain(text).is_empty(), "{text}");
    }
    // As the errors of this crate name one without a name of its own.
    assert_eq!(explain(&link::describe(Errno::NOLINK))[0].id, "enolink");
}

#[test]
fn what_other_programs_say_is_explained() {
    for (text, id) in [
        ("failed to launch bridge helper", "bridge-helper"),
        ("Error: Unknown device type.", "unknown-kind"),
        ("ENOLINK", "enolink"),
        ("RTNETLINK answers: Cannot assign requested address", "eaddrnotavail"),
        ("read: Resource temporarily unavailable", "eagain"),
        // Of the crate mqtap-vhost-user, which depends on this one.
        (
            "cannot listen on \"/x\": another process is listening there; stop it, or choose another path",
            "socket-in-use",
        ),
        ("cannot listen on \"/x\": there is something that is not a socket; move it away", "socket-in-use"),
        ("\"\" cannot be the path of a socket: it must have 1 to 107 bytes", "socket-in-use"),
    ] {
        assert!(explain(text).iter().any(|one| one.id == id), "{text}");
    }
}
