//! docs/json.md against what is printed.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use mqtap_test_support::{TestResult, eventually, ip};
use serde_json::Value;

use super::command::{json, tap};
use super::daemon::{Daemon, Result};

/// The keys that the tables of a section name.
fn documented(section: &str) -> BTreeSet<String> {
    let page = include_str!("../../../../docs/json.md");
    let sections = page.split("\n## ").find(|text| text.starts_with(&format!("{section}\n")));
    let rows = sections
        .unwrap_or_else(|| panic!("no section {section}"))
        .lines()
        .filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The paths of all values, as the page writes them. Objects and lists count by what is in them, unless they are empty.
fn paths(value: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, path: &str, all: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(value, &path, all);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, &format!("{path}[]"), all)),
            _ => {
                all.insert(path.to_owned());
            }
        }
    }
    let mut all = BTreeSet::new();
    collect(value, "", &mut all);
    all
}

/// Fails if either has what the other has not. A `*` stands for any key.
#[track_caller]
fn compare(section: &str, printed: &BTreeSet<String>) {
    let documented = documented(section);
    let stands_for = |pattern: &str, path: &str| match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => pattern == path,
    };
    // A null stands for an object that is not there.
    let is_null_of = |pattern: &str, path: &str| {
        pattern.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    for path in printed {
        let is_there =
            documented.iter().any(|pattern| stands_for(pattern, path) || is_null_of(pattern, path));
        assert!(is_there, "{section}: {path} is printed and not in docs/json.md");
    }
    // What the kernel moves is there only where it can.
    let has_vhost = std::path::Path::new("/dev/vhost-net").exists();
    for pattern in documented.iter().filter(|pattern| has_vhost || !pattern.contains(".kernel.")) {
        let is_there = printed.iter().any(|path| stands_for(pattern, path));
        assert!(is_there, "{section}: docs/json.md has {pattern}, which is not printed");
    }
}

pub(crate) fn the_page_names_every_key_of_a_tap() -> TestResult {
    // A tap with all there is: a bridge, an alias, an owner and a group, counters by queue, and a daemon.
    ip("link add br0 type bridge")?;
    ip("tuntap add dev keys0 mode tap multi_queue vnet_hdr user 0 group 0")?;
    ip("link set keys0 alias all-there-is")?;
    ip("link set keys0 master br0 up")?;
    let _daemon = Daemon::start("tap,id=hn0,ifname=keys0,queues=2", &[])?;
    let device = mqtap::TapDevice::open(&mqtap::OpenOptions {
        name: "keys0".parse()?,
        ..mqtap::OpenOptions::default()
    })?;
    device.set_offloads(mqtap::Offloads::CSUM)?;
    // A queue that is held twice, and one whose holder ends in the middle is nobody's.
    let queue = device.queues()[0].as_fd().try_clone_to_owned()?;
    let mut child = Command::new("sleep").arg("1000").stdin(Stdio::from(queue)).spawn()?;
    eventually("the queue is held twice", || {
        tap("show keys0 --json").unwrap()["holders"].as_array().unwrap().len() == 4
    })?;
    let printed = paths(&tap("show keys0 --json")?);
    child.kill()?;
    child.wait()?;
    compare("mqtap list, mqtap show", &printed);

    let of_list = paths(&tap("list --json")?);
    let beyond: Vec<&String> =
        printed.difference(&of_list).filter(|path| !path.contains("same_as.")).collect();
    assert!(beyond.iter().all(|path| path.starts_with("daemons[]")), "{beyond:?}");

    let printed = paths(&json("queues keys0 --json")?);
    compare("mqtap queues", &printed);
    Ok(())
}

pub(crate) fn the_page_names_every_key_of_the_others() -> TestResult {
    ip("tuntap add dev keys1 mode tap multi_queue vnet_hdr")?;
    compare("mqtap doctor", &paths(&json("doctor keys1 --json --wait 0")?));
    compare("mqtap doctor --explain", &paths(&json("doctor --json --explain EINVAL")?));
    Ok(())
}

pub(crate) fn features_are_told_without_a_trace() -> TestResult {
    let before = ip("link show")?;
    let features: Result<Value> = json("features --json");
    let features = features?;
    compare("mqtap features", &paths(&features));
    assert_eq!(ip("link show")?, before);
    assert_eq!((&features["multi_queue"], &features["device"]["queues"]), (&true.into(), &true.into()));
    let text = super::command::mqtap("features")?;
    assert!(text.contains("  multi_queue            yes"), "{text}");
    Ok(())
}
