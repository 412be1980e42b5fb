//! Running the command.

use std::process::{Command, Output};

use serde_json::Value;

use super::daemon::Result;

pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
    command.args(arguments.split_whitespace()).env_remove("SUDO_UID").env_remove("RUST_LOG");
    command
}

pub(crate) fn run(arguments: &str) -> Result<Output> {
    Ok(command(arguments).output()?)
}

/// What it prints when it succeeds.
pub(crate) fn mqtap(arguments: &str) -> Result<String> {
    let output = run(arguments)?;
    if !output.status.success() {
        return Err(format!("mqtap {arguments}: {output:?}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What it prints, whether it succeeds or not.
pub(crate) fn json(arguments: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&run(arguments)?.stdout)?)
}

/// The one tap that is printed.
pub(crate) fn tap(arguments: &str) -> Result<Value> {
    match json(arguments)? {
        Value::Array(mut taps) if taps.len() == 1 => Ok(taps.remove(0)),
        other => Err(format!("{other}").into()),
    }
}
