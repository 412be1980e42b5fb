//! The tests that `cargo test` runs, counted.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};

use crate::outcome::{Context as _, Result, in_ci, say};
use crate::{paths, process};

/// How many tests passed, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Count {
    /// Failures, and in continuous integration also what could not run.
    pub(crate) fn bad(self) -> u32 {
        self.failed + if in_ci() { self.skipped } else { 0 }
    }

    /// The last line of a run, alone on its line for whoever reads it by program.
    pub(crate) fn say(self) {
        if self.skipped > 0 {
            let verdict = if in_ci() { "which CI=true counts as failed" } else { "see above" };
            say(format!("\n{} could not run, {verdict}", self.skipped));
        }
        say(format!("\n{} passed, {} failed", self.passed, self.bad()));
    }
}

/// The tests of the crates, and those of the tap crate as another operating system has it.
pub(crate) fn run() -> Result<Count> {
    say("the tests of the crates:");
    let mut count = test(cargo().args(["--workspace", "--all-targets"]))?;
    say("their examples in the documentation:");
    count += test(cargo().args(["--workspace", "--doc"]))?;
    say("the tap crate as another operating system has it:");
    let mut other = cargo();
    other.args(["--package", "mqtap", "--lib", "--test", "other_os"]);
    // Flags of its own want a build directory of its own.
    other
        .env("RUSTFLAGS", "--cfg mqtap_other_os -D warnings")
        .env("CARGO_TARGET_DIR", paths::target().join("other-os"));
    count += test(&mut other)?;
    Ok(count)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args(["test", "--quiet", "--no-fail-fast"]);
    command
}

/// How many tests of a call of `cargo test` may fail once. Many run against the kernel, beside whatever else the machine does. The
/// first failure is shown as fully as a second one; more of them than this are no accident.
const SECOND_TRIES: u32 = 1;

fn test(command: &mut Command) -> Result<Count> {
    let (mut count, targets) = run_once(command)?;
    if !(1..=SECOND_TRIES).contains(&count.failed) || targets.is_empty() {
        return Ok(count);
    }
    for target in targets {
        let mut again = cargo();
        again
            .args(target.split(' '))
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        say(format!("again: {}", process::describe(&again)));
        if run_once(&mut again)?.0.failed > 0 {
            return Ok(count);
        }
    }
    count.passed += std::mem::take(&mut count.failed);
    Ok(count)
}

/// Runs the tests once. Returns the targets of which tests failed, too, as arguments for another call.
fn run_once(command: &mut Command) -> Result<(Count, Vec<String>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = process::describe(command);
    let mut child = command.spawn().context(|| format!("cannot start `{what}`"))?;
    let errors = child.stderr.take().map(|errors| std::thread::spawn(move || failed_targets(errors)));
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            match counted(&line) {
                // Binaries without tests are many, and say nothing.
                Some(found) if found == Count::default() => {}
                Some(found) => {
                    count += found;
                    say(&line);
                }
                None if line.is_empty() || line == "running 0 tests" => {}
                None => say(&line),
            }
        }
    }
    let targets = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        // It did not compile, or a test took its process down.
        say(format!("`{what}` failed ({status})"));
        count.failed += 1;
        return Ok((count, Vec::new()));
    }
    Ok((count, targets))
}

/// Passes on what Cargo and the tests say on standard error, and finds the targets that Cargo calls failed in the end.
fn failed_targets(errors: impl Read) -> Vec<String> {
    let mut targets = Vec::new();
    for line in BufReader::new(errors).split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        targets.extend(failed_target(&line).map(str::to_owned));
    }
    targets
}

/// The target of a line "    `-p mqtap-cli --test serve`", as Cargo lists them behind "error: 1 target failed:".
fn failed_target(line: &str) -> Option<&str> {
    line.strip_prefix("    `")?.strip_suffix('`').filter(|target| target.starts_with("-p "))
}

/// The counts of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counted(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |name: &str| {
        let part = rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(name))?;
        part.trim().parse().ok()
    };
    Some(Count { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::{Count, counted, failed_target};

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 31 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.52s";
        assert_eq!(counted(line), Some(Count { passed: 31, failed: 2, skipped: 1 }));
        assert_eq!(counted("test a::b ... ok"), None);
    }

    #[test]
    fn failed_targets_are_found() {
        assert_eq!(failed_target("    `-p mqtap-cli --test serve`"), Some("-p mqtap-cli --test serve"));
        assert_eq!(failed_target("error: 1 target failed:"), None);
        assert_eq!(failed_target("error: test failed, to rerun pass `-p mqtap-cli --test serve`"), None);
    }
}
