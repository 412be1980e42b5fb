//! What the command inherits.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;

use mqtap::{OpenOptions, TapDevice};
use mqtap_test_support::{TestResult, eventually, gone, ip};

use super::support::{LIST, Result, exec, lines, shell};

/// The descriptors from 3 on that the command gets.
fn handed_over(netdevs: &[&str]) -> Result<Vec<String>> {
    Ok(from_3(&shell(netdevs, LIST, &[])?))
}

/// Number, file and interface of each descriptor from 3 on in what `LIST` printed.
pub(crate) fn from_3(lines: &[String]) -> Vec<String> {
    let interface = |fd: &str| {
        let end = format!("/fdinfo/{fd}:iff:");
        lines.iter().find_map(|line| Some(line.split_once(&end)?.1.trim())).unwrap_or("no tap")
    };
    let links = lines.iter().filter_map(|line| line.split_once(" -> "));
    let mut found: Vec<(i32, String)> = links
        .map(|(left, file)| {
            let fd = left.split(' ').next_back().unwrap();
            (fd.parse().unwrap(), format!("{fd} {file} {}", interface(fd)))
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found.iter().take(3).map(|(fd, _)| *fd).collect::<Vec<_>>(), [0, 1, 2]);
    found.into_iter().skip(3).map(|(_, text)| text).collect()
}

pub(crate) fn queues_are_inherited_from_3_in_a_row() -> TestResult {
    let expected: Vec<String> = (3..7).map(|fd| format!("{fd} /dev/net/tun tap0")).collect();
    assert_eq!(handed_over(&["tap,id=hn0,ifname=tap0,queues=4"])?, expected);
    assert_eq!(handed_over(&["tap,id=hn0,ifname=tap0"])?, ["3 /dev/net/tun tap0"]);
    Ok(())
}

/// Descriptors that `mqtap exec` was started with, in the way of what it hands over and not.
pub(crate) fn nothing_else_is_inherited() -> TestResult {
    let inner = exec(&["tap,id=hn0,ifname=tap0,queues=2"]);
    let mut command = Command::new("bash");
    command.args(["-c", r#"exec 3</dev/null 4>/dev/null 5<>/dev/zero 77<>/dev/null; exec "$0" "$@""#]);
    command.arg(inner.get_program()).args(inner.get_args()).args(["--", "sh", "-c", LIST]);
    let listed = lines(&mut command)?;
    assert_eq!(from_3(&listed), ["3 /dev/net/tun tap0", "4 /dev/net/tun tap0"]);
    Ok(())
}

pub(crate) fn netdevs_follow_one_another() -> TestResult {
    let netdevs = ["tap,id=a,ifname=tap0,queues=2", "tap,id=b,ifname=tap1", "tap,id=c,ifname=tap2,queues=3"];
    let expected = ["3 tap0", "4 tap0", "5 tap1", "6 tap2", "7 tap2", "8 tap2"]
        .map(|line| line.replace(' ', " /dev/net/tun "));
    assert_eq!(handed_over(&netdevs)?, expected);
    let told =
        shell(&netdevs, r#"echo "$LISTEN_FDS $LISTEN_FDNAMES $*""#, &["{a.fds}", "{b.fds}", "{c.fds}"])?;
    assert_eq!(told, ["6 a:a:b:c:c:c 3:4 5 6:7:8"]);
    Ok(())
}

/// The numbers that they come with are the other way round from those that they are handed over with.
pub(crate) fn adopted_queues_are_put_in_order() -> TestResult {
    let tap = |name: &str| -> Result<TapDevice> {
        Ok(TapDevice::open(&OpenOptions { name: name.parse()?, ..OpenOptions::default() })?)
    };
    let (a, b) = (tap("tap0")?, tap("tap1")?);
    let raw = |tap: &TapDevice| tap.queues()[0].as_fd().as_raw_fd();
    inheritable(a.queues()[0].as_fd(), true)?;
    inheritable(b.queues()[0].as_fd(), true)?;
    let inner = exec(&["tap,id=a,fd=4", "tap,id=b,fd=3"]);
    let mut command = Command::new("bash");
    // By way of numbers that neither of them has.
    let script = format!(r#"exec 98>&{} 99>&{}; exec 4>&98 3>&99; exec "$0" "$@""#, raw(&a), raw(&b));
    command.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
    let listed = lines(command.args(["--", "sh", "-c", LIST]));
    inheritable(a.queues()[0].as_fd(), false)?;
    inheritable(b.queues()[0].as_fd(), false)?;
    assert_eq!(from_3(&listed?), ["3 /dev/net/tun tap0", "4 /dev/net/tun tap1"]);
    Ok(())
}

fn inheritable(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flags = if on { rustix::io::FdFlags::empty() } else { rustix::io::FdFlags::CLOEXEC };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

pub(crate) fn queues_are_attached_and_carrier_is_on() -> TestResult {
    let script = "ip link set tap0 up; ip -d link show tap0";
    let text = shell(&["tap,id=hn0,ifname=tap0,queues=4"], script, &[])?.join("\n");
    assert!(text.contains("numqueues 4 numdisabled 0"), "{text}");
    assert!(text.contains("LOWER_UP") && text.contains("vnet_hdr on"), "{text}");
    let off = shell(&["tap,id=hn0,ifname=tap1,queues=4,carrier=off"], &script.replace("tap0", "tap1"), &[])?;
    assert!(off.join("\n").contains("NO-CARRIER"), "{off:?}");
    Ok(())
}

pub(crate) fn the_tap_goes_with_the_command() -> TestResult {
    shell(&["tap,id=hn0,ifname=tap0,queues=4"], "ip link show tap0", &[])?;
    gone("tap0")?;
    ip("tuntap add dev tap1 mode tap multi_queue vnet_hdr")?;
    shell(&["tap,id=hn0,ifname=tap1,queues=4"], "ip link show tap1", &[])?;
    eventually("a persistent one stays, without queues", || {
        ip("-d link show tap1").is_ok_and(|text| text.contains("numqueues 0"))
    })
}

/// More descriptors than most limits allow, twice, while they are put in order.
pub(crate) fn many_queues_are_handed_over() -> TestResult {
    let mut command = Command::new("bash");
    let inner = exec(&["tap,id=a,ifname=tap0,queues=256", "tap,id=b,ifname=tap1,queues=256"]);
    command.args(["-c", r#"ulimit -Sn 600; exec "$0" "$@""#]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.args(["--", "bash", "-c", r#"ulimit -Sn; echo "$LISTEN_FDS"; ls /proc/$$/fd; true"#]);
    let told = lines(&mut command)?;
    assert_eq!((told[0].as_str(), told[1].as_str(), told.len() - 2), ("600", "512", 515));
    Ok(())
}

/// Where there is no vhost-net, `vhost=try` hands over less than was planned, and who follows moves up.
pub(crate) fn numbers_follow_what_was_opened() -> TestResult {
    let netdevs = ["tap,id=a,ifname=tap0,queues=2,vhost=try", "tap,id=b,ifname=tap1"];
    let output = exec(&netdevs).args(["--", "echo", "{a} {b}"]).output()?;
    let expected = if std::path::Path::new("/dev/vhost-net").exists() {
        "tap,id=a,fds=3:4,vhostfds=5:6 tap,id=b,fd=7\n"
    } else {
        "tap,id=a,fds=3:4 tap,id=b,fd=5\n"
    };
    assert_eq!(String::from_utf8(output.stdout)?, expected);
    Ok(())
}

/// The inner one adopts what the outer one has opened, in another order, and adds a netdev of its own. Its names come in two pairs of
/// braces, of which the outer one takes one off.
pub(crate) fn an_exec_in_an_exec_hands_the_queues_on() -> TestResult {
    let inner = exec(&["tap,id=b,fds={a.fds}", "tap,id=c,ifname=tap1", "tap,id=d,fd={x.fds}"]);
    let mut command = exec(&["tap,id=x,ifname=tap9", "tap,id=a,ifname=tap0,queues=2"]);
    command.arg("--").arg(inner.get_program()).args(inner.get_args());
    let script = format!(r#"echo "$LISTEN_FDS $LISTEN_FDNAMES $1"; {LIST}"#);
    command.args(["--", "sh", "-c", &script, "sh", "{{b.fds}} {{c}} {{d.ifname}} {a.queues}"]);
    let told = lines(&mut command)?;
    assert_eq!(told[0], "4 b:b:c:d 3:4 tap,id=c,fd=5 tap9 2");
    let expected = ["3 tap0", "4 tap0", "5 tap1", "6 tap9"].map(|line| line.replace(' ', " /dev/net/tun "));
    assert_eq!(from_3(&told[1..]), expected);
    eventually("the taps are gone", || {
        ["tap0", "tap1", "tap9"].iter().all(|tap| ip(&format!("link show {tap}")).is_err())
    })
}
