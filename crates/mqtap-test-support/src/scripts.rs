//! Programs that tests have run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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
        fs::write(&path, format!("#!/bin/sh -e\ndir={}\n{text}\n", self.0.path().display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
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
