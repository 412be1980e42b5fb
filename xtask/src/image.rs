//! The guest: Debian's own cloud kernel with its own `virtio_net`, and a small root file system in memory around it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cpio::Archive;
use crate::outcome::{Context as _, Result, fail, failure, say};
use crate::{paths, process, setup};

/// The package whose dependency names the newest kernel of the running release.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// In the order they must be loaded. Some kernels have some of them built in.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
];

/// Modules that are there and loaded by those who want them.
const MORE_MODULES: &[&str] = &["pktgen"];

/// What a host needs for taps and vhost-net, in order; loaded when a scenario wants it.
pub(crate) const LAB_MODULES: &[&str] = &["tun", "tap", "vhost_iotlb", "vhost", "vhost_net"];

/// What it needs for pairs of interfaces and ipvtaps on them, in order.
pub(crate) const IPVTAP_MODULES: &[&str] = &["tap", "veth", "ipvlan", "ipvtap"];

/// Programs of this machine that the lab gets too, being a host itself.
const LAB_PROGRAMS: &[&str] = &["ip", "bash", "unshare", "stdbuf"];

const STDBUF: &str = "/usr/libexec/coreutils/libstdbuf.so";

/// Programs of this machine that the guest gets too; busybox has the rest.
const PROGRAMS: &[&str] = &["ethtool", "iperf3", "ping"];

const INIT: &str = include_str!("guest-init.sh");

/// Kernel and root file system, ready for QEMU.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// A program for the lab.
#[derive(Clone)]
pub(crate) struct Program {
    /// Where it is in the lab; here, too, unless `source` says otherwise.
    pub(crate) path: PathBuf,
    pub(crate) source: Option<PathBuf>,
    /// Where its libraries are when they are not installed.
    pub(crate) libraries: Option<PathBuf>,
    /// What it loads by name, beside the libraries that it is linked with.
    pub(crate) plugins: Vec<PathBuf>,
    /// What else it reads.
    pub(crate) data: Vec<PathBuf>,
}

impl Program {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, source: None, libraries: None, plugins: Vec::new(), data: Vec::new() }
    }
}

/// Builds the image, downloading the kernel the first time.
pub(crate) fn build() -> Result<Image> {
    assemble("guest", |_, _| Ok(()))
}

/// Builds an image of a guest that is a host: with the modules for taps and vhost-net, and these programs.
pub(crate) fn build_lab(programs: &[Program]) -> Result<Image> {
    assemble("lab", |archive, modules| {
        let more = IPVTAP_MODULES.iter().filter(|module| !LAB_MODULES.contains(module));
        for module in LAB_MODULES.iter().chain(more) {
            if !add_module(archive, modules, module)? {
                return fail(format!("{} has no module {module}", modules.display()));
            }
        }
        for program in LAB_PROGRAMS {
            add_program(archive, program, &format!("usr/bin/{program}"))?;
        }
        // What `stdbuf` has programs load.
        archive.copy(STDBUF, Path::new(STDBUF))?;
        for program in programs {
            add_binary(archive, program)?;
        }
        Ok(())
    })
}

/// Kernel, modules and programs of every guest, and what `more` adds, given where the modules are.
fn assemble(name: &str, more: impl FnOnce(&mut Archive, &Path) -> Result<()>) -> Result<Image> {
    if cfg!(not(target_arch = "x86_64")) {
        return fail("guest images are made for x86_64 only so far");
    }
    let package = kernel_package()?;
    let tree = kernel_tree(&package)?;
    let version = package.trim_start_matches("linux-image-");
    let kernel = tree.join(format!("boot/vmlinuz-{version}"));
    if !kernel.is_file() {
        return fail(format!("{} is missing; delete {} and try again", kernel.display(), tree.display()));
    }

    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "tmp", "run", "root", "var", "mnt"] {
        archive.directory(directory);
    }
    // Before /dev is mounted, init needs somewhere to print to.
    archive.character_device("dev/console", 5, 1);
    archive.file("init", INIT.as_bytes());
    let modules = tree.join("lib/modules").join(version);
    add_modules(&mut archive, &modules)?;
    add_program(&mut archive, "busybox", "bin/busybox")?;
    archive.symlink("bin/sh", "busybox");
    for program in PROGRAMS {
        add_program(&mut archive, program, &format!("usr/bin/{program}"))?;
    }

    more(&mut archive, &modules)?;

    let initrd = paths::cache()?.join(format!("{name}-initrd.cpio"));
    let fresh = initrd.with_extension("new");
    std::fs::write(&fresh, archive.finish()).context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, &initrd)?;
    Ok(Image { kernel, initrd })
}

/// The name of the kernel package: what apt says, else what an earlier run downloaded.
fn kernel_package() -> Result<String> {
    let ask = || -> Option<String> {
        let depends = process::output(
            Command::new("apt-cache").args(["depends", META_PACKAGE]),
            Duration::from_secs(60),
        )
        .ok()?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
        package.starts_with("linux-image-").then(|| package.to_owned())
    };
    if let Some(package) = ask() {
        return Ok(package);
    }
    if let Some(package) = downloaded_before()? {
        return Ok(package);
    }
    setup::update_lists()?;
    ask().ok_or_else(|| {
        failure(format!(
            "apt does not know the package {META_PACKAGE}; the guest image needs a Debian system"
        ))
    })
}

fn downloaded_before() -> Result<Option<String>> {
    let mut found = None;
    for entry in std::fs::read_dir(paths::cache()?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("linux-image-") && entry.path().is_dir() {
            found = found.max(Some(name));
        }
    }
    Ok(found)
}

/// The unpacked kernel package.
fn kernel_tree(package: &str) -> Result<PathBuf> {
    let cache = paths::cache()?;
    let tree = cache.join(package);
    if tree.is_dir() {
        return Ok(tree);
    }
    say(format!("downloading the guest's kernel, {package} (27 MB)"));
    let unpacked = unpack_packages(&[package.to_owned()], &cache.join("unpacking"))?;
    std::fs::rename(&unpacked, &tree)?;
    Ok(tree)
}

/// Downloads packages and unpacks them, without installing, under `into`.
pub(crate) fn unpack_packages(packages: &[String], into: &Path) -> Result<PathBuf> {
    if into.exists() {
        std::fs::remove_dir_all(into)?;
    }
    let downloads = into.join("downloads");
    std::fs::create_dir_all(&downloads)?;
    let download = || {
        process::output(
            setup::apt_get().arg("download").args(packages).current_dir(&downloads),
            Duration::from_secs(600),
        )
    };
    // Old lists name versions that the mirror no longer has.
    if let Err(first) = download() {
        setup::update_lists().map_err(|second| failure(format!("{first}\n{second}")))?;
        download()?;
    }
    let tree = into.join("tree");
    for entry in std::fs::read_dir(&downloads)? {
        process::output(
            Command::new("dpkg").arg("-x").arg(entry?.path()).arg(&tree),
            Duration::from_secs(120),
        )?;
    }
    Ok(tree)
}

fn add_modules(archive: &mut Archive, directory: &Path) -> Result<()> {
    let built_in = std::fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let mut order = String::new();
    for module in MODULES.iter().chain(MORE_MODULES) {
        if add_module(archive, directory, module)? {
            if MODULES.contains(module) {
                order.push_str(module);
                order.push('\n');
            }
        } else if !built_in.contains(&format!("/{module}.ko")) && *module == "virtio_net" {
            return fail(format!("{} has no module {module}", directory.display()));
        }
    }
    archive.file("modules/order", order.as_bytes());
    Ok(())
}

/// False if there is no such module.
fn add_module(archive: &mut Archive, directory: &Path, module: &str) -> Result<bool> {
    let Some(path) = find_module(directory, module)? else { return Ok(false) };
    let content = if path.extension().is_some_and(|extension| extension == "xz") {
        decompressed(&path)?
    } else {
        std::fs::read(&path)?
    };
    archive.file(&format!("modules/{module}.ko"), &content);
    Ok(true)
}

fn find_module(directory: &Path, module: &str) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory).context(|| format!("cannot list {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_module(&path, module)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name == format!("{module}.ko") || name == format!("{module}.ko.xz")
        }) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let done = Command::new("xz").arg("-dc").arg(path).output().context(|| "cannot start `xz`".to_owned())?;
    if done.status.success() { Ok(done.stdout) } else { fail(format!("`xz -dc {}` failed", path.display())) }
}

/// Copies a program of this machine and the libraries it is linked with.
fn add_program(archive: &mut Archive, program: &str, path: &str) -> Result<()> {
    let Some(source) = setup::find(program) else {
        return fail(format!("{program} is not installed"));
    };
    archive.copy(path, &source)?;
    add_libraries(archive, &source, None)
}

/// Copies a program without what only a debugger reads, and what it is linked with.
fn add_binary(archive: &mut Archive, program: &Program) -> Result<()> {
    let source = program.source.as_ref().unwrap_or(&program.path);
    let plugins = program.plugins.iter().map(|plugin| (plugin, plugin));
    for (path, source) in std::iter::once((&program.path, source)).chain(plugins) {
        let stripped = tempfile::NamedTempFile::new()?;
        let mut strip = Command::new("strip");
        process::output(strip.arg("-o").arg(stripped.path()).arg(source), Duration::from_secs(60))?;
        archive.copy(&path.to_string_lossy(), stripped.path())?;
        add_libraries(archive, source, program.libraries.as_deref())?;
    }
    for file in &program.data {
        archive.copy(&file.to_string_lossy(), file)?;
    }
    Ok(())
}

/// Copies the libraries that a program is linked with.
fn add_libraries(archive: &mut Archive, program: &Path, elsewhere: Option<&Path>) -> Result<()> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    if let Some(directory) = elsewhere {
        ldd.env("LD_LIBRARY_PATH", directory);
    }
    // Fails for a static program, which is then complete.
    let Ok(libraries) = process::output(&mut ldd, Duration::from_secs(20)) else {
        return Ok(());
    };
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        archive.copy_once(library, Path::new(library))?;
    }
    Ok(())
}
