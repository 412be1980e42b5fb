//! How much of the log frontends may fill.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time that a quota is for.
const INTERVAL: Duration = Duration::from_secs(60);
/// Lines in that time. A guest that boots over and over takes a few of them each time.
const LINES: u32 = 30;

/// Lines of one kind that the sessions of one server may log: so many, and then none for the rest of the minute. A frontend
/// may come and go as often as it likes, so what one session may log says nothing about all of them.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Quota {
    /// Whether one more line may be logged. If lines were left out before it, says how many.
    pub(crate) fn admits(&self) -> bool {
        let admitted = self.admit(Instant::now());
        if let Some(left_out) = admitted {
            tell(left_out);
        }
        admitted.is_some()
    }

    /// Says how many lines were left out, if nobody has yet.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tell(std::mem::take(&mut state.left_out));
    }

    /// Takes one line out of the quota; the answer is how many were left out before, or `None` if this one is, too.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= INTERVAL) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines == LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

fn tell(left_out: u64) {
    if left_out > 0 {
        tracing::warn!("{left_out} lines about frontends were left out: more than {LINES} a minute");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let quota = Quota::default();
        let start = Instant::now();
        for _ in 0..LINES {
            assert_eq!(quota.admit(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(quota.admit(start + INTERVAL / 2), None);
        }
        assert_eq!(quota.admit(start + INTERVAL), Some(5), "the minute is over");
        assert_eq!(quota.admit(start + INTERVAL), Some(0));
    }
}
