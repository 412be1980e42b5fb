//! Instructions of the hot functions: the same on a busy machine as on a quiet one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::talker::number;
use crate::outcome::{Context as _, Result, fail, failure, say};
use crate::setup::{self, Need};
use crate::{paths, process, serve};

const VALGRIND: &[Need] = &[Need { program: "valgrind", package: "valgrind" }];
const LONG: Duration = Duration::from_secs(120);

/// Name, as `mqtap-bench count --subject` has it, and what one of them is.
const SUBJECTS: &[(&str, &str)] = &[
    ("ring-split-transmit", "chain"),
    ("ring-split-receive", "chain"),
    ("ring-packed-transmit", "chain"),
    ("ring-packed-receive", "chain"),
    ("coalesce-udp60", "frame"),
    ("coalesce-udp1514-partial", "frame"),
    ("coalesce-tcp1514-partial", "frame"),
    ("coalesce-distinct", "frame"),
    ("segment-tcp", "segment"),
    ("segment-udp", "segment"),
    ("checksum60", "checksum"),
    ("checksum1500", "checksum"),
];

/// Instructions, of each subject, that were agreed upon.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Baseline {
    /// Another compiler makes other instructions of the same source.
    compiler: String,
    /// A function may take so many percent more.
    tolerance: f64,
    instructions: BTreeMap<String, f64>,
}

fn baseline_file() -> PathBuf {
    paths::root().join("xtask/instructions.json")
}

/// Counts and compares with the committed baseline, or makes what was counted the new one.
pub(super) fn run(bless: bool) -> Result<ExitCode> {
    setup::ensure(&[setup::BASE, VALGRIND])?;
    say("building (release)");
    serve::build_release(&["mqtap-bench"])?;
    let baseline: Baseline = match std::fs::read_to_string(baseline_file()) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Baseline { tolerance: 5.0, ..Baseline::default() },
    };
    let compiler = process::output(Command::new("rustc").arg("--version"), LONG)?.trim().to_owned();
    let same = baseline.compiler == compiler;
    if !same && !bless {
        say(format!(
            "the baseline is of {:?}, this is {compiler:?}: a difference proves nothing",
            baseline.compiler
        ));
    }
    let mut counted = BTreeMap::new();
    let mut regressed = 0;
    for (subject, unit) in SUBJECTS {
        let now = count(subject)?;
        let verdict = match baseline.instructions.get(*subject) {
            None => "new".to_owned(),
            Some(before) => {
                let change = (now / before - 1.0) * 100.0;
                let worse = change > baseline.tolerance;
                regressed += usize::from(worse);
                format!("{change:+.1} %{}", if worse { "  REGRESSED" } else { "" })
            }
        };
        say(format!("    {subject:<26} {now:9.1} instructions for each {unit:<9} {verdict}"));
        counted.insert((*subject).to_owned(), (now * 10.0).round() / 10.0);
    }
    if bless {
        let new = Baseline { compiler, tolerance: baseline.tolerance, instructions: counted };
        let text = serde_json::to_string_pretty(&new)? + "\n";
        std::fs::write(baseline_file(), text).context(|| "cannot write the baseline".to_owned())?;
        say("written: xtask/instructions.json");
        return Ok(ExitCode::SUCCESS);
    }
    if regressed > 0 && same {
        return fail(format!(
            "{regressed} functions take more instructions than agreed; make them the new baseline with --bless if that is meant"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Instructions of a subject for each of its units, with what it calls and without what surrounds it.
fn count(subject: &str) -> Result<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*count*measured*"]);
    command.arg("--callgrind-out-file=/dev/null").arg(serve::bench_binary()?);
    command.args(["count", "--subject", subject]);
    let finished = process::finish(&mut command, LONG)?;
    if !finished.status.success() {
        return fail(format!("`{}` failed: {}", process::describe(&command), finished.stderr.trim()));
    }
    let answer: serde_json::Value = serde_json::from_str(finished.stdout.trim())?;
    // ==123== Collected : 12345
    let instructions: f64 = finished
        .stderr
        .lines()
        .find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
        .ok_or_else(|| failure(format!("valgrind counted nothing: {}", finished.stderr.trim())))?;
    Ok(instructions / number(&answer, "units").max(1) as f64)
}
