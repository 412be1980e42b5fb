//! What the kernel knows about a process: CPU time, context switches, memory.

use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::outcome::{Context as _, Result};

fn path(pid: Pid, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{what}", pid.as_raw_nonzero()))
}

fn threads(pid: Pid) -> Result<Vec<PathBuf>> {
    let directory = path(pid, "task");
    let entries = std::fs::read_dir(&directory).context(|| format!("cannot list {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// CPU time of all threads in nanoseconds (the first number of `schedstat`). Exact for threads that sleep; of one that
/// runs, up to a tick is missing.
pub(super) fn cpu_ns(pid: Pid) -> Result<u64> {
    let mut sum = 0;
    for thread in threads(pid)? {
        sum += run_time_ns(&thread);
    }
    Ok(sum)
}

/// CPU time of the thread that a process began with.
pub(super) fn main_thread_cpu_ns(pid: Pid) -> u64 {
    run_time_ns(&path(pid, &format!("task/{}", pid.as_raw_nonzero())))
}

/// Of a thread that has ended: 0.
fn run_time_ns(thread: &Path) -> u64 {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Context switches of all threads, whether they wanted to sleep or were made to: each is a wake-up.
pub(super) fn switches(pid: Pid) -> Result<u64> {
    let mut sum = 0;
    for thread in threads(pid)? {
        sum += field(&thread.join("status"), "voluntary_ctxt_switches");
        sum += field(&thread.join("status"), "nonvoluntary_ctxt_switches");
    }
    Ok(sum)
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Of its own: heap, stacks, data.
    pub(super) own_kib: u64,
    /// Pages of files: the program and its libraries.
    pub(super) program_kib: u64,
}

pub(super) fn memory(pid: Pid) -> Result<Memory> {
    let status = path(pid, "status");
    std::fs::metadata(&status).context(|| format!("cannot read {}", status.display()))?;
    Ok(Memory { own_kib: field(&status, "RssAnon"), program_kib: field(&status, "RssFile") })
}

/// A number of a `status` file.
fn field(status: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The kernel's thread for interrupt work that it puts off on a CPU; none where it cannot be seen, as in a container.
pub(super) fn softirq_thread(cpu: usize) -> Option<Pid> {
    let name = format!("ksoftirqd/{cpu}");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        (std::fs::read_to_string(entry.path().join("comm")).ok()?.trim() == name).then_some(pid)
    })
}

/// Whether every thread is stopped by a signal.
pub(super) fn all_stopped(pid: Pid) -> Result<bool> {
    Ok(threads(pid)?.iter().all(|thread| {
        let text = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
        // The name in parentheses may contain anything; the state follows the last of them.
        text.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    }))
}
