//! A place where system daemons can be set up and run as on a machine of one's own, and of which nothing is left.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::Lab;
use crate::outcome::{Result, fail};
use crate::process::{self, Supervised};
use crate::serve;

const SCRIPT: &str = include_str!("room.sh");

/// Mounts and processes of a lab that are its own. When it is dropped, every process in it is killed.
pub(super) struct Room {
    /// `unshare`, whose child is the first process of the room.
    holder: Supervised,
    // The room's own files are in memory; this is only where they are mounted.
    _own: tempfile::TempDir,
}

impl Room {
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let own = tempfile::tempdir()?;
        let mut command = lab.namespace.command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.args(["sh", "-c", SCRIPT, "room.sh"]).arg(own.path()).stdin(Stdio::null());
        let (holder, output) =
            Supervised::start_talking(&mut command, "room.sh", &lab.logs.join("room.log"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "ready" {
            return fail(format!("cannot set up a place for daemons: {}", holder.log().trim()));
        }
        Ok(Self { holder, _own: own })
    }

    /// A command that will run in the room, with `mqtap` where programs are looked for.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let first = self.holder.only_child()?.as_raw_nonzero().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target", &first]);
        command.args(["--net", "--mount", "--pid", "--"]).arg(program);
        command.env("PATH", serve::path_with_ours()?);
        Ok(command)
    }

    /// Runs `sh -euc` in the room; returns what it printed.
    pub(super) fn shell(&self, script: &str, limit: Duration) -> Result<String> {
        process::output(self.command("sh")?.args(["-euc", script]), limit)
    }

    /// Where a file of the room is, seen from outside.
    pub(super) fn path(&self, inside: &str) -> Result<PathBuf> {
        let first = self.holder.only_child()?.as_raw_nonzero();
        Ok(PathBuf::from(format!("/proc/{first}/root{inside}")))
    }
}
