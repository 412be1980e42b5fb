//! A guest that is the host: Debian's cloud kernel has modules that this machine's may lack.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::image::{self, LAB_MODULES, Program};
use crate::netns::Namespace;
use crate::outcome::{Context as _, Result, fail, failure};
use crate::qemu::{Guest, Machine};
use crate::{paths, process, serve as programs};

/// A step under emulation, beside whatever else this machine does; only a hang takes it.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// The tests of a crate, all together.
const TESTS: Duration = Duration::from_secs(900);

/// A running lab.
pub(super) struct Lab {
    pub(super) guest: Guest,
    // Dropped last: the guest runs in it.
    _namespace: Namespace,
}

impl Lab {
    pub(super) fn boot(name: &str, programs: &[Program]) -> Result<Self> {
        let image = image::build_lab(programs)?;
        let logs = paths::logs(name)?;
        let namespace = Namespace::new()?;
        let machine = Machine { nics: Vec::new(), cpus: 2, memory_mib: 1536, launcher: Vec::new() };
        let mut guest = Guest::start(&namespace, &image, &machine, &logs, "lab")?;
        guest.wait_ready()?;
        let mut lab = Self { guest, _namespace: namespace };
        lab.load(&LAB_MODULES[..1])?;
        Ok(lab)
    }

    pub(super) fn load(&mut self, modules: &[&str]) -> Result<()> {
        let commands: Vec<String> =
            modules.iter().map(|module| format!("insmod /modules/{module}.ko")).collect();
        self.guest.run(&commands.join(" && ")).map(drop)
    }

    /// Starts a program; what it prints is in `/tmp/NAME.log`.
    pub(super) fn start(&mut self, name: &str, command: &str) -> Result<()> {
        self.guest.run(&format!("{command} > /tmp/{name}.log 2>&1 & echo $! > /tmp/{name}.pid")).map(drop)
    }

    /// Waits until a command fails: nothing is there any more that it could show.
    pub(super) fn await_failure(&mut self, what: &str, command: &str) -> Result<()> {
        process::until(PATIENCE, what, || {
            let answer = self.guest.attempt(command, Duration::from_secs(30))?;
            Ok((answer.status != 0).then_some(()))
        })
    }

    pub(super) fn log(&mut self, name: &str) -> Result<String> {
        self.guest.run(&format!("cat /tmp/{name}.log"))
    }

    /// Waits until a log has a text, from a place in it on; returns what comes before.
    pub(super) fn await_log(&mut self, name: &str, text: &str, from: usize) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            // Before its log is read: its last words are in it then.
            let alive = self.guest.attempt(&format!("kill -0 $(cat /tmp/{name}.pid)"), PATIENCE)?.status == 0;
            let log = self.log(name)?;
            let fresh = log.get(from..).unwrap_or_default();
            if let Some(at) = fresh.find(text) {
                return Ok(fresh[..at].to_owned());
            }
            if !alive || Instant::now() > end {
                return fail(format!("{name} never said `{text}`; it said:\n{}", process::tail(&log, 20)));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Runs the tests of `mqtap serve` in a lab with these modules, those that `variable` chooses; at least so many, or the list has gone
/// wrong.
pub(super) fn tests_of_serve(name: &str, modules: &[&str], variable: &str, at_least: u32) -> Result<()> {
    let tests = test_binary("mqtap-cli", "serve")?;
    // The release build, where the tests look for the daemon: under emulation that counts.
    let daemon = Program {
        source: Some(programs::mqtap_binary()?),
        ..Program::new(paths::target().join("debug/mqtap"))
    };
    let mut lab = Lab::boot(name, &[Program::new(tests.clone()), daemon])?;
    lab.load(modules)?;
    // What cannot run there is a failure.
    let command = format!(
        "CI=true {variable} MQTAP_TEST_PATIENCE=100 {} --color never --test-threads 2",
        tests.display()
    );
    let answer = lab.guest.attempt(&command, TESTS)?;
    let log = paths::target().join("xtask-logs").join(name).join("tests.log");
    std::fs::write(&log, &answer.output)?;
    let passed = answer
        .output
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u32>().ok());
    let quiet = lab.guest.run("dmesg | grep -E 'BUG|WARNING|Oops' || true")?;
    if !quiet.is_empty() {
        return fail(format!("the kernel complained:\n{quiet}"));
    }
    match passed {
        Some(passed) if answer.status == 0 && passed >= at_least => Ok(()),
        Some(passed) if answer.status == 0 => fail(format!("only {passed} tests ran")),
        _ => fail(format!("status {}:\n{}", answer.status, process::tail(&answer.output, 40))),
    }
}

/// The binary of a crate's integration test, built as `cargo test` builds it.
fn test_binary(package: &str, test: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args(["test", "--no-run", "--quiet", "--message-format", "json"]);
    cargo.args(["--package", package, "--test", test]);
    let output = cargo.stderr(Stdio::inherit()).output().context(|| "cannot start cargo".to_owned())?;
    if !output.status.success() {
        return fail(format!("the tests of {package} did not compile"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let binary = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| {
            let wanted = message["target"]["name"] == test && message["target"]["kind"][0] == "test";
            if wanted { message["executable"].as_str().map(PathBuf::from) } else { None }
        });
    binary.ok_or_else(|| failure(format!("cargo did not say where the test {test} of {package} is")))
}
