//! Network namespaces of our own: traffic never touches the host's network.
//!
//! The namespace has no name. A `cat` holds it open and ends when the pipe to it closes, so it disappears with this process however that ends;
//! everything started in it carries a parent-death signal for the same reason. (Nothing is left behind by Ctrl-C, a panic or SIGKILL.)

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::outcome::{Context as _, Result, fail};
use crate::process;

const QUICK: Duration = Duration::from_secs(20);

/// A fresh network namespace with the loopback up.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    pub(crate) fn new() -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "cannot start `unshare` (package util-linux)".to_owned())?;
        // Only after this line is /proc/<pid>/ns/net the new namespace; entering earlier would be entering the host's.
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let namespace = Self { holder };
        if line.trim() != "ready" {
            return fail(
                "cannot create a network namespace; this needs root, or a kernel that lets users create user namespaces",
            );
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A command that will run inside the namespace and die with this process.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command.arg("--").arg(program);
        command
    }

    /// Runs `sh -c` inside; returns the standard output.
    pub(crate) fn shell(&self, script: &str, limit: Duration) -> Result<String> {
        process::output(self.command("sh").args(["-c", script]), limit)
    }

    /// Runs `ip` inside; returns its output.
    pub(crate) fn ip(&self, arguments: &str) -> Result<String> {
        process::output(self.command("ip").args(arguments.split_whitespace()), QUICK)
    }

    /// `ip -json …`, parsed.
    pub(crate) fn ip_json(&self, arguments: &str) -> Result<serde_json::Value> {
        let text = self.ip(&format!("-json {arguments}"))?;
        serde_json::from_str(&text)
            .context(|| format!("`ip -json {arguments}` printed something else than JSON"))
    }

    /// True when the interface exists.
    pub(crate) fn has_link(&self, name: &str) -> bool {
        process::finish(self.command("ip").args(["link", "show", "dev", name]), QUICK)
            .is_ok_and(|done| done.status.success())
    }

    /// A number of `ip -details -statistics -json link show`, by JSON pointer.
    pub(crate) fn link_number(&self, name: &str, pointer: &str) -> Result<u64> {
        let links = self.ip_json(&format!("-details -statistics link show dev {name}"))?;
        links.pointer(&format!("/0{pointer}")).and_then(serde_json::Value::as_u64).map_or_else(
            || fail(format!("`ip -details -json link show dev {name}` has no number at {pointer}")),
            Ok,
        )
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
