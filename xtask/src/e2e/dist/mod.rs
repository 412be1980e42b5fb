//! The Debian package: built, judged by lintian, installed, used and removed, in a copy of this system that vanishes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::Stage;
use crate::outcome::{Context as _, Result, fail, say};
use crate::page::Page;
use crate::setup::{self, Need};
use crate::{dist, paths, process, serve};

const LONG: Duration = Duration::from_secs(600);

/// For looking at the package as its users would.
const NEEDS: &[Need] = &[
    setup::need("lintian", "lintian"),
    setup::need("man", "man-db"),
    setup::need("systemctl", "systemd"),
    setup::need("ping", "iputils-ping"),
];

/// The same sources make the same package; lintian finds no error in it; installed, everything in it works; removed, nothing is left.
pub(super) fn package(_: &Stage, name: &str) -> Result<()> {
    setup::ensure(&[NEEDS])?;
    let logs = paths::logs(name)?;
    let package = dist::make(None)?.package;
    let first = fs::read(&package)?;
    if first != fs::read(dist::make(None)?.package)? {
        return fail("two packages of the same sources differ");
    }
    lint(&package, &logs)?;
    let copy = Copy::new(&package)?;
    copy.add("installed.sh", include_bytes!("installed.sh"))?;
    let report = process::output(&mut copy.command("chroot"), LONG)?;
    fs::write(logs.join("installed.log"), report)?;
    Ok(())
}

/// What docs/systemd.md says: services with all that their units forbid, started by systemd, serve a VMM of the group kvm.
pub(super) fn service(_: &Stage, name: &str) -> Result<()> {
    setup::ensure(&[NEEDS])?;
    let logs = paths::logs(name)?;
    let package = dist::make(None)?.package;
    serve::build_release(&["mqtap-driver"])?;
    let copy = Copy::new(&package)?;
    copy.add("service.sh", include_bytes!("service.sh"))?;
    let page = Page::read("systemd.md")?;
    for block in
        ["sh service", "ini vm1-net.socket", "ini vm1-net.service", "sh socket", "sh transient", "sh told"]
    {
        let file = block.split_once(' ').map_or(block, |(_, file)| file);
        copy.add(file, page.block(block)?.as_bytes())?;
    }
    copy.add("mqtap-driver", &fs::read(serve::driver_binary()?)?)?;
    let groups = Cgroups::new()?;
    // However systemd ends, what counts is what the script says.
    let ended = process::finish(&mut groups.enter(&copy.command("boot")), LONG)?;
    let read = |name: &str| fs::read_to_string(copy.path().join(name)).unwrap_or_default();
    let report = format!("{}{}{}", read("report"), ended.stdout, ended.stderr);
    fs::write(logs.join("service.log"), &report)?;
    if copy.path().join("passed").exists() {
        return Ok(());
    }
    fail(format!("under systemd:\n{}", process::tail(&report, 30)))
}

/// Errors fail; what else lintian has to say is shown.
fn lint(package: &Path, logs: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error"]).arg(package);
    let done = process::finish(&mut lintian, LONG)?;
    fs::write(logs.join("lintian.log"), &done.stdout)?;
    if !done.status.success() {
        return fail(format!("lintian finds errors ({}):\n{}{}", done.status, done.stdout, done.stderr));
    }
    for line in done.stdout.lines() {
        say(format!("        lintian: {line}"));
    }
    Ok(())
}

/// What a copy of this system is given.
struct Copy {
    directory: tempfile::TempDir,
}

impl Copy {
    fn new(package: &Path) -> Result<Self> {
        let copy = Self { directory: tempfile::tempdir()? };
        // Not only root's: what is in there runs as others.
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
        copy.add("copy.sh", include_bytes!("copy.sh"))?;
        copy.add("mqtap.deb", &fs::read(package)?)?;
        Ok(copy)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn add(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        fs::write(&path, content).context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Makes the copy in namespaces of its own, and does in it what `mode` says.
    fn command(&self, mode: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["--net", "--ipc", "--uts", "--cgroup", "sh"]);
        command.arg(self.path().join("copy.sh")).arg(mode).arg(self.path());
        command
    }
}

/// Cgroups for a systemd, gone with what it makes in them.
struct Cgroups {
    directories: Vec<PathBuf>,
}

impl Cgroups {
    fn new() -> Result<Self> {
        let mut groups = Self { directories: Vec::new() };
        for hierarchy in ["", "systemd", "unified"] {
            let hierarchy = Path::new("/sys/fs/cgroup").join(hierarchy);
            if hierarchy.join("cgroup.procs").exists() {
                let directory = hierarchy.join(format!("mqtap-test-{}", std::process::id()));
                fs::create_dir(&directory).context(|| format!("cannot make {}", directory.display()))?;
                groups.directories.push(directory);
            }
        }
        Ok(groups)
    }

    /// The same command, in these.
    fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args([
            "-c",
            r#"n=$1; shift; while [ $n -gt 0 ]; do echo $$ > "$1"; shift; n=$((n - 1)); done; exec "$@""#,
        ]);
        inside.arg("sh").arg(self.directories.len().to_string());
        inside.args(self.directories.iter().map(|directory| directory.join("cgroup.procs")));
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for directory in &self.directories {
            let mut remove = Command::new("find");
            remove.arg(directory).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
            if let Err(error) = process::output(&mut remove, Duration::from_secs(20)) {
                say(format!("        {error}"));
            }
        }
    }
}
