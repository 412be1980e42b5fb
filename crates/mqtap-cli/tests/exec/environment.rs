//! What the command is told, and what it may do.

use std::collections::HashMap;

use mqtap_test_support::{TestResult, devices, ip};

use super::support::{PATH, Result, exec, lines, shell};

const FOUR: &str = "tap,id=hn0,ifname=tap0,queues=4";

pub(crate) fn names_are_replaced_in_arguments_only() -> TestResult {
    let arguments = [
        ("{hn0}", "tap,id=hn0,fds=3:4:5:6"),
        ("fd=[{hn0.fds.csv}],n={hn0.virtqueues}", "fd=[3,4,5,6],n=8"),
        ("{hn0.ifname}:{hn0.queues}:{hn0.vectors}", "tap0:4:10"),
        (r#"{"type":"tap","id":"hn0","fds":"{hn0.fds}"}"#, r#"{"type":"tap","id":"hn0","fds":"3:4:5:6"}"#),
        ("{{hn0}} ${hn0} {} { hn0 }", "{hn0} ${hn0} {} { hn0 }"),
    ];
    let script = r#"for word in "$@"; do printf '%s\n' "$word"; done; echo "$$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES""#;
    let mut told = shell(&[FOUR], script, &arguments.map(|(given, _)| given))?;
    let last = told.pop().unwrap();
    assert_eq!(told, arguments.map(|(_, expected)| expected));
    let (pids, rest) = last.split_at(last.find(" 4 ").unwrap());
    let (pid, listen_pid) = pids.split_once(' ').unwrap();
    assert_eq!(pid, listen_pid);
    assert_eq!(rest, " 4 hn0:hn0:hn0:hn0");

    // The kernel's choice of a name is told, too.
    assert_eq!(shell(&["tap,id=x,ifname=vm%d"], r#"echo "$1""#, &["{x.ifname} {x}"])?, ["vm0 tap,id=x,fd=3"]);
    // The command itself is no argument.
    let status = exec(&[FOUR]).env("PATH", PATH).args(["--", "{hn0.ifname}"]).output()?.status;
    assert_eq!(status.code(), Some(127));
    Ok(())
}

pub(crate) fn addresses_stay_the_same() -> TestResult {
    let mac = |interface: &str, more: &[&str]| -> Result<String> {
        let netdev = format!("tap,id=hn0,ifname={interface}");
        Ok(lines(exec(&[&netdev]).args(more).args(["--", "echo", "{hn0.mac}"]))?.remove(0))
    };
    for more in [["--mac", "52:54:00:12:34:56"], ["--mac", "hn0=52:54:00:12:34:56"]] {
        assert_eq!(mac("tap0", &more)?, "52:54:00:12:34:56");
    }
    if std::fs::read_to_string("/etc/machine-id").is_ok_and(|id| !id.trim().is_empty()) {
        assert_eq!(mac("tap0", &[])?, mac("tap0", &[])?);
        assert_ne!(mac("tap0", &[])?, mac("tap1", &[])?);
    } else {
        let text = String::from_utf8(exec(&[FOUR]).args(["--", "echo", "{hn0.mac}"]).output()?.stderr)?;
        assert!(text.contains("--mac hn0="), "{text}");
    }
    Ok(())
}

pub(crate) fn the_address_of_a_macvtap_is_the_guests() -> TestResult {
    if !devices::private()? {
        return Ok(());
    }
    devices::macvtap("macvtap0", "v0", "v1")?;
    ip("link set macvtap0 address 02:00:00:00:00:99")?;
    let netdev = "tap,id=hn0,ifname=macvtap0,queues=2";
    assert_eq!(
        shell(&[netdev], r#"echo "$1""#, &["{hn0.mac} {hn0}"])?,
        ["02:00:00:00:00:99 tap,id=hn0,fds=3:4"]
    );
    // The queues are good for whoever inherits them.
    let listed = shell(&[netdev], "ls -l /proc/$$/fd", &[])?;
    assert_eq!(listed.iter().filter(|line| line.contains("-> /dev/tap")).count(), 2, "{listed:?}");
    Ok(())
}

fn status_of(more: &[&str]) -> Result<HashMap<String, String>> {
    let text = lines(exec(&[FOUR]).args(more).args(["--", "cat", "/proc/self/status"]))?;
    let fields = text.iter().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

/// Rust ignores SIGPIPE, and the command must not.
pub(crate) fn signals_and_limits_are_as_they_were() -> TestResult {
    let status = status_of(&[])?;
    let sigpipe = 1_u64 << (nix::libc::SIGPIPE - 1);
    assert_eq!(u64::from_str_radix(&status["SigIgn"], 16)? & sigpipe, 0);
    assert_eq!(u64::from_str_radix(&status["SigBlk"], 16)?, 0);
    assert_ne!(status["CapEff"], "0000000000000000", "nothing is dropped unless asked for");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    assert_eq!(shell(&[FOUR], "ulimit -Sn", &[])?, [limit.to_string()]);
    Ok(())
}

pub(crate) fn capabilities_can_be_dropped() -> TestResult {
    let status = status_of(&["--drop-caps"])?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    // It has its queues, and may do nothing else to them.
    let mut command = exec(&[FOUR]);
    command.args(["--drop-caps", "--", "sh", "-c", "ip link set tap0 up 2>/dev/null || echo refused"]);
    assert_eq!(lines(&mut command)?, ["refused"]);
    Ok(())
}
