//! `mqtap exec` with QEMU as the command: a VMM without any privilege, whose own data path moves the frames.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::checks::{self, PAIRS};
use super::public::Public;
use crate::image::Image;
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::page::Page;
use crate::process::{self, Supervised};
use crate::qemu::{Guest, Machine, Nic};
use crate::serve::{self, BackendKind, TapSpec};
use crate::traffic;

const PATIENCE: Duration = Duration::from_secs(60);

/// A lab whose tap exists, is root's, and in use by nobody yet; and what QEMU needs, at a place where any user may read and write.
struct Launched {
    lab: Lab,
    image: Image,
    public: Public,
}

impl Launched {
    fn new(stage: &Stage, name: &str) -> Result<Self> {
        let stage = Stage { kind: BackendKind::Qemu, image: stage.image.clone(), real_root: stage.real_root };
        let lab = Lab::new(&stage, name, &[TapSpec::numbered(0, PAIRS)])?;
        let public = Public::new(&lab.logs)?;
        let image = public.image(&stage)?;
        Ok(Self { lab, image, public })
    }

    /// A machine, started by `mqtap exec` as nobody.
    fn machine(&self, netdev_options: &str) -> Result<Machine> {
        let netdev = format!("tap,id=net0,ifname=tap0,queues={PAIRS}{netdev_options}");
        let mut launcher: Vec<OsString> = vec![serve::mqtap_binary()?.into()];
        let arguments = ["exec", "--user", "nobody", "--drop-caps", "--netdev", &netdev, "--"];
        launcher.extend(arguments.map(OsString::from));
        let nic = Nic { netdev: "{net0}".into(), chardev: None, pairs: PAIRS, properties: String::new() };
        Ok(Machine { nics: vec![nic], cpus: PAIRS, memory_mib: 512, launcher })
    }

    fn boot(&self, machine: &Machine) -> Result<Guest> {
        up(Guest::start(&self.lab.namespace, &self.image, machine, self.public.path(), "guest")?)
    }

    /// The machine of a command line.
    fn typed(&self, command_line: &str) -> Result<Guest> {
        let directory = self.public.path();
        up(Guest::typed(&self.lab.namespace, &self.image, PAIRS, command_line, directory, "guest")?)
    }

    /// QEMU alone, once it has a handler for signals.
    fn spawn(&self, machine: &Machine, name: &str) -> Result<Supervised> {
        let mut mqtap = Guest::spawn(&self.lab.namespace, &self.image, machine, self.public.path(), name)?;
        process::until(PATIENCE, "QEMU to start", || {
            mqtap.must_run()?;
            let Ok(child) = mqtap.only_child() else { return Ok(None) };
            let status = fs::read_to_string(format!("/proc/{}/status", child.as_raw_nonzero()))?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap_or_default();
            Ok((caught & 1 << (Signal::TERM.as_raw() - 1) != 0).then_some(()))
        })?;
        Ok(mqtap)
    }
}

fn up(mut guest: Guest) -> Result<Guest> {
    guest.wait_ready()?;
    guest.configure(0)?;
    Ok(guest)
}

/// As docs/qemu.md says: nobody's QEMU, without a capability, boots a guest whose four pairs carry frames, and attaches and detaches its queues.
pub(super) fn unprivileged(stage: &Stage, name: &str) -> Result<()> {
    let mut launched = Launched::new(stage, name)?;
    let page = Page::read("qemu.md")?;
    let mut guest = launched.typed(page.block("sh fds")?)?;

    let process = format!("/proc/{}", guest.process().pid()?.as_raw_nonzero());
    let program = fs::read_link(format!("{process}/exe"))?;
    if !program.to_string_lossy().contains("qemu-system") {
        return fail(format!("mqtap exec became {}, not QEMU", program.display()));
    }
    has_no_privilege(&process)?;
    has_queues(&process)?;

    checks::four_pairs(&mut launched.lab, &mut guest)?;
    guest.run("ethtool -L eth0 combined 2")?;
    checks::attached(&launched.lab, 2, PAIRS - 2)?;
    traffic::ping_both(&launched.lab)?;
    guest.run(&format!("ethtool -L eth0 combined {PAIRS}"))?;
    checks::attached(&launched.lab, PAIRS, 0)?;
    checks::every_pair_both_ways(&mut launched.lab, &mut guest, PAIRS)
}

fn has_no_privilege(process: &str) -> Result<()> {
    const NONE: &str = "0000000000000000";
    let status = fs::read_to_string(format!("{process}/status"))?;
    let expected = [
        ("Uid:", "65534\t65534\t65534\t65534"),
        ("Gid:", "65534\t65534\t65534\t65534"),
        ("Groups:", "65534"),
        ("CapInh:", NONE),
        ("CapPrm:", NONE),
        ("CapEff:", NONE),
        ("CapBnd:", NONE),
        ("CapAmb:", NONE),
        ("NoNewPrivs:", "1"),
    ];
    for (key, value) in expected {
        let found = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        if found != value {
            return fail(format!("QEMU has {key} {found} instead of {value}"));
        }
    }
    Ok(())
}

/// The queues are its descriptors from 3 on, and the only taps it has.
fn has_queues(process: &str) -> Result<()> {
    let mut taps = Vec::new();
    for entry in fs::read_dir(format!("{process}/fd"))?.flatten() {
        let is_tap = fs::read_link(entry.path()).is_ok_and(|file| file == Path::new("/dev/net/tun"));
        taps.extend(entry.file_name().to_str().and_then(|name| name.parse::<u16>().ok()).filter(|_| is_tap));
    }
    taps.sort_unstable();
    let expected: Vec<u16> = (3..3 + PAIRS).collect();
    if taps == expected { Ok(()) } else { fail(format!("QEMU has taps as {taps:?}, not as {expected:?}")) }
}

/// With a downscript mqtap waits for QEMU, runs it when QEMU is gone, and ends as QEMU did, whatever ends it.
pub(super) fn downscript(stage: &Stage, name: &str) -> Result<()> {
    let launched = Launched::new(stage, name)?;
    let log = launched.public.path().join("downscript");
    let script = launched.public.path().join("down.sh");
    // Of all children that mqtap has had, this script is the only one.
    let text = format!(
        "#!/bin/sh\n[ $(cat /proc/$PPID/task/$PPID/children) = $$ ] && ip link show $1 >/dev/null && echo $1 >>{}\n",
        log.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let machine = launched.machine(&format!(",downscript={}", script.display()))?;
    let mut runs = 0;
    let mut ended = |mut mqtap: Supervised, what: &str, expected: i32| -> Result<()> {
        let Some(status) = mqtap.wait(PATIENCE)? else {
            return fail(format!("mqtap exec did not end after {what}"));
        };
        if status.code() != Some(expected) {
            return fail(format!("mqtap exec ended with {status} after {what}:\n{}", mqtap.log()));
        }
        runs += 1;
        let ran = fs::read_to_string(&log).unwrap_or_default();
        if ran.lines().filter(|line| *line == "tap0").count() == runs {
            Ok(())
        } else {
            fail(format!("after {what}, the downscript had run like this: {ran:?}"))
        }
    };

    let qemu = launched.spawn(&machine, "killed")?;
    rustix::process::kill_process(qemu.only_child()?, Signal::KILL)?;
    ended(qemu, "QEMU was killed", 137)?;

    let qemu = launched.spawn(&machine, "terminated")?;
    qemu.signal(Signal::TERM)?;
    ended(qemu, "SIGTERM", 0)?;

    let mut guest = launched.boot(&machine)?;
    has_no_privilege(&format!("/proc/{}", guest.process().only_child()?.as_raw_nonzero()))?;
    traffic::ping_both(&launched.lab)?;
    guest.power_off()?;
    ended(guest.into_process(), "the guest powered off", 0)?;
    checks::attached(&launched.lab, 0, 0)
}
