//! DPDK's `testpmd` with `net_virtio_user` as the driver: rings written by somebody else than Linux.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::lab::{Lab, Stage};
use crate::outcome::{Context as _, Result, fail};
use crate::process::{self, Supervised};
use crate::serve::{BackendKind, TapSpec};

const PATIENCE: Duration = Duration::from_secs(40);
/// Frames that must have come, of the thousands that are sent.
const ENOUGH: u64 = 1000;
/// The MAC address of the driver.
const MAC: &str = "52:54:00:4d:51:d0";

/// One way of laying out the rings.
#[derive(Clone, Copy)]
struct Variant {
    queues: u16,
    packed: bool,
    mergeable: bool,
    in_order: bool,
}

impl Variant {
    fn all() -> impl Iterator<Item = Self> {
        (0..16).map(|bits| Self {
            queues: if bits & 8 == 0 { 1 } else { 2 },
            packed: bits & 4 != 0,
            mergeable: bits & 2 != 0,
            in_order: bits & 1 != 0,
        })
    }

    fn describe(self) -> String {
        format!(
            "{} queue(s), {}, {}, {}",
            self.queues,
            if self.packed { "packed" } else { "split" },
            if self.mergeable { "mergeable" } else { "not mergeable" },
            if self.in_order { "in order" } else { "any order" }
        )
    }
}

/// Every combination of 1 and 2 queues, split and packed, mergeable and not, in order and not: both ways.
pub(super) fn matrix(stage: &Stage, name: &str) -> Result<()> {
    if stage.kind != BackendKind::Mqtap {
        return fail("DPDK needs a vhost-user backend");
    }
    let pages = HugePages::reserve(160)?;
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, 2)])?;
    lab.namespace.ip(&format!("neighbour replace 10.77.0.2 lladdr {MAC} dev tap0 nud permanent"))?;
    for variant in Variant::all() {
        transmit(&mut lab, &pages, variant).context(|| format!("guest to tap, {}", variant.describe()))?;
        receive(&mut lab, &pages, variant).context(|| format!("tap to guest, {}", variant.describe()))?;
    }
    lab.backend.must_run()
}

/// Frames that testpmd transmits leave the tap into the host, on each queue.
fn transmit(lab: &mut Lab, pages: &HugePages, variant: Variant) -> Result<()> {
    let before = lab.namespace.link_number("tap0", "/stats64/rx/packets")?;
    let counters = counters(lab)?;
    let mut testpmd = Testpmd::start(lab, pages, variant, "txonly")?;
    process::until(PATIENCE, "frames from DPDK", || {
        testpmd.process.must_run()?;
        let now = lab.namespace.link_number("tap0", "/stats64/rx/packets")?;
        let moved = self::counters(lab)?;
        let each = (0..usize::from(variant.queues)).all(|pair| moved[pair].0 >= counters[pair].0 + ENOUGH);
        Ok((now >= before + ENOUGH && each).then_some(()))
    })?;
    testpmd.end()
}

/// Frames that the host sends arrive at testpmd, which counts them.
fn receive(lab: &mut Lab, pages: &HugePages, variant: Variant) -> Result<()> {
    let counters = counters(lab)?;
    let mut testpmd = Testpmd::start(lab, pages, variant, "rxonly")?;
    process::until(PATIENCE, "DPDK to enable its queues", || {
        testpmd.process.must_run()?;
        let attached = lab.namespace.link_number("tap0", "/linkinfo/info_data/numqueues")?;
        Ok((attached == u64::from(variant.queues)).then_some(()))
    })?;
    // The flows of a queue that just came spread over both by their hashes.
    let script = "for port in $(seq 5000 5127); do echo > /dev/udp/10.77.0.2/$port; done";
    process::until(PATIENCE, "frames to DPDK", || {
        testpmd.process.must_run()?;
        process::output(lab.namespace.command("bash").args(["-c", script]), PATIENCE)?;
        let moved = self::counters(lab)?;
        let each = (0..usize::from(variant.queues)).all(|pair| moved[pair].1 > counters[pair].1);
        Ok((each && testpmd.counted() >= ENOUGH).then_some(()))
    })?;
    testpmd.end()
}

/// Frames from and to the guest, for each pair.
fn counters(lab: &mut Lab) -> Result<Vec<(u64, u64)>> {
    let Some(table) = lab.backend.counters()? else { return fail("this backend counts nothing") };
    let frames = |pair| table.row(0, pair).map(|row| (row.transmitted_frames, row.received_frames));
    (0..2).map(frames).collect()
}

struct Testpmd {
    process: Supervised,
}

impl Testpmd {
    fn start(lab: &Lab, pages: &HugePages, variant: Variant, mode: &str) -> Result<Self> {
        let flag = u8::from;
        let device = format!(
            "net_virtio_user0,path={},mac={MAC},queues={},queue_size=256,mrg_rxbuf={},in_order={},packed_vq={}",
            lab.backend.socket(0).display(),
            variant.queues,
            flag(variant.mergeable),
            flag(variant.in_order),
            flag(variant.packed)
        );
        let mut command = lab.namespace.command("dpdk-testpmd");
        command.args(["--lcores", "0@1,1@1", "--no-pci", "--no-telemetry", "--in-memory", "--single-file-segments"]);
        command.args(["-m", "128", "--huge-dir"]).arg(pages.directory.path()).args(["--vdev", &device, "--"]);
        command.args(["--nb-cores=1", "--burst=32", "--txpkts=64", "--txonly-multi-flow", "--no-lsc-interrupt"]);
        command.args([format!("--forward-mode={mode}"), format!("--rxq={0}", variant.queues), format!("--txq={}", variant.queues)]);
        // Interactive mode ends at the end of the input, this one at a signal.
        command.args(["--stats-period", "1"]).stdin(Stdio::null());
        let process = Supervised::start(&mut command, "dpdk-testpmd", &lab.logs.join("testpmd.log"))?;
        Ok(Self { process })
    }

    /// How many frames it received, as it prints every second.
    fn counted(&self) -> u64 {
        let log = self.process.log();
        let counts = log.split("RX-packets:").skip(1).filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
        counts.max().unwrap_or(0)
    }

    fn end(mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::INT)?;
        if self.process.wait(PATIENCE)?.is_none() {
            return fail("dpdk-testpmd did not end at SIGINT");
        }
        Ok(())
    }
}

/// Huge pages for testpmd, on a mount of our own; both as before afterwards.
struct HugePages {
    directory: tempfile::TempDir,
    before: String,
}

const POOL: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn reserve(count: u32) -> Result<Self> {
        let before = std::fs::read_to_string(POOL).context(|| format!("cannot read {POOL}"))?;
        if before.trim().parse::<u32>().is_ok_and(|have| have < count) {
            std::fs::write(POOL, count.to_string()).context(|| format!("cannot reserve {count} huge pages"))?;
        }
        let directory = tempfile::tempdir()?;
        let pages = Self { directory, before };
        mount(&["-t", "hugetlbfs", "none"], pages.directory.path())?;
        Ok(pages)
    }
}

fn mount(arguments: &[&str], directory: &Path) -> Result<()> {
    let mut command = std::process::Command::new("mount");
    process::output(command.args(arguments).arg(directory), PATIENCE).map(drop)
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("umount");
        let _ = process::output(command.arg(self.directory.path()), PATIENCE);
        let _ = std::fs::write(POOL, self.before.trim());
    }
}
