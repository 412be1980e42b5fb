//! The arguments of `mqtap serve`, and which of them belong to which NIC.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgMatches, Args};
use mqtap::MacAddress;
use mqtap::netdev::Options;
use rustix::thread::CpuSet;

use crate::mac;
use crate::per_nic::{PerNic, agree, ids, known, not_shared, pick, split};
use crate::status::Directory;

/// Serve TAP devices to virtual machines over vhost-user.
///
/// Opens the netdevs, then waits for a VMM on each socket. When a VMM goes, the next one is served; the tap stays.
/// Without a guest no queue of the tap is attached, and the interface has no carrier.
///
/// SIGUSR1 prints the counters of each queue pair to stderr. SIGTERM and SIGINT end it: taps that are not persistent
/// are gone then, and so are the sockets.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "mqtap serve [OPTIONS] --netdev <OPTIONS> --socket <PATH>...",
    after_long_help = EXAMPLES
)]
pub(crate) struct Arguments {
    /// A netdev in QEMU's syntax, such as tap,id=hn0,ifname=tap0,queues=4 (see mqtap-netdev(7)).
    #[arg(long, value_name = "OPTIONS", required_unless_present = "print_capabilities")]
    pub(crate) netdev: Vec<Options>,

    /// Where to listen for the VMM. A stale socket file is replaced, a live one refused.
    #[arg(long, visible_alias = "socket-path", value_name = "PATH")]
    pub(crate) socket: Vec<PathBuf>,

    /// An inherited socket, connected or listening, instead of --socket.
    #[arg(long, value_name = "N")]
    pub(crate) fd: Vec<i32>,

    /// Connect to the sockets, on which the VMM listens, rather than listen.
    #[arg(long)]
    pub(crate) client: bool,

    /// MAC address of the guest, for VMMs that ask the backend for it (QEMU does not). The netdev's mac= is that of the host's end.
    /// A macvtap's own address is the guest's, and need not be given.
    #[arg(long, value_name = "[ID=]MAC", value_parser = mac::of_nic)]
    pub(crate) mac: Vec<PerNic<MacAddress>>,

    /// MTU of the tap, in bytes, also of one that exists (the netdev's mtu= is for a new one); the guest is told.
    #[arg(long, value_name = "[ID=]BYTES", value_parser = parse_mtu)]
    pub(crate) mtu: Vec<PerNic<u32>>,

    /// The largest ring a guest may use, in descriptors: a power of two up to 32768.
    #[arg(long, value_name = "[ID=]N", value_parser = parse_queue_size)]
    pub(crate) queue_size: Vec<PerNic<u16>>,

    /// Threads that serve the queue pairs of a NIC [default: one for each pair].
    #[arg(long, value_name = "[ID=]N", value_parser = parse_workers)]
    pub(crate) workers: Vec<PerNic<u16>>,

    /// CPUs for the workers, such as 2-5,8: one for each worker in turn.
    #[arg(long, value_name = "[ID=]LIST")]
    pub(crate) cpus: Vec<PerNic<CpuList>>,

    /// Where to make the socket PID.status, at which `mqtap queues` and `mqtap show` read the counters: a directory, which is
    /// made if it is not there, or `no` [default: $RUNTIME_DIRECTORY, for root /run/mqtap, else $XDG_RUNTIME_DIR/mqtap].
    #[arg(long, value_name = "DIRECTORY|no")]
    pub(crate) status_dir: Option<Directory>,

    /// Print what this backend can do, as the vhost-user conventions have it, and end.
    #[arg(long)]
    pub(crate) print_capabilities: bool,

    /// The order in which --socket and --fd were given.
    #[arg(skip)]
    pub(crate) order: Vec<Endpoint>,
}

const EXAMPLES: &str = "\
Examples:
  mqtap serve --netdev tap,id=hn0,queues=4 --socket /run/vm0.sock

  Then, in QEMU:

  -object memory-backend-memfd,id=mem,size=1G,share=on \\
  -numa node,memdev=mem \\
  -chardev socket,id=c0,path=/run/vm0.sock \\
  -netdev vhost-user,id=n0,chardev=c0,queues=4 \\
  -device virtio-net-pci,netdev=n0,mq=on,vectors=10

  Several NICs: the first --socket (or --fd) is the first --netdev's, and so
  on. The other options hold for all NICs, or for one when the netdev's id
  stands in front:

  mqtap serve --netdev tap,id=a --socket a.sock \\
    --netdev tap,id=b,queues=2 --socket b.sock --mtu b=9000";

/// Where a VMM is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Socket(PathBuf),
    Fd(i32),
}

fn parse_number<T: FromStr + Display + PartialOrd + Copy>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}

fn parse_mtu(text: &str) -> Result<PerNic<u32>, String> {
    split(text, |text| parse_number(text, mqtap::link::MIN_MTU, mqtap::link::MAX_MTU))
}

fn parse_workers(text: &str) -> Result<PerNic<u16>, String> {
    split(text, |text| parse_number(text, 1, 256))
}

fn parse_queue_size(text: &str) -> Result<PerNic<u16>, String> {
    split(text, |text| match parse_number(text, 2, mqtap_virtio::nic::MAX_RING_SIZE) {
        Ok(size) if u16::is_power_of_two(size) => Ok(size),
        _ => Err(format!("expected a power of two from 2 to {}", mqtap_virtio::nic::MAX_RING_SIZE)),
    })
}

/// CPU numbers, in the kernel's list syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuList(pub(crate) Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a list of CPUs such as 0-3,8");
        let number = |text: &str| match text.parse::<usize>() {
            Ok(cpu) if cpu < CpuSet::MAX_CPU => Ok(cpu),
            Ok(cpu) => {
                Err(format!("CPU {cpu} is beyond the last that can be asked for, {}", CpuSet::MAX_CPU - 1))
            }
            Err(_) => Err(wrong()),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

/// One NIC, as it was asked for.
#[derive(Debug)]
pub(crate) struct NicRequest {
    pub(crate) netdev: Options,
    pub(crate) endpoint: Endpoint,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu: Option<u32>,
    pub(crate) queue_size: Option<u16>,
    pub(crate) workers: Option<u16>,
    pub(crate) cpus: Vec<usize>,
}

impl Arguments {
    /// Sorts the arguments by NIC.
    pub(crate) fn nics(&self) -> Result<Vec<NicRequest>, String> {
        let endpoints = &self.order;
        if endpoints.len() != self.netdev.len() {
            return Err(format!(
                "{} --netdev but {} --socket or --fd: each netdev needs one",
                self.netdev.len(),
                endpoints.len()
            ));
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            if endpoints[..i].contains(endpoint) {
                return Err(format!("{endpoint} is given twice"));
            }
        }
        let ids = ids(&self.netdev)?;
        not_shared(&self.mac, &ids)?;
        known("--mac", &self.mac, &ids)?;
        known("--mtu", &self.mtu, &ids)?;
        known("--queue-size", &self.queue_size, &ids)?;
        known("--workers", &self.workers, &ids)?;
        known("--cpus", &self.cpus, &ids)?;
        self.netdev
            .iter()
            .zip(endpoints)
            .map(|(netdev, endpoint)| {
                let id = netdev.id.as_str();
                let mtu = pick("--mtu", &self.mtu, id)?;
                agree(netdev, mtu)?;
                Ok(NicRequest {
                    netdev: netdev.clone(),
                    endpoint: endpoint.clone(),
                    mac: pick("--mac", &self.mac, id)?,
                    mtu,
                    queue_size: pick("--queue-size", &self.queue_size, id)?,
                    workers: pick("--workers", &self.workers, id)?,
                    cpus: pick("--cpus", &self.cpus, id)?.map_or_else(Vec::new, |list| list.0),
                })
            })
            .collect()
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "socket {}", path.display()),
            Self::Fd(number) => write!(f, "file descriptor {number}"),
        }
    }
}

/// `--socket` and `--fd` in the order in which they were given, which clap keeps only as indices.
pub(crate) fn endpoints_in_order(matches: &ArgMatches) -> Vec<Endpoint> {
    let indices = |name| matches.indices_of(name).into_iter().flatten();
    let sockets = matches.get_many::<PathBuf>("socket").into_iter().flatten().cloned().map(Endpoint::Socket);
    let fds = matches.get_many::<i32>("fd").into_iter().flatten().copied().map(Endpoint::Fd);
    let mut all: Vec<(usize, Endpoint)> =
        indices("socket").zip(sockets).chain(indices("fd").zip(fds)).collect();
    all.sort_by_key(|&(index, _)| index);
    all.into_iter().map(|(_, endpoint)| endpoint).collect()
}
