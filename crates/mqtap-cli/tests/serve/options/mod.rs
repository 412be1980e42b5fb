//! Every option of a netdev, each by its name: what it brings about, and what is refused. Then what does not go together.
//!
//! The list is held against that of the parser, against that of the manual, and against QEMU's, so that no option can be there without
//! its test.

mod ours;
mod qemus;
mod refused;

use std::process::{Command, Output};

use mqtap::netdev::OptionName;
use mqtap_test_support::{Test, TestResult, eventually, ip};

use super::daemon::Result;
pub(crate) use refused::*;

/// An option that works.
pub(crate) struct Row {
    option: OptionName,
    /// Shows what it brings about.
    works: fn() -> TestResult,
    /// What it may not be, and what the error says of that: what it may be, or what is wrong.
    refused: &'static [(&'static str, &'static str)],
}

/// The members of QEMU's `NetdevTapOptions` (qapi/net.json), and the `id` of every netdev.
const QEMU: [&str; 16] = [
    "id",
    "ifname",
    "fd",
    "fds",
    "queues",
    "script",
    "downscript",
    "br",
    "helper",
    "sndbuf",
    "vnet_hdr",
    "vhost",
    "vhostfd",
    "vhostfds",
    "vhostforce",
    "poll-us",
];

fn rows() -> impl Iterator<Item = &'static Row> {
    qemus::ROWS.iter().chain(ours::ROWS)
}

/// A test for each, called like the option.
pub(crate) fn each_option() -> Vec<Test> {
    rows().map(|row| (row.option.as_str(), row.works)).collect()
}

/// Those that a vhost-net makes a difference to.
pub(crate) fn each_option_of_vhost() -> Vec<Test> {
    let of_vhost = |option| {
        use OptionName::{PollUs, Vhost, Vhostfd, Vhostfds, Vhostforce};
        matches!(option, Vhost | Vhostfd | Vhostfds | Vhostforce | PollUs)
    };
    rows().filter(|row| of_vhost(row.option)).map(|row| (row.option.as_str(), row.works)).collect()
}

pub(crate) fn every_option_has_its_test() -> TestResult {
    const MANUAL: &str = include_str!("../../../../../docs/options.md");
    let mut tested: Vec<&str> = rows().map(|row| row.option.as_str()).collect();
    tested.sort_unstable();
    let mut parsed: Vec<&str> = OptionName::ALL.iter().map(|option| option.as_str()).collect();
    parsed.sort_unstable();
    assert_eq!(tested, parsed, "what is tested, and what the parser takes");
    let table = MANUAL.lines().skip_while(|line| !line.starts_with("| option |")).skip(2);
    let mut documented: Vec<&str> = table
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap_or_default())
        .collect();
    documented.sort_unstable();
    assert_eq!(tested, documented, "what is tested, and what the manual has");
    let of_qemu: Vec<&str> = qemus::ROWS.iter().map(|row| row.option.as_str()).collect();
    assert_eq!(of_qemu, QEMU, "what is tested, and what QEMU has");
    Ok(())
}

fn mqtap() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mqtap"))
}

/// `mqtap exec` with this netdev and this command.
fn exec(netdev: &str, command: &[&str]) -> Command {
    let mut exec = mqtap();
    exec.args(["exec", "--netdev", netdev, "--"]).args(command);
    exec
}

/// Runs what must succeed, and returns what it printed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}: {}", output.status, errors(&output)).into())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a shell script prints as the command of `mqtap exec`.
fn shell(netdev: &str, script: &str, arguments: &[&str]) -> Result<String> {
    let mut command = exec(netdev, &["sh", "-c", script, "sh"]);
    output(command.args(arguments))
}

/// What `ip` says of `tap0` while the netdev is open.
fn shown(netdev: &str) -> Result<String> {
    shell(&format!("tap,id=a,ifname=tap0{netdev}"), "ip -d link show tap0", &[])
}

/// Waits until `tap0` is gone with its last queue.
fn gone() -> TestResult {
    mqtap_test_support::gone("tap0")
}

/// Checks that it is refused, before anything is made, with a text that has this piece: one that explains, and not what was typed, which
/// the command line repeats whatever is wrong with it.
#[track_caller]
fn assert_refused(netdev: &str, piece: &str) {
    assert!(!netdev.contains(piece), "{netdev}: `{piece}` is what was typed");
    let directory = tempfile::tempdir().unwrap();
    for command in ["exec", "serve"] {
        let mut mqtap = mqtap();
        mqtap.args([command, "--netdev", netdev]);
        match command {
            "exec" => mqtap.args(["--", "true"]),
            _ => mqtap.arg("--socket").arg(directory.path().join("socket")),
        };
        let output = mqtap.output().unwrap();
        let text = errors(&output);
        assert!(!output.status.success(), "{command} takes {netdev}");
        assert!(text.contains(piece), "{command} {netdev}: `{piece}` is missing in: {text}");
    }
    eventually(&format!("{netdev} leaves nothing"), || {
        ip("-oneline link show").is_ok_and(|text| text.lines().count() == 1)
    })
    .unwrap();
}

pub(crate) fn what_an_option_may_not_be_is_refused_by_its_name() -> TestResult {
    for row in rows() {
        assert!(!row.refused.is_empty(), "{}", row.option);
        for (netdev, piece) in row.refused {
            assert_refused(netdev, piece);
        }
    }
    Ok(())
}
