//! A directory that every user may use, for programs that are not root's: a checkout need not be one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::lab::Stage;
use crate::outcome::{Context as _, Result, fail};

/// Gone when dropped.
pub(super) struct Public {
    directory: tempfile::TempDir,
    logs: PathBuf,
}

impl Public {
    pub(super) fn new(logs: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        Ok(Self { directory, logs: logs.to_path_buf() })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The guest's image, where everybody can read it.
    pub(super) fn image(&self, stage: &Stage) -> Result<Image> {
        let Some(image) = &stage.image else { return fail("this scenario needs a guest image") };
        Ok(Image { kernel: self.copy(&image.kernel)?, initrd: self.copy(&image.initrd)? })
    }

    fn copy(&self, file: &Path) -> Result<PathBuf> {
        let to = self.path().join(file.file_name().unwrap_or_default());
        fs::copy(file, &to).context(|| format!("cannot copy {}", file.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
        Ok(to)
    }
}

/// What was logged there is kept where logs are.
impl Drop for Public {
    fn drop(&mut self) {
        for file in fs::read_dir(self.path()).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let is_log = file.extension().is_some_and(|kind| kind == "console" || kind == "qemu");
            if let Some(name) = file.file_name().filter(|_| is_log) {
                let _ = fs::copy(&file, self.logs.join(name));
            }
        }
    }
}
