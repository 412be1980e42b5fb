//! What the main thread and the threads of the NICs tell each other.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mqtap_vhost_user::StopHandle;
use mqtap_virtio::nic::NicCounters;
use signal_hook::iterator::Handle;

use crate::status::{NicReport, Report};
use crate::{Error, table};

/// Where each NIC says how it fares.
pub(super) struct Board {
    /// Closed, it wakes the main thread up.
    signals: Handle,
    state: Mutex<State>,
}

struct State {
    nics: Vec<NicState>,
    ending: bool,
    /// The first that could not be served at all.
    failure: Option<Error>,
    /// One or more ended otherwise than they should.
    failed: bool,
}

enum NicState {
    /// Being opened: a script may run.
    Opening {
        id: String,
    },
    Served(Served),
    Ended,
}

/// A NIC that is served.
pub(super) struct Served {
    pub(super) id: String,
    pub(super) ifindex: u32,
    pub(super) counters: NicCounters,
    pub(super) stop: StopHandle,
}

impl Board {
    pub(super) fn new(ids: impl Iterator<Item = String>, signals: Handle) -> Self {
        let nics = ids.map(|id| NicState::Opening { id }).collect();
        let state = State { nics, ending: false, failure: None, failed: false };
        Self { signals, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// NIC `number` is ready. False if it is too late for that.
    pub(super) fn is_served(&self, number: usize, nic: Served) -> bool {
        let mut state = self.state();
        if !state.ending {
            state.nics[number] = NicState::Served(nic);
        }
        !state.ending
    }

    /// A NIC could not be opened, so none shall be served.
    pub(super) fn could_not_open(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.signals.close();
    }

    pub(super) fn has_failure(&self) -> bool {
        self.state().failure.is_some()
    }

    /// The thread of NIC `number` ends.
    pub(super) fn has_ended(&self, number: usize, failed: bool) {
        let mut state = self.state();
        state.failed |= failed;
        state.nics[number] = NicState::Ended;
        if state.nics.iter().all(|nic| matches!(nic, NicState::Ended)) {
            self.signals.close();
        }
    }

    /// Has every NIC end.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        for nic in &state.nics {
            match nic {
                NicState::Served(nic) => nic.stop.stop(),
                NicState::Opening { id } => tracing::info!("{id}: being opened still; waiting for that"),
                NicState::Ended => {}
            }
        }
    }

    pub(super) fn print_counters(&self) {
        let mut text = String::new();
        for nic in &self.state().nics {
            if let NicState::Served(nic) = nic {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}", table::render(&nic.id, &nic.counters.snapshot()));
            }
        }
        eprint!("{text}");
    }

    /// What each NIC that is served has done. The board is free while the kernel is asked.
    pub(super) fn report(&self) -> Report {
        let served = |nic: &NicState| match nic {
            NicState::Served(nic) => Some((nic.id.clone(), nic.ifindex, nic.counters.clone())),
            NicState::Opening { .. } | NicState::Ended => None,
        };
        let nics: Vec<_> = self.state().nics.iter().filter_map(served).collect();
        let report = |(id, ifindex, counters): (String, u32, NicCounters)| NicReport {
            id,
            ifindex,
            counters: counters.snapshot(),
        };
        Report::of(nics.into_iter().map(report).collect())
    }

    /// True if all went well; to be asked when all threads have ended.
    pub(super) fn verdict(&self) -> Result<bool, Error> {
        let mut state = self.state();
        state.failure.take().map_or(Ok(!state.failed), Err)
    }
}
