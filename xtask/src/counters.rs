//! The table of counters that `mqtap serve` prints on SIGUSR1, read back.

/// One queue pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) netdev: String,
    pub(crate) pair: u16,
    pub(crate) attached: bool,
    pub(crate) transmitted_frames: u64,
    pub(crate) transmitted_bytes: u64,
    pub(crate) received_frames: u64,
    pub(crate) received_bytes: u64,
    pub(crate) drops: u64,
}

/// The counters of every queue pair of the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// Reads a complete table out of the daemon's messages; none while it is not there yet.
    pub(crate) fn parse(_text: &str) -> Option<Self> {
        None
    }
}
