//! Scripts and bridges of netdevs, as the daemon has them.

use std::fs;

use mqtap_driver::{Driver, DriverOptions, frames};
use mqtap_test_support::{Scripts, TestResult, eventually, gone, ip, own_directory};
use nix::sys::signal::Signal;

use crate::daemon::{Daemon, address, queues};
use crate::datapath::{host_socket, path};

pub(crate) fn script_and_downscript_are_run_and_heard() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo setting up $1; echo and warning >&2; ip link set $1 up")?;
    let down = scripts.script("down", "echo taking down $1; ip link show $1 >$dir/shown")?;
    let netdev = format!("tap,id=hn0,ifname=tap0,queues=2,script={up},downscript={down}");
    let mut daemon = Daemon::start(&netdev, &[])?;
    assert!(ip("link show tap0")?.contains(",UP"));
    for line in ["hn0: script ", "setting up tap0", "and warning"] {
        assert!(daemon.log_has(line), "{}", daemon.log());
    }
    daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    assert!(!scripts.has("shown"));
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    assert!(scripts.written("shown")?.contains("tap0"));
    eventually("the downscript is heard", || daemon.log_has("taking down tap0"))?;
    gone("tap0")
}

pub(crate) fn a_failing_script_ends_the_daemon_and_is_named() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo out of luck >&2; exit 9")?;
    let down = scripts.script("down", "touch $dir/down-ran")?;
    let plain = format!("tap,id=a,downscript={down}");
    let failing = format!("tap,id=b,queues=2,script={up}");
    let mut daemon = Daemon::launch(&[&plain, &failing], &[])?;
    assert_eq!(daemon.wait()?.code(), Some(1));
    eventually("the reason is given", || daemon.log_has("error: netdev b: script="))?;
    assert!(daemon.log_has("exit status: 9") && daemon.log_has("out of luck"), "{}", daemon.log());
    assert!(scripts.has("down-ran"), "the other netdev is undone, too");
    eventually("both taps are gone", || {
        ip("-oneline link show").is_ok_and(|text| text.lines().count() == 1)
    })?;
    assert!(!daemon.socket(0).exists() && !daemon.socket(1).exists());
    Ok(())
}

pub(crate) fn a_slow_script_holds_no_other_nic_up() -> TestResult {
    let scripts = Scripts::new()?;
    let slow = scripts.script("slow", "until [ -e $dir/go ]; do sleep 0.05; done")?;
    let slow = format!("tap,id=slow,ifname=tap7,script={slow}");
    let mut daemon = Daemon::launch(&[&slow, "tap,id=quick,ifname=tap0,queues=2"], &[])?;
    eventually("the other is served", || daemon.log_has("quick: tap0 with 2 queue pairs"))?;
    let driver =
        Driver::connect(&daemon.socket(1), DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    assert!(!daemon.log_has("slow: tap7 with"), "{}", daemon.log());
    assert_eq!(daemon.counters("quick")?.len(), 2);
    fs::write(scripts.file("go"), "")?;
    eventually("this one is served in the end", || daemon.log_has("slow: tap7 with 1 queue pair"))?;
    drop(driver);
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    Ok(())
}

pub(crate) fn sigterm_while_a_script_runs_undoes_the_netdev() -> TestResult {
    let scripts = Scripts::new()?;
    let slow = scripts.script("slow", "touch $dir/runs; until [ -e $dir/go ]; do sleep 0.05; done")?;
    let down = scripts.script("down", "touch $dir/down-ran")?;
    let netdev = format!("tap,id=hn0,ifname=tap0,script={slow},downscript={down}");
    let mut daemon = Daemon::launch(&[&netdev], &[])?;
    eventually("the script runs", || scripts.has("runs"))?;
    daemon.signal(Signal::SIGTERM)?;
    eventually("the daemon says what it waits for", || daemon.log_has("hn0: being opened still"))?;
    fs::write(scripts.file("go"), "")?;
    assert!(daemon.wait()?.success());
    assert!(scripts.has("down-ran"));
    gone("tap0")
}

pub(crate) fn br_puts_the_tap_on_the_bridge_while_it_is_served() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 2000 up")?;
    ip("tuntap add dev tap0 mode tap multi_queue")?;
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2,br=br0", &[])?;
    let shown = ip("link show tap0")?;
    assert!(shown.contains("master br0") && shown.contains("mtu 2000"), "{shown}");
    daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    let shown = ip("link show tap0")?;
    assert!(!shown.contains("master br0") && shown.contains("mtu 1500"), "{shown}");
    Ok(())
}

pub(crate) fn helper_mqtap_gives_the_daemon_queues_on_the_bridge() -> TestResult {
    own_directory("/etc")?;
    fs::create_dir("/etc/mqtap")?;
    fs::write("/etc/mqtap/bridge.conf", "allow br0\n")?;
    ip("link add br0 type bridge")?;
    let mut daemon = Daemon::start("tap,id=hn0,queues=4,br=br0,helper=mqtap", &[])?;
    assert!(daemon.log_has("tap0 with 4 queue pairs"), "{}", daemon.log());
    assert_eq!(queues("tap0")?, (0, 4), "without a guest no queue is attached");
    address("br0", 1)?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(4)?;
    assert_eq!(queues("tap0")?, (4, 0));
    let host = host_socket()?;
    let mut buffer = [0; 64];
    for pair in 0..4 {
        driver.transmit(pair, &frames::udp(path("br0", 1)?, (5000, 9000), &[b'0' + pair as u8; 20]))?;
        let (length, _) = host.recv_from(&mut buffer)?;
        assert_eq!(buffer[..length], [b'0' + pair as u8; 20]);
    }
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    gone("tap0")
}

pub(crate) fn helper_that_refuses_ends_the_daemon_and_is_quoted() -> TestResult {
    own_directory("/etc")?;
    fs::create_dir("/etc/mqtap")?;
    fs::write("/etc/mqtap/bridge.conf", "allow all\ndeny br0\n")?;
    ip("link add br0 type bridge")?;
    let mut daemon = Daemon::launch(&["tap,id=hn0,queues=4,br=br0,helper=mqtap"], &[])?;
    assert_eq!(daemon.wait()?.code(), Some(1));
    eventually("the reason is given", || daemon.log_has("error: netdev hn0: helper=mqtap: "))?;
    assert!(daemon.log_has("/etc/mqtap/bridge.conf denies bridge br0"), "{}", daemon.log());
    assert_eq!(ip("-oneline link show")?.lines().count(), 2);
    Ok(())
}
