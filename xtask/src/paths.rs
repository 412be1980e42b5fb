//! Where things are: the checkout, the build directory, the cache of downloads.

use std::path::{Path, PathBuf};

use crate::outcome::{Context as _, Result};

/// Root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// What a package needs besides the program.
pub(crate) fn packaging() -> PathBuf {
    root().join("packaging")
}

/// Cargo's build directory, wherever the caller put it.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) if Path::new(&directory).is_absolute() => PathBuf::from(directory),
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Downloads and guest images; safe to delete at any time.
pub(crate) fn cache() -> Result<PathBuf> {
    made(target().join("xtask-cache"))
}

/// Logs of the daemons and guests of one scenario, emptied first.
pub(crate) fn logs(scenario: &str) -> Result<PathBuf> {
    let directory = target().join("xtask-logs").join(scenario);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context(|| format!("cannot empty {}", directory.display()))?;
    }
    made(directory)
}

fn made(directory: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&directory).context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}
