//! What the kernel knows about a process: CPU time, context switches, memory.

use std::path::PathBuf;

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
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread.join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
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
