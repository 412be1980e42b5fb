//! What the command is told, and what it may do.

use std::collections::HashMap;
use std::process::Command;

use mqtap_test_support::{Scripts, TestResult, all_users_exist, cannot_run, devices, ip, own_directory};

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

/// User, main group and groups of the command, of which each has three, or four, and all of them are the same.
fn identity(more: &[&str]) -> Result<(String, String, String)> {
    let status = status_of(more)?;
    let one = |key: &str| {
        let ids: Vec<&str> = status[key].split_whitespace().collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{key}: {ids:?}");
        ids[0].to_owned()
    };
    let mut groups: Vec<&str> = status["Groups"].split_whitespace().collect();
    groups.sort_unstable();
    Ok((one("Uid"), one("Gid"), groups.join(" ")))
}

pub(crate) fn users_and_groups_are_those_of_the_system() -> TestResult {
    if !all_users_exist() {
        return cannot_run("it takes root to become somebody else");
    }
    own_directory("/etc")?;
    std::fs::write("/etc/passwd", "root:x:0:0::/:/bin/sh\nvm:x:4001:4001::/:/bin/sh\n")?;
    std::fs::write(
        "/etc/group",
        "root:x:0:\nvm:x:4001:\nkvm:x:4002:vm,other\ndisk:x:4003:other,vm\nnone:x:4004:\n",
    )?;
    for (more, uid, gid, groups) in [
        (&["--user", "vm"][..], "4001", "4001", "4001 4002 4003"),
        (&["--user", "4001"], "4001", "4001", "4001 4002 4003"),
        // The group is the main one, instead of that of the user.
        (&["--user", "vm", "--group", "none"], "4001", "4004", "4002 4003 4004"),
        (&["--user", "vm", "--group", "kvm", "--drop-caps"], "4001", "4002", "4002 4003"),
        // Somebody whom the system does not know is in no other.
        (&["--user", "4999", "--group", "kvm"], "4999", "4002", "4002"),
        // A group alone: nothing is left of the groups of who runs mqtap.
        (&["--group", "kvm"], "0", "4002", "4002"),
    ] {
        let expected = (uid.to_owned(), gid.to_owned(), groups.to_owned());
        assert_eq!(identity(more)?, expected, "{more:?}");
    }
    Ok(())
}

/// As in a service that runs as a user with `AmbientCapabilities=`: the kernel takes capabilities only from who ceases to be root.
pub(crate) fn another_user_gets_no_capabilities() -> TestResult {
    if !all_users_exist() {
        return cannot_run("it takes root to become somebody else");
    }
    let service = |netdev: &str, user: &str| -> Result<Vec<String>> {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "4001", "--regid", "4001", "--clear-groups"]);
        // The last one is about the file of the device and that of the program.
        let set = "+net_admin,+setuid,+setgid,+dac_override";
        command.args([format!("--inh-caps={set}"), format!("--ambient-caps={set}")]);
        let own = exec(&[netdev]);
        command.arg(own.get_program()).args(own.get_args());
        command.args(["--user", user, "--group", user, "--"]);
        lines(command.args(["grep", "-E", "^(Uid|CapInh|CapPrm|CapEff|CapAmb):", "/proc/self/status"]))
    };
    // The second one has mqtap stay, which keeps what it undoes the netdev with.
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "grep ^CapEff: /proc/$PPID/status >$dir/kept")?;
    for netdev in [FOUR.to_owned(), format!("{FOUR},downscript={down}")] {
        let status = service(&netdev, "4002")?;
        assert_eq!(status.len(), 5, "{status:?}");
        assert_eq!(status[0], "Uid:\t4002\t4002\t4002\t4002");
        assert!(status[1..].iter().all(|line| line.ends_with("\t0000000000000000")), "{netdev}: {status:?}");
    }
    let kept = scripts.written("kept")?;
    assert!(!kept.contains("\t0000000000000000"), "{kept}");
    // Nobody asked for less.
    let own = service(FOUR, "4001")?;
    assert!(!own.iter().any(|line| line.ends_with("\t0000000000000000")), "{own:?}");
    Ok(())
}

/// As in a container without a database of users.
pub(crate) fn numbers_of_users_need_no_system() -> TestResult {
    if !all_users_exist() {
        return cannot_run("it takes root to become somebody else");
    }
    own_directory("/etc")?;
    let expected = ("4001".to_owned(), "4002".to_owned(), "4002".to_owned());
    assert_eq!(identity(&["--user", "4001", "--group", "4002"])?, expected);
    for (more, piece) in [
        (["--user", "4001"], "say which with --group"),
        (["--user", "vm"], "there is no user vm"),
        (["--group", "kvm"], "there is no group kvm"),
    ] {
        let output = exec(&[FOUR]).args(more).args(["--", "true"]).output()?;
        let text = String::from_utf8(output.stderr)?;
        assert!(output.status.code() == Some(2) && text.contains(piece), "{more:?}: {text}");
    }
    Ok(())
}
