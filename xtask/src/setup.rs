//! What the tasks need from the system: found, or installed, or asked for by name.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::outcome::{Result, fail, say};
use crate::process;

/// A program and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// For namespaces, addresses and anything else below. `ethtool` mends some of what `mqtap doctor` finds.
pub(crate) const BASE: &[Need] = &[
    need("cc", "gcc"),
    need("ip", "iproute2"),
    need("ethtool", "ethtool"),
    need("unshare", "util-linux"),
    need("nsenter", "util-linux"),
    need("setpriv", "util-linux"),
    need("setcap", "libcap2-bin"),
];

/// For the tests of the crates, besides: docs/taps.md tells of networkd.
pub(crate) const CRATE_TESTS: &[Need] = &[need("networkctl", "systemd"), need("ping", "iputils-ping")];

/// For a guest in QEMU, its image, and traffic through it.
pub(crate) const GUEST: &[Need] = &[
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("iperf3", "iperf3"),
    need("ping", "iputils-ping"),
    need("busybox", "busybox-static"),
    need("dpkg", "dpkg"),
    need("apt-get", "apt"),
    need("xz", "xz-utils"),
];

/// Where a program is, looking also where a user's PATH does not.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The packages that are missing, each once.
pub(crate) fn missing(needs: &[&[Need]]) -> Vec<&'static str> {
    let mut packages: Vec<&'static str> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|need| find(need.program).is_none())
        .map(|need| need.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Installs what is missing when that is possible, else says what to type.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<()> {
    let packages = missing(needs);
    if packages.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        return fail(format!(
            "these programs are missing; install the packages that Debian calls: {}",
            packages.join(" ")
        ));
    }
    if !is_root() {
        return fail(format!(
            "some programs are missing; install them with:\n\n    sudo apt-get install -y {}\n",
            packages.join(" ")
        ));
    }
    say(format!("installing: {}", packages.join(" ")));
    update_lists()?;
    let mut install = apt_get();
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages);
    process::output(&mut install, Duration::from_secs(900))?;
    let still = missing(needs);
    if still.is_empty() { Ok(()) } else { fail(format!("installed, but still missing: {}", still.join(" "))) }
}

/// `apt-get` that asks no questions, and waits for another one.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Fetches the package lists; only root can.
pub(crate) fn update_lists() -> Result<()> {
    if !is_root() {
        return fail("the package lists are missing or old; refresh them with:\n\n    sudo apt-get update\n");
    }
    process::output(apt_get().args(["update", "-qq"]), Duration::from_secs(300)).map(|_| ())
}
