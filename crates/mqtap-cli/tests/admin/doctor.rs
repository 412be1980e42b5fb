//! What a doctor says. That it finds what there is to be found is tested in the library.

use std::process::Command;

use mqtap_test_support::{Elsewhere, TestResult, ip};
use serde_json::Value;

use super::command::{command, json, mqtap, run};
use super::daemon::Result;

/// The findings that a command prints as JSON, by id.
fn ids(arguments: &str) -> Result<Vec<String>> {
    let findings = json(arguments)?["findings"].clone();
    let findings = findings.as_array().ok_or("no list")?;
    Ok(findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect())
}

pub(crate) fn the_exit_status_says_whether_it_is_serious() -> TestResult {
    mqtap("create sick0 --multi-queue --vnet-hdr --owner 0 --up")?;
    assert_eq!(mqtap("doctor sick0")?, "nothing is wrong with sick0\n");
    assert_eq!(mqtap("doctor sick0 --json")?, "{\"findings\":[]}\n");
    assert_eq!(run("doctor sick0 --queues 1")?.status.code(), Some(1), "QEMU with queues=1 would get EINVAL");
    assert_eq!(run("doctor sick0 --queues 4")?.status.code(), Some(0));
    ip("link set sick0 txqueuelen 0")?;
    let output = run("doctor sick0 --wait 0")?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout)?;
    assert!(text.starts_with("error: txqueuelen of sick0 is 0 [txqueuelen-zero]\n"), "{text}");
    assert!(text.contains("\n  do: ip link set dev sick0 txqueuelen 1000\n"), "{text}");
    // Without a name: the host, and all taps.
    assert!(ids("doctor --json")?.contains(&"txqueuelen-zero".to_owned()));
    assert_eq!(run("doctor")?.status.code(), Some(1));
    ip("link del sick0")?;
    // A warning, which is nothing serious.
    ip("tuntap add dev sick1 mode tap multi_queue vnet_hdr")?;
    assert_eq!(ids("doctor dev sick1 --json")?, ["no-owner", "leftover"]);
    assert_eq!(run("doctor sick1")?.status.code(), Some(0));
    Ok(())
}

pub(crate) fn findings_fit_a_terminal() -> TestResult {
    ip("tuntap add dev wide0 mode tap multi_queue")?;
    ip("link set wide0 up txqueuelen 0")?;
    let text = String::from_utf8(run("doctor")?.stdout)?;
    let is_command =
        |line: &str| line.contains("mqtap create ") || line.contains("tc ") || line.contains("ip ");
    let wide = text.lines().find(|line| line.chars().count() > 80 && !is_command(line));
    assert_eq!(wide, None, "{text}");
    assert!(!text.contains('\x1b'), "no colours but on a terminal");
    Ok(())
}

/// What a command prints on a terminal.
fn on_a_terminal(mut command: Command) -> Result<String> {
    let pty = nix::pty::openpty(None, None)?;
    let mut child = command.stdout(std::process::Stdio::from(pty.slave)).spawn()?;
    drop(command);
    let mut text = Vec::new();
    // A terminal that nobody has open any more ends with EIO.
    let _ = std::io::Read::read_to_end(&mut std::fs::File::from(pty.master), &mut text);
    child.wait()?;
    Ok(String::from_utf8(text)?)
}

pub(crate) fn colours_are_for_terminals() -> TestResult {
    ip("tuntap add dev paint0 mode tap multi_queue")?;
    let painted = on_a_terminal(command("doctor paint0 --wait 0"))?;
    assert!(painted.contains("\x1b[1;33mwarning\x1b[0m: paint0 belongs to nobody"), "{painted}");
    let mut plain = command("doctor paint0 --wait 0");
    plain.env("NO_COLOR", "1");
    let plain = on_a_terminal(plain)?;
    assert!(plain.contains("warning: paint0 belongs to nobody") && !plain.contains('\x1b'), "{plain}");
    Ok(())
}

/// Whoever may name an interface, or a process, must not get others to type what they do not want.
pub(crate) fn names_cannot_speak_to_a_shell_or_a_terminal() -> TestResult {
    let name = "$(id);\x1b[2J";
    let made =
        Command::new("ip").args(["tuntap", "add", "dev", name, "mode", "tap", "multi_queue"]).output()?;
    assert!(made.status.success(), "{made:?}");
    let output = command("doctor --wait 0").output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("\n      mqtap delete '$(id);\u{fffd}[2J'\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    for arguments in ["list", "doctor"] {
        assert!(!mqtap(arguments)?.contains('\x1b'));
    }
    let findings = json("doctor --wait 0 --json")?["findings"].clone();
    let owner = findings.as_array().unwrap().iter().find(|finding| finding["id"] == "no-owner").unwrap();
    assert_eq!(owner["commands"][0], "mqtap delete '$(id);\x1b[2J'", "for a program it is as it is");
    Ok(())
}

/// Types the commands of a finding.
fn type_it(finding: &Value) -> TestResult {
    for command in finding["commands"].as_array().unwrap() {
        let text = command.as_str().unwrap().replace("USER", "0");
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_mqtap")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH")?);
        let output = Command::new("sh").args(["-ec", &text]).env("PATH", path).output()?;
        assert!(output.status.success(), "{text}: {output:?}");
    }
    Ok(())
}

/// The finding with this id among those of a command.
fn finding(command: &str, id: &str) -> Result<Value> {
    let findings = json(command)?["findings"].clone();
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["id"] == id);
    Ok(finding.unwrap_or_else(|| panic!("{id} is not in {findings}")).clone())
}

pub(crate) fn what_a_doctor_says_mends_it() -> TestResult {
    // As somebody made it by hand: nobody's, without a header, of one queue.
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    ip("tuntap add dev mend0 mode tap")?;
    ip("link set mend0 address 02:00:00:00:00:07 mtu 1400 master br0 up")?;
    for (id, arguments) in [
        ("no-owner", ""),
        ("vnet-header-lost", "--vnet-hdr on"),
        ("single-queue", "--queues 4"),
        ("bridge-mtu", ""),
    ] {
        ip("link set br0 mtu 1500")?;
        let command = format!("doctor mend0 --wait 0 --json {arguments}");
        type_it(&finding(&command, id)?)?;
        assert!(!ids(&command)?.contains(&id.to_owned()), "{id}");
    }
    // It has kept what it was.
    let link: Value = serde_json::from_str(&ip("-json -details link show mend0")?)?;
    let tun = &link[0]["linkinfo"]["info_data"];
    assert_eq!((&tun["multi_queue"], &tun["vnet_hdr"]), (&true.into(), &true.into()));
    assert_eq!((&link[0]["address"], &link[0]["master"]), (&"02:00:00:00:00:07".into(), &"br0".into()));
    assert_eq!((&link[0]["mtu"], &link[0]["qdisc"]), (&1500.into(), &"noqueue".into()));

    ip("link set mend0 nomaster down")?;
    let leftover = finding("doctor mend0 --wait 0 --json", "leftover")?;
    assert_eq!(leftover["advice"], "if it should be gone: `mqtap delete mend0`");
    assert_eq!(leftover["commands"], Value::Array(Vec::new()), "it may be there for later");

    // As `ip tuntap` makes it: the kernel gives it the qdisc mq, which a tap with one queue cannot have.
    ip("tuntap add dev many0 mode tap multi_queue vnet_hdr user 0")?;
    ip("link set many0 up")?;
    assert!(ip("link show many0")?.contains("qdisc mq"));
    type_it(&finding("doctor many0 --wait 0 --json --queues 1", "not-single-queue")?)?;
    assert_eq!(ids("doctor many0 --wait 0 --json --queues 1")?, Vec::<String>::new());
    Ok(())
}

pub(crate) fn all_that_a_doctor_says_at_once_leaves_the_tap() -> TestResult {
    for (name, arguments) in
        [("plain0", ""), ("plain1", "--queues 4"), ("plain2", "--queues 2 --vnet-hdr on")]
    {
        mqtap(&format!("create {name}"))?;
        let command = format!("doctor {name} --wait 0 --json {arguments}");
        for finding in json(&command)?["findings"].as_array().unwrap() {
            type_it(finding)?;
        }
        let rest: Vec<Value> = json(&command)?["findings"].as_array().unwrap().clone();
        assert!(rest.iter().all(|finding| finding["commands"] == Value::Array(Vec::new())), "{rest:?}");
        ip(&format!("link show {name}"))?;
    }
    Ok(())
}

pub(crate) fn what_a_doctor_says_of_another_namespace_mends_it_there() -> TestResult {
    let elsewhere = Elsewhere::new()?;
    elsewhere.run(|| {
        ip("tuntap add dev twin0 mode tap multi_queue")?;
        ip("link set twin0 up")
    })?;
    ip("tuntap add dev twin0 mode tap")?;
    let here = ip("-json -details link show twin0")?;
    let command = format!("doctor twin0 --wait 0 --json --netns {}", elsewhere.path().display());
    for id in ["no-owner", "qdisc-memory"] {
        type_it(&finding(&command, id)?)?;
    }
    let left = ids(&command)?;
    assert!(!left.contains(&"no-owner".to_owned()) && !left.contains(&"qdisc-memory".to_owned()), "{left:?}");
    assert_eq!(ip("-json -details link show twin0")?, here, "the namesake here is as it was");
    let command = command.replace("twin0", "none0");
    type_it(&finding(&command, "no-such-interface")?)?;
    assert!(elsewhere.run(|| ip("link show none0")).is_ok() && ip("link show none0").is_err());
    Ok(())
}

pub(crate) fn errors_are_explained() -> TestResult {
    let text = mqtap("doctor --explain EINVAL")?;
    assert!(text.starts_with("EINVAL (22, \"Invalid argument\")"), "{text}");
    assert!(text.contains("do: `mqtap doctor NAME --queues N`"), "{text}");
    // As it is pasted: one argument or many.
    let message = "could not configure /dev/net/tun (tap0): Device or resource busy";
    let output = command("doctor --explain").arg(message).output()?;
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout)?, mqtap(&format!("doctor --explain {message}"))?);
    let found = json(&format!("doctor --json --explain {message}"))?;
    assert_eq!(
        (&found["explanations"][0]["id"], &found["explanations"][1]["id"]),
        (&"tunsetiff".into(), &"ebusy".into())
    );
    let output = run("doctor --explain nothing of the kind")?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("nothing is known"));
    Ok(())
}

pub(crate) fn what_is_no_tap_is_a_finding() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("tuntap add dev tun0 mode tun")?;
    for name in ["lo", "br0", "tun0"] {
        let output = run(&format!("doctor {name} --json"))?;
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(output.stderr.is_empty(), "{name}");
        let findings: Value = serde_json::from_slice(&output.stdout)?;
        let finding = &findings["findings"][0];
        assert_eq!((&finding["id"], &finding["ifname"]), (&"not-a-tap".into(), &name.into()));
        let text = String::from_utf8(run(&format!("doctor {name}"))?.stdout)?;
        assert!(text.starts_with(&format!("error: {name} is ")) && text.contains("[not-a-tap]\n"), "{text}");
    }
    // What a finding says is in the namespace that was looked at.
    let elsewhere = Elsewhere::new()?;
    elsewhere.run(|| ip("link add br9 type bridge"))?;
    let namespace = elsewhere.path().display().to_string();
    let text = String::from_utf8(run(&format!("doctor br9 --netns {namespace}"))?.stdout)?;
    assert!(text.contains("mqtap create NAME") && text.contains(&namespace), "{text}");
    Ok(())
}

pub(crate) fn the_worst_comes_first_whatever_it_is_of() -> TestResult {
    // The first of the taps has nothing but warnings, the last an error.
    ip("tuntap add dev aaa0 mode tap")?;
    ip("tuntap add dev zzz0 mode tap")?;
    ip("link set zzz0 txqueuelen 0")?;
    let findings: Value = serde_json::from_slice(&run("doctor --wait 0 --json")?.stdout)?;
    let findings = findings["findings"].as_array().ok_or("no list")?;
    let rank = |severity: &Value| ["error", "warning", "info"].iter().position(|one| severity == one);
    let ranks: Vec<_> = findings.iter().map(|finding| rank(&finding["severity"])).collect();
    assert!(ranks.is_sorted() && ranks[0] == Some(0), "{findings:?}");
    assert!(findings.iter().any(|finding| finding["ifname"] == "aaa0" && finding["severity"] == "warning"));
    // Of one severity, the host's before the taps'.
    for severity in ["error", "warning", "info"] {
        let of_taps = findings
            .iter()
            .filter(|finding| finding["severity"] == severity)
            .map(|finding| !finding["ifname"].is_null());
        assert!(of_taps.is_sorted(), "{severity}: {findings:?}");
    }
    Ok(())
}

pub(crate) fn a_name_that_is_nowhere_is_an_error() -> TestResult {
    ip("tuntap add dev here0 mode tap user 0")?;
    let output = run("doctor hear0 --json")?;
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(findings["findings"][0]["id"], "no-such-interface");
    assert_eq!(findings["findings"][0]["advice"], "the taps here are here0");
    Ok(())
}
