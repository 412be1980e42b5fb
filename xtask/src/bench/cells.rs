//! The cells of the benchmark, as data.

use std::fmt;

use super::contender::Contender;
use super::field::{COALESCE_OFF, COALESCE_ON, Field, SEGMENT_OFF, SYSCALL};
use super::world::Sink;

/// Which way, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Transmit,
    Receive,
}

/// How the driver uses its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    pub(super) pairs: u16,
    pub(super) ring_size: u16,
    pub(super) packed: bool,
    pub(super) in_order: bool,
    pub(super) mergeable: bool,
    pub(super) event_index: bool,
    /// `none`, `checksum`, `tcp`, `all`.
    pub(super) offloads: &'static str,
    /// Descriptors of a transmitted frame.
    pub(super) pieces: u16,
}

impl Driver {
    pub(super) const PLAIN: Self = Self {
        pairs: 1,
        ring_size: 256,
        packed: false,
        in_order: false,
        mergeable: true,
        event_index: true,
        offloads: "none",
        pieces: 1,
    };

    /// The arguments of `mqtap-driver`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut all: Vec<String> = [
            "--queue-pairs",
            &self.pairs.to_string(),
            "--ring-size",
            &self.ring_size.to_string(),
            "--offloads",
            self.offloads,
        ]
        .map(str::to_owned)
        .into();
        let mut without = vec!["indirect"];
        if self.pieces > 1 {
            without.clear();
        }
        if !self.mergeable {
            without.push("mergeable");
        }
        if !self.event_index {
            without.push("event-index");
        }
        if !without.is_empty() {
            all.extend(["--without".to_owned(), without.join(",")]);
        }
        if self.packed {
            all.push("--packed".to_owned());
        }
        if self.in_order {
            all.push("--in-order".to_owned());
        }
        all
    }
}

impl fmt::Display for Driver {
    /// In words, for the report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs =
            if self.pairs == 1 { "1 queue pair".to_owned() } else { format!("{} queue pairs", self.pairs) };
        let layout = if self.packed { "packed" } else { "split" };
        write!(f, "{pairs}, {layout} rings of {}", self.ring_size)?;
        if self.offloads != "none" {
            write!(f, ", offloads: {}", self.offloads)?;
        }
        for (differs, text) in [
            (self.in_order, "in order"),
            (!self.mergeable, "buffers not mergeable"),
            (!self.event_index, "no event index"),
        ] {
            if differs {
                write!(f, ", {text}")?;
            }
        }
        if self.pieces > 1 {
            write!(f, ", {} descriptors to a frame", self.pieces)?;
        }
        Ok(())
    }
}

/// One line of the report: the same work for each of the contenders.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// `transmit.60.distinct`; what `--cells` matches.
    pub(super) name: String,
    pub(super) direction: Direction,
    /// As `mqtap-driver load --frames` has it, without the addresses.
    pub(super) shape: String,
    pub(super) sink: Sink,
    pub(super) driver: Driver,
    pub(super) contenders: Vec<Contender>,
    /// Part of `--quick`.
    pub(super) quick: bool,
    /// DPDK's driver in place of ours.
    pub(super) testpmd: bool,
}

impl Cell {
    fn new(name: &str, direction: Direction, shape: &str, sink: Sink, contenders: Vec<Contender>) -> Self {
        Self {
            name: name.to_owned(),
            direction,
            shape: shape.to_owned(),
            sink,
            driver: Driver::PLAIN,
            contenders,
            quick: false,
            testpmd: false,
        }
    }

    fn driver(mut self, change: impl FnOnce(&mut Driver)) -> Self {
        change(&mut self.driver);
        self
    }

    fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Where the frames go, or come from.
    pub(super) const fn way(&self) -> &'static str {
        match self.direction {
            Direction::Transmit => self.sink.name(),
            Direction::Receive => "from a full tap queue",
        }
    }

    /// The frames as the programs want to hear of them.
    pub(super) fn frames(&self) -> String {
        let address = if self.direction == Direction::Transmit { self.sink } else { Sink::Checked }.address();
        format!("{}{address}", self.shape)
    }
}

/// A super-frame of TCP, as large as they come.
const TCP_SUPER: &str = "tcp,size=65160,checksum=partial,segment=1448";
/// A super-frame of UDP: the most segments that fit.
const UDP_SUPER: &str = "udp,size=64810,checksum=partial,segment=1472";

/// Datagrams of 18 bytes in a super-frame to a local socket: as many as one of our bursts has.
const SMALL_SUPER: &str = "udp,size=1194,segment=18,checksum=partial,mac=02:00:00:00:00:01,to=10.77.0.1:9";

/// Every cell that moves frames.
pub(super) fn all(field: &Field) -> Vec<Cell> {
    let mut cells = transmit(field);
    cells.extend(receive(field));
    cells.extend(variants(field));
    cells.extend(dpdk(field));
    cells
}

/// DPDK's driver in place of ours.
fn dpdk(field: &Field) -> Vec<Cell> {
    let shape = "udp,size=60,flows=distinct";
    let mut cells = Vec::new();
    for (layout, packed) in [("split", false), ("packed", true)] {
        for (way, direction) in [("transmit", Direction::Transmit), ("receive", Direction::Receive)] {
            // A backend that polls does not say when it has done its part, nor lose nothing.
            let contenders = if direction == Direction::Transmit {
                field.everybody(&[], &[])
            } else {
                field.ours(&[], &[])
            };
            let mut cell =
                Cell::new(&format!("dpdk.{way}.60.{layout}"), direction, shape, Sink::Drop, contenders);
            cell.testpmd = true;
            cells.push(cell.driver(|driver| driver.packed = packed));
        }
    }
    cells
}

fn transmit(field: &Field) -> Vec<Cell> {
    const COALESCING: &[&str] = &[COALESCE_ON, COALESCE_OFF];
    let write = [
        Contender::floor("write", &[]),
        Contender::floor_across("write", "--made-on", &[]),
        Contender::floor("writev", &["--pieces", "2"]),
        Contender::floor("uring", &["--batch", "64"]),
    ];
    let bare = [Contender::floor("write", &[])];
    let both = [bare[0].clone(), write[1].clone()];
    // What the kernel itself needs for a super-frame that it has to take apart again.
    let socket = [
        bare[0].clone(),
        Contender::floor("write", &["--frames", SMALL_SUPER]).called("write of super-frames"),
    ];
    let cell = |name: &str, shape: &str, sink, contenders| {
        Cell::new(&format!("transmit.{name}"), Direction::Transmit, shape, sink, contenders)
    };
    let partial = |driver: &mut Driver| driver.offloads = "tcp";
    vec![
        cell(
            "60.distinct",
            "udp,size=60,flows=distinct",
            Sink::Drop,
            field.everybody_and_switches(&write, &[SYSCALL, COALESCE_OFF]),
        )
        .quick(),
        cell("60.64-flows", "udp,size=60,flows=64", Sink::Drop, field.ours(&bare, COALESCING)),
        cell("60.1-flow", "udp,size=60", Sink::Drop, field.ours(&bare, COALESCING)),
        cell("60.1-flow.bridge", "udp,size=60", Sink::Bridge, field.ours(&bare, COALESCING)),
        cell("60.1-flow.routed", "udp,size=60", Sink::Routed, field.ours(&bare, COALESCING)),
        cell("60.1-flow.socket", "udp,size=60", Sink::Socket, field.ours(&socket, COALESCING)).quick(),
        cell("60.64-flows.bridge", "udp,size=60,flows=64", Sink::Bridge, field.ours(&bare, COALESCING)),
        cell("512.distinct", "udp,size=512,flows=distinct", Sink::Drop, field.everybody(&both, &[])),
        cell(
            "1514.distinct",
            "udp,size=1514,flows=distinct",
            Sink::Drop,
            field.everybody_and_switches(&both, &[]),
        ),
        cell("1514.1-flow", "udp,size=1514,checksum=partial", Sink::Drop, field.ours(&bare, COALESCING))
            .driver(partial),
        cell(
            "1514.1-flow.bridge",
            "udp,size=1514,checksum=partial",
            Sink::Bridge,
            field.ours(&bare, COALESCING),
        )
        .driver(partial),
        cell("1514.1-flow.bridge.complete", "udp,size=1514", Sink::Bridge, field.ours(&bare, COALESCING)),
        cell("1514.tcp", "tcp,size=1514,checksum=partial", Sink::Bridge, field.ours(&bare, COALESCING))
            .driver(partial),
        cell(
            "1514.tcp.8-flows",
            "tcp,size=1514,checksum=partial,flows=8",
            Sink::Bridge,
            field.ours(&bare, COALESCING),
        )
        .driver(partial),
        cell("64k.tso", TCP_SUPER, Sink::Bridge, field.plain(&both)).driver(partial).quick(),
        cell(
            "64k.tso.17-pieces",
            TCP_SUPER,
            Sink::Bridge,
            field.plain(&[Contender::floor("writev", &["--pieces", "17"])]),
        )
        .driver(|driver| {
            driver.offloads = "tcp";
            driver.pieces = 17;
        }),
        cell("64k.uso", UDP_SUPER, Sink::Bridge, field.plain(&both)).driver(|driver| driver.offloads = "all"),
    ]
}

fn receive(field: &Field) -> Vec<Cell> {
    let read = [
        Contender::floor("read", &[]),
        Contender::floor_across("read", "--looked-at-on", &[]),
        Contender::floor("readv", &["--pieces", "18"]),
        Contender::floor("uring", &["--batch", "32"]),
    ];
    let bare = [Contender::floor("read", &[])];
    let both = [bare[0].clone(), read[1].clone()];
    let whole = Contender::floor("read", &["--offloads"]);
    let whole_across = Contender::floor_across("read", "--looked-at-on", &["--offloads"]);
    let scattered =
        Contender::floor("readv", &["--offloads", "--pieces", "33"]).called("readv into 33 pieces");
    let offloads = [whole.clone(), whole_across.clone(), scattered];
    // What it would cost to take the super-frames as they are.
    let segmenting = [
        bare[0].clone(),
        whole.called("read of super-frames"),
        whole_across.called("read of super-frames across CPUs"),
    ];
    let cell = |name: &str, shape: &str, contenders| {
        Cell::new(&format!("receive.{name}"), Direction::Receive, shape, Sink::Drop, contenders)
    };
    vec![
        cell("60.distinct", "udp,size=60,flows=distinct", field.everybody(&read, &[SYSCALL])).quick(),
        cell("60.1-flow", "udp,size=60", field.ours(&bare, &[])),
        cell("512.distinct", "udp,size=512,flows=distinct", field.everybody(&both, &[])),
        cell("1514.distinct", "udp,size=1514,flows=distinct", field.everybody(&both, &[])),
        cell("1514.1-flow", "udp,size=1514", field.ours(&bare, &[])),
        cell("64k.tso", TCP_SUPER, field.plain(&offloads)).driver(|driver| driver.offloads = "tcp").quick(),
        cell("64k.uso", UDP_SUPER, field.plain(&offloads)).driver(|driver| driver.offloads = "all"),
        cell("64k.uso.driver-without-uso", UDP_SUPER, field.everybody(&segmenting, &[SEGMENT_OFF]))
            .driver(|driver| driver.offloads = "tcp"),
        cell("64k.uso.driver-without-offloads", UDP_SUPER, field.everybody(&segmenting, &[SEGMENT_OFF])),
        cell("64k.tso.driver-without-offloads", TCP_SUPER, field.ours(&segmenting, &[SEGMENT_OFF])),
    ]
}

/// What the layout of the rings costs, and more pairs than one.
fn variants(field: &Field) -> Vec<Cell> {
    type Change = fn(&mut Driver);
    let changes: [(&str, Change); 8] = [
        ("split.256", |_| {}),
        ("split.1024", |driver| driver.ring_size = 1024),
        ("packed.256", |driver| driver.packed = true),
        ("packed.1024", |driver| {
            driver.packed = true;
            driver.ring_size = 1024;
        }),
        ("in-order", |driver| driver.in_order = true),
        ("not-mergeable", |driver| driver.mergeable = false),
        ("no-event-index", |driver| driver.event_index = false),
        ("2-pairs", |driver| driver.pairs = 2),
    ];
    let more: [(&str, Change); 1] = [("4-pairs", |driver| driver.pairs = 4)];
    let mut cells = Vec::new();
    for (name, change) in changes.into_iter().chain(more) {
        for (direction, prefix) in [(Direction::Transmit, "transmit"), (Direction::Receive, "receive")] {
            let shape = "udp,size=60,flows=distinct";
            let contenders =
                if name.ends_with("-pairs") { field.everybody(&[], &[]) } else { field.plain(&[]) };
            let cell = Cell::new(&format!("{prefix}.rings.{name}"), direction, shape, Sink::Drop, contenders);
            cells.push(cell.driver(change));
        }
    }
    cells
}
