//! Frontends that are killed at any moment, and taps that are deleted under the daemon.

use std::time::Duration;

use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::process;
use crate::qemu::Guest;
use crate::serve::TapSpec;
use crate::traffic;

use super::checks;

const PATIENCE: Duration = Duration::from_secs(20);

/// QEMU is killed during the handshake, the boot of the kernel, the start of its driver, and under traffic; then another
/// one boots and works.
pub(super) fn any_moment(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 4)])?;
    let machine = lab.machine(&[4], "");
    let Some(image) = &stage.image else { return fail("this scenario needs a guest image") };
    // QEMU talks to the daemon in its first 100 ms, and again when the guest's driver starts, after one to six seconds.
    let early = (0..20).map(|step| step * 6);
    let late = [150, 250, 400, 700, 1000, 1300, 1600, 1900, 2200, 2500, 2800, 3100, 3500, 4000];
    for milliseconds in early.chain(late) {
        let mut qemu = Guest::spawn(&lab.namespace, image, &machine, &lab.logs, "victim")?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        qemu.kill();
        lab.backend.must_run()?;
    }
    checks::attached(&lab, 0, 4)?;
    let mut guest = lab.boot(&machine)?;
    traffic::ping_both(&lab)?;
    // Under traffic.
    traffic::serve_in_guest(&mut guest)?;
    let client = traffic::start_client(&lab, "-P 8 -t 20", "killed.json")?;
    std::thread::sleep(Duration::from_secs(2));
    guest.kill();
    drop(client);
    lab.backend.must_run()?;
    checks::attached(&lab, 0, 4)?;
    let mut guest = lab.boot(&machine)?;
    traffic::ping_both(&lab)?;
    checks::every_pair_both_ways(&mut lab, &mut guest, 4)
}

/// One of two NICs loses its tap: it says so and is gone, the other one goes on, and the exit status tells.
pub(super) fn deleted_tap(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 2), TapSpec::numbered(1, 2)])?;
    let machine = lab.machine(&[2, 2], "");
    let _guest = lab.boot(&machine)?;
    traffic::ping(&lab, &traffic::guest_address(1), 1, "")?;
    lab.namespace.ip("link del tap0")?;
    process::until(PATIENCE, "mqtap serve to report the loss", || {
        Ok(lab.backend.log().contains("netdev{id=hn0}: tap0 is gone").then_some(()))
    })?;
    lab.backend.must_run()?;
    traffic::ping(&lab, &traffic::guest_address(1), 1, "")?;
    match lab.backend.terminate()?.and_then(|status| status.code()) {
        Some(1) => Ok(()),
        status => fail(format!("mqtap serve lost a tap and ended with {status:?} instead of 1")),
    }
}

/// Without another NIC to serve, the daemon ends and says why.
pub(super) fn deleted_only_tap(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 2)])?;
    let machine = lab.machine(&[2], "");
    let _guest = lab.boot(&machine)?;
    lab.namespace.ip("link del tap0")?;
    let status = lab.backend.wait(PATIENCE)?;
    if !lab.backend.log().contains("netdev{id=hn0}: tap0 is gone") {
        return fail(format!("mqtap serve lost its tap and did not say so:\n{}", lab.backend.log()));
    }
    match status.map(|status| status.code()) {
        Some(Some(1)) => Ok(()),
        None => fail("mqtap serve lost its only tap and goes on"),
        Some(code) => fail(format!("mqtap serve lost its only tap and ended with {code:?} instead of 1")),
    }
}

/// SIGTERM is a clean end: status 0, and neither tap nor socket stays.
pub(super) fn terminated(stage: &Stage, name: &str) -> Result<()> {
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 4)])?;
    let machine = lab.machine(&[4], "");
    let mut guest = lab.boot(&machine)?;
    traffic::ping_both(&lab)?;
    let status = lab.backend.terminate()?.and_then(|status| status.code());
    if status != Some(0) {
        return fail(format!("mqtap serve ended with {status:?} at SIGTERM"));
    }
    if lab.namespace.has_link("tap0") || lab.backend.socket(0).exists() {
        return fail("mqtap serve left its tap or its socket behind");
    }
    // The VMM outlives its network.
    guest.must_run()
}
