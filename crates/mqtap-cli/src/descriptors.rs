//! The file descriptors of this process: how many there may be, and those that it came with.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A NIC of 64 queue pairs has some 900 descriptors, and the usual limit of 1024 is for programs that use `select(2)`. Returns
/// the limits that were there.
pub(crate) fn raise_limit() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    // Never fails: the hard limit is allowed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    limit
}

/// Closes what whoever started us left open, except these numbers and the standard streams.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub(crate) fn close_inherited_except(kept: &[RawFd]) -> io::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?.collect::<io::Result<Vec<_>>>()?;
    let numbers = entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number| *number > 2 && !kept.contains(number)) {
        // What is close-on-exec is ours, and refused; what was inherited is closed when dropped.
        let _ = mqtap::fd::inherit(number);
    }
    Ok(())
}
