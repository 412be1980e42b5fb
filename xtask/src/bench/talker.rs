//! A program of ours that answers each line on its stdin with a line of JSON.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::outcome::{Context as _, Result, fail, failure};
use crate::process::{self, Supervised};

/// For a command that does not say how long it takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Talker {
    process: Supervised,
    name: String,
    output: ChildStdout,
    received: Vec<u8>,
    /// The first line it said.
    pub(super) greeting: Value,
}

impl Talker {
    /// Starts it and waits for its first line.
    pub(super) fn start(command: &mut Command, name: &str, log: &Path) -> Result<Self> {
        command.stdin(Stdio::piped());
        let (process, output) = Supervised::start_talking(command, name, log)?;
        let mut talker =
            Self { process, name: name.to_owned(), output, received: Vec::new(), greeting: Value::Null };
        talker.greeting = talker.hear(PATIENCE)?;
        Ok(talker)
    }

    /// Says a line and waits for the answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<Value> {
        self.tell(line)?;
        self.answer()
    }

    /// Says a line; [`Talker::answer`] has to follow.
    pub(super) fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.process.child().stdin.as_mut().ok_or_else(|| failure("no input"))?;
        input
            .write_all(format!("{line}\n").as_bytes())
            .context(|| format!("cannot tell {} to `{line}`", self.name))
    }

    pub(super) fn answer(&mut self) -> Result<Value> {
        self.hear(PATIENCE)
    }

    fn hear(&mut self, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let answer: Value = serde_json::from_slice(&line)
                    .context(|| format!("{} said {:?}", self.name, String::from_utf8_lossy(&line)))?;
                return match answer.get("error").and_then(Value::as_str) {
                    Some(error) => fail(format!("{}: {error}", self.name)),
                    None => Ok(answer),
                };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return fail(format!("{} said nothing for {} s", self.name, limit.as_secs()));
            }
            let timeout = Timespec::try_from(left).ok();
            let mut polled = [PollFd::new(&self.output, PollFlags::IN)];
            match poll(&mut polled, timeout.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let mut bytes = [0; 4096];
            let length = self.output.read(&mut bytes)?;
            if length == 0 {
                let status = self.process.wait(Duration::from_secs(1))?;
                let status = status.map_or_else(|| "still runs".to_owned(), |status| status.to_string());
                return fail(format!(
                    "{} closed its output ({status}); it complained:\n{}",
                    self.name,
                    process::tail(&self.process.log(), 10)
                ));
            }
            self.received.extend_from_slice(&bytes[..length]);
        }
    }
}

/// A number of an answer; what it does not mention is 0.
pub(super) fn number(answer: &Value, key: &str) -> u64 {
    answer.get(key).and_then(Value::as_u64).unwrap_or(0)
}
