//! The archive format the kernel unpacks as its first root file system ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Written here rather than by the `cpio` tool because the archive needs a device node, which only root could create on disk.

use std::collections::BTreeSet;
use std::path::Path;

use crate::outcome::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction, in memory: a guest image is some 20 MiB.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    libraries: BTreeSet<String>,
    next_inode: u32,
}

impl Archive {
    /// Adds a directory and its parents, once.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// Adds an executable file (everything in the guest may be executed).
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.parent(path);
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// Adds a copy of a file of the host.
    pub(crate) fn copy(&mut self, path: &str, source: &Path) -> Result<()> {
        let content = std::fs::read(source).context(|| format!("cannot read {}", source.display()))?;
        self.file(path, &content);
        Ok(())
    }

    /// Adds a copy of a file of the host, unless it is there already: libraries are shared.
    pub(crate) fn copy_once(&mut self, path: &str, source: &Path) -> Result<()> {
        if self.libraries.insert(path.to_owned()) { self.copy(path, source) } else { Ok(()) }
    }

    pub(crate) fn symlink(&mut self, path: &str, to: &str) {
        self.parent(path);
        self.entry(path, SYMLINK, (0, 0), to.as_bytes());
    }

    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.trim_matches('/').rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.trim_start_matches('/');
        self.next_inode += 1;
        let links = 1;
        // Guest images are far below 4 GiB, the limit of the format.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.next_inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_aligned_and_parents_come_first() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/x", b"abc");
        archive.file("/usr/bin/y", b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let place = |name: &str| text.find(name).unwrap();
        assert!(place("usr\0") < place("usr/bin\0"));
        assert!(place("usr/bin\0") < place("usr/bin/x\0"));
        assert_eq!(text.matches("usr/bin\0").count(), 1);
        assert!(text.ends_with("TRAILER!!!\0\0\0\0") || text.contains("TRAILER!!!"));
    }
}
