//! The files of the package, each at its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::release::Release;
use super::{libraries, tool};
use crate::outcome::{Context as _, Result};
use crate::{paths, serve};

const DOC: &str = "usr/share/doc/mqtap";

/// Puts everything below `root`.
pub(super) fn stage(root: &Path, manual: &Path, release: &Release) -> Result<()> {
    let packaging = paths::packaging();
    let tree = Tree { root };
    tree.file(&serve::mqtap_binary()?, "usr/bin/mqtap", 0o755)?;
    let mut strip = Command::new("strip");
    strip.args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"]);
    tool(strip.arg(root.join("usr/bin/mqtap")))?;

    tree.file(&packaging.join("mqtap@.service"), "usr/lib/systemd/system/mqtap@.service", 0o644)?;
    tree.file(&packaging.join("vhost-user-net"), "usr/libexec/mqtap/vhost-user-net", 0o755)?;
    tree.file(&packaging.join("50-mqtap.json"), "usr/share/qemu/vhost-user/50-mqtap.json", 0o644)?;
    tree.file(&packaging.join("vm0.conf"), &format!("{DOC}/examples/vm0.conf"), 0o644)?;
    tree.directory("etc/mqtap")?;

    let completions = manual.join("completions");
    tree.file(&completions.join("mqtap.bash"), "usr/share/bash-completion/completions/mqtap", 0o644)?;
    tree.file(&completions.join("_mqtap"), "usr/share/zsh/vendor-completions/_mqtap", 0o644)?;
    tree.file(&completions.join("mqtap.fish"), "usr/share/fish/vendor_completions.d/mqtap.fish", 0o644)?;
    for section in ["man1", "man7"] {
        for page in files_in(&manual.join(section))? {
            let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tree.compressed(&fs::read(&page)?, &format!("usr/share/man/{section}/{name}"))?;
        }
    }

    tree.file(&packaging.join("debian/copyright"), &format!("{DOC}/copyright"), 0o644)?;
    tree.file(&packaging.join("debian/lintian-overrides"), "usr/share/lintian/overrides/mqtap", 0o644)?;
    tree.compressed(&fs::read(packaging.join("debian/changelog"))?, &format!("{DOC}/changelog.Debian"))?;
    tree.compressed(&fs::read(paths::root().join("CHANGELOG.md"))?, &format!("{DOC}/changelog"))?;
    tree.compressed(libraries::list("mqtap-cli")?.as_bytes(), &format!("{DOC}/libraries"))?;
    for page in files_in(&paths::root().join("docs"))? {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tree.compressed(&fs::read(&page)?, &format!("{DOC}/{name}"))?;
    }
    // Files are as old as the release: the same sources make the same package.
    let mut touch = Command::new("find");
    touch.arg(root).args(["-exec", "touch", "--no-dereference", "--date"]).arg(format!("@{}", release.epoch));
    tool(touch.args(["{}", "+"])).map(|_| ())
}

/// Writes below a root, with the modes that files of a package have.
struct Tree<'r> {
    root: &'r Path,
}

impl Tree<'_> {
    fn directory(&self, path: &str) -> Result<PathBuf> {
        let mut directory = self.root.to_path_buf();
        for part in Path::new("").join(path).components() {
            directory.push(part);
            if !directory.exists() {
                fs::create_dir_all(&directory)?;
            }
            set_mode(&directory, 0o755)?;
        }
        set_mode(self.root, 0o755)?;
        Ok(directory)
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
        self.directory(parent)?;
        Ok(self.root.join(path))
    }

    fn file(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let to = self.place(path)?;
        fs::copy(from, &to).context(|| format!("cannot copy {}", from.display()))?;
        set_mode(&to, mode)
    }

    /// Compressed as Debian's policy has it (12.1, 12.7): best, and without name and time.
    fn compressed(&self, content: &[u8], path: &str) -> Result<()> {
        let to = self.place(path)?;
        fs::write(&to, content)?;
        set_mode(&to, 0o644)?;
        tool(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(&to)).map(|_| ())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("cannot set the mode of {}", path.display()))
}

/// The files of a directory, sorted.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).context(|| format!("cannot read {}", directory.display()))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}
