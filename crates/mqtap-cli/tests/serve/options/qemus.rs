//! QEMU's options, in QEMU's order.

use std::fs;
use std::path::Path;
use std::process::Command;

use mqtap::netdev::OptionName;
use mqtap_test_support::{Scripts, TestResult, eventually, ip, own_directory};

use super::super::daemon::{Result, in_kernel};
use super::super::engines::{
    a_limited_send_buffer_keeps_order_and_loses_nothing, a_polling_worker_spares_the_driver_its_kicks,
};
use super::super::kernel::the_busy_loop_is_set;
use super::{Row, assert_refused, errors, exec, gone, mqtap, output, shell, shown};

pub(super) const ROWS: &[Row] = &[
    Row {
        option: OptionName::Id,
        works: id,
        refused: &[
            ("tap,ifname=tap0", "the netdev has no id"),
            ("tap,id=", "id= is empty"),
            ("tap,id=1a", "id=1a: an id starts with a letter"),
        ],
    },
    Row {
        option: OptionName::Ifname,
        works: ifname,
        refused: &[
            // QEMU cuts it.
            ("tap,id=a,ifname=0123456789abcdef", "ifname: interface name"),
            ("tap,id=a,ifname=", "ifname= is empty"),
            ("tap,id=a,ifname=vm%d%d", "ifname: interface name"),
            ("tap,id=a,ifname=lo", "lo exists and is not a tap"),
        ],
    },
    Row {
        option: OptionName::Fd,
        works: fd,
        refused: &[
            ("tap,id=a,fd=3:4", "fd= takes one"),
            ("tap,id=a,fd=name", "fd=name: `name` is not a number"),
            ("tap,id=a,fd=65000", "file descriptor 65000 is not open"),
        ],
    },
    Row {
        option: OptionName::Fds,
        works: fds,
        refused: &[
            ("tap,id=a,fds=", "fds= is empty"),
            ("tap,id=a,fds=3::4", "element 2 of the list is empty"),
        ],
    },
    Row {
        option: OptionName::Queues,
        works: queues,
        refused: &[
            ("tap,id=a,queues=0", "queues=0: a netdev has at least one queue"),
            ("tap,id=a,queues=257", "at most 256"),
            ("tap,id=a,queues=-1", "queues=-1: it is negative; queues= takes 1 to 256"),
            ("tap,id=a,queues=four", "queues=four: it is not a whole number"),
        ],
    },
    Row {
        option: OptionName::Script,
        works: script,
        refused: &[
            ("tap,id=a,script=ifup", "script=ifup: "),
            (
                "tap,id=a,script=/no/such/script",
                "script=/no/such/script for tap0: there is no such file (ENOENT)",
            ),
            ("tap,id=a,script=/bin/false", "exit status: 1"),
        ],
    },
    Row {
        option: OptionName::Downscript,
        works: downscript,
        refused: &[("tap,id=a,downscript=ifdown", "downscript=ifdown: ")],
    },
    Row {
        option: OptionName::Br,
        works: br,
        refused: &[
            ("tap,id=a,br=br0", "there is no br0 in the network namespace of tap0"),
            ("tap,id=a,br=lo", "lo is not a bridge"),
            ("tap,id=a,br=br%d", "br=br%d: "),
        ],
    },
    Row {
        option: OptionName::Helper,
        works: helper,
        refused: &[
            ("tap,id=a,helper=qemu-bridge-helper", "helper=qemu-bridge-helper: "),
            ("tap,id=a,helper=/bin/true", "helper=/bin/true: it ended well, but passed no queue"),
            ("tap,id=a,helper=/bin/false", "exit status: 1"),
        ],
    },
    Row {
        option: OptionName::Sndbuf,
        works: a_limited_send_buffer_keeps_order_and_loses_nothing,
        refused: &[
            ("tap,id=a,sndbuf=2G", "the largest send buffer is 2147483647 bytes"),
            (
                "tap,id=a,sndbuf=1MB",
                "sndbuf=1MB: it is not a size: write bytes, or a number and one of the units",
            ),
            ("tap,id=a,sndbuf=-1", "sndbuf=-1: it is negative; for no limit write 0"),
        ],
    },
    Row {
        option: OptionName::VnetHdr,
        works: vnet_hdr,
        refused: &[("tap,id=a,vnet_hdr=maybe", "write `vnet_hdr=on` or `vnet_hdr=off`")],
    },
    Row {
        option: OptionName::Vhost,
        works: vhost,
        refused: &[
            ("tap,id=a,vhost=maybe", "the values of vhost are `on`, `off` and `try`"),
            ("tap,id=a,vhost=off,vhostforce=on", "vhost=off contradicts vhostforce="),
        ],
    },
    Row {
        option: OptionName::Vhostfd,
        works: vhostfd,
        refused: &[
            ("tap,id=a,vhostfd=3:4", "vhostfd= takes one"),
            ("tap,id=a,vhostfd=65000", "file descriptor 65000 is not open"),
            ("tap,id=a,queues=2,vhostfd=65000", "2 queues but vhostfd= gives 1"),
        ],
    },
    Row {
        option: OptionName::Vhostfds,
        works: vhostfds,
        refused: &[
            ("tap,id=a,vhostfds=:", "element 1 of the list is empty"),
            ("tap,id=a,queues=2,vhostfds=65000:65001", "file descriptor 65000 is not open"),
            ("tap,id=a,queues=2,vhostfds=65000", "2 queues but vhostfds= gives 1"),
        ],
    },
    Row {
        option: OptionName::Vhostforce,
        works: vhostforce,
        refused: &[("tap,id=a,vhostforce=maybe", "write `vhostforce=on` or `vhostforce=off`")],
    },
    Row {
        option: OptionName::PollUs,
        works: poll_us,
        refused: &[
            ("tap,id=a,poll-us=-1", "poll-us=-1: it is negative; poll-us= takes 0 to 4294967295"),
            (
                "tap,id=a,poll-us=4294967296",
                "poll-us=4294967296: it is too large; poll-us= takes 0 to 4294967295",
            ),
            ("tap,id=a,poll-us=1ms", "poll-us=1ms: it is not a whole number"),
        ],
    },
];

/// The interface of each tap among the descriptors of the shell that runs it, one a line.
const INTERFACES: &str = "grep -hr ^iff: /proc/$$/fdinfo";

fn id() -> TestResult {
    let told = shell("tap,id=net-0.x_y", r#"echo "$1 $LISTEN_FDNAMES""#, &["{net-0.x_y}"])?;
    assert_eq!(told, "tap,id=net-0.x_y,fd=3 net-0.x_y\n");
    Ok(())
}

fn ifname() -> TestResult {
    for (given, made) in [
        (",ifname=vm7", "vm7"),
        (",ifname=vm%d", "vm0"),
        (",ifname=0123456789abcde", "0123456789abcde"),
        ("", "tap0"),
    ] {
        let found = shell(&format!("tap,id=a{given}"), INTERFACES, &[])?;
        assert_eq!(found.trim_start_matches("iff:").trim(), made);
        eventually("it is gone", || ip(&format!("link show {made}")).is_err())?;
    }
    // One that is there is attached to.
    ip("tuntap add dev tap0 mode tap multi_queue")?;
    assert!(shown("")?.contains("persist on"));
    Ok(())
}

/// What the outer one opens, the inner one adopts.
fn adopted(outer: &str, inner: &str) -> Result<String> {
    let inner = exec(inner, &["sh", "-c", INTERFACES]);
    let program = inner.get_program().to_str().unwrap_or_default();
    let words: Vec<&str> =
        std::iter::once(program).chain(inner.get_args().filter_map(|word| word.to_str())).collect();
    output(&mut exec(outer, &words))
}

fn fd() -> TestResult {
    assert_eq!(adopted("tap,id=a,ifname=tap0", "tap,id=b,fd=3")?, "iff:\ttap0\n");
    // By another name of the same number, and a setting of the device.
    assert_eq!(adopted("tap,id=a,ifname=tap1", "tap,id=b,fd={a.fds},sndbuf=1M")?, "iff:\ttap1\n");
    assert!(adopted("tap,id=a", "tap,id=b,fd=2").is_err());
    Ok(())
}

fn fds() -> TestResult {
    let two = "tap,id=a,ifname=tap0,queues=2";
    assert_eq!(adopted(two, "tap,id=b,fds={a.fds}")?, "iff:\ttap0\niff:\ttap0\n");
    assert_eq!(adopted(two, "tap,id=b,fds=4")?, "iff:\ttap0\n", "the other is not passed on");
    Ok(())
}

fn queues() -> TestResult {
    for (given, found) in [("", 1), (",queues=1", 1), (",queues=0x3", 3), (",queues=256", 256)] {
        let script = format!("{INTERFACES} | wc -l; ip -d link show tap0");
        let shown = shell(&format!("tap,id=a,ifname=tap0{given}"), &script, &[])?;
        let (count, details) = shown.split_once('\n').unwrap_or_default();
        assert_eq!(count.trim(), found.to_string(), "{given}");
        let of_the_kernel = format!("multi_queue numqueues {found} ");
        assert_eq!(details.contains(&of_the_kernel), found > 1, "{given}: {details}");
        gone()?;
    }
    Ok(())
}

fn script() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo up $1 >>$dir/log; ip link set $1 up")?;
    assert!(shown(&format!(",queues=2,script={up}"))?.contains(",UP"));
    assert_eq!(scripts.written("log")?, "up tap0\n", "once, and not for each queue");
    shown(",script=no")?;
    assert_eq!(scripts.written("log")?, "up tap0\n");
    Ok(())
}

fn downscript() -> TestResult {
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "ip link show $1 >/dev/null; echo down $1 >>$dir/log")?;
    shown(&format!(",queues=2,downscript={down}"))?;
    assert_eq!(scripts.written("log")?, "down tap0\n");
    shown(",downscript=no")?;
    assert_eq!(scripts.written("log")?, "down tap0\n");
    Ok(())
}

/// QEMU reads it only with a helper.
fn br() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 2500")?;
    let found = shown(",queues=2,br=br0")?;
    assert!(found.contains("master br0") && found.contains("mtu 2500") && found.contains(",UP"), "{found}");
    Ok(())
}

/// Our own, which QEMU can use, too; QEMU's is tested with the library.
fn helper() -> TestResult {
    own_directory("/etc")?;
    fs::create_dir("/etc/mqtap")?;
    fs::write("/etc/mqtap/bridge.conf", "allow br0\nallow br1\n")?;
    for bridge in ["br0", "br1"] {
        ip(&format!("link add {bridge} type bridge"))?;
    }
    let qemus_way = format!("helper={} helper", env!("CARGO_BIN_EXE_mqtap"));
    for (given, bridge, queues) in [
        (qemus_way.clone(), "br0", 1),
        (format!("{qemus_way},br=br1"), "br1", 1),
        ("helper=mqtap".to_owned(), "br0", 1),
        ("helper=mqtap,queues=3,br=br1".to_owned(), "br1", 3),
    ] {
        let script = format!("{INTERFACES} | wc -l; ip -o link show master {bridge}");
        let found = shell(&format!("tap,id=a,{given}"), &script, &[])?;
        let (count, ports) = found.split_once('\n').unwrap_or_default();
        assert_eq!((count.trim(), ports.lines().count()), (&*queues.to_string(), 1), "{given}: {found}");
    }
    Ok(())
}

fn vnet_hdr() -> TestResult {
    for (given, found) in
        [("", "vnet_hdr on"), (",vnet_hdr=on", "vnet_hdr on"), (",vnet_hdr=off", "vnet_hdr off")]
    {
        let shown = shown(given)?;
        assert!(shown.contains(found), "{given}: {shown}");
    }
    Ok(())
}

/// Descriptors of the command that are vhost-net handles, and what it is told.
fn handles(netdev: &str) -> Result<String> {
    let script = r#"ls -l /proc/$$/fd | grep -c vhost-net; echo "$1""#;
    Ok(shell(netdev, script, &["{a}"])?.replace('\n', " "))
}

/// Whether there is a vhost-net; where not, that it is an error that says what to do.
fn has_vhost_net(netdev: &str) -> bool {
    if Path::new("/dev/vhost-net").exists() {
        return true;
    }
    assert!(!in_kernel(), "the module is not loaded");
    assert_refused(
        netdev,
        "/dev/vhost-net does not exist (ENOENT); load the module with `modprobe vhost_net`",
    );
    assert_refused(netdev, "`vhost=try`");
    false
}

fn vhost() -> TestResult {
    for off in ["", ",vhost=off", ",novhost"] {
        assert_eq!(handles(&format!("tap,id=a,queues=2{off}"))?, "0 tap,id=a,fds=3:4 ");
    }
    if has_vhost_net("tap,id=a,queues=2,vhost=on") {
        for on in ["vhost=on", "vhost", "vhost=try"] {
            let told = handles(&format!("tap,id=a,queues=2,{on}"))?;
            assert_eq!(told, "2 tap,id=a,fds=3:4,vhostfds=5:6 ", "{on}");
        }
    } else {
        let tried = exec("tap,id=a,queues=2,vhost=try", &["echo", "{a}"]).output()?;
        assert_eq!(String::from_utf8_lossy(&tried.stdout), "tap,id=a,fds=3:4\n");
        // Whoever moves them then, it is not mqtap.
        assert!(errors(&tried).contains("netdev a: vhost-net is not used: /dev/vhost-net does not exist"));
        assert!(!errors(&tried).contains("frames"), "{}", errors(&tried));
        let tried = exec("tap,id=a,queues=2,vhost=try", &["echo", "{a.vhostfds}"]).output()?;
        assert_eq!((tried.status.code(), &*tried.stdout), (Some(1), &b""[..]));
        assert!(errors(&tried).contains("with vhost=try it may have none"), "{}", errors(&tried));
    }
    Ok(())
}

/// A netdev that is given open files as 7 and 8, and what comes of it.
fn with_files(file: &str, netdev: &str) -> std::io::Result<std::process::Output> {
    let script = format!("exec 7<>{file} 8<>{file}; exec \"$0\" exec --netdev {netdev} -- echo {{a}}");
    Command::new("bash").arg("-c").arg(script).arg(mqtap().get_program()).output()
}

/// Something else is found out, and handles are passed on where there are any.
fn handles_that_are_passed(something_else: &str, handles: &str, told: &str) -> TestResult {
    let output = with_files("/dev/null", something_else)?;
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("7 is not a vhost-net handle"), "{}", errors(&output));
    if Path::new("/dev/vhost-net").exists() {
        let output = with_files("/dev/vhost-net", handles)?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), told, "{}", errors(&output));
    } else {
        assert!(!in_kernel(), "the module is not loaded");
    }
    Ok(())
}

fn vhostfd() -> TestResult {
    let netdev = "tap,id=a,vhostfd=7";
    handles_that_are_passed(netdev, netdev, "tap,id=a,fd=3,vhostfd=4\n")
}

fn vhostfds() -> TestResult {
    let netdev = "tap,id=a,queues=2,vhostfds=7:8";
    handles_that_are_passed(netdev, netdev, "tap,id=a,fds=3:4,vhostfds=5:6\n")
}

/// The same as `vhost=on`, as in today's QEMU.
fn vhostforce() -> TestResult {
    assert_eq!(handles("tap,id=a,vhostforce=off")?, "0 tap,id=a,fd=3 ");
    if has_vhost_net("tap,id=a,vhostforce=on") {
        assert_eq!(handles("tap,id=a,vhostforce=on")?, "1 tap,id=a,fd=3,vhostfd=4 ");
    }
    Ok(())
}

/// QEMU ignores it without vhost.
fn poll_us() -> TestResult {
    if in_kernel() { the_busy_loop_is_set() } else { a_polling_worker_spares_the_driver_its_kicks() }
}
