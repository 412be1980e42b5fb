//! A Debian guest in QEMU.

use std::time::Duration;

use crate::lab::{Lab, Stage};
use crate::outcome::{Result, say};
use crate::serve::{BackendKind, TapSpec};
use crate::{image, process, traffic};

pub(super) fn show() -> Result<()> {
    let stage = Stage { kind: BackendKind::Mqtap, image: Some(image::build()?), real_root: false };
    say(
        "`mqtap serve --netdev tap,id=hn0,ifname=tap0,queues=4 --socket …` in a network namespace of its own",
    );
    let mut lab = Lab::new(&stage, "demo", &[TapSpec::numbered(0, 4)])?;
    say("QEMU boots a Debian guest with 4 CPUs and a virtio-net card of 4 queue pairs (8 virtqueues)");
    let machine = lab.machine(&[4], "");
    let mut guest = lab.boot(&machine)?;
    let channels = guest.run("ethtool -l eth0")?;
    let combined: Vec<&str> = channels.lines().filter(|line| line.starts_with("Combined:")).collect();
    say(format!(
        "the guest sees it (`ethtool -l eth0`: {}), and the host pings it",
        combined.join(" at most, now ")
    ));
    traffic::ping_both(&lab)?;
    traffic::serve_in_guest(&mut guest)?;
    for (command, title) in [
        (None, "16 TCP flows each way over all 4 queues:"),
        (Some(2), "`ethtool -L eth0 combined 2` in the guest, and the same 16 flows:"),
        (Some(4), "`ethtool -L eth0 combined 4`, and again:"),
    ] {
        if let Some(pairs) = command {
            guest.run(&format!("ethtool -L eth0 combined {pairs}"))?;
        }
        say(title);
        flows(&lab)?;
        super::show_table(&mut lab)?;
    }
    drop(guest);
    lab.backend.terminate()?;
    say(format!(
        "done: QEMU is gone, and with SIGTERM the daemon, its socket and tap0. Logs: {}",
        lab.logs.display()
    ));
    Ok(())
}

/// iperf3 to the guest, then from it.
fn flows(lab: &Lab) -> Result<()> {
    for (options, title) in [("-P 16 -t 3", "to the guest"), ("-P 16 -t 3 -R", "from the guest")] {
        // An iperf3 server closes its port between two tests, and a slow guest takes its time.
        let report = process::until(Duration::from_secs(30), "the guest's iperf3 to answer", || {
            Ok(traffic::report(traffic::start_client(lab, options, "demo.json")?).ok())
        })?;
        let bits = report.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
        say(format!("  {title:<14} {:6.2} Gbit/s (QEMU emulates the CPUs)", bits.unwrap_or(0.0) / 1e9));
    }
    Ok(())
}
