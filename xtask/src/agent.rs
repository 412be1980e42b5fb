//! Commands inside the guest, over a virtio port.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::outcome::{Result, fail};
use crate::process;

/// How much longer than the command's own limit the answer may take to come out of a slow guest.
const GRACE: Duration = Duration::from_secs(15);

/// The line to the guest.
pub(crate) struct Agent {
    stream: UnixStream,
    received: Vec<u8>,
    next: u32,
}

/// What a command in the guest left behind.
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) output: String,
}

impl Agent {
    /// Connects to QEMU's end; must happen before the guest speaks, for nobody keeps what it says.
    pub(crate) fn connect(path: &Path, mut alive: impl FnMut() -> Result<()>) -> Result<Self> {
        let stream = process::until(Duration::from_secs(20), "QEMU to open the guest's port", || {
            alive()?;
            Ok(UnixStream::connect(path).ok())
        })?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self { stream, received: Vec::new(), next: 0 })
    }

    /// Waits until init says that it listens; again after every boot.
    pub(crate) fn wait_ready(&mut self, limit: Duration, alive: impl FnMut() -> Result<()>) -> Result<()> {
        self.take_until("@@ready@@", limit, "the guest to boot", alive).map(|_| ())
    }

    /// Runs a shell command in the guest, which kills it after `limit`.
    pub(crate) fn run(
        &mut self,
        command: &str,
        limit: Duration,
        alive: impl FnMut() -> Result<()>,
    ) -> Result<Answer> {
        self.next += 1;
        let seconds = limit.as_secs().max(1);
        let line = command.replace('\n', "; ");
        self.stream.write_all(format!("{} {seconds} {line}\n", self.next).as_bytes())?;
        let output = self.take_until(&format!("\n@@{} ", self.next), limit + GRACE, command, alive)?;
        let status = self.take_until("@@", GRACE, command, || Ok(()))?;
        let Ok(status) = status.trim().parse() else {
            return fail(format!("the guest answered `{command}` with the status {status:?}"));
        };
        // Line ends around the marks are ours, not the command's.
        Ok(Answer { status, output: output.replace('\r', "").trim_matches('\n').to_owned() })
    }

    /// Sends a command that will not answer.
    pub(crate) fn post(&mut self, command: &str) -> Result<()> {
        self.stream.write_all(format!("0 60 {command}\n").as_bytes())?;
        Ok(())
    }

    /// Everything received before `mark`; the mark itself is dropped.
    fn take_until(
        &mut self,
        mark: &str,
        limit: Duration,
        what: &str,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<String> {
        let end = Instant::now() + limit;
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.received[searched..], mark.as_bytes()).map(|at| at + searched) {
                let text = String::from_utf8_lossy(&self.received[..at]).into_owned();
                self.received.drain(..at + mark.len());
                return Ok(text);
            }
            searched = self.received.len().saturating_sub(mark.len());
            if Instant::now() >= end {
                let seen = String::from_utf8_lossy(&self.received).into_owned();
                return fail(format!(
                    "waited {} s for the guest: {what}; it said: {:?}",
                    limit.as_secs(),
                    process::tail(&seen, 5)
                ));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(length) if length > 0 => self.received.extend_from_slice(&piece[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    alive()?;
                }
                Ok(_) | Err(_) => {
                    // QEMU is on its way out; its own last words say more than ours.
                    std::thread::sleep(Duration::from_millis(200));
                    alive()?;
                    return fail(format!("QEMU closed the guest's port during: {what}"));
                }
            }
        }
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}
