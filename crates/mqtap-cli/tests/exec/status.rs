//! Exit statuses.

use std::os::unix::process::ExitStatusExt;

use mqtap_test_support::{TestResult, gone};

use super::support::{PATH, exec, mqtap, texts};

pub(crate) fn the_status_is_that_of_the_command() -> TestResult {
    for status in [0, 1, 7, 255] {
        let script = format!("exit {status}");
        let output = exec(&["tap,id=hn0,ifname=tap0"]).args(["--", "sh", "-c", &script]).output()?;
        assert_eq!(output.status.code(), Some(status));
    }
    // It is the command that was killed, not somebody who waits for it.
    let output = exec(&["tap,id=hn0,ifname=tap0"]).args(["--", "sh", "-c", "kill -TERM $$"]).output()?;
    assert_eq!(output.status.signal(), Some(15));
    Ok(())
}

pub(crate) fn commands_that_cannot_run_are_127_and_126() -> TestResult {
    for (command, status, expected) in [
        ("mqtap-no-such-command", 127, "no such program in PATH"),
        ("/nowhere/mqtap", 127, "ENOENT: No such file"),
        ("/etc/passwd", 126, "EACCES: Permission denied"),
        ("/", 126, "EACCES: Permission denied"),
    ] {
        let output = exec(&["tap,id=hn0,ifname=tap0"]).env("PATH", PATH).args(["--", command]).output()?;
        let (stdout, stderr) = texts(&output)?;
        assert_eq!(output.status.code(), Some(status), "{command}: {stderr}");
        assert!(stderr.contains(command) && stderr.contains(expected), "{stderr}");
        assert_eq!(stdout, "");
        gone("tap0")?;
    }
    Ok(())
}

pub(crate) fn netdevs_that_cannot_be_opened_are_1() -> TestResult {
    let output =
        exec(&["tap,id=a,ifname=tap0", "tap,id=b,ifname=lo"]).args(["--", "echo", "started"]).output()?;
    let (stdout, stderr) = texts(&output)?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("netdev b: lo exists and is not a tap"), "{stderr}");
    assert_eq!(stdout, "", "the command does not run");
    gone("tap0")?;
    let mac = "02:00:00:00:00:01";
    let output =
        exec(&[&format!("tap,id=a,mac={mac}")]).args(["--mac", mac, "--", "echo", "started"]).output()?;
    let (stdout, stderr) = texts(&output)?;
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("one of them must be another"), "{stderr}");
    // A number that was not inherited.
    let output = exec(&["tap,id=a,fds=87:88"]).args(["--", "echo", "started"]).output()?;
    let (stdout, stderr) = texts(&output)?;
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("netdev a: file descriptor 87 is not open"), "{stderr}");
    Ok(())
}

pub(crate) fn wrong_usage_is_2_and_opens_nothing() -> TestResult {
    let cases = [
        ("exec -- true", "were not provided:\n  --netdev"),
        ("exec --netdev tap,id=a,ifname=tap0", "were not provided:\n  <COMMAND>"),
        ("exec --netdev tap,id=a,ifname=tap0,queues=0 -- true", "at least one queue"),
        ("exec --netdev tap,id=a,ifname=tap0 --netdev tap,id=a -- true", "given twice"),
        ("exec --netdev tap,id=a,ifname=tap0 -- echo {b}", "there is `a`"),
        ("exec --netdev tap,id=a,ifname=tap0 -- echo {a.fd}", "did you mean `fds`?"),
        ("exec --netdev tap,id=a,ifname=tap0 -- echo {a.vhostfds}", "with vhost=on it has them"),
        ("exec --netdev tap,id=a,ifname=tap0 --netdev tap,id=a.fds -- true", "would mean two things"),
        ("exec --netdev tap,id=a,ifname=tap0 --mac b=52:54:00:12:34:56 -- true", "no netdev with id=b"),
        ("exec --netdev tap,id=a,ifname=tap0 --mac 1:2 -- true", "is not a MAC address such as"),
        ("exec --netdev tap,id=a,ifname=tap0 --mac 01:00:00:00:00:01 -- true", "this is that of a group"),
        ("exec --netdev tap,id=a,ifname=tap0 --mac a=00:00:00:00:00:00 -- true", "this is that of nobody"),
        (
            "exec --netdev tap,id=a --netdev tap,id=b --mac 52:54:00:12:34:56 -- true",
            "cannot share one --mac",
        ),
        ("exec --netdev tap,id=a,ifname=tap0 --user mqtap-nobody -- true", "there is no user mqtap-nobody"),
        ("exec --netdev tap,id=a,ifname=tap0 --group mqtap-nobody -- true", "there is no group mqtap-nobody"),
        ("exec --netdev tap,id=a,ifname=tap0 --user 123456789 -- true", "say which with --group"),
    ];
    for (arguments, expected) in cases {
        assert!(!arguments.contains(expected), "{arguments}: `{expected}` is what was typed");
        let output = mqtap().args(arguments.split_whitespace()).output()?;
        let (stdout, stderr) = texts(&output)?;
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(expected), "{arguments}: {stderr}");
        assert_eq!(stdout, "");
    }
    Ok(())
}
