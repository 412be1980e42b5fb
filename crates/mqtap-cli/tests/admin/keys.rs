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
    ip("link property add dev keys0 altname another-name-of-keys0")?;
    ip("link add keysv0 type veth peer name keysv1")?;
    ip("link add link keysv0 name keysm0 type macvtap mode vepa")?;
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
    let mut printed = paths(&tap("show keys0 --json")?);
    printed.extend(paths(&tap("show keysm0 --json")?));
    child.kill()?;
    child.wait()?;
    compare("mqtap list, mqtap show", &printed);

    let list = json("list --json")?;
    let of_list: BTreeSet<String> = list.as_array().ok_or("no list")?.iter().flat_map(paths).collect();
    let beyond: Vec<&String> =
        printed.difference(&of_list).filter(|path| !path.contains("same_as.")).collect();
    assert!(beyond.iter().all(|path| path.starts_with("daemons[]")), "{beyond:?}");

    let printed = paths(&json("queues keys0 --json")?);
    compare("mqtap queues", &printed);
    Ok(())
}

/// What iproute2 tells as well is what it tells.
pub(crate) fn the_values_are_those_of_iproute2() -> TestResult {
    ip("tuntap add dev same0 mode tap multi_queue vnet_hdr user 0")?;
    ip("link property add dev same0 altname another-name-of-same0")?;
    ip("tuntap add dev same1 mode tap")?;
    ip("link set same1 up promisc on")?;
    let queue = mqtap::OpenOptions { name: "same2".parse()?, ..mqtap::OpenOptions::default() };
    let device = mqtap::TapDevice::open(&queue)?;
    ip("link set same2 up")?;
    // One whose parent is down, one whose parent has no carrier, and one that has all.
    for (pair, mode) in [("a", "bridge"), ("b", "private"), ("c", "passthru")] {
        ip(&format!("link add {pair}0 type veth peer name {pair}1"))?;
        ip(&format!("link add link {pair}0 name same{pair} type macvtap mode {mode}"))?;
    }
    ip("link set b0 up")?;
    ip("link set sameb up")?;
    ip("link set c0 up")?;
    ip("link set c1 up")?;
    ip("link set samec up")?;
    for name in ["same0", "same1", "same2", "samea", "sameb", "samec"] {
        let compare = || -> Result<Vec<(&str, Value, Value)>> {
            let theirs: Value = serde_json::from_str(&ip(&format!("-json -details link show {name}"))?)?;
            let ours = tap(&format!("show {name} --json"))?;
            let keys = [
                "ifname",
                "altnames",
                "flags",
                "mtu",
                "qdisc",
                "operstate",
                "txqlen",
                "address",
                "link",
                "num_tx_queues",
                "num_rx_queues",
            ];
            let mut pairs: Vec<_> =
                keys.iter().map(|&key| (key, ours[key].clone(), theirs[0][key].clone())).collect();
            let mode = |value: &Value| value["linkinfo"]["info_data"]["mode"].clone();
            pairs.push(("mode", mode(&ours), mode(&theirs[0])));
            Ok(pairs)
        };
        // The kernel changes the state when it pleases.
        let mut last = Vec::new();
        let same = eventually(&format!("{name} is the same"), || {
            last = compare().unwrap();
            last.iter().all(|(_, ours, theirs)| ours == theirs)
        });
        let differing: Vec<_> = last.iter().filter(|(_, ours, theirs)| ours != theirs).collect();
        assert!(same.is_ok(), "{name}: {differing:?}");
    }
    let ours = tap("show same2 --json")?;
    let queue = &ours["holders"][0]["queue"];
    assert!(queue["flags"].is_u64(), "{queue}");
    assert_eq!(queue["flag_names"], serde_json::json!(["tap", "vnet_hdr"]));
    drop(device);
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
