//! Whether a host is ready for multiqueue taps, and names that are none of a tap.

use rustix::process::{Resource, getrlimit};

use super::commands::{count, fresh, mqtap, sudo};
use super::{Finding, Id, Severity};
use crate::device::{self, Namespace, find_in_named_namespaces};
use crate::features::{Access, Features, IoUring};
use crate::inspect;
use crate::name::InterfaceName;
use crate::offload::Offloads;
use crate::sys;

/// What a host has for taps.
#[derive(Clone, Debug)]
pub struct Host {
    features: Features,
    /// eBPF programs of the type that steers taps, which no process has open: number and name. `None` if this user may not
    /// look.
    programs: Option<Vec<(u32, String)>>,
    /// Descriptors that a process may have at most.
    descriptors: u64,
    /// This process is in another user namespace than the first.
    own_user_namespace: bool,
}

impl Host {
    /// Looks at this one.
    ///
    /// # Errors
    /// [`device::Error::Unsupported`].
    pub fn look() -> Result<Self, device::Error> {
        Ok(Self {
            features: Features::probe()?,
            programs: orphans(),
            descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            own_user_namespace: !is_first_user_namespace(),
        })
    }

    /// What the kernel and the host can do.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }
}

/// Programs that were loaded for taps or sockets, and of which only those still know.
fn orphans() -> Option<Vec<(u32, String)>> {
    let mut programs = sys::programs().ok()?;
    programs.retain(|program| program.is_socket_filter);
    if !programs.is_empty() {
        let held = inspect::held_programs();
        programs.retain(|program| !held.contains(&program.id));
    }
    Some(programs.into_iter().map(|program| (program.id, program.name)).collect())
}

/// user_namespaces(7): the first one maps every number to itself.
fn is_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What can be said of a host, the worst first.
#[must_use]
pub fn examine_host(host: &Host) -> Vec<Finding> {
    let mut findings = examine_features(&host.features);
    findings.extend(own_namespace(host.own_user_namespace));
    findings.extend(descriptors(host.descriptors));
    findings.extend(steering(host.programs.as_deref().unwrap_or_default()));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

pub(super) fn examine_features(features: &Features) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(tun(features));
    findings.extend(kernel(features));
    findings.extend(permission(features));
    findings.extend(vhost_net(features));
    findings.extend(io_uring(features));
    findings
}

fn tun(features: &Features) -> Option<Finding> {
    match features.tun {
        Access::Missing => {
            let cause = "Every tap is made and opened through it. The module tun is not loaded, or this is a container that was not given the device.";
            let finding = Finding::new(Id::TunMissing, Severity::Error, "there is no /dev/net/tun", cause);
            Some(
                finding
                    .advise("in a container, pass the device in (--device /dev/net/tun)")
                    .command(["modprobe", "tun"]),
            )
        }
        Access::Refused => {
            let cause = "This user has no read and write permission on it. Whoever passes open queues (fds=, `mqtap exec`) needs it instead.";
            let finding =
                Finding::new(Id::TunPermission, Severity::Error, "/dev/net/tun may not be opened", cause);
            Some(
                finding
                    .advise("it can be open to all, as in most distributions: making taps takes CAP_NET_ADMIN anyway")
                    .command(["chmod", "0666", "/dev/net/tun"]),
            )
        }
        Access::Yes | Access::Unknown if features.capabilities.is_none() => {
            let cause = "The device node is there and opening it fails: the module cannot be loaded, or a device cgroup or a security module says no.";
            let finding =
                Finding::new(Id::TunPermission, Severity::Error, "/dev/net/tun cannot be used", cause);
            Some(finding.advise(
                "in a container, allow the device (--device /dev/net/tun, DeviceAllow=/dev/net/tun rw)",
            ))
        }
        Access::Yes | Access::Unknown => None,
    }
}

fn kernel(features: &Features) -> Vec<Finding> {
    let Some(capabilities) = features.capabilities else { return Vec::new() };
    let mut findings = Vec::new();
    let kernel = &features.kernel;
    let lacks = [
        (capabilities.multi_queue(), "taps with several queues (IFF_MULTI_QUEUE, Linux 3.8)"),
        (capabilities.vnet_header(), "a virtio-net header (IFF_VNET_HDR)"),
    ];
    let missing: Vec<&str> = lacks.iter().filter(|(has, _)| !has).map(|&(_, what)| what).collect();
    if !missing.is_empty() {
        let summary = format!("Linux {kernel} has no {}", missing.join(", no "));
        let cause = "Without them there is one queue, and no offloads.";
        let finding = Finding::new(Id::KernelFeatures, Severity::Error, summary, cause);
        findings.push(finding.advise("use a newer kernel"));
    }
    let Ok(device) = &features.device else { return findings };
    let lacks = [
        (capabilities.no_carrier(), "taps made without carrier (IFF_NO_CARRIER, 6.0)"),
        (device.carrier, "switching the carrier (TUNSETCARRIER, 5.0)"),
        (device.steering, "steering programs (TUNSETSTEERINGEBPF, 4.16)"),
        (device.offloads.contains(Offloads::USO4), "UDP segmentation offload (6.2)"),
    ];
    let missing: Vec<&str> = lacks.iter().filter(|(has, _)| !has).map(|&(_, what)| what).collect();
    if !missing.is_empty() {
        let summary = format!("Linux {kernel} lacks {}", missing.join(", "));
        let cause = "Taps work without them, and some things are slower or less exact.";
        findings.push(Finding::new(Id::KernelFeatures, Severity::Info, summary, cause));
    }
    findings
}

fn permission(features: &Features) -> Option<Finding> {
    if features.may_create {
        return None;
    }
    let cause = "That takes CAP_NET_ADMIN in this network namespace. A tap that an administrator made for this user can be opened without.";
    Some(
        Finding::new(Id::CreatePermission, Severity::Info, "this user may not make taps here", cause)
            .command(sudo(fresh("tap0", &[]))),
    )
}

fn own_namespace(is_own: bool) -> Option<Finding> {
    is_own.then(|| {
        let cause = "Root in it is nobody outside: it may make taps in the network namespaces that belong to it, and not in the host's. Owners and groups of taps need a mapping here (EINVAL else).";
        let summary = "this is a user namespace of its own, as in a container without privilege";
        Finding::new(Id::OwnNamespace, Severity::Info, summary, cause)
    })
}

fn vhost_net(features: &Features) -> Option<Finding> {
    let (id, summary, cause) = match features.vhost_net {
        Access::Missing => (
            Id::VhostNetMissing,
            "there is no /dev/vhost-net",
            "vhost=on has the kernel move the frames, and needs it: the module vhost_net is not loaded, not part of this kernel, or this is a container that was not given the device. Everything else works without.",
        ),
        Access::Refused => (
            Id::VhostNetPermission,
            "/dev/vhost-net may not be opened",
            "vhost=on has the kernel move the frames, and needs it. This user has no read and write permission on it.",
        ),
        Access::Yes | Access::Unknown => return None,
    };
    let finding = Finding::new(id, Severity::Info, summary, cause);
    Some(match id {
        Id::VhostNetMissing => finding.command(["modprobe", "vhost_net"]),
        _ => finding.advise("on Debian, the group kvm has it").command(["adduser", "USER", "kvm"]),
    })
}

fn io_uring(features: &Features) -> Option<Finding> {
    let (cause, command) = match features.io_uring {
        IoUring::Yes => return None,
        IoUring::Disabled(level) => (
            format!(
                "kernel.io_uring_disabled is {level}: {}.",
                if level == 1 { "only for the privileged" } else { "for nobody" }
            ),
            Some("sysctl kernel.io_uring_disabled=0"),
        ),
        IoUring::Missing => ("The kernel was made without it, or is older than Linux 5.1.".to_owned(), None),
        IoUring::Refused(errno) => {
            (format!("{}: a sandbox (seccomp) or a limit forbids it.", crate::link::describe(errno)), None)
        }
    };
    let cause = format!("{cause} Frames then cross a tap with a system call each.");
    let finding = Finding::new(Id::IoUring, Severity::Info, "io_uring cannot be used", cause);
    Some(match command {
        Some(command) => finding.command(command.split(' ')),
        None => finding,
    })
}

fn descriptors(most: u64) -> Option<Finding> {
    /// What the usual limit of a service is, and enough for several NICs.
    const ENOUGH: u64 = 4096;
    if most >= ENOUGH {
        return None;
    }
    let summary = format!("a process may have {most} descriptors at most");
    let cause = "A queue pair takes up to eight: its queue, its eventfds, its vhost-net handle. With many queues, EMFILE (\"Too many open files\") comes soon.";
    Some(
        Finding::new(Id::DescriptorLimit, Severity::Warning, summary, cause)
            .advise("in a systemd unit, LimitNOFILE=524288")
            .command(["ulimit", "-n", "524288"]),
    )
}

/// The kernel tells nobody which program steers a tap. A program that no process has open is still used by something.
fn steering(programs: &[(u32, String)]) -> Option<Finding> {
    /// What QEMU calls its own, as far as the kernel keeps a name.
    const QEMU: &str = "tun_rss_steerin";
    if programs.is_empty() {
        return None;
    }
    let list: Vec<String> = programs
        .iter()
        .map(|(id, name)| if name.is_empty() { id.to_string() } else { format!("{id} ({name})") })
        .collect();
    let summary = format!(
        "{} that may steer or filter taps, and no process holds: {}",
        count(programs.len() as u32, "eBPF program"),
        list.join(", ")
    );
    let from_qemu = programs.iter().any(|(_, name)| name == QEMU);
    let cause = format!(
        "A steering program (TUNSETSTEERINGEBPF) chooses the queue of each frame, and stays on a persistent tap when whoever set it is gone.{} The kernel does not tell which tap has one, and a socket may hold it as well.",
        if from_qemu { " QEMU's RSS sets one of this name." } else { "" }
    );
    let severity = if from_qemu { Severity::Warning } else { Severity::Info };
    let finding = Finding::new(Id::SteeringProgram, severity, summary, cause);
    Some(finding.advise(
        "mqtap takes it off when it opens an idle tap; for another VMM, delete the tap and make it again. `bpftool prog show` tells more",
    ))
}

/// A name that is not there: what it may have been meant to be.
#[must_use]
pub fn missing(name: InterfaceName, namespace: Option<&Namespace>) -> Finding {
    let elsewhere = match namespace {
        None => find_in_named_namespaces(name, |_| true),
        Some(_) => Vec::new(),
    };
    let summary = format!("there is no interface {name} in this network namespace");
    let cause = "It was never made, was deleted, or went away with the last queue of it that was open: a tap that is not persistent does. (`ip tuntap del` of a name that does not exist says nothing, so a wrong name goes unnoticed there.)";
    let finding = Finding::new(Id::NoSuchInterface, Severity::Error, summary, cause).on(name);
    if let Some(there) = elsewhere.first() {
        return finding
            .advise(format!("there is one in the network namespace {}", elsewhere.join(", ")))
            .command(mqtap("doctor", name.as_str(), vec!["--netns".to_owned(), there.clone()]));
    }
    finding.advise(taps_here(namespace)).command(fresh(name.as_str(), &[])).inside(namespace)
}

/// A name of something else than a tap or a tun. `kind` is what the kernel calls what it is, as in
/// [`inspect::Error::NotATap`].
#[must_use]
pub fn not_a_tap(name: InterfaceName, kind: Option<&str>, namespace: Option<&Namespace>) -> Finding {
    let summary = format!("{name} is not a tap but {}", inspect::kind_in_words(kind));
    let cause = "A virtual network card needs a tap, which is an interface of its own.";
    let finding = Finding::new(Id::NotATap, Severity::Error, summary, cause).on(name);
    let taps = taps_here(namespace);
    let finding = if kind == Some("bridge") {
        finding
            .advise(format!("{taps}; a tap can be made a port of the bridge"))
            .command(fresh("NAME", &["--bridge", name.as_str(), "--up"]))
    } else {
        finding.advise(taps).command(fresh("NAME", &[]))
    };
    finding.inside(namespace)
}

/// What else may have been meant.
fn taps_here(namespace: Option<&Namespace>) -> String {
    let taps = inspect::list(namespace).unwrap_or_default();
    let names: Vec<&str> = taps.iter().map(|tap| tap.link.name.as_str()).take(8).collect();
    match names.is_empty() {
        true => "there is no tap at all here".to_owned(),
        false => format!("the taps here are {}", names.join(", ")),
    }
}
