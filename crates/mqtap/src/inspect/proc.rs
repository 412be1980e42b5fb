//! What `/proc` tells of the processes that have taps open.
//!
//! A process may end while it is looked at: then it is not there.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use crate::name::InterfaceName;

/// A descriptor of a tap, in some process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) pid: u32,
    pub(super) fd: RawFd,
    pub(super) of: Of,
    /// Reads and writes wait (no `O_NONBLOCK`).
    pub(super) blocking: bool,
}

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// `/dev/net/tun`, with the device of this name.
    Tun(InterfaceName),
    /// `/dev/tapN`, of the macvtap or ipvtap with this index.
    Index(u32),
}

/// What is of interest in `/proc/PID/fdinfo/FD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FdInfo {
    blocking: bool,
    /// drivers/net/tun.c: `tun_chr_show_fdinfo`. Only descriptors of `/dev/net/tun` have such a line.
    interface: Option<InterfaceName>,
}

/// All descriptors of taps in all processes, as far as this user may see them.
pub(super) fn descriptors() -> Vec<Descriptor> {
    let mut found = Vec::new();
    for pid in numbers("/proc") {
        found.extend(descriptors_of(pid));
    }
    found
}

fn descriptors_of(pid: u32) -> Vec<Descriptor> {
    let mut found = Vec::new();
    for fd in numbers(&format!("/proc/{pid}/fdinfo")) {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")) else { continue };
        let info = parse_fdinfo(&text);
        let of = match info.interface {
            Some(name) => Of::Tun(name),
            // Reading the link touches no file system, unlike looking at what it points to.
            None => {
                match std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok().as_deref().and_then(macvtap) {
                    Some(index) => Of::Index(index),
                    None => continue,
                }
            }
        };
        // A descriptor's number fits a C int.
        found.push(Descriptor { pid, fd: fd as RawFd, of, blocking: info.blocking });
    }
    found
}

/// Entries of a directory whose names are numbers.
fn numbers(directory: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parse_fdinfo(text: &str) -> FdInfo {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(key)?.strip_prefix(':').map(|value| value.trim_matches(['\t', ' ']))
        })
    };
    // In octal.
    let flags = value("flags").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    FdInfo {
        blocking: flags.is_some_and(|flags| flags & rustix::fs::OFlags::NONBLOCK.bits() == 0),
        interface: value("iff").and_then(|name| name.parse().ok()),
    }
}

/// Numbers of the eBPF programs that some process has a descriptor of (kernel/bpf/syscall.c: `bpf_prog_show_fdinfo`).
pub(crate) fn held_programs() -> BTreeSet<u32> {
    let mut held = BTreeSet::new();
    for pid in numbers("/proc") {
        for fd in numbers(&format!("/proc/{pid}/fdinfo")) {
            let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            held.extend(parse_program(&text));
        }
    }
    held
}

fn parse_program(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
}

/// The index in `/dev/tapN`.
fn macvtap(path: &std::path::Path) -> Option<u32> {
    path.to_str()?.strip_prefix("/dev/tap")?.parse().ok()
}

/// The name of a process, `/proc/PID/comm`.
pub(super) fn command(pid: u32) -> Option<String> {
    Some(read(pid, "comm")?.trim_end().to_owned())
}

/// The command line of a process. Empty for a kernel thread and for a process that is about to end.
pub(super) fn arguments(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// The systemd unit of a process.
pub(super) fn unit(pid: u32) -> Option<String> {
    parse_unit(&read(pid, "cgroup")?)
}

/// Ways past `read(2)` and `write(2)` that a process has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Engines {
    pub(super) io_uring: bool,
    pub(super) vhost_net: bool,
}

pub(super) fn engines(pid: u32) -> Engines {
    let mut engines = Engines::default();
    for fd in numbers(&format!("/proc/{pid}/fd")) {
        match std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).as_deref().map(std::path::Path::to_str) {
            Ok(Some("anon_inode:[io_uring]")) => engines.io_uring = true,
            Ok(Some("/dev/vhost-net")) => engines.vhost_net = true,
            _ => {}
        }
    }
    engines
}

/// What a process read with system calls, of everything (`/proc/PID/io`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) bytes: u64,
    pub(crate) calls: u64,
}

pub(crate) fn reads(pid: u32) -> Option<Reads> {
    parse_reads(&read(pid, "io")?)
}

fn parse_reads(text: &str) -> Option<Reads> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some(Reads { bytes: value("rchar:")?, calls: value("syscr:")? })
}

/// Whether a process is stopped, by a signal or by whoever traces it.
pub(super) fn is_stopped(pid: u32) -> bool {
    read(pid, "stat").is_some_and(|text| matches!(parse_state(&text), Some('T' | 't')))
}

fn read(pid: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// The unit in `/proc/PID/cgroup`: the last part of the path that is a service or a scope, as `systemctl` names it. Both the
/// one hierarchy of cgroup 2 and systemd's own of cgroup 1 tell it.
fn parse_unit(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_systemd = controllers == "name=systemd" || (number == "0" && controllers.is_empty());
        (is_systemd && path != "/").then_some(path)
    })?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
    Some(unit.to_owned())
}

/// The state letter in `/proc/PID/stat`, after the name in parentheses, which may contain anything.
fn parse_state(text: &str) -> Option<char> {
    text.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_tells_the_interface_and_whether_it_blocks() {
        let text = "pos:\t0\nflags:\t0104002\nmnt_id:\t27\nino:\t1156\niff:\ttap0\n";
        let name = "tap0".parse().unwrap();
        assert_eq!(parse_fdinfo(text), FdInfo { blocking: false, interface: Some(name) });
        assert!(parse_fdinfo(&text.replace("0104002", "0100002")).blocking);
    }

    #[test]
    fn fdinfo_of_other_files_names_no_interface() {
        assert_eq!(parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t9\n").interface, None);
        // /dev/net/tun without a device.
        assert_eq!(parse_fdinfo("flags:\t0100002\niff:\t\n").interface, None);
        assert_eq!(parse_fdinfo(""), FdInfo { blocking: false, interface: None });
    }

    #[test]
    fn fdinfo_of_a_program_tells_its_number() {
        assert_eq!(parse_program("flags:\t02\nprog_type:\t1\nprog_id:\t42\n"), Some(42));
        assert_eq!(parse_program("flags:\t02\n"), None);
    }

    #[test]
    fn units_are_found_in_both_kinds_of_hierarchy() {
        let unit = |text| parse_unit(text);
        assert_eq!(unit("0::/system.slice/mqtap@hn0.service\n").as_deref(), Some("mqtap@hn0.service"));
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vm.scope\n").as_deref(),
            Some("vm.scope")
        );
        // libvirt runs QEMU in a cgroup below the machine's scope.
        assert_eq!(
            unit("0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator\n").as_deref(),
            Some("machine-qemu\\x2d1\\x2dweb.scope")
        );
        let v1 = "9:name=systemd:/system.slice/libvirtd.service\n4:memory:/elsewhere.service\n0::/\n";
        assert_eq!(unit(v1).as_deref(), Some("libvirtd.service"));
    }

    #[test]
    fn a_process_of_no_unit_has_none() {
        assert_eq!(parse_unit("0::/\n"), None);
        assert_eq!(parse_unit("0::/docker/0123456789ab\n"), None);
        assert_eq!(parse_unit("nonsense"), None);
    }

    #[test]
    fn the_state_is_found_behind_any_name() {
        assert_eq!(parse_state("12 (qemu) S 1 12"), Some('S'));
        assert_eq!(parse_state("12 (a) T (b) R 1 12"), Some('R'));
        assert_eq!(parse_state(""), None);
    }

    #[test]
    fn reads_are_bytes_and_calls() {
        let text = "rchar: 4292\nwchar: 0\nsyscr: 13\nsyscw: 0\nread_bytes: 7\n";
        assert_eq!(parse_reads(text), Some(Reads { bytes: 4292, calls: 13 }));
        assert_eq!(parse_reads("wchar: 0\n"), None);
    }

    #[test]
    fn only_tap_devices_are_macvtaps() {
        let index = |path: &str| macvtap(path.as_ref());
        assert_eq!(index("/dev/tap17"), Some(17));
        assert_eq!((index("/dev/tape"), index("/dev/net/tun"), index("/tmp/dev/tap1")), (None, None, None));
    }
}
