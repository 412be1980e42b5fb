//! What docs/taps.md says of systemd-networkd.

use std::path::Path;
use std::process::{Child, Command};

use mqtap_test_support::{Elsewhere, TestResult, all_users_exist, eventually};
use serde_json::{Value, json};

use super::command::{Result, essence, links, mqtap, prepare, script};
use super::page::{Section, outcome, sections};

const NETWORKD: &str = "/lib/systemd/systemd-networkd";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts networkd with these files, in the network namespace of the caller. It runs as a user of its own, who may not open every
/// `/dev/net/tun`, and must not wait for udev, which it does not if it may not write to sysfs.
fn start(files: &str, directory: &Path) -> Result<Running> {
    let mut text = prepare(directory)?;
    text += "mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/net
        chown -R systemd-network: /run/systemd/netif
        mknod -m 666 /run/net/tun c 10 200
        mount --bind /run/net /dev/net
        mount -t sysfs -o ro sysfs /sys
        ";
    for file in files.split("# /etc/systemd/network/").skip(1) {
        let (name, content) = file.split_once('\n').ok_or("a file without a line")?;
        text += &format!("cat > /run/systemd/network/{name} <<'END'\n{content}END\n");
    }
    text += &format!("exec {NETWORKD}");
    let log = std::fs::File::create(directory.join("log"))?;
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &text])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(Running(child))
}

/// Without what networkd does in its own way: the queueing discipline, and the address.
fn comparable(links: &[Value]) -> Vec<Value> {
    let mut links = links.to_vec();
    for link in links.iter_mut().filter(|link| !link["tap"].is_null()) {
        link["qdisc"] = json!("any");
        link["bridge_proof"] = json!("any");
    }
    links
}

pub(crate) fn the_page_is_as_networkd_does_it() -> TestResult {
    if !(all_users_exist() && Path::new(NETWORKD).exists()) {
        assert!(std::env::var_os("CI").is_none(), "this test needs root and {NETWORKD}");
        eprintln!("SKIPPED: what docs/taps.md says of networkd needs root and {NETWORKD}");
        return Ok(());
    }
    let mut count = 0;
    for Section { title, setup, mqtap: commands, networkd, .. } in sections() {
        if networkd.is_empty() {
            continue;
        }
        count += 1;
        let wanted = outcome(&format!("{setup}{commands}"))?;
        let up = wanted.iter().any(|link| link["ifname"] == "tap0" && link["up"] == true);
        Elsewhere::new()?.run(|| -> TestResult {
            script(&setup)?;
            let directory = tempfile::tempdir()?;
            let running = start(&networkd, directory.path())?;
            let here = || comparable(&essence(&links().unwrap()));
            let made = eventually("networkd makes the tap", || here() == comparable(&wanted));
            if let Err(error) = made {
                let log = std::fs::read_to_string(directory.path().join("log"))?;
                return Err(format!("{title}: {error}: {:#?}, not {wanted:#?}; {log}", here()).into());
            }
            let qdisc = |name: &str| {
                essence(&links().unwrap()).into_iter().find(|link| link["ifname"] == name).unwrap()["qdisc"]
                    .clone()
            };
            let default = if up { "mq" } else { "noop" };
            assert_eq!(qdisc("tap0"), default, "networkd leaves the default");
            drop(running);
            assert_eq!(here(), comparable(&wanted), "the tap stays");
            mqtap("delete tap0")?.success()?;
            Ok(())
        })?;
    }
    assert_eq!(count, 3);
    Ok(())
}
