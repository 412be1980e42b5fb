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
    for (round, milliseconds) in [0, 20, 60, 150, 400, 900, 1600, 2300, 2900, 3500].into_iter().enumerate() {
        let mut qemu = Guest::spawn(&lab.namespace, image, &machine, &lab.logs, &format!("victim{round}"))?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        qemu.kill();
        lab.backend.must_run()?;
    }
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
    traffic::ping(&lab, &traffic::guest_address(1), "-c 3 -i 0.1")?;
    lab.namespace.ip("link del tap0")?;
    process::until(PATIENCE, "mqtap serve to report the loss", || {
        Ok(lab.backend.log().contains("hn0: tap0 is gone").then_some(()))
    })?;
    lab.backend.must_run()?;
    traffic::ping(&lab, &traffic::guest_address(1), "-c 3 -i 0.1")?;
    match lab.backend.terminate()?.and_then(|status| status.code()) {
        Some(1) => Ok(()),
        status => fail(format!("mqtap serve lost a tap and ended with {status:?} instead of 1")),
    }
}
