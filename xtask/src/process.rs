//! Child processes: run to the end with a deadline, or supervised until dropped.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::outcome::{Context as _, Result, fail};

/// How often a waiting loop looks again.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// What a command that ran to its end left behind.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end and returns its output; kills it at the deadline.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    // Files instead of pipes: nothing to drain while waiting, no thread, no deadlock.
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let child = command.spawn().context(|| format!("cannot start `{}`", describe(command)))?;
    let mut child = Supervised::of(child, describe(command));
    let Some(status) = child.wait(limit)? else {
        return fail(format!("`{}` did not end within {} s", describe(command), limit.as_secs()));
    };
    Ok(Finished { status, stdout: reread(&mut stdout)?, stderr: reread(&mut stderr)? })
}

/// Runs a command that must succeed; returns its standard output.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = finish(command, limit)?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    fail(format!(
        "`{}` failed ({}): {}{}",
        describe(command),
        finished.status,
        finished.stderr.trim(),
        finished.stdout.trim()
    ))
}

/// Runs a command that must succeed, its output going to the terminal.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().context(|| format!("cannot start `{}`", describe(command)))?;
    if status.success() { Ok(()) } else { fail(format!("`{}` failed ({status})", describe(command))) }
}

fn reread(file: &mut File) -> Result<String> {
    use std::io::Seek as _;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls `look` until it returns something, or the deadline passes.
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return fail(format!("waited {} s for {what}", limit.as_secs()));
        }
        std::thread::sleep(TICK);
    }
}

/// A process of ours that is killed when the value is dropped.
pub(crate) struct Supervised {
    child: Child,
    name: String,
    log: Option<PathBuf>,
}

impl Supervised {
    fn of(child: Child, name: String) -> Self {
        Self { child, name, log: None }
    }

    /// Starts a process whose two outputs go to `log`.
    pub(crate) fn start(command: &mut Command, name: &str, log: &Path) -> Result<Self> {
        let file = File::create(log).context(|| format!("cannot create {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context(|| format!("cannot start `{}`", describe(command)))?;
        Ok(Self { child, name: name.to_owned(), log: Some(log.to_path_buf()) })
    }

    /// Starts a process that is listened to: only its complaints go to `log`.
    pub(crate) fn start_talking(
        command: &mut Command,
        name: &str,
        log: &Path,
    ) -> Result<(Self, ChildStdout)> {
        let file = File::create(log).context(|| format!("cannot create {}", log.display()))?;
        command.stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().context(|| format!("cannot start `{}`", describe(command)))?;
        let output = child.stdout.take();
        let process = Self { child, name: name.to_owned(), log: Some(log.to_path_buf()) };
        let output = output.ok_or_else(|| crate::outcome::failure(format!("{name} has no output")))?;
        Ok((process, output))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process id as the system calls take it.
    pub(crate) fn pid(&self) -> Result<rustix::process::Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| crate::outcome::failure(format!("{} has no usable process id", self.name)))
    }

    /// The process that it has started and waits for.
    pub(crate) fn only_child(&self) -> Result<rustix::process::Pid> {
        let pid = self.pid()?.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let child = children.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        child.map_or_else(|| fail(format!("{} has not one child but {children:?}", self.name)), Ok)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        rustix::process::kill_process(self.pid()?, signal).context(|| format!("cannot signal {}", self.name))
    }

    /// What it printed so far.
    pub(crate) fn log(&self) -> String {
        let bytes = self.log.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
    }

    /// An error, with the last lines it printed, if it has ended although it should run.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => fail(format!(
                "{} ended unexpectedly ({status}); it printed last:\n{}",
                self.name,
                tail(&self.log(), 15)
            )),
        }
    }

    /// Ends it now, without asking.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `count` lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
