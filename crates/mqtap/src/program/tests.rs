//! Real programs: scripts written here, which `/bin/sh` runs.

// Clippy knows tests by a plain `cfg(test)`.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Program, RunError};

/// A directory for one test, with a program in it.
struct Place(tempfile::TempDir);

impl Place {
    fn with(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        mqtap_test_support::write_program(&place.program(), text).unwrap();
        place
    }

    fn program(&self) -> PathBuf {
        self.file("program")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.program(), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What the program has written to a file that it was given the name of.
    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    fn run(&self) -> Result<(), RunError> {
        run(&self.program(), &[self.0.path().as_os_str()], Duration::from_secs(60))
    }
}

fn run(path: &Path, arguments: &[&OsStr], limit: Duration) -> Result<(), RunError> {
    let arguments: Vec<&OsStr> = [path.as_os_str()].into_iter().chain(arguments.iter().copied()).collect();
    Program { label: "test", arguments: &arguments, passed: None, limit }.run()
}

#[track_caller]
fn says(error: &RunError, pieces: &[&str]) {
    let text = error.to_string();
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is missing in: {text}");
    }
}

#[test]
fn a_program_gets_its_arguments_and_no_descriptor_of_ours() {
    // Not close-on-exec: a parent process may have passed such ones to us.
    let stray = rustix::io::dup(std::io::stderr()).unwrap();
    assert!(rustix::io::fcntl_getfd(&stray).unwrap().is_empty());
    let place = Place::with("#!/bin/sh\necho \"$#\" >$1/count\nls -l /proc/self/fd >$1/fds\n");
    place.run().unwrap();
    assert_eq!(place.written("count"), "1\n");
    // Those of `ls`: the three, of which the first is /dev/null and the second the file, and the one it reads the directory with.
    let fds = place.written("fds");
    let listed: Vec<&str> = fds.lines().filter(|line| line.contains("->")).collect();
    assert_eq!(listed.len(), 4, "{fds}");
    assert!(listed[0].contains("/dev/null"), "{fds}");
}

#[test]
fn a_descriptor_that_is_passed_keeps_its_number() {
    let (ours, theirs) = std::io::pipe().unwrap();
    let number = theirs.as_raw_fd().to_string();
    let place = Place::with("#!/bin/sh\neval \"echo hello >&$1\"\n");
    let (path, number) = (place.program(), OsStr::new(&number));
    let arguments = [path.as_os_str(), number];
    let limit = Duration::from_secs(60);
    Program { label: "test", arguments: &arguments, passed: Some(theirs.as_fd()), limit }.run().unwrap();
    assert!(rustix::io::fcntl_getfd(&theirs).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    drop(theirs);
    assert_eq!(std::io::read_to_string(ours).unwrap(), "hello\n");
}

#[test]
fn a_program_leads_its_own_group() {
    let place = Place::with(
        "#!/bin/sh\nread pid comm state parent group rest </proc/$$/stat\necho $pid $group >$1/ids\n",
    );
    place.run().unwrap();
    let ids = place.written("ids");
    let (pid, group) = ids.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[test]
fn its_exit_status_and_last_words_are_named() {
    let place = Place::with("#!/bin/sh\necho fine\necho 'no \u{1b}[31mluck' >&2\necho more\nexit 7\n");
    let error = place.run().unwrap_err();
    says(&error, &["exit status: 7", "no  [31mluck"]);
    let quiet = Place::with("#!/bin/sh\nprintf 'out of luck'\nexit 1\n");
    says(&quiet.run().unwrap_err(), &["exit status: 1", "out of luck"]);
}

#[test]
fn the_signal_that_ended_it_is_named() {
    let place = Place::with("#!/bin/sh\nkill -TERM $$\n");
    match place.run().unwrap_err() {
        RunError::Failed { status, .. } => assert_eq!(status.signal(), Some(15)),
        other => panic!("{other}"),
    }
    says(&place.run().unwrap_err(), &["SIGTERM"]);
}

#[test]
fn what_takes_too_long_is_killed_with_its_children() {
    let place = Place::with("#!/bin/sh\nsleep 1000 & echo $! >$1/child; echo working >&2; wait\n");
    // Long enough for it to get there, on any machine that runs anything.
    let got_there = [2, 8, 32, 128].into_iter().any(|seconds| {
        let limit = Duration::from_secs(seconds);
        let error = run(&place.program(), &[place.0.path().as_os_str()], limit).unwrap_err();
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        says(&error, &[&format!("within {seconds} s"), "killed"]);
        error.to_string().contains("working")
    });
    assert!(got_there, "what it said is not told");
    let child = place.written("child");
    // Killed, it is a zombie until somebody reaps it, or gone.
    let gone = || match fs::read_to_string(format!("/proc/{}/stat", child.trim())) {
        Ok(stat) => stat.contains(") Z ") || stat.contains(") X "),
        Err(_) => true,
    };
    mqtap_test_support::eventually("the child is gone", gone).unwrap();
}

#[test]
fn what_runs_on_in_the_background_is_not_waited_for() {
    let place = Place::with("#!/bin/sh\nsleep 1000 & echo $! >$1/child\n");
    place.run().unwrap();
    let child = place.written("child").trim().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    // It lives, and is ours to end.
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_lot_of_output_holds_nothing_up() {
    let place = Place::with("#!/bin/sh\nyes | head -c 3000000\nyes | head -c 3000000 >&2\n");
    place.run().unwrap();
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::with("");
    let limit = Duration::from_secs(60);
    let error = run(&place.file("missing"), &[], limit).unwrap_err();
    assert!(matches!(error, RunError::NotFound), "{error}");
    says(&error, &["ENOENT"]);
}

#[test]
fn a_missing_interpreter_is_named() {
    let place = Place::with("#!/no/such/shell -e\n");
    says(&place.run().unwrap_err(), &["ENOENT", "`/no/such/shell`"]);
    let place = Place::with("#!/bin/sh\r\necho\r\n");
    says(&place.run().unwrap_err(), &["`/bin/sh\\r`", "Windows", "sed -i"]);
}

#[test]
fn what_may_not_be_executed_is_named_with_the_remedy() {
    let place = Place::with("#!/bin/sh\n");
    place.mode(0o644);
    says(&place.run().unwrap_err(), &["EACCES", "chmod +x", "/program`"]);
    let error = run(place.0.path(), &[], Duration::from_secs(60)).unwrap_err();
    says(&error, &["EACCES", "directory"]);
}

/// A shell would be given it otherwise, and QEMU says "exit status 256".
#[test]
fn a_script_without_its_first_line_is_named_with_the_remedy() {
    let place = Place::with("echo hello\n");
    says(&place.run().unwrap_err(), &["ENOEXEC", "#!/bin/sh"]);
    let place = Place::with("\u{7f}ELF\0nonsense");
    says(&place.run().unwrap_err(), &["ENOEXEC", "neither a script nor a program"]);
}
