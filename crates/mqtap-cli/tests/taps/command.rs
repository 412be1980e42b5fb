//! Running the command, and shell scripts with it.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Output};

use mqtap_test_support::all_users_exist;
use serde_json::{Value, json};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a command printed, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Result<Self> {
        Ok(Self {
            status: output.status.code().ok_or("killed by a signal")?,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Fails unless the command succeeded.
    pub(crate) fn success(self) -> Result<Self> {
        if self.status == 0 { Ok(self) } else { Err(format!("it failed: {self:?}").into()) }
    }
}

/// `mqtap` with these arguments, and without what sudo left in the environment.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
    command.args(arguments.split_whitespace()).env_remove("SUDO_UID").env_remove("RUST_LOG");
    command
}

pub(crate) fn mqtap(arguments: &str) -> Result<Said> {
    Said::of(command(arguments).output()?)
}

/// The interfaces of the caller's namespace, as `ip` tells.
pub(crate) fn links() -> Result<Vec<Value>> {
    let output = Command::new("ip").args(["-json", "-details", "link", "show"]).output()?;
    let links: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    Ok(links.into_iter().filter(|link| link["ifname"] != "lo").collect())
}

/// What is to be equal of interfaces made in different ways: all but numbers, addresses, and what bridges say of their ports.
pub(crate) fn essence(links: &[Value]) -> Vec<Value> {
    let mut links: Vec<Value> = links
        .iter()
        .map(|link| {
            let up = link["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")));
            let bridge_proof = link["address"].as_str().is_some_and(|address| address.starts_with("fe:"));
            let tap = link["linkinfo"]["info_kind"] == "tun";
            json!({
                "ifname": link["ifname"],
                "mtu": link["mtu"],
                "qdisc": link["qdisc"],
                "master": link["master"],
                "alias": link["ifalias"],
                "up": up,
                "bridge_proof": bridge_proof && link["master"].is_string(),
                "tap": if tap { link["linkinfo"]["info_data"].clone() } else { Value::Null },
            })
        })
        .collect();
    links.sort_by_key(|link| link["ifname"].to_string());
    links
}

/// What a script is run with: users and groups of which the pages tell, a `/run` of its own, and the command. In a user namespace
/// there is only one number to be had, and everybody has it.
pub(crate) fn prepare(directory: &Path) -> Result<String> {
    let (user, group) = if all_users_exist() { (4321, 8765) } else { (0, 0) };
    let before = |line: String, file: &str| {
        let rest = std::fs::read_to_string(file).unwrap_or_default();
        let path = directory.join(Path::new(file).file_name().unwrap());
        std::fs::write(&path, format!("{line}\n{rest}")).map(|()| path)
    };
    let passwd = before(format!("alice:x:{user}:{user}::/:/bin/sh"), "/etc/passwd")?;
    let groups = before(format!("kvm:x:{group}:alice"), "/etc/group")?;
    let bin = Path::new(env!("CARGO_BIN_EXE_mqtap")).parent().ok_or("no directory")?;
    Ok(format!(
        "set -eu
        mount --bind {passwd} /etc/passwd
        mount --bind {groups} /etc/group
        mount -t tmpfs none /run
        unset SUDO_UID
        PATH={bin}:/usr/sbin:/sbin:$PATH
        ",
        passwd = passwd.display(),
        groups = groups.display(),
        bin = bin.display()
    ))
}

/// Runs a script with a mount namespace of its own, in the network namespace of the caller. It must succeed.
pub(crate) fn script(text: &str) -> Result<Said> {
    let directory = tempfile::tempdir()?;
    let prelude = prepare(directory.path())?;
    let output =
        Command::new("unshare").args(["--mount", "sh", "-c", &format!("{prelude}{text}")]).output()?;
    Said::of(output)?.success().map_err(|error| format!("{text}\n{error}").into())
}
