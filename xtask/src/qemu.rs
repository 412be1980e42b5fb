//! A Linux guest in QEMU.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::agent::{Agent, Answer};
use crate::image::Image;
use crate::netns::Namespace;
use crate::outcome::{Result, fail};
use crate::process::{self, Supervised};
use crate::serve;

/// Emulation on a busy two-core machine is slow; this is for hangs only.
const BOOT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);

/// What the kernel of every guest is told. On a busy machine an emulated timer does not tick when the kernel looks whether it does.
pub(crate) const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 nokaslr mitigations=off \
    random.trust_cpu=on net.ifnames=0 no_timer_check";

/// One NIC of a guest.
#[derive(Clone)]
pub(crate) struct Nic {
    /// The `-netdev` argument (without its id) and what must precede it, see `Backend::nic`; or the name of a netdev in braces,
    /// which the machine's launcher replaces.
    pub(crate) netdev: String,
    pub(crate) chardev: Option<String>,
    pub(crate) pairs: u16,
    /// Further properties of virtio-net-pci, such as `packed=on`.
    pub(crate) properties: String,
}

/// What to boot.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) nics: Vec<Nic>,
    pub(crate) cpus: u16,
    pub(crate) memory_mib: u32,
    /// The program that starts QEMU, and its arguments up to QEMU's own. None if QEMU starts itself.
    pub(crate) launcher: Vec<OsString>,
}

/// A running guest; QEMU dies with the value.
pub(crate) struct Guest {
    qemu: Supervised,
    agent: Agent,
    console: PathBuf,
}

impl Guest {
    /// Starts QEMU in the namespace. The guest is not up yet: see [`Guest::wait_ready`].
    pub(crate) fn start(
        namespace: &Namespace,
        image: &Image,
        machine: &Machine,
        logs: &Path,
        name: &str,
    ) -> Result<Self> {
        Self::of(Self::spawn(namespace, image, machine, logs, name)?, logs, name)
    }

    /// The guest of a QEMU that is, or will be, started by somebody else, whose process stands for it.
    pub(crate) fn of(mut process: Supervised, directory: &Path, name: &str) -> Result<Self> {
        let agent = Agent::connect(&directory.join(format!("{name}.agent")), || process.must_run())?;
        Ok(Self { qemu: process, agent, console: directory.join(format!("{name}.console")) })
    }

    /// Starts QEMU alone, without waiting for anything.
    pub(crate) fn spawn(
        namespace: &Namespace,
        image: &Image,
        machine: &Machine,
        logs: &Path,
        name: &str,
    ) -> Result<Supervised> {
        let mut words = machine.launcher.iter().cloned().chain(["qemu-system-x86_64".into()]);
        let mut command = namespace.command(words.next().unwrap_or_default());
        command.args(words).args(common_arguments(image, machine.cpus, logs, name));
        command.args(["-machine", "memory-backend=ram", "-m", &machine.memory_mib.to_string()]);
        // vhost-user needs guest memory that another process can map.
        command
            .arg("-object")
            .arg(format!("memory-backend-memfd,id=ram,size={}M,share=on", machine.memory_mib));
        let msix = has_working_msix();
        for (index, nic) in machine.nics.iter().enumerate() {
            if let Some(chardev) = &nic.chardev {
                command.arg("-chardev").arg(format!("{chardev},id=chr{index}"));
            }
            let backend = if nic.chardev.is_some() { format!(",chardev=chr{index}") } else { String::new() };
            let launched = nic.netdev.starts_with('{');
            let id = if launched { String::new() } else { format!(",id=net{index}") };
            command.arg("-netdev").arg(format!("{}{id}{backend}", nic.netdev));
            let mq = if nic.pairs > 1 { ",mq=on" } else { "" };
            let vectors = match nic.pairs {
                // The bug is one of vhost-user.
                _ if launched => format!("{{net{index}.vectors}}"),
                pairs if msix => (2 * pairs + 2).to_string(),
                _ => "0".to_owned(),
            };
            let properties =
                if nic.properties.is_empty() { String::new() } else { format!(",{}", nic.properties) };
            command.arg("-device").arg(format!(
                "virtio-net-pci,netdev=net{index},mac=52:54:00:4d:51:{index:02x},romfile={mq},vectors={vectors}{properties}"
            ));
        }
        command.stdin(Stdio::null());
        Supervised::start(&mut command, "QEMU", &logs.join(format!("{name}.qemu")))
    }

    /// Starts QEMU with a command line as a person types it in bash, in which `"${machine[@]}"` stands for all but memory and NIC.
    pub(crate) fn typed(
        namespace: &Namespace,
        image: &Image,
        cpus: u16,
        command_line: &str,
        logs: &Path,
        name: &str,
    ) -> Result<Self> {
        let script = format!("machine=(\"$@\"); exec {command_line}");
        let mut command = namespace.command("bash");
        command.args(["-euc", &script, "bash"]).args(common_arguments(image, cpus, logs, name));
        command.env("PATH", serve::path_with_ours()?).stdin(Stdio::null());
        Self::of(Supervised::start(&mut command, "QEMU", &logs.join(format!("{name}.qemu")))?, logs, name)
    }

    /// Waits until the guest obeys commands; again after each reboot.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let qemu = &mut self.qemu;
        self.agent.wait_ready(BOOT, || qemu.must_run()).map_err(|error| {
            let console = std::fs::read(&self.console).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            format!("{error}\nlast lines of the guest's console:\n{}", process::tail(&console, 15)).into()
        })
    }

    /// QEMU's process.
    pub(crate) fn pid(&self) -> Result<rustix::process::Pid> {
        self.qemu.pid()
    }

    /// Runs a shell command that must succeed; returns what it printed.
    pub(crate) fn run(&mut self, command: &str) -> Result<String> {
        self.run_within(command, COMMAND)
    }

    /// [`Guest::run`] for longer commands.
    pub(crate) fn run_within(&mut self, command: &str, limit: Duration) -> Result<String> {
        let answer = self.attempt(command, limit)?;
        if answer.status == 0 {
            return Ok(answer.output);
        }
        fail(format!(
            "in the guest, `{command}` failed with status {}: {}",
            answer.status,
            answer.output.trim()
        ))
    }

    /// Runs a shell command whatever its end.
    pub(crate) fn attempt(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        let qemu = &mut self.qemu;
        self.agent.run(command, limit, || qemu.must_run())
    }

    /// Brings `eth<index>` up with the guest's addresses on that wire.
    pub(crate) fn configure(&mut self, index: usize) -> Result<()> {
        let wire = 77 + index;
        self.run(&format!(
            "ip link set eth{index} up && ip addr add 10.{wire}.0.2/24 dev eth{index} && ip -6 addr add fd{wire}::2/64 dev eth{index}"
        ))
        .map(|_| ())
    }

    /// A number from `ethtool -S`.
    pub(crate) fn statistics(&mut self, device: &str) -> Result<Statistics> {
        Ok(Statistics(self.run(&format!("ethtool -S {device}"))?))
    }

    /// The numbers of `ethtool -l`: maximum and current combined channels.
    pub(crate) fn channels(&mut self, device: &str) -> Result<(u16, u16)> {
        let text = self.run(&format!("ethtool -l {device}"))?;
        let mut combined = text
            .lines()
            .filter_map(|line| line.strip_prefix("Combined:"))
            .filter_map(|rest| rest.trim().parse().ok());
        match (combined.next(), combined.next()) {
            (Some(maximum), Some(current)) => Ok((maximum, current)),
            _ => fail(format!("`ethtool -l {device}` in the guest printed no combined channels:\n{text}")),
        }
    }

    /// Reboots without stopping QEMU, and waits until the guest is back.
    pub(crate) fn reboot(&mut self) -> Result<()> {
        // The command cannot answer: it goes down with the guest.
        self.agent.post("reboot -f")?;
        self.wait_ready()
    }

    /// QEMU, or whatever started it and waits for it.
    pub(crate) fn process(&mut self) -> &mut Supervised {
        &mut self.qemu
    }

    /// The process alone.
    pub(crate) fn into_process(self) -> Supervised {
        self.qemu
    }

    /// Ends the guest, and QEMU with it; does not wait for that.
    pub(crate) fn power_off(&mut self) -> Result<()> {
        self.agent.post("poweroff -f")
    }

    /// Ends QEMU without asking anybody.
    pub(crate) fn kill(&mut self) {
        self.qemu.kill();
    }

    /// An error when QEMU has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        self.qemu.must_run()
    }
}

/// What has nothing to do with NICs and memory, with the console and the agent's socket in `logs`.
pub(crate) fn common_arguments(image: &Image, cpus: u16, logs: &Path, name: &str) -> Vec<OsString> {
    let (console, agent) = (logs.join(format!("{name}.console")), logs.join(format!("{name}.agent")));
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc"]);
    add(&["-accel", &accelerator(), "-cpu", "max", "-smp", &cpus.to_string()]);
    add(&["-kernel", &image.kernel.to_string_lossy(), "-initrd", &image.initrd.to_string_lossy()]);
    add(&["-append", KERNEL_ARGUMENTS]);
    add(&["-chardev", &format!("file,id=console,path={}", console.display()), "-serial", "chardev:console"]);
    add(&["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", agent.display())]);
    // Unlike a serial port's, its flow control loses nothing when the guest is slow.
    add(&["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"]);
    arguments
}

/// Whether this QEMU can do without the one interrupt line for all queues. 7.2, as Debian 12 has it, crashes when a guest
/// with MSI-X starts a vhost-user NIC under TCG, whoever is the backend.
pub(crate) fn has_working_msix() -> bool {
    let output = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_none_or(|major| major >= 8)
}

/// Emulation works everywhere and the same everywhere; `MQTAP_ACCEL=kvm` is for machines where that works too.
fn accelerator() -> String {
    std::env::var("MQTAP_ACCEL").unwrap_or_else(|_| "tcg,thread=multi".to_owned())
}

/// Output of `ethtool -S`.
pub(crate) struct Statistics(String);

impl Statistics {
    /// Packets received by the guest on a queue; none for a queue that is not in use, which the driver does not list.
    pub(crate) fn received(&self, queue: u16) -> Option<u64> {
        self.get(&format!("rx_queue_{queue}_packets"))
    }

    /// Packets transmitted by the guest on a queue; none as above.
    pub(crate) fn transmitted(&self, queue: u16) -> Option<u64> {
        self.get(&format!("tx_queue_{queue}_packets"))
    }

    fn get(&self, name: &str) -> Option<u64> {
        let (_, value) =
            self.0.lines().filter_map(|line| line.trim().split_once(": ")).find(|(key, _)| *key == name)?;
        value.trim().parse().ok()
    }
}
