//! Taps elsewhere than where the daemon is.

use mqtap_driver::{Driver, DriverOptions};
use mqtap_test_support::{Elsewhere, TestResult, eventually, ip};
use nix::sys::signal::Signal;

use super::daemon::{Daemon, address, queues, settle};
use super::datapath::{exercise, host_socket};

pub(crate) fn netns_has_the_tap_and_its_frames() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    let netdev = format!(
        "tap,id=hn0,ifname=tap0,queues=4,mtu=1400,persist=on,user=root,netns={}",
        elsewhere.path().display()
    );
    // Says the same as mtu=, which is no contradiction.
    let mut daemon = Daemon::start(&netdev, &["--mtu", "1400"])?;
    assert!(ip("link show tap0").is_err(), "not here");
    let socket = daemon.socket(0);
    elsewhere.run(|| -> TestResult {
        address("tap0", 1)?;
        let mut driver =
            Driver::connect(&socket, DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
        settle("tap0")?;
        driver.set_active_pairs(4)?;
        assert_eq!(queues("tap0")?, (4, 0));
        exercise(&mut driver, &host_socket()?, 4, 1)?;
        assert!(ip("link show tap0")?.contains("mtu 1400"));
        Ok(())
    })?;
    daemon.signal(Signal::SIGTERM)?;
    assert!(daemon.wait()?.success());
    eventually("nobody has a queue, and the tap stays", || {
        elsewhere.run(|| queues("tap0").unwrap()) == (0, 0)
    })
}
