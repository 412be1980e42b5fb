//! The libraries inside a program, with their licences, which ask to be distributed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::tool;
use crate::outcome::{Context as _, Result, fail};
use crate::paths;

/// Name, version and licence of each library that the package is linked to, and the texts of the licences.
pub(super) fn list(package: &str) -> Result<String> {
    let metadata = tool(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value =
        serde_json::from_str(&metadata).context(|| "`cargo metadata` printed no JSON".to_owned())?;
    let linked = linked(package)?;
    let mut lines = String::from("Libraries that are linked into /usr/bin/mqtap:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for library in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| library[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} v{}", text("name"), text("version"));
        // Ours have no source: they are this checkout.
        if library["source"].is_null() || !linked.contains(&name) {
            continue;
        }
        lines.push_str(&format!("  {name}: {}\n", text("license")));
        for licence in licences(Path::new(&text("manifest_path")))? {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    if texts.is_empty() {
        return fail(format!("no licence of a library of {package} was found"));
    }
    for (text, libraries) in texts {
        lines.push_str(&format!("\n{}\n{}:\n\n{}\n", "-".repeat(78), libraries.join(", "), text.trim_end()));
    }
    Ok(lines)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    command
}

/// `name vVERSION` of everything that is compiled into it for this machine, build scripts and macros apart.
fn linked(package: &str) -> Result<BTreeSet<String>> {
    let tree = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let text = tool(cargo().args(tree).args(["--package", package]))?;
    Ok(text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect())
}

/// The texts beside a library's manifest.
fn licences(manifest: &Path) -> Result<Vec<String>> {
    let directory = manifest.parent().unwrap_or(Path::new("."));
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if ["LICENSE", "LICENCE", "COPYING", "NOTICE"].iter().any(|start| name.starts_with(start))
            && entry.path().is_file()
        {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned());
        }
    }
    Ok(texts)
}
