//! Taps, their queues, and the daemons that serve them.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use mqtap_driver::{DriverOptions, frames};
use mqtap_test_support::{TestResult, eventually, ip};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::command::{command, json, mqtap, run, tap};
use super::daemon::{Daemon, GUEST_MAC, address, host_mac};

pub(crate) fn every_tap_has_a_line() -> TestResult {
    assert_eq!(mqtap("list")?, "", "there is none");
    assert_eq!(mqtap("list --json")?, "[]\n");
    ip("link add br0 type bridge")?;
    ip("tuntap add dev ltap0 mode tap multi_queue user 0")?;
    ip("tuntap add dev ltap1 mode tap")?;
    ip("tuntap add dev tun0 mode tun")?;
    ip("link set ltap0 master br0 up mtu 1400")?;
    let _queue = mqtap::TapDevice::open(&mqtap::OpenOptions {
        name: "ltap1".parse()?,
        ..mqtap::OpenOptions::default()
    })?;
    let text = mqtap("ls")?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "KIND", "STATE", "QUEUES", "MTU", "OWNER", "MASTER", "HELD", "BY"]);
    assert_eq!(lines[1], ["ltap0", "tap", "no-carrier", "0/0", "1400", "root", "br0"]);
    assert_eq!(lines[2][..5], ["ltap1", "tap", "down", "1", "1500"]);
    assert!(lines[2].iter().any(|word| word.ends_with(&format!("({})", std::process::id()))), "{text}");
    assert_eq!(lines.len(), 3, "{text}");
    // Those that are named, in that order.
    let named = |arguments: &str| -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
        let text = mqtap(arguments)?;
        Ok(text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap_or("").to_owned()).collect())
    };
    assert_eq!(named("list ltap1")?, ["ltap1"]);
    assert_eq!(named("list dev ltap1 mode tap")?, ["ltap1"]);
    assert_eq!(named("list ltap1 ltap0")?, ["ltap1", "ltap0"]);
    assert_eq!(named("list tun0")?, ["tun0"], "as `mqtap show`");
    assert_eq!(tap("list ltap0 --json")?["ifname"], "ltap0");
    Ok(())
}

pub(crate) fn a_tap_is_shown_with_its_holder() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=shown0,queues=2", &[])?;
    let text = mqtap("show dev shown0")?;
    assert!(text.starts_with("shown0: tap, down\n"), "{text}");
    assert!(text.contains("  flags      multi_queue vnet_hdr\n"), "{text}");
    assert!(text.contains("  header     10 bytes\n"), "{text}");
    assert!(text.contains("  queues     0 attached, 2 detached\n"), "{text}");
    let holders = text.lines().filter(|line| line.trim_start().starts_with(&daemon.pid().to_string()));
    assert_eq!(holders.count(), 2, "{text}");
    assert!(
        text.contains(&format!("mqtap serve (pid {})\nhn0 on shown0: 2 queue pairs", daemon.pid())),
        "{text}"
    );
    assert!(text.is_ascii() && !text.contains('\x1b'), "no colours but on a terminal");
    Ok(())
}

pub(crate) fn a_tap_of_another_namespace_is_shown() -> TestResult {
    let (send, receive) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let there = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("tuntap add dev there0 mode tap").unwrap();
        send.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = wait.recv();
    });
    let namespace = format!("/proc/{}/task/{}/ns/net", std::process::id(), receive.recv()?);
    for command in ["show", "queues"] {
        assert!(mqtap(&format!("{command} there0 --netns {namespace}"))?.starts_with("there0: "));
        assert_eq!(run(&format!("{command} there0"))?.status.code(), Some(1));
    }
    assert!(mqtap(&format!("list --netns {namespace}"))?.contains("there0"));
    assert_eq!(mqtap("list")?, "");
    let text = mqtap(&format!("doctor there0 --wait 0 --netns {namespace}"))?;
    assert!(text.contains("no-owner"), "{text}");
    drop(done);
    there.join().unwrap();
    let output = run("list --netns no-such-namespace")?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains("/run/netns/no-such-namespace") && text.contains("`ip netns` lists"), "{text}");
    for command in ["list", "show tap0"] {
        let text = String::from_utf8(run(&format!("{command} --netns 4194305"))?.stderr)?;
        assert!(text.contains("there is no process 4194305"), "{text}");
    }
    Ok(())
}

pub(crate) fn what_is_no_tap_is_refused() -> TestResult {
    ip("link add br0 type bridge")?;
    for (arguments, status, message) in [
        ("show br0", 1, "br0 is no tap but of kind bridge"),
        ("show nothing0", 1, "there is no interface nothing0"),
        ("queues lo", 1, "lo is no tap"),
        ("show", 2, "NAME says which tap; `mqtap list` lists all"),
        ("list br0", 1, "br0 is no tap but of kind bridge"),
        ("list dev nothing0", 1, "there is no interface nothing0"),
        ("list dev tap0 tap1", 2, "`tap1` is neither an option of mqtap list nor a word"),
        ("show a-name-that-is-too-long", 2, "the kernel takes at most 15"),
        ("queues tap0 --watch 0", 2, "expected seconds, from 0.1 to 3600"),
        ("doctor tap0 --queues 257", 2, "257 is not in 1..=256"),
        ("doctor tap0 --explain EINVAL", 2, "cannot be used with '--explain"),
    ] {
        assert!(!arguments.contains(message), "{arguments}: `{message}` is what was typed");
        let output = run(arguments)?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(status), "{arguments}: {text}");
        assert!(text.contains(message), "{arguments}: {text}");
    }
    Ok(())
}

pub(crate) fn queues_are_watched_until_the_tap_is_gone() -> TestResult {
    ip("tuntap add dev watch0 mode tap multi_queue")?;
    let mut child =
        command("queues watch0 --watch 0.1 --json").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line: Value = serde_json::from_str(&lines.next().unwrap()?)?;
        assert_eq!((&line["ifname"], &line["numqueues"]), (&"watch0".into(), &0.into()));
    }
    ip("link del watch0")?;
    let rest = lines.map_while(Result::ok).count();
    assert!(rest < 100);
    assert_eq!(child.wait()?.code(), Some(1), "it is gone");
    Ok(())
}

pub(crate) fn a_reader_that_has_seen_enough_is_no_failure() -> TestResult {
    ip("tuntap add dev pipe0 mode tap multi_queue")?;
    let mut child =
        command("queues pipe0 --watch 0.1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first)?;
    assert!(first.starts_with("pipe0"), "{first}");
    // Its end of the pipe is closed now.
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), String::from_utf8(output.stderr)?), (Some(0), String::new()));
    Ok(())
}

pub(crate) fn the_counters_of_a_daemon_are_those_of_its_guest() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    let socket = UdpSocket::bind("0.0.0.0:9000")?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    let path = frames::Path {
        source_mac: GUEST_MAC,
        destination_mac: host_mac("tap0")?,
        addresses: frames::Addresses::V4(Ipv4Addr::new(10, 9, 1, 2), Ipv4Addr::new(10, 9, 1, 1)),
    };
    for pair in [0, 1, 1] {
        driver.transmit(pair, &frames::udp(path, (5000, 9000), b"counted"))?;
        socket.recv_from(&mut [0; 64])?;
    }
    let sent = |daemon: &Value| -> Vec<u64> {
        let pairs = daemon["queue_pairs"].as_array().unwrap();
        pairs.iter().map(|pair| pair["transmit"]["frames"].as_u64().unwrap()).collect()
    };
    eventually("the worker is through, and has counted", || daemon.sleeps())?;
    let line = json("queues tap0 --json")?;
    let told = &line["daemons"][0];
    assert_eq!(
        (&told["pid"], &told["id"], &told["error"]),
        (&daemon.pid().into(), &"hn0".into(), &Value::Null)
    );
    assert_eq!(sent(told), [1, 2]);
    assert_eq!((&line["numqueues"], &line["numdisabled"]), (&2.into(), &0.into()));
    let shown = tap("show tap0 --json")?;
    assert_eq!(sent(&shown["daemons"][0]), [1, 2]);
    assert!(shown["stats64"]["rx"]["packets"].as_u64() >= Some(3), "{shown}");
    // The guest is served well.
    assert_eq!(mqtap("doctor tap0")?, "nothing is wrong with tap0\n");
    let text = mqtap("queues tap0")?;
    assert!(text.contains("hn0 on tap0: 2 queue pairs (4 virtqueues), 2 attached"), "{text}");
    Ok(())
}

pub(crate) fn several_daemons_tell_of_themselves() -> TestResult {
    // Two daemons, one of which has two NICs; each tap is told of by its own.
    let first = Daemon::start_many(&["tap,id=a,ifname=many0", "tap,id=b,ifname=many1,queues=3"], &[])?;
    let second = Daemon::start("tap,id=c,ifname=many2", &[])?;
    for (name, pid, id, pairs) in
        [("many0", first.pid(), "a", 1), ("many1", first.pid(), "b", 3), ("many2", second.pid(), "c", 1)]
    {
        let daemons = json(&format!("queues {name} --json"))?["daemons"].clone();
        assert_eq!(daemons.as_array().map(Vec::len), Some(1), "{daemons}");
        assert_eq!((&daemons[0]["pid"], &daemons[0]["id"]), (&pid.into(), &id.into()));
        assert_eq!(daemons[0]["queue_pairs"].as_array().map(Vec::len), Some(pairs), "{daemons}");
    }
    Ok(())
}

pub(crate) fn a_status_socket_goes_with_its_daemon() -> TestResult {
    let directory = tempfile::tempdir()?;
    let place = directory.path().join("sub").join("directory");
    let place = place.to_str().unwrap();
    let mut daemon = Daemon::start("tap,id=hn0,ifname=place0", &["--status-dir", place])?;
    let socket = std::path::Path::new(place).join(format!("{}.status", daemon.pid()));
    let mut text = String::new();
    UnixStream::connect(&socket)?.read_to_string(&mut text)?;
    let report: Value = serde_json::from_str(&text)?;
    assert_eq!((&report["version"], &report["pid"]), (&1.into(), &daemon.pid().into()));
    assert_eq!(json("queues place0 --json")?["daemons"][0]["id"], "hn0");
    daemon.signal(Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0));
    assert!(!socket.exists());

    let silent = Daemon::start("tap,id=hn0,ifname=place1", &["--status-dir", "no"])?;
    let told = &json("queues place1 --json")?["daemons"][0];
    assert_eq!((&told["pid"], &told["id"]), (&silent.pid().into(), &Value::Null));
    assert!(told["error"].as_str().is_some_and(|error| error.contains("--status-dir")), "{told}");
    let told = format!("mqtap serve (pid {})\n  tells nothing: it has no status socket", silent.pid());
    assert!(mqtap("queues place1")?.contains(&told));
    let file = tempfile::NamedTempFile::new()?;
    let output = command("serve --netdev tap,id=hn0,ifname=place2 --socket /tmp/mqtap-test-never")
        .arg("--status-dir")
        .arg(file.path())
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("cannot make the status socket"));
    assert!(ip("link show place2").is_err(), "nothing was opened");
    Ok(())
}

pub(crate) fn nobody_who_asks_can_hold_a_daemon_up() -> TestResult {
    let directory = tempfile::tempdir()?;
    let place = directory.path().to_str().unwrap();
    let mut daemon = Daemon::start("tap,id=hn0,ifname=held0,queues=4", &["--status-dir", place])?;
    let socket = directory.path().join(format!("{}.status", daemon.pid()));
    // They ask and do not read, or write what nobody reads, or go.
    let waiting: Vec<UnixStream> = (0..10).map_while(|_| UnixStream::connect(&socket).ok()).collect();
    for stream in &waiting {
        stream.set_nonblocking(true)?;
        let _ = std::io::Write::write(&mut &*stream, &[7; 4096]);
    }
    let driver = daemon.connect_to("held0", DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    drop(driver);
    eventually("somebody who reads is answered", || {
        json("queues held0 --json").is_ok_and(|line| line["daemons"][0]["error"].is_null())
    })?;
    daemon.signal(Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0));
    Ok(())
}
