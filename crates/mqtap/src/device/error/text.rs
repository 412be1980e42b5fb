//! Pieces of the texts of a device's errors.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::device::Namespace;
use crate::inspect::Kind;
use crate::link::Holder;
use crate::name::{InterfaceName, NameRequest};
use crate::shell;

pub(in crate::device) fn held_by(holders: &[Holder]) -> impl fmt::Display + '_ {
    struct List<'a>(&'a [Holder]);
    impl fmt::Display for List<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut last = None;
            let mut holders = self.0.iter().filter(|holder| last.replace(holder.pid) != Some(holder.pid));
            if let Some(first) = holders.next() {
                write!(f, "; held by {} (pid {})", first.command, first.pid)?;
            }
            for holder in holders {
                write!(f, ", {} (pid {})", holder.command, holder.pid)?;
            }
            Ok(())
        }
    }
    List(holders)
}

/// What to make for a user who may not, and how it is asked for then: a pattern never stands for what is there.
pub(super) fn made_for_user(
    name: NameRequest,
    multi_queue: bool,
    vnet_header: bool,
    namespace: Option<&Namespace>,
) -> String {
    let fixed = name.example();
    let option = |given, text| if given { text } else { "" };
    let (multi_queue, vnet_header) =
        (option(multi_queue, " --multi-queue"), option(vnet_header, " --vnet-hdr"));
    let netns = namespace
        .map(|namespace| format!(" --netns {}", shell::quoted(&namespace.to_string())))
        .unwrap_or_default();
    let command = format!("`sudo mqtap create {fixed}{multi_queue}{vnet_header}{netns} --owner $USER`");
    match name {
        NameRequest::Exact(_) => format!("it for this user: {command}"),
        NameRequest::Pattern(_) | NameRequest::KernelChoice => {
            format!(
                "one with a fixed name for this user: {command}; ask for it by that name then (ifname={fixed})"
            )
        }
    }
}

/// Names that are directories beside those of interfaces (include/net/ip.h: `sysctl_dev_name_is_allowed`).
pub(super) fn reserved(name: NameRequest, errno: Errno) -> &'static str {
    match name {
        NameRequest::Exact(name) if errno == Errno::INVAL && matches!(name.as_str(), "all" | "default") => {
            "; the kernel keeps the names all and default for itself (/proc/sys/net/ipv4/conf); choose another name"
        }
        _ => "",
    }
}

pub(super) fn owners(owner: Option<u32>, group: Option<u32>) -> String {
    match (owner, group) {
        (Some(uid), Some(gid)) => format!("it is for user {uid} in group {gid} (both must match)"),
        (Some(uid), None) => format!("it is for user {uid}"),
        (None, Some(gid)) => format!("it is for group {gid}"),
        (None, None) => {
            "it is for everybody, but a security module (SELinux: attach_queue) may say no".to_owned()
        }
    }
}

pub(crate) fn a_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Macvtap => "a macvtap",
        Kind::Ipvtap => "an ipvtap",
        Kind::Tap | Kind::Tun => "a tap",
    }
}

/// A node that has the name of its interface, which is used as well as the usual one.
pub(in crate::device) fn named_node(interface: InterfaceName) -> PathBuf {
    format!("/dev/{interface}").into()
}

pub(super) fn make_node(
    interface: InterfaceName,
    index: u32,
    node: &Path,
    number: Option<(u32, u32)>,
) -> String {
    let node = node.display();
    match number {
        Some((major, minor)) => format!("mknod -m 600 {node} c {major} {minor}"),
        // Sysfs shows what is in the namespace of whoever mounted it.
        None => format!("mknod -m 600 {node} c $(tr : ' ' </sys/class/net/{interface}/tap{index}/dev)"),
    }
}

pub(super) fn hint(what: &str, errno: Errno) -> &'static str {
    match errno {
        Errno::PERM if what.contains("carrier") => {
            "; the kernel gives carrier only to a device with an attached queue"
        }
        Errno::INVAL if what.contains("owner") || what.contains("group") => {
            "; it has no mapping in this user namespace"
        }
        _ => "",
    }
}
