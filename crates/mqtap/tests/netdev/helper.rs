//! `helper=`: other people's. Our own is tested with the command.

use std::fs;
use std::path::Path;

use mqtap::netdev::{self, HelperError, Netdev, OpenMode};
use mqtap_test_support::{Scripts, TestResult, cannot_run, eventually, ip, own_directory};

use crate::{details, interfaces, open, parse, refused, says};

/// QEMU's helper, as Debian has it.
const QEMU: &str = "/usr/lib/qemu/qemu-bridge-helper";

/// Lets QEMU's helper use a bridge, in an `/etc` that only this test sees.
fn allow(rules: &str) -> TestResult {
    own_directory("/etc")?;
    fs::create_dir("/etc/qemu")?;
    Ok(fs::write("/etc/qemu/bridge.conf", rules)?)
}

macro_rules! needs_qemu {
    () => {
        if !Path::new(QEMU).exists() {
            return cannot_run("QEMU's bridge helper is not installed; Debian has it in qemu-system-common");
        }
    };
}

pub(crate) fn helper_of_qemu_opens_a_queue_on_the_bridge() -> TestResult {
    needs_qemu!();
    allow("allow br0\nallow br1\n")?;
    ip("link add br0 type bridge")?;
    ip("link add br1 type bridge")?;
    ip("link set br1 mtu 3000")?;
    let netdev = open(&format!("tap,id=a,helper={QEMU}"));
    assert_eq!(netdev.device().queue_count(), 1);
    assert!(netdev.device().has_vnet_header());
    let shown = details(netdev.device().name().as_str());
    assert!(shown.contains("master br0") && shown.contains(",UP"), "{shown}");
    let other = Netdev::open_with(&parse(&format!("tap,id=b,helper={QEMU},br=br1")), OpenMode::Detached)?;
    let shown = details(other.device().name().as_str());
    assert!(shown.contains("master br1") && shown.contains("mtu 3000"), "{shown}");
    assert!(shown.contains("NO-CARRIER"), "settings are made as with any queue: {shown}");
    drop((netdev, other));
    eventually("the taps are gone", || interfaces() == 3)
}

/// As QEMU has it: one with a blank is a command for a shell.
pub(crate) fn helper_with_a_blank_is_run_by_a_shell() -> TestResult {
    needs_qemu!();
    allow("allow br0\nallow br1\n")?;
    ip("link add br0 type bridge")?;
    ip("link add br1 type bridge")?;
    let scripts = Scripts::new()?;
    let log = scripts.file("log").display().to_string();
    let first = open(&format!("tap,id=a,br=br1,helper=echo started >{log};  {QEMU}"));
    assert!(details(first.device().name().as_str()).contains("master br1"));
    assert_eq!(scripts.written("log")?, "started\n");
    let second = open(&format!("tap,id=b,br=br1,helper={QEMU} --br=br0"));
    assert!(details(second.device().name().as_str()).contains("master br0"));
    Ok(())
}

pub(crate) fn helper_of_qemu_that_refuses_is_quoted_with_the_remedy() -> TestResult {
    needs_qemu!();
    allow("allow br7\n")?;
    ip("link add br0 type bridge")?;
    let error = refused(&format!("tap,id=hn0,helper={QEMU}"));
    says(&error, &["netdev hn0", QEMU, "exit status: 1", "access denied by acl file"]);
    says(&error, &["/etc/qemu/bridge.conf", "`allow br0`"]);
    fs::remove_file("/etc/qemu/bridge.conf")?;
    let error = refused(&format!("tap,id=hn0,helper={QEMU}"));
    says(&error, &["failed to parse default acl file", "`allow br0`"]);
    assert_eq!(interfaces(), 2);
    Ok(())
}

pub(crate) fn helper_gets_the_arguments_of_the_protocol_and_no_descriptor_but_the_socket() -> TestResult {
    let scripts = Scripts::new()?;
    let helper =
        scripts.script("helper", "echo \"$*\" >$dir/arguments; ls -l /proc/$$/fd >$dir/fds; exit 4")?;
    let _stray = open("tap,id=a");
    says(&refused(&format!("tap,id=b,helper={helper},br=br5")), &["exit status: 4"]);
    let arguments = scripts.written("arguments")?;
    let number = arguments.strip_prefix("--use-vnet --fd=").and_then(|rest| rest.strip_suffix(" --br=br5\n"));
    let number = number.unwrap_or_else(|| panic!("{arguments}"));
    let fds = scripts.written("fds")?;
    assert!(fds.contains(&format!(" {number} -> socket:[")), "{fds}");
    assert_eq!(fds.matches("socket:[").count(), 1, "{fds}");
    assert!(!fds.contains("/dev/net/tun"), "{fds}");
    Ok(())
}

pub(crate) fn helper_that_passes_nothing_is_an_error() -> TestResult {
    let error = refused("tap,id=a,helper=/bin/true");
    says(&error, &["netdev a: helper=/bin/true", "passed no queue", "end of file"]);
    assert!(
        matches!(error, netdev::Error::Helper { source, .. } if matches!(*source, HelperError::NothingPassed))
    );
    // Also if something that it leaves behind keeps the socket open.
    let scripts = Scripts::new()?;
    let helper = scripts.script("helper", "sleep 1000 & echo $! >$dir/child")?;
    says(&refused(&format!("tap,id=a,helper={helper}")), &["passed no queue"]);
    let child = scripts.written("child")?.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(child.unwrap(), rustix::process::Signal::KILL)?;
    Ok(())
}

pub(crate) fn helper_that_is_not_there_is_named() -> TestResult {
    says(&refused("tap,id=a,helper=/no/such/helper"), &["helper=/no/such/helper", "ENOENT"]);
    says(&refused("tap,id=a,helper=/no/such/helper --flag"), &["exit status: 127", "not found"]);
    Ok(())
}
