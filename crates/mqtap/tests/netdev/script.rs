//! `script=` and `downscript=`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mqtap::netdev::{self, Netdev};
use mqtap_test_support::{Scripts, TestResult, eventually, ip, write_program};

use crate::{details, interfaces, open, refused, says};

pub(crate) fn script_runs_once_with_the_name_when_queue_0_is_open() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts
        .script("up", "echo \"$#:$*\" >>$dir/log\nip -d link show $1 >$dir/shown\nip link set $1 up")?;
    let netdev = open(&format!("tap,id=a,queues=4,script={up}"));
    assert_eq!(scripts.written("log")?, "1:tap0\n");
    let shown = scripts.written("shown")?;
    assert!(shown.contains("numqueues 1 "), "the others are opened later: {shown}");
    let shown = details("tap0");
    assert!(shown.contains("numqueues 4 ") && shown.contains(",UP"), "{shown}");
    drop(netdev);
    assert_eq!(scripts.written("log")?, "1:tap0\n");
    Ok(())
}

pub(crate) fn script_is_none_unless_asked_for() -> TestResult {
    for text in ["", ",script=no,downscript=no", ",script=,downscript="] {
        drop(open(&format!("tap,id=a{text}")));
    }
    Ok(())
}

pub(crate) fn script_that_fails_undoes_the_netdev_and_its_status_is_named() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo no such luck >&2; exit 3")?;
    let down = scripts.script("down", "touch $dir/ran")?;
    let error = refused(&format!("tap,id=hn0,ifname=tap5,queues=2,script={up},downscript={down}"));
    assert!(matches!(error, netdev::Error::Script { .. }), "{error}");
    says(&error, &["netdev hn0", &format!("script={up}"), "tap5", "exit status: 3", "no such luck"]);
    eventually("the tap is gone", || interfaces() == 1)?;
    assert!(!scripts.has("ran"), "what did not come up is not taken down");
    let up = scripts.script("killed", "kill -HUP $$")?;
    says(&refused(&format!("tap,id=hn0,script={up}")), &["SIGHUP"]);
    Ok(())
}

pub(crate) fn script_that_fails_leaves_an_existing_interface_as_it_was() -> TestResult {
    let scripts = Scripts::new()?;
    ip("tuntap add tap0 mode tap multi_queue")?;
    let before = details("tap0");
    let up = scripts.script("up", "exit 1")?;
    refused(&format!("tap,id=a,ifname=tap0,queues=2,script={up}"));
    eventually("nothing has changed", || details("tap0") == before)
}

pub(crate) fn script_that_cannot_run_is_named_with_the_remedy() -> TestResult {
    let scripts = Scripts::new()?;
    let missing = scripts.file("missing").display().to_string();
    says(&refused(&format!("tap,id=a,script={missing}")), &[&missing, "ENOENT", "script=no"]);
    let plain = scripts.script("plain", "exit 0")?;
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644))?;
    says(&refused(&format!("tap,id=a,script={plain}")), &["EACCES", &format!("chmod +x {plain}")]);
    let bare = scripts.file("bare").display().to_string();
    write_program(bare.as_ref(), "exit 0\n")?;
    says(&refused(&format!("tap,id=a,script={bare}")), &["ENOEXEC", "#!/bin/sh"]);
    eventually("the taps are gone", || interfaces() == 1)
}

pub(crate) fn script_inherits_no_queue() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "ls -l /proc/$$/fd >$dir/fds")?;
    let _other = open("tap,id=b,queues=2");
    let _netdev = open(&format!("tap,id=a,script={up}"));
    let fds = scripts.written("fds")?;
    assert!(!fds.contains("/dev/net/tun") && fds.contains("/dev/null"), "{fds}");
    Ok(())
}

pub(crate) fn downscript_runs_at_the_end_while_the_interface_is_there() -> TestResult {
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "echo \"$#:$*\" >>$dir/log\nip -d link show $1 >$dir/shown")?;
    let netdev = open(&format!("tap,id=a,ifname=tap3,queues=2,downscript={down}"));
    assert!(!scripts.has("log"));
    drop(netdev);
    assert_eq!(scripts.written("log")?, "1:tap3\n");
    assert!(scripts.written("shown")?.contains("numqueues 2 "), "{}", scripts.written("shown")?);
    eventually("the tap is gone", || interfaces() == 1)
}

pub(crate) fn downscript_is_told_the_name_of_now() -> TestResult {
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "echo $1 >$dir/log")?;
    let netdev = open(&format!("tap,id=a,ifname=tap3,downscript={down}"));
    ip("link set tap3 name vm3")?;
    drop(netdev);
    assert_eq!(scripts.written("log")?, "vm3\n");
    Ok(())
}

pub(crate) fn downscript_runs_when_a_later_step_fails() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo up >>$dir/log")?;
    let down = scripts.script("down", "ip link show $1 >/dev/null && echo down >>$dir/log")?;
    // The bridge comes after the queues.
    let error = refused(&format!("tap,id=a,queues=2,script={up},downscript={down},br=br0"));
    says(&error, &["br0"]);
    assert_eq!(scripts.written("log")?, "up\ndown\n");
    // So do the other queues, which are then of another device.
    let up = scripts.script("delete", "ip link del $1")?;
    let down = scripts.script("after", "touch $dir/ran")?;
    let error = refused(&format!("tap,id=a,ifname=tap9,queues=2,script={up},downscript={down}"));
    says(&error, &["tap9 was deleted"]);
    assert!(scripts.has("ran"));
    Ok(())
}

pub(crate) fn downscript_that_fails_does_not_keep_the_interface() -> TestResult {
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "touch $dir/ran; exit 1")?;
    drop(open(&format!("tap,id=a,downscript={down}")));
    assert!(scripts.has("ran"));
    let missing = scripts.file("missing").display().to_string();
    drop(open(&format!("tap,id=a,downscript={missing}")));
    eventually("the taps are gone", || interfaces() == 1)
}

/// A script comes before the bridge, and its downscript after it.
pub(crate) fn script_may_make_what_the_next_step_needs() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "ip link add br0 type bridge")?;
    let down = scripts.script("down", "ip -o link show master br0 >$dir/ports; ip link del br0")?;
    let netdev = Netdev::open(&crate::parse(&format!("tap,id=a,script={up},downscript={down},br=br0")))?;
    assert!(details("tap0").contains("master br0"));
    drop(netdev);
    assert_eq!(scripts.written("ports")?, "", "undone in reverse: the bridge is left before the downscript");
    eventually("tap and bridge are gone", || interfaces() == 1)
}
