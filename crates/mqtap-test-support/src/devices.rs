//! A `/dev` and a `/sys` of a test's own, with device nodes.
//!
//! The nodes of macvtaps are named after the index of the interface, which is one of many in as many network namespaces, and appear
//! in a `/dev` that all of them share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::{TestResult, ip};

/// Gives the calling thread mounts of its own: an empty `/dev` but for the usual, and the `/sys` of its network namespace. False, and a
/// word about it, where device nodes cannot be made: in a user namespace. That is a failure if `CI` is set.
pub fn private() -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    if let Err(error) = probe() {
        let text = format!("this test makes device nodes, which takes root: {error}");
        if std::env::var_os("CI").is_some() {
            return Err(text.into());
        }
        eprintln!("SKIPPED: {text}");
        return Ok(false);
    }
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    // Somewhere that every system has, and that no test looks at.
    mount(Some("/dev"), "/mnt", none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    mount(none, "/dev", Some("tmpfs"), MsFlags::empty(), none)?;
    for file in ["null", "zero", "random", "urandom"] {
        std::fs::write(format!("/dev/{file}"), "")?;
        mount(Some(&*format!("/mnt/{file}")), &*format!("/dev/{file}"), none, MsFlags::MS_BIND, none)?;
    }
    std::fs::create_dir("/dev/net")?;
    mount(Some("/mnt/net"), "/dev/net", none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    mount(none, "/sys", Some("sysfs"), MsFlags::MS_RDONLY, none)?;
    Ok(true)
}

/// Whether device nodes can be made.
fn probe() -> std::io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("mqtap-node.{}.{number}", std::process::id()));
    node(&path, (1, 3))?;
    std::fs::remove_file(path)
}

/// Makes a node of a character device.
pub fn node(path: &Path, (major, minor): (u32, u32)) -> std::io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))?)
}

/// The number of a macvtap's node, as the `/sys` of its network namespace tells.
pub fn macvtap_number(interface: &str) -> Result<(u32, u32), Box<dyn std::error::Error + Send + Sync>> {
    let directory = format!("/sys/class/net/{interface}");
    let index = std::fs::read_to_string(format!("{directory}/ifindex"))?;
    let text = std::fs::read_to_string(format!("{directory}/tap{}/dev", index.trim()))?;
    let (major, minor) = text.trim().split_once(':').ok_or("no number")?;
    Ok((major.parse()?, minor.parse()?))
}

/// A pair of interfaces, `below` and `peer`, and a macvtap on top of the first, all of them up, with its node in `/dev`.
pub fn macvtap(interface: &str, below: &str, peer: &str) -> TestResult {
    on_a_pair(interface, "type macvtap mode bridge", below, peer)
}

/// As [`macvtap`], an ipvtap. It has the address of `below`, and gets what is sent to the IP addresses that it is given.
pub fn ipvtap(interface: &str, below: &str, peer: &str) -> TestResult {
    on_a_pair(interface, "type ipvtap mode l2", below, peer)
}

fn on_a_pair(interface: &str, kind: &str, below: &str, peer: &str) -> TestResult {
    ip(&format!("link add {below} type veth peer name {peer}"))?;
    ip(&format!("link add link {below} name {interface} {kind}"))?;
    for name in [below, peer, interface] {
        ip(&format!("link set {name} up"))?;
    }
    Ok(node(&macvtap_node(interface)?, macvtap_number(interface)?)?)
}

/// Where the node of a macvtap is, or is to be.
pub fn macvtap_node(interface: &str) -> std::io::Result<PathBuf> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    Ok(format!("/dev/tap{}", index.trim()).into())
}
