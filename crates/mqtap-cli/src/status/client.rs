//! Whoever asks.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;

use super::{Report, SUFFIX, VERSION, connect};

/// The daemon answers at once, or does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than any daemon has to tell.
const LONGEST: usize = 16 << 20;

/// Why a process tells nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    /// It has no status socket: it is not `mqtap serve`, or was not told where to have one and could have none in the usual place.
    #[error("it has no status socket (see --status-dir of `mqtap serve`)")]
    NoSocket,
    /// It is there, and this user may not ask.
    #[error("its status socket {0} is for the user that runs it, and for root")]
    NotAllowed(PathBuf),
    /// It does not answer, or with something else.
    #[error("its status socket {path}: {reason}")]
    Failed { path: PathBuf, reason: String },
}

/// Asks a process that may be `mqtap serve`.
pub(crate) fn ask(pid: u32) -> Result<Report, Unreachable> {
    let path = find(pid).ok_or(Unreachable::NoSocket)?;
    // As the process sees it, which may be in a container, or else as we do.
    let inside =
        Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(&path));
    let stream = connect(&inside).or_else(|_| connect(&path));
    let stream = stream.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Unreachable::NotAllowed(path.clone()),
        _ => Unreachable::Failed { path: path.clone(), reason: error.to_string() },
    })?;
    read(stream, pid).map_err(|reason| Unreachable::Failed { path, reason })
}

fn read(stream: UnixStream, pid: u32) -> Result<Report, String> {
    let text = |error: std::io::Error| error.to_string();
    // Somebody else's, of the same name.
    let peer = socket_peercred(&stream).map_err(|errno| errno.to_string())?;
    if peer.pid.as_raw_nonzero().get().unsigned_abs() != pid {
        return Err("another process answers".to_owned());
    }
    let bytes = read_all(stream, PATIENCE).map_err(text)?;
    let report: Report = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if report.version != VERSION {
        return Err(format!("mqtap {} answers in another way than this one understands", report.mqtap));
    }
    Ok(report)
}

/// All that it says, if it says it soon: it may be anybody's process, and the one who asks may be root.
fn read_all(mut stream: UnixStream, patience: Duration) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut part = [0; 65_536];
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(ErrorKind::TimedOut)?))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(length) if bytes.len() + length <= LONGEST => bytes.extend_from_slice(&part[..length]),
            Ok(_) => return Err(ErrorKind::FileTooLarge.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The status socket of a process, by the kernel's list of sockets: where the process sees it.
fn find(pid: u32) -> Option<PathBuf> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let name = format!("{}{SUFFIX}", pid_inside(&read("status")?)?);
    let mut inodes = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        inodes.extend(target.to_str().and_then(socket_inode));
    }
    sockets(&read("net/unix")?)
        .find(|(inode, path)| {
            inodes.contains(inode) && path.file_name().is_some_and(|file| file == name.as_str())
        })
        .map(|(_, path)| path)
}

/// The number of a process in its own namespace, from `/proc/PID/status`.
fn pid_inside(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last()?.parse().ok())
}

/// The number in `socket:[123]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Inode and path of each socket in `/proc/PID/net/unix` that has a path.
fn sockets(table: &str) -> impl Iterator<Item = (u64, PathBuf)> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let inode = fields.nth(6)?.parse().ok()?;
        // A path may have spaces; nothing follows it.
        let path = &line[line.find('/')?..];
        (fields.next()?.starts_with('/')).then(|| (inode, path.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn sockets_with_a_path_are_listed() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21042 /run/mqtap/12.status\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 21043\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21044 @abstract/name\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21045 /tmp/a b/c\n";
        let found: Vec<_> = sockets(table).collect();
        assert_eq!(found, [(21042, "/run/mqtap/12.status".into()), (21045, "/tmp/a b/c".into())]);
    }

    #[test]
    fn a_process_in_a_container_has_another_number_inside() {
        assert_eq!(pid_inside("Name:\tmqtap\nPid:\t4711\nNSpid:\t4711\t7\n"), Some(7));
        assert_eq!(pid_inside("NSpid:\t4711\n"), Some(4711));
        assert_eq!(pid_inside("Name:\tx\n"), None);
    }

    #[test]
    fn only_sockets_have_an_inode() {
        assert_eq!(socket_inode("socket:[42]"), Some(42));
        assert_eq!((socket_inode("pipe:[42]"), socket_inode("/dev/net/tun")), (None, None));
    }

    #[test]
    fn who_says_too_much_or_never_ends_is_not_listened_to() {
        const LONG: Duration = Duration::from_secs(60);
        let says = |text: &'static [u8], times: usize, pause: Duration, patience: Duration| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let talk = std::thread::spawn(move || {
                for _ in 0..times {
                    // Who has heard enough hangs up.
                    if theirs.write_all(text).is_err() {
                        break;
                    }
                    std::thread::sleep(pause);
                }
            });
            let heard = read_all(ours, patience);
            talk.join().unwrap();
            heard
        };
        assert_eq!(says(b"all", 2, Duration::ZERO, LONG).unwrap(), b"allall");
        assert_eq!(
            says(&[7; 1 << 20], 17, Duration::ZERO, LONG).unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
        let a_bit = Duration::from_millis(50);
        let kind = says(b".", usize::MAX, a_bit, 4 * a_bit).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock), "{kind}");
    }

    #[test]
    fn a_process_without_a_socket_is_told() {
        // Other tests of this process have one.
        assert!(matches!(ask(std::os::unix::process::parent_id()), Err(Unreachable::NoSocket)));
        assert!(matches!(ask(u32::MAX), Err(Unreachable::NoSocket)));
    }
}
