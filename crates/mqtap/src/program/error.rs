//! Why a program was of no use.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;

use crate::link::describe;

/// Why a script or a helper did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// ENOENT.
    #[error("there is no such file (ENOENT)")]
    NotFound,
    /// ENOENT, for a file that is there.
    #[error("it exists, but what is to run it does not (ENOENT): {}", interpreter(.0.as_deref()))]
    NoInterpreter(Option<String>),
    /// EACCES.
    #[error("it cannot be executed (EACCES){}", no_access(*.remedy, .path))]
    NotExecutable {
        /// The program.
        path: PathBuf,
        /// Why, if that can be seen.
        remedy: Option<Denied>,
    },
    /// ENOEXEC.
    #[error("the kernel does not know how to run it (ENOEXEC): {}", if *.text { "a script begins with a line such as `#!/bin/sh`; add it" } else { "it is neither a script nor a program for this machine" })]
    NotAProgram {
        /// Whether it looks like text.
        text: bool,
    },
    /// Any other reason not to start.
    #[error("it could not be started: {0}")]
    Start(String),
    /// It ended, and not well.
    #[error("it failed ({status}){}", LastWords(.last_line.as_deref()))]
    Failed {
        /// Its exit status, or the signal that ended it.
        status: ExitStatus,
        /// The last line that it printed, on standard error if it printed there.
        last_line: Option<String>,
    },
    /// It did not end.
    #[error("it did not end within {} s and was killed{}", .limit.as_secs_f32(), LastWords(.last_line.as_deref()))]
    TimedOut {
        /// How long it had.
        limit: Duration,
        /// The last line that it printed, on standard error if it printed there.
        last_line: Option<String>,
    },
    /// It could not be waited for.
    #[error("how it ended is not known: {source}; this process must not ignore SIGCHLD")]
    Wait {
        /// Why.
        source: io::Error,
    },
}

/// What keeps a file from being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// It is a directory.
    Directory,
    /// Nobody has permission.
    NoExecuteBit,
}

impl RunError {
    pub(super) fn from_start(path: &Path, error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) if path.exists() => Self::NoInterpreter(interpreter_of(path)),
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound,
            Some(Errno::ACCESS) => Self::NotExecutable { path: path.to_owned(), remedy: denied(path) },
            Some(Errno::NOEXEC) => Self::NotAProgram { text: !head(path).contains(&0) },
            Some(errno) => Self::Start(describe(errno)),
            None => Self::Start(error.to_string()),
        }
    }
}

fn denied(path: &Path) -> Option<Denied> {
    let metadata = path.metadata().ok()?;
    if metadata.is_dir() {
        return Some(Denied::Directory);
    }
    (metadata.permissions().mode() & 0o111 == 0).then_some(Denied::NoExecuteBit)
}

/// The beginning of a file; nothing if it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // A file, or exec had said EACCES.
    let _ = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    head
}

/// What the first line of a script names.
fn interpreter_of(path: &Path) -> Option<String> {
    let head = head(path);
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let word = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    Some(word.escape_default().to_string())
}

fn interpreter(named: Option<&str>) -> String {
    match named {
        Some(named) if named.ends_with("\\r") => {
            format!(
                "its first line names `{named}`, because its lines end as on Windows; `sed -i 's/\\r$//'` mends them"
            )
        }
        Some(named) => format!("its first line names `{named}`"),
        None => "the loader or the libraries that it was linked with are missing".to_owned(),
    }
}

fn no_access(remedy: Option<Denied>, path: &Path) -> String {
    match remedy {
        Some(Denied::Directory) => ": it is a directory".to_owned(),
        Some(Denied::NoExecuteBit) => format!("; `chmod +x {}` makes it a program", path.display()),
        None => {
            "; look at its permissions, those of the directories above it, and for a file system that is mounted noexec"
                .to_owned()
        }
    }
}

struct LastWords<'a>(Option<&'a str>);

impl fmt::Display for LastWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(words) => write!(f, "; the last that it said was: {words}"),
            None => Ok(()),
        }
    }
}
