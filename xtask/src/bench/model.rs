//! What a run of the benchmark found, as `--json` has it.

use serde::{Deserialize, Serialize};

use super::sample::Figure;

/// Everything that one run of the benchmark found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Findings {
    pub(super) machine: Machine,
    pub(super) method: Method,
    pub(super) cells: Vec<CellFindings>,
    pub(super) measures: Vec<Measure>,
    /// What could not be run, and why.
    pub(super) skipped: Vec<Skipped>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Machine {
    /// Day of the run, UTC.
    pub(super) date: String,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) memory_gib: u64,
    pub(super) kernel: String,
    /// What was measured.
    pub(super) revision: String,
    pub(super) programs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Method {
    pub(super) repetitions: usize,
    pub(super) transmit_ms: u64,
    pub(super) receive_rounds: u64,
    pub(super) minutes: f64,
}

/// The same work, done by each of the contenders.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct CellFindings {
    pub(super) name: String,
    /// As `mqtap-driver load --frames` has it.
    pub(super) frames: String,
    /// Where they go or come from.
    pub(super) way: String,
    /// How the driver uses its device.
    pub(super) driver: String,
    pub(super) lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// A bare system call.
    Floor,
    /// mqtap.
    #[default]
    Ours,
    /// Somebody else's backend.
    Peer,
}

/// One contender in a cell.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) side: Side,
    /// CPU time of the backend for each datagram or segment.
    pub(super) cpu_ns: Figure,
    /// Datagrams or segments a second.
    pub(super) rate: Figure,
    pub(super) gigabits: Figure,
    /// Kicks and calls for each frame.
    pub(super) notifications: Figure,
    pub(super) system_calls: Option<f64>,
}

/// A figure that is no cell.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Measure {
    /// `latency.idle.p50`.
    pub(super) name: String,
    pub(super) contender: String,
    pub(super) side: Side,
    pub(super) unit: String,
    pub(super) value: Figure,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Skipped {
    pub(super) name: String,
    pub(super) why: String,
}

impl Findings {
    pub(super) fn cell(&self, name: &str) -> Option<&CellFindings> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// A measure of one contender.
    pub(super) fn measure(&self, name: &str, contender: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name && measure.contender == contender)
    }

    /// The least of a measure among those of one side.
    pub(super) fn least(&self, name: &str, side: Side) -> Option<&Measure> {
        self.measures
            .iter()
            .filter(|measure| measure.name == name && measure.side == side)
            .min_by(|a, b| a.value.median.total_cmp(&b.value.median))
    }
}

impl CellFindings {
    /// What the others are compared with: the first floor.
    pub(super) fn floor(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.side == Side::Floor)
    }

    /// Those of ours or of the peers.
    pub(super) fn of(&self, side: Side) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.side == side)
    }

    /// The one of ours that takes the least CPU time.
    pub(super) fn best(&self) -> Option<&Line> {
        self.of(Side::Ours).min_by(|a, b| a.cpu_ns.median.total_cmp(&b.cpu_ns.median))
    }
}
