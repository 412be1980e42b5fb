//! Runs tests inside network namespaces of their own.
//!
//! A test binary with `harness = false` calls [`run`] from `main`, which [`tests!`](crate::tests) writes. While the process has one thread
//! it enters a new user namespace (unless it is root), and so may do to its network what root may. Each test then runs in a thread of
//! its own with a network namespace of its own: tests run in parallel and none sees another, nor the host.
//!
//! ```no_run
//! use mqtap_test_support::{TestResult, ip};
//!
//! fn a_dummy_can_be_made() -> TestResult {
//!     ip("link add d0 type dummy")?;
//!     Ok(())
//! }
//!
//! mqtap_test_support::tests!(a_dummy_can_be_made);
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod devices;
mod scripts;
mod socket;

use std::error::Error;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

pub use scripts::write_program;
pub use socket::PatientSocket;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

pub use scripts::Scripts;

/// What a test returns. A panic is a failure as well.
pub type TestResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A test and its name.
pub type Test = (&'static str, fn() -> TestResult);

/// Writes `main` for the tests that are named.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::run($crate::list!($($test),*))
        }
    };
}

/// The tests that are named, for [`run`].
#[macro_export]
macro_rules! list {
    ($($test:ident),* $(,)?) => {
        vec![$((stringify!($test), $test as fn() -> $crate::TestResult)),*]
    };
}

/// Runs the tests. Call it before any other thread is started.
#[must_use]
pub fn run(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = become_root()
    {
        eprintln!("these tests need a user namespace, or root: {error}");
        return ExitCode::FAILURE;
    }
    // Tests wait more than they compute.
    arguments.test_threads.get_or_insert(4);
    let trials =
        tests.into_iter().map(|(name, test)| Trial::test(name, move || in_namespace(test))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Root stays root; anybody else becomes root of a new user namespace.
fn become_root() -> std::io::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !uid.is_root() {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// Runs a test in a thread of its own, since a namespace once entered is not left, and the harness uses its threads again.
fn in_namespace(test: fn() -> TestResult) -> Result<(), Failed> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        ip("link set lo up")?;
        test()
    });
    match thread.join() {
        Ok(result) => result.map_err(|error| Failed::from(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("panic");
            Err(Failed::from(text))
        }
    }
}

/// Has the calling thread's mounts be its own from here on: nobody else sees what it mounts. For a test, or what it starts.
pub fn own_mounts() -> std::io::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?)
}

/// Has the calling thread see an empty directory of its own at `path`, and mounts of its own as after [`own_mounts`].
pub fn own_directory(path: &str) -> std::io::Result<()> {
    own_mounts()?;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?)
}

/// Whether every user exists here, and not only our own: otherwise nothing can be somebody else's.
#[must_use]
pub fn all_users_exist() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("4294967295")
}

/// Says that a test cannot run here, and why; where everything must be tested, with `CI=true`, that is a failure.
pub fn cannot_run(why: &str) -> TestResult {
    if std::env::var_os("CI").is_some() {
        return Err(format!("cannot run: {why}").into());
    }
    eprintln!("NOT TESTED: {why}");
    Ok(())
}

/// A network namespace besides the test's own, for as long as the value lives.
#[derive(Debug)]
pub struct Elsewhere {
    namespace: File,
}

impl Elsewhere {
    /// Makes one.
    pub fn new() -> std::io::Result<Self> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let namespace = in_thread(make)?;
        Ok(Self { namespace })
    }

    /// A path that names it, for this process and others.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }

    /// Does something in it.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        in_thread(|| match setns(&self.namespace, CloneFlags::CLONE_NEWNET) {
            Ok(()) => act(),
            Err(error) => panic!("cannot enter a namespace that was made here: {error}"),
        })
    }
}

/// A namespace once entered is not left, so a thread of its own goes there.
fn in_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(act).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs `ip ARGUMENTS` in the namespace of the calling thread and returns what it printed.
pub fn ip(arguments: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ip {arguments}: {}", message.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How long to wait for what must come about: long enough for any machine, so that only a hang takes it. `MQTAP_TEST_PATIENCE` is another
/// number of seconds, for machines that are emulated.
#[must_use]
pub fn patience() -> Duration {
    const SECONDS: u64 = 30;
    let seconds = std::env::var("MQTAP_TEST_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(SECONDS))
}

/// Waits until `condition` holds, as long as [`patience`] lasts.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> TestResult {
    let patience = patience();
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("in {} seconds it did not come about that {what}", patience.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until there is no interface of that name in the namespace of the calling thread. What held it may be gone a moment later than
/// its process: a program that another test starts is a copy of its parent until then, with all it has open.
pub fn gone(interface: &str) -> TestResult {
    eventually(&format!("{interface} is gone"), || ip(&format!("link show {interface}")).is_err())
}

/// How many descriptors this process has open. Tests that count leaks run alone, with `--test-threads 1`, or compare in a process
/// of their own.
pub fn open_descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
