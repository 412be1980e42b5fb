//! A real guest: Debian's kernel with its own `virtio_net` in QEMU, once on QEMU's tap backend and once on ours.
//!
//! Without KVM the guest is slow, and neither backend is at its limit: what is compared is the CPU time of the host for the
//! same work. QEMU's main loop counts for both, for it delivers the interrupts of either.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::model::{CellFindings, Line, Side};
use super::procfs;
use super::sample::{Figure, Sample};
use super::world::{Cpus, OTHER_MAC};
use crate::image::Image;
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::process;
use crate::qemu::Guest;
use crate::serve::{BackendKind, TapSpec};
use crate::traffic::{self, Servers};

const TAP: &str = "tap0";
const QUICK: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(120);
/// Bytes of a TCP segment, to speak of bulk data as of frames.
const SEGMENT: u64 = 1448;

/// One comparison; its name is what `--cells` matches.
pub(super) struct GuestCell {
    pub(super) name: &'static str,
    frames: &'static str,
    way: &'static str,
    work: fn(&mut Seat) -> Result<()>,
}

pub(super) const CELLS: &[GuestCell] = &[
    GuestCell {
        name: "guest.transmit.60",
        frames: "UDP, 60 bytes, by pktgen in the guest",
        way: "dropped by IP (foreign MAC)",
        work: |side| side.pktgen(60),
    },
    GuestCell {
        name: "guest.transmit.1514",
        frames: "UDP, 1514 bytes, by pktgen in the guest",
        way: "dropped by IP (foreign MAC)",
        work: |side| side.pktgen(1514),
    },
    GuestCell {
        name: "guest.bulk.to-host",
        frames: "TCP, by iperf3, for each 1448 bytes",
        way: "a socket of the host",
        work: Seat::bulk_to_host,
    },
    GuestCell {
        name: "guest.bulk.to-guest",
        frames: "TCP, by iperf3, for each 1448 bytes",
        way: "a socket of the guest",
        work: Seat::bulk_to_guest,
    },
];

/// A guest on one of the two backends.
struct Seat {
    name: &'static str,
    side: Side,
    lab: Lab,
    guest: Guest,
    /// Listens while it lives.
    _servers: Servers,
    seconds: u32,
}

/// What the tap and the threads have counted so far.
#[derive(Clone, Copy)]
struct Account {
    frames: u64,
    bytes: u64,
    cpu_ns: u64,
    at: Instant,
}

impl Seat {
    fn boot(name: &'static str, kind: BackendKind, image: &Image, cpus: Cpus, seconds: u32) -> Result<Self> {
        let stage = Stage { kind, image: Some(image.clone()), real_root: true };
        let mut lab = Lab::new(&stage, &format!("bench.guest.{name}"), &[TapSpec::numbered(0, 1)])?;
        let machine = lab.machine(&[1], "");
        let mut guest = lab.boot(&machine)?;
        // Everything that moves frames on one CPU, the guest on the other.
        pin(guest.pid()?, cpus.driver, true)?;
        pin(guest.pid()?, cpus.backend, false)?;
        if let Some(daemon) = lab.backend.pid()? {
            pin(daemon, cpus.backend, true)?;
        }
        guest.run("insmod /modules/pktgen.ko")?;
        traffic::serve_in_guest(&mut guest)?;
        let _servers = Servers::start(&lab, 0, 1)?;
        let side = if kind == BackendKind::Mqtap { Side::Ours } else { Side::Peer };
        Ok(Self { name, side, lab, guest, _servers, seconds })
    }

    fn account(&self) -> Result<Account> {
        let number = |what| self.lab.namespace.link_number(TAP, what);
        let daemon = self.lab.backend.pid()?.map_or(Ok(0), procfs::cpu_ns)?;
        Ok(Account {
            frames: number("/stats64/rx/packets")? + number("/stats64/tx/packets")?,
            bytes: number("/stats64/rx/bytes")? + number("/stats64/tx/bytes")?,
            cpu_ns: daemon + procfs::main_thread_cpu_ns(self.guest.pid()?),
            at: Instant::now(),
        })
    }

    /// Frames as fast as the guest's kernel makes them.
    fn pktgen(&mut self, size: u32) -> Result<()> {
        // It runs until it is told to stop, which is when `timeout` interrupts whoever started it.
        let script = format!(
            "cd /proc/net/pktgen; echo rem_device_all > kpktgend_0; echo add_device eth0 > kpktgend_0; \
             for word in 'count 0' 'pkt_size {size}' 'burst 32' 'dst 10.78.0.9' 'dst_mac {OTHER_MAC}'; do \
             echo \"$word\" > eth0; done; timeout -s INT {} sh -c 'echo start > pgctrl'; true",
            self.seconds
        );
        self.guest.run_within(&script, LONG).map(|_| ())
    }

    fn bulk_to_host(&mut self) -> Result<()> {
        let command = format!("iperf3 -c {} -t {}", traffic::host_address(0), self.seconds);
        self.guest.run_within(&command, LONG).map(|_| ())
    }

    fn bulk_to_guest(&mut self) -> Result<()> {
        let client = traffic::start_client(&self.lab, &format!("-t {}", self.seconds), "bulk.json")?;
        traffic::report(client).map(|_| ())
    }
}

fn pin(pid: Pid, cpu: usize, all_threads: bool) -> Result<()> {
    let mut command = std::process::Command::new("taskset");
    command.args(if all_threads { &["-a", "-p", "-c"][..] } else { &["-p", "-c"] });
    command.arg(cpu.to_string()).arg(pid.as_raw_nonzero().to_string());
    process::output(&mut command, QUICK).map(|_| ())
}

/// Boots a guest on each backend and lets them do everything in turn.
pub(super) fn run(
    cells: &[&GuestCell],
    image: &Image,
    cpus: Cpus,
    repetitions: usize,
) -> Result<Vec<CellFindings>> {
    let seconds = 2;
    let mut seats = [
        Seat::boot("mqtap", BackendKind::Mqtap, image, cpus, seconds)?,
        Seat::boot("QEMU tap", BackendKind::Qemu, image, cpus, seconds)?,
    ];
    let mut found = Vec::new();
    for cell in cells {
        let mut samples = vec![Vec::new(); seats.len()];
        for _ in 0..repetitions {
            for (seat, samples) in seats.iter_mut().zip(&mut samples) {
                let before = seat.account()?;
                (cell.work)(seat)?;
                samples.push(sample(&before, &seat.account()?, cell)?);
            }
        }
        let lines = seats.iter().zip(samples).map(|(seat, samples)| line(seat, &samples)).collect();
        found.push(CellFindings {
            name: cell.name.to_owned(),
            frames: cell.frames.to_owned(),
            way: cell.way.to_owned(),
            driver: "virtio_net of Linux, 1 queue pair".to_owned(),
            lines,
        });
    }
    Ok(found)
}

fn sample(before: &Account, after: &Account, cell: &GuestCell) -> Result<Sample> {
    let (frames, bytes) = (after.frames - before.frames, after.bytes - before.bytes);
    if frames < 100 {
        return fail(format!("{}: {frames} frames crossed the tap", cell.name));
    }
    Ok(Sample {
        frames,
        payloads: if cell.name.contains("bulk") { bytes / SEGMENT } else { frames },
        bytes,
        wall_ns: (after.at - before.at).as_nanos() as u64,
        cpu_ns: after.cpu_ns - before.cpu_ns,
        ..Sample::default()
    })
}

fn line(seat: &Seat, samples: &[Sample]) -> Line {
    let figure = |of: fn(&Sample) -> f64| Figure::of(samples.iter().map(of));
    Line {
        name: seat.name.to_owned(),
        side: seat.side,
        cpu_ns: figure(Sample::cpu_per_payload),
        rate: figure(Sample::payloads_per_second),
        gigabits: figure(Sample::gigabits_per_second),
        ..Line::default()
    }
}

/// The guest's image, with what it takes to build and boot it.
pub(super) fn image() -> Result<Image> {
    crate::setup::ensure(&[crate::setup::GUEST])?;
    crate::image::build()
}
