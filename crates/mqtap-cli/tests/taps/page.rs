//! What docs/taps.md says.

use std::collections::BTreeSet;

use mqtap_test_support::{Elsewhere, TestResult};
use serde_json::Value;

use super::command::{Result, essence, links, mqtap, script};

const PAGE: &str = include_str!("../../../../docs/taps.md");

/// A heading with the commands and files below it.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) setup: String,
    pub(crate) mqtap: String,
    pub(crate) iproute2: String,
    pub(crate) networkd: String,
}

pub(crate) fn sections() -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let text: String =
            lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let section = sections.last_mut().unwrap();
        match kind {
            "sh setup" => section.setup = text,
            "sh mqtap" => section.mqtap = text,
            "sh iproute2" => section.iproute2 = text,
            "ini networkd" => section.networkd = text,
            // Looked at by a test of its own.
            "json" => {}
            other => panic!("nobody would look at a block of kind {other:?}"),
        }
    }
    sections.retain(|section| !section.mqtap.is_empty());
    sections
}

/// What is there after commands: the interfaces here, and those of the namespace `blue` if there is one.
pub(crate) fn outcome(commands: &str) -> Result<Vec<Value>> {
    Elsewhere::new()?.run(|| {
        let said = script(&format!(
            "{{ {commands} }} >&2
            test -z \"$(ip netns)\" || ip -n blue -json -details link show"
        ))?;
        let there: Vec<Value> = match said.stdout.trim() {
            "" => Vec::new(),
            text => serde_json::from_str(text)?,
        };
        let there = there.into_iter().filter(|link| link["ifname"] != "lo");
        Ok(essence(&links()?.into_iter().chain(there).collect::<Vec<_>>()))
    })
}

pub(crate) fn the_page_is_as_ip_tuntap_does_it() -> TestResult {
    let sections = sections();
    assert!(sections.len() >= 8, "{sections:?}");
    for Section { title, setup, mqtap, iproute2, .. } in sections {
        let ours = outcome(&format!("{setup}{mqtap}"))?;
        let theirs = outcome(&format!("{setup}{iproute2}"))?;
        assert_eq!(ours, theirs, "{title}");
        assert_eq!(ours.is_empty(), title == "Delete it", "{title}");
    }
    Ok(())
}

/// All keys, with those of objects inside.
fn keys(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        keys(value, &path, all);
        all.insert(path);
    }
}

fn keys_of(text: &str) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    keys(&serde_json::from_str(text)?, "", &mut all);
    Ok(all)
}

pub(crate) fn the_page_shows_the_json_there_is() -> TestResult {
    let (_, after) = PAGE.split_once("```json\n").ok_or("no JSON on the page")?;
    let (shown, _) = after.split_once("```").ok_or("no end of it")?;
    mqtap_test_support::ip("link add br0 type bridge")?;
    let made = mqtap("create tap0 --owner 0 --group 0 --multi-queue --vnet-hdr --bridge br0 --json")?;
    assert_eq!(keys_of(shown)?, keys_of(&made.success()?.stdout)?);
    // Where iproute2 has a key of that name, it has that value.
    let again = mqtap("create tap0 --owner 0 --group 0 --multi-queue --if-not-exists --json")?.success()?;
    let ours: Value = serde_json::from_str(&again.stdout)?;
    let theirs = links()?.into_iter().find(|link| link["ifname"] == "tap0").ok_or("no tap0")?;
    for (key, value) in ours.as_object().ok_or("no object")? {
        match key.as_str() {
            "created" => assert_eq!((value, &theirs[key]), (&false.into(), &Value::Null)),
            // There, theirs tells of the bridge as well.
            "linkinfo" => {
                assert_eq!(value["info_kind"], theirs[key]["info_kind"]);
                assert_eq!(value["info_data"], theirs[key]["info_data"]);
            }
            _ => assert_eq!(*value, theirs[key], "{key}"),
        }
    }
    Ok(())
}
