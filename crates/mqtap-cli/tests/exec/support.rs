//! Running `mqtap exec`.

use std::error::Error;
use std::process::{Command, Output};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Prints each descriptor of the shell that runs it, and the interface of each tap queue. The shell opens nothing for it.
pub(crate) const LIST: &str = "ls -l /proc/$$/fd; grep -r ^iff: /proc/$$/fdinfo";

/// Directories that any user may search: a command that could be in another one is not "not found" but forbidden.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn mqtap() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mqtap"))
}

/// `mqtap exec` with these netdevs.
pub(crate) fn exec(netdevs: &[&str]) -> Command {
    let mut command = mqtap();
    command.arg("exec");
    for netdev in netdevs {
        command.args(["--netdev", netdev]);
    }
    command
}

/// The same command, with no signal ignored. Whoever runs the tests may ignore some (a shell does for what it starts in the
/// background), and a shell cannot trap those.
pub(crate) fn minding_signals(command: &Command) -> Command {
    let mut all = Command::new("env");
    all.arg("--default-signal").arg(command.get_program()).args(command.get_args());
    all
}

/// Runs a shell script as the command of `mqtap exec`, with arguments; it must succeed. Returns the lines that it printed.
pub(crate) fn shell(netdevs: &[&str], script: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let mut command = exec(netdevs);
    lines(command.args(["--", "sh", "-c", script, "sh"]).args(arguments))
}

/// Runs a command that must succeed. Returns the lines that it printed.
pub(crate) fn lines(command: &mut Command) -> Result<Vec<String>> {
    let output = command.output()?;
    let (stdout, stderr) = texts(&output)?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}: {stderr}", output.status).into());
    }
    assert_eq!(stderr, "", "success is silent");
    Ok(stdout.lines().map(str::to_owned).collect())
}

/// Standard output and error.
pub(crate) fn texts(output: &Output) -> Result<(String, String)> {
    Ok((String::from_utf8(output.stdout.clone())?, String::from_utf8(output.stderr.clone())?))
}
