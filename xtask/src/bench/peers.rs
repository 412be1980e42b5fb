//! Other people's backends.

use std::path::Path;

use super::contender::{Contender, Kind, Named, Peer};
use super::report::{DPDK, OPEN_VSWITCH};
use crate::outcome::{Context as _, Result, fail};
use crate::{paths, testpmd};

/// What DPDK's backend loads besides what it always does.
const PLUGINS: [&str; 3] = ["librte_mempool_ring.so.23", "librte_net_vhost.so.23", "librte_net_tap.so.23"];

/// DPDK's vhost and tap drivers, with testpmd carrying every frame from one to the other. It polls.
pub(super) fn dpdk() -> Result<Contender> {
    let installation = testpmd::install()?;
    let command = format!(
        "{} --lcores 0@{{cpu}},1@{{cpu}} --in-memory --no-pci --no-telemetry -m 256 --single-file-segments \
         --vdev net_vhost0,iface={{socket}},queues={{queues}},client=0 --vdev net_tap0,iface={{tap}} -- \
         --forward-mode=io --nb-cores=1 --rxq={{queues}} --txq={{queues}} --rxd=1024 --txd=1024 --auto-start \
         --no-lsc-interrupt --total-num-mbufs=32768",
        installation.command_line(&PLUGINS)
    );
    let peer = Peer { command, polls: true, environment: installation.environment() };
    Ok(Contender { name: DPDK.to_owned(), kind: Kind::Peer(peer) })
}

/// Open vSwitch with DPDK, if it is installed: a switch in user space, here between a vhost-user port and a tap. It polls for
/// what comes from the former.
pub(super) fn open_vswitch() -> Result<Contender> {
    const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
    if !Path::new(PROGRAM).exists() {
        return fail("it is not installed (packages openvswitch-switch-dpdk and librte-mempool-ring23)");
    }
    let script = paths::logs("bench.ovs")?.join("ovs.sh");
    std::fs::write(&script, include_str!("ovs.sh"))
        .context(|| format!("cannot write {}", script.display()))?;
    let command = format!("bash {} {{socket}} {{tap}} {{cpu}}", script.display());
    let peer = Peer { command, polls: true, environment: Vec::new() };
    Ok(Contender { name: OPEN_VSWITCH.to_owned(), kind: Kind::Peer(peer) })
}

/// Any other, by its command.
pub(super) fn named(named: &Named) -> Contender {
    let peer = Peer { command: named.text.clone(), polls: false, environment: Vec::new() };
    Contender { name: named.name.clone(), kind: Kind::Peer(peer) }
}
