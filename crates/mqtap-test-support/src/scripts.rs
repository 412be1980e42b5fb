//! Programs that tests have run.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Writes a program that can be run at once. This process never has the file open: a program that another test starts is a copy of
/// it for a moment, with all it has open, and what somebody can still write does not run (`ETXTBSY`).
pub fn write_program(path: &Path, text: &str) -> io::Result<()> {
    let mut shell = Command::new("sh")
        .args(["-euc", r#"cat >"$0"; chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    // It ends with the descriptor.
    if let Some(mut stdin) = shell.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let status = shell.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cannot write {}", path.display()))) }
}

/// A directory of shell scripts, which goes with the value.
#[derive(Debug)]
pub struct Scripts(tempfile::TempDir);

impl Scripts {
    /// Makes it, where any user may look and write.
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a file of this name is, or would be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a script of this name, which ends when something in it fails and in which `$dir` is this directory, and returns its path.
    pub fn script(&self, name: &str, text: &str) -> io::Result<String> {
        let path = self.file(name);
        write_program(&path, &format!("#!/bin/sh -e\ndir={}\n{text}\n", self.0.path().display()))?;
        Ok(path.display().to_string())
    }

    /// What a script has written to the file of this name.
    pub fn written(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.file(name))
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }

    /// Whether there is a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }
}
