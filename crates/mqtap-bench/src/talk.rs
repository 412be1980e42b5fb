//! Commands in, answers out.

use std::io::{Write as _, stdin, stdout};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

pub(crate) type BoxError = Box<dyn std::error::Error>;

pub(crate) fn say(line: &Value) -> Result<(), BoxError> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Says that we are ready, and answers every line until there are no more.
pub(crate) fn serve(mut obey: impl FnMut(&[&str]) -> Result<Value, BoxError>) -> Result<(), BoxError> {
    say(&json!({"ok": true}))?;
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            return say(&json!({"ok": true}));
        }
        say(&obey(&words).unwrap_or_else(|error| json!({"ok": false, "error": error.to_string()})))?;
    }
    Ok(())
}

pub(crate) fn unknown<T>(words: &[&str]) -> Result<T, BoxError> {
    Err(format!("unknown command {:?}, see --help", words.join(" ")).into())
}

/// Wall time and CPU time of this thread from one moment on.
pub(crate) struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    pub(crate) fn start() -> Watch {
        Watch { cpu: cpu(), wall: Instant::now() }
    }

    pub(crate) fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    pub(crate) fn cpu(&self) -> Duration {
        cpu() - self.cpu
    }
}

/// The run time in `/proc/thread-self/schedstat`; unlike the file, the clock has it up to date.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
