//! A Debian guest in QEMU.

use std::time::Instant;

use crate::lab::{Lab, Stage};
use crate::outcome::{Result, say};
use crate::qemu::Guest;
use crate::serve::{BackendKind, TapSpec};
use crate::traffic::Servers;
use crate::{image, traffic};

const CPUS: u16 = 4;
/// For each flow from the guest.
const MEGABYTES: u32 = 64;

pub(super) fn show() -> Result<()> {
    let stage = Stage { kind: BackendKind::Mqtap, image: Some(image::build()?), real_root: false };
    say(
        "`mqtap serve --netdev tap,id=hn0,ifname=tap0,queues=4 --socket …` in a network namespace of its own",
    );
    let mut lab = Lab::new(&stage, "demo", &[TapSpec::numbered(0, 4)])?;
    say(
        "QEMU boots a Debian guest with 4 emulated CPUs and a virtio-net card of 4 queue pairs (8 virtqueues)",
    );
    let machine = lab.machine(&[4], "");
    let mut guest = lab.boot(&machine)?;
    let (most, now) = guest.channels("eth0")?;
    say(format!(
        "the guest sees {most} queue pairs and uses {now} (`ethtool -l eth0`), and the host pings it"
    ));
    traffic::ping_both(&lab)?;
    traffic::serve_in_guest(&mut guest)?;
    let mut servers = Servers::start(&lab, 0, CPUS)?;
    for (command, title) in [
        (None, "iperf3 both ways over all 4 queues:"),
        (Some(2), "`ethtool -L eth0 combined 2` in the guest, and the same flows:"),
        (Some(4), "`ethtool -L eth0 combined 4`, and again:"),
    ] {
        if let Some(pairs) = command {
            guest.run(&format!("ethtool -L eth0 combined {pairs}"))?;
        }
        say(title);
        flows(&lab, &mut guest, &mut servers)?;
        super::show_table(&mut lab)?;
    }
    drop(servers);
    drop(guest);
    lab.backend.terminate()?;
    say(format!(
        "done: QEMU is gone, and with SIGTERM the daemon, its socket and tap0. Logs: {}",
        lab.logs.display()
    ));
    Ok(())
}

/// iperf3 to the guest, then from each of its CPUs.
fn flows(lab: &Lab, guest: &mut Guest, servers: &mut Servers) -> Result<()> {
    let report = traffic::report(traffic::start_client(lab, "-P 16 -t 3", "demo.json")?)?;
    let bits = report.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
    rate("to the guest, 16 flows", bits.unwrap_or(0.0));
    let start = Instant::now();
    servers.load_each_cpu(guest, MEGABYTES)?;
    let bits = f64::from(MEGABYTES * u32::from(CPUS)) * 1024.0 * 1024.0 * 8.0;
    rate("from the guest, a flow on each CPU", bits / start.elapsed().as_secs_f64());
    Ok(())
}

fn rate(direction: &str, bits_per_second: f64) {
    say(format!("  {direction:<36} {:6.2} Gbit/s", bits_per_second / 1e9));
}
