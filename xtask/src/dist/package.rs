//! The Debian package of a tree of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::release::Release;
use super::tool;
use crate::outcome::{Context as _, Result, failure};
use crate::paths;

/// Builds `mqtap_VERSION_ARCHITECTURE.deb` in `to`.
pub(super) fn build(root: &Path, to: &Path, release: &Release) -> Result<PathBuf> {
    let architecture = tool(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let control = paths::packaging().join("debian/control");
    let control = fs::read_to_string(&control).context(|| format!("cannot read {}", control.display()))?;
    let control = control
        .replace("@VERSION@", &release.version)
        .replace("@ARCHITECTURE@", &architecture)
        .replace("@MAINTAINER@", &release.maintainer)
        .replace("@SIZE@", &size_in_kib(root)?)
        .replace("@DEPENDS@", &dependencies(root)?);
    let metadata = root.join("DEBIAN");
    fs::create_dir_all(&metadata)?;
    fs::write(metadata.join("control"), control)?;
    fs::write(metadata.join("md5sums"), sums(root)?)?;

    let package = to.join(format!("mqtap_{}_{architecture}.deb", release.version));
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", &release.epoch).args(["--root-owner-group", "-Zxz", "--build"]);
    tool(build.arg(root).arg(&package))?;
    Ok(package)
}

fn size_in_kib(root: &Path) -> Result<String> {
    let text = tool(Command::new("du").args(["--apparent-size", "-sk"]).arg(root))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The packages whose libraries the program is linked to, as Debian's tool finds them. It wants to be in a source package.
fn dependencies(root: &Path) -> Result<String> {
    let source = tempfile::tempdir()?;
    fs::create_dir(source.path().join("debian"))?;
    fs::write(source.path().join("debian/control"), "Source: mqtap\n\nPackage: mqtap\nArchitecture: any\n")?;
    let mut command = Command::new("dpkg-shlibdeps");
    let text = tool(command.current_dir(source.path()).arg("-O").arg(root.join("usr/bin/mqtap")))?;
    let found = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    found.map(str::to_owned).ok_or_else(|| failure(format!("dpkg-shlibdeps found nothing: {text}")))
}

fn sums(root: &Path) -> Result<String> {
    let script = "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' | sort -z | xargs -r0 md5sum";
    tool(Command::new("sh").current_dir(root).args(["-c", script]))
}
