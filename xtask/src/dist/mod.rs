//! `cargo xtask dist`: man pages, shell completions and a Debian package, from the sources and nothing else.

mod libraries;
mod package;
mod release;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::outcome::{Context as _, Result, say};
use crate::setup::{self, Need};
use crate::{paths, process, serve};

use release::Release;

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to put it [default: target/dist]
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// For the package.
const NEEDS: &[Need] = &[
    setup::need("dpkg-deb", "dpkg"),
    setup::need("dpkg-shlibdeps", "dpkg-dev"),
    setup::need("strip", "binutils"),
    setup::need("gzip", "gzip"),
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let made = make(arguments.to.clone())?;
    say(format!("man pages and completions: {}", made.manual.display()));
    say(format!("package: {}", made.package.display()));
    say(format!("install it with: apt install {}", made.package.display()));
    Ok(ExitCode::SUCCESS)
}

/// What was made.
pub(crate) struct Made {
    /// `man1`, `man7` and `completions`.
    pub(crate) manual: PathBuf,
    pub(crate) package: PathBuf,
}

/// Makes everything in a directory, which is emptied of what it made before.
pub(crate) fn make(to: Option<PathBuf>) -> Result<Made> {
    setup::ensure(&[setup::BASE, NEEDS])?;
    let to = to.unwrap_or_else(|| paths::target().join("dist"));
    let release = Release::read()?;
    serve::build_release(&["mqtap-cli"])?;
    let manual = to.join("manual");
    remove(&manual)?;
    run_manual(&manual, &release)?;
    let root = to.join("root");
    remove(&root)?;
    tree::stage(&root, &manual, &release)?;
    let package = package::build(&root, &to, &release)?;
    remove(&root)?;
    Ok(Made { manual, package })
}

/// Has `mqtap-manual` write the pages, and the completions.
fn run_manual(to: &Path, release: &Release) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "mqtap-manual",
        "--",
    ]);
    command.arg(to).args(["--date", &release.date]);
    process::show(&mut command)
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

/// Runs a tool that must succeed; returns what it printed.
fn tool(command: &mut Command) -> Result<String> {
    process::output(command, Duration::from_secs(300))
}
