//! The command lines that docs/exec.md has for other VMMs: what these get is what they understand. They are not run.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use mqtap_test_support::{Scripts, TestResult};

use super::support::{PATH, Result, lines};

const PAGE: &str = include_str!("../../../../docs/exec.md");

/// What follows `option` when the page's command line for that VMM is typed.
fn argument_of(vmm: &str, option: &str) -> Result<String> {
    let name = format!(" {vmm} ");
    let mut blocks = PAGE.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let typed = blocks.find(|block| block.contains(&name)).ok_or("no such command line on the page")?;
    // Not every machine has an identity from which an address could be made.
    let typed = typed.replacen("mqtap exec", "mqtap exec --mac 52:54:00:12:34:56", 1);
    let scripts = Scripts::new()?;
    scripts.script(vmm, r#"printf '%s\n' "$@""#)?;
    let ours = Path::new(env!("CARGO_BIN_EXE_mqtap")).parent().ok_or("no directory")?;
    let path = format!("{}:{}:{PATH}", ours.display(), scripts.path().display());
    let told = lines(Command::new("sh").args(["-euc", &typed]).env("PATH", path))?;
    let at = told.iter().position(|word| word == option).ok_or("the option is missing")?;
    Ok(told.get(at + 1).ok_or("nothing follows it")?.clone())
}

/// `key=value,key=[value,value]`: Cloud Hypervisor's `OptionParser`, crosvm's `serde_keyvalue`.
fn pairs(text: &str) -> Result<HashMap<String, String>> {
    let mut depth = 0;
    let parts = text.split(|character| {
        depth += i32::from(character == '[') - i32::from(character == ']');
        character == ',' && depth == 0
    });
    let pair = |part: &str| -> Result<_> {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("no value in {part:?}"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    parts.map(pair).collect()
}

/// Its `NetConfig`: as many descriptors as pairs, none of the first three, and the count is of virtqueues.
pub(crate) fn cloud_hypervisor_is_told_what_it_understands() -> TestResult {
    let net = pairs(&argument_of("cloud-hypervisor", "--net")?)?;
    let mut keys: Vec<&str> = net.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["fd", "mac", "num_queues"]);
    let list = net["fd"].strip_prefix('[').and_then(|list| list.strip_suffix(']')).ok_or("no list")?;
    let fds = list.split(',').map(str::parse).collect::<std::result::Result<Vec<i32>, _>>()?;
    assert_eq!(fds, [3, 4, 5, 6]);
    assert_eq!(net["num_queues"].parse::<usize>()?, 2 * fds.len());
    assert_eq!(net["mac"], "52:54:00:12:34:56");
    // It wants a CPU for each pair.
    let cpus = pairs(&argument_of("cloud-hypervisor", "--cpus")?)?;
    assert!(cpus["boot"].parse::<usize>()? >= fds.len());
    Ok(())
}

/// Its `NetParametersMode::TapFd`: one descriptor, and perhaps an address.
pub(crate) fn crosvm_is_told_what_it_understands() -> TestResult {
    let net = pairs(&argument_of("crosvm", "--net")?)?;
    assert_eq!(net.len(), 2);
    assert_eq!(net["tap-fd"].parse::<i32>()?, 3);
    assert_eq!(net["mac"], "52:54:00:12:34:56");
    Ok(())
}
