//! The command line.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use mqtap_driver::{Driver, DriverOptions, frames};
use mqtap_test_support::{TestResult, eventually, gone};

use super::daemon::{Daemon, Result, address, queues};
use super::datapath::{host_socket, path};

/// A socket that is to be listened on by nobody, not even by the same test in another process.
fn never() -> String {
    // Tests run side by side.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("/tmp/mqtap-test-never.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn mqtap(arguments: &str) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_mqtap")).args(arguments.split_whitespace()).output()?)
}

pub(crate) fn wrong_usage_is_exit_status_2() -> TestResult {
    let cases = [
        ("serve", "were not provided:\n  --netdev"),
        ("serve --netdev tap,id=a", "each netdev needs one"),
        ("serve --netdev tap,id=a --socket /tmp/x --mac 01:00:00:00:00:01", "this is that of a group"),
        ("serve --netdev tap,id=a --socket /tmp/x --mac a=00:00:00:00:00:00", "this is that of nobody"),
        ("serve --netdev tap,id=a --socket /tmp/x --socket /tmp/y", "each netdev needs one"),
        ("serve --netdev tap,id=a,queues=0 --socket /tmp/x", "at least one queue"),
        ("serve --netdev tap,id=a,queues=257 --socket /tmp/x", "at most 256 queues"),
        ("serve --netdev tap,id=a,queue=2 --socket /tmp/x", "did you mean `queues`?"),
        ("serve --netdev tap,id=a,queues=2,fd=5 --socket /tmp/x", "fd= and queues= cannot be given together"),
        ("serve --netdev tap,id=a --socket /tmp/x --netdev tap,id=a --socket /tmp/y", "given twice"),
        ("serve --netdev tap,id=a --socket /tmp/x --netdev tap,id=b --socket /tmp/x", "given twice"),
        ("serve --netdev tap,id=a --socket /tmp/x --mtu b=1500", "no netdev with id=b"),
        ("serve --netdev tap,id=a --socket /tmp/x --mtu 10", "from 68 to 65521"),
        ("serve --netdev tap,id=a --socket /tmp/x --queue-size 100", "power of two"),
        ("serve --netdev tap,id=a --socket /tmp/x --workers 0", "from 1 to 256"),
        ("serve --netdev tap,id=a --socket /tmp/x --cpus 3-1", "list of CPUs"),
        ("serve --netdev tap,id=a --socket /tmp/x --cpus 0-99999", "CPU 99999 is beyond the last"),
        ("serve --netdev tap,id=a,fds=3,4 --socket /tmp/x", "separated by colons: `fds=3:4`"),
        ("serve --netdev tap,id=a --socket /tmp/x --mac 1:2", "is not a MAC address such as"),
        (
            "serve --netdev tap,id=a --socket /tmp/x --netdev tap,id=b --socket /tmp/y --mac 52:54:00:00:00:01",
            "cannot share one --mac",
        ),
        (
            "serve --netdev tap,id=a,mtu=1400 --socket /tmp/x --mtu 1500",
            "mtu=1400 and --mtu 1500 contradict each other",
        ),
        ("frobnicate", "unrecognized subcommand"),
    ];
    for (arguments, expected) in cases {
        assert!(!arguments.contains(expected), "{arguments}: `{expected}` is what was typed");
        let output = mqtap(arguments)?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(expected), "{arguments}: {text}");
        assert!(output.stdout.is_empty());
    }
    let failed = mqtap(&format!("serve --netdev tap,id=a,ifname=lo --socket {}", never()))?;
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8(failed.stderr)?.contains("lo exists and is not a tap"));
    let mac = "02:00:00:00:00:01";
    let same = mqtap(&format!("serve --netdev tap,id=a,mac={mac} --mac {mac} --socket {}", never()))?;
    assert_eq!(same.status.code(), Some(1));
    assert!(String::from_utf8(same.stderr)?.contains("one of them must be another"));
    Ok(())
}

pub(crate) fn more_pairs_than_the_protocol_can_tell_apart_are_refused() -> TestResult {
    let output = mqtap(&format!("serve --netdev tap,id=a,ifname=tap0,queues=129 --socket {}", never()))?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains("128 queue pairs at most"), "{text}");
    gone("tap0")
}

pub(crate) fn capabilities_are_printed() -> TestResult {
    let output = mqtap("serve --print-capabilities")?;
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains(r#""type":"net""#), "{text}");
    assert!(mqtap("--version")?.status.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let output = command.args(["serve", "--print-capabilities"]).stdout(full).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr)?, "error: cannot print: ENOSPC: No space left on device\n");
    Ok(())
}

/// A shell that gives the daemon `fd` as number `number`: the standard library makes all it opens close-on-exec.
pub(crate) fn with_inherited(fd: impl AsFd, number: i32, arguments: &str) -> Result<Daemon> {
    let directory = tempfile::tempdir()?;
    let fd = fd.as_fd();
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    let mut command = Command::new("bash");
    let raw = fd.as_raw_fd();
    let binary = env!("CARGO_BIN_EXE_mqtap");
    let close = if raw == number { String::new() } else { format!("{raw}>&-") };
    command.arg("-c").arg(format!("exec {binary} {arguments} {number}>&{raw} {close}"));
    let daemon = Daemon::spawn(command, directory)?;
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(daemon)
}

pub(crate) fn inherited_sockets_are_served() -> TestResult {
    // A connected socket serves one frontend, and then the daemon ends.
    let (ours, theirs) = UnixStream::pair()?;
    let mut daemon = with_inherited(&theirs, 9, "serve --netdev tap,id=hn0,ifname=tap0 --fd 9")?;
    drop(theirs);
    let driver = Driver::from_stream(ours, DriverOptions::default())?;
    assert_eq!(queues("tap0")?.1, 0);
    drop(driver);
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    // A listening one serves frontend after frontend.
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("listener");
    let listener = UnixListener::bind(&path)?;
    let mut daemon = with_inherited(&listener, 9, "serve --netdev tap,id=hn0,ifname=tap1 --fd 9")?;
    drop(listener);
    for _ in 0..3 {
        drop(Driver::connect(&path, DriverOptions::default())?);
    }
    assert_eq!(daemon.has_ended(), None);
    // The daemon calls, the frontend listens.
    let path = directory.path().join("frontend");
    let listener = UnixListener::bind(&path)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
    command.args(["serve", "--netdev", "tap,id=hn0,ifname=tap2", "--client", "--socket"]).arg(&path);
    let daemon = Daemon::spawn(command, tempfile::tempdir()?)?;
    for _ in 0..3 {
        let (stream, _) = listener.accept()?;
        drop(Driver::from_stream(stream, DriverOptions::default())?);
    }
    drop(daemon);
    Ok(())
}

pub(crate) fn inherited_taps_are_served() -> TestResult {
    let tap = mqtap::TapDevice::open(&mqtap::OpenOptions {
        name: "tap0".parse()?,
        ..mqtap::OpenOptions::default()
    })?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("s");
    let arguments = format!("serve --netdev tap,id=hn0,fds=8 --socket {}", socket.display());
    let mut daemon = with_inherited(&*tap.queues()[0], 8, &arguments)?;
    drop(tap);
    eventually("the NIC is served", || daemon.log_has(" virtqueues), "))?;
    Driver::connect(&socket, DriverOptions::default())?;
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    gone("tap0")?;
    Ok(())
}

/// `mqtap exec` opens the queues; the daemon that serves them has no capability.
pub(crate) fn queues_of_exec_are_served_without_privilege() -> TestResult {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("0");
    let binary = env!("CARGO_BIN_EXE_mqtap");
    let mut command = Command::new(binary);
    command.args(["exec", "--drop-caps", "--netdev", "tap,id=hn0,ifname=tap0,queues=4", "--"]);
    command.args([binary, "serve", "--netdev", "tap,id=hn0,fds={hn0.fds}", "--socket"]).arg(&socket);
    let mut daemon = Daemon::spawn(command, directory)?;
    eventually("the NIC is served", || daemon.log_has("tap0 with 4 queue pairs"))?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    address("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(3)?;
    assert_eq!(queues("tap0")?, (3, 1));
    let host = host_socket()?;
    driver.transmit(2, &frames::udp(path("tap0", 1)?, (5000, 9000), b"by way of exec"))?;
    let mut buffer = [0; 64];
    let (length, _) = host.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"by way of exec");
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    gone("tap0")
}
