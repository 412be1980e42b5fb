//! What docs/libvirt.md says, with Debian's libvirt: a daemon of its own, whose guests are gone with it.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::checks::{self, PAIRS};
use super::public::Public;
use super::room::Room;
use crate::lab::{Lab, Stage};
use crate::outcome::{Result, fail};
use crate::page::{Page, replaced};
use crate::process::{self, Supervised};
use crate::qemu::{self, Guest};
use crate::serve::{self, BackendKind, TapSpec};
use crate::setup::{self, Need};
use crate::traffic;

const PATIENCE: Duration = Duration::from_secs(120);

const NEEDS: &[Need] = &[
    setup::need("libvirtd", "libvirt-daemon"),
    setup::need("virt-qemu-run", "libvirt-daemon-driver-qemu"),
    setup::need("virsh", "libvirt-clients"),
];

const SETUP: &str = include_str!("libvirt.sh");

/// The one whose libvirt it is.
#[derive(Clone, Copy)]
enum Whose {
    /// The system's, whose QEMU is the user `libvirt-qemu`.
    System,
    /// That of the user `alice`, whose QEMU is hers.
    Alice,
}

impl Whose {
    /// What comes before a command that she types.
    const fn prefix(self) -> &'static str {
        match self {
            Self::System => "",
            Self::Alice => {
                "setpriv --reuid alice --regid alice --init-groups env HOME=/run/alice XDG_RUNTIME_DIR=/run/alice/run "
            }
        }
    }

    const fn socket(self) -> &'static str {
        match self {
            Self::System => "/run/libvirt/libvirt-sock",
            Self::Alice => "/run/alice/run/libvirt/libvirt-sock",
        }
    }

    const fn log(self) -> &'static str {
        match self {
            Self::System => "/var/log/libvirt/qemu/vm0.log",
            Self::Alice => "/run/alice/.cache/libvirt/qemu/log/vm0.log",
        }
    }
}

/// A libvirt that runs, on a machine where it was set up as Debian does.
struct Libvirt {
    // Dropped in this order: nothing of the room outlives it.
    room: Room,
    public: Public,
    whose: Whose,
}

impl Libvirt {
    fn new(stage: &Stage, lab: &Lab, whose: Whose) -> Result<Self> {
        setup::ensure(&[NEEDS])?;
        let public = Public::new(&lab.logs)?;
        public.image(stage)?;
        let room = Room::new(lab)?;
        room.shell(&format!("set -- {}\n{SETUP}", public.path().display()), PATIENCE)?;
        Ok(Self { room, public, whose })
    }

    /// Starts the daemon, which stands for all guests it starts.
    fn start(&self, lab: &Lab) -> Result<Supervised> {
        let mut command = self.room.command("sh")?;
        command.args(["-c", &format!("exec {}libvirtd", self.whose.prefix())]).stdin(Stdio::null());
        let mut daemon = Supervised::start(&mut command, "libvirtd", &lab.logs.join("libvirtd.log"))?;
        let socket = self.room.path(self.whose.socket())?;
        process::until(PATIENCE, "libvirtd to listen", || {
            daemon.must_run()?;
            Ok(socket.exists().then_some(()))
        })?;
        Ok(daemon)
    }

    /// What somebody types where `vm0.xml` is.
    fn type_in(&self, command: &str) -> Result<String> {
        let directory = self.public.path().display();
        self.room.shell(&format!("cd {directory}; {}{command}", self.whose.prefix()), PATIENCE)
    }

    /// Writes `vm0.xml`.
    fn write(&self, domain: &str) -> Result<()> {
        Ok(fs::write(self.public.path().join("vm0.xml"), domain)?)
    }

    /// It refuses to start the domain, with these words, which are the page's.
    fn refuses(&self, page: &Page, command: &str, words: &str) -> Result<()> {
        page.must_quote(words)?;
        match self.type_in(command) {
            Err(error) if error.to_string().contains(words) => Ok(()),
            Err(error) => fail(format!("not `{words}` but: {error}")),
            Ok(_) => fail(format!("`{command}` succeeded, instead of `{words}`")),
        }
    }

    /// Has it start the domain, and waits for the guest.
    fn boot(&self, lab: &Lab, daemon: Supervised, command: &str) -> Result<Guest> {
        let boot = || {
            self.type_in(command)?;
            let mut guest = Guest::of(daemon, self.public.path(), "guest")?;
            guest.wait_ready()?;
            guest.configure(0)?;
            Ok(guest)
        };
        let booted = boot();
        // It is not only of interest if all went well.
        if let Ok(log) = fs::read(self.room.path(self.whose.log())?) {
            fs::write(lab.logs.join("guest.qemu"), log)?;
        }
        booted
    }

    /// Ends it, and nothing is left of it.
    fn stop(&self, command: &str) -> Result<()> {
        self.type_in(command)?;
        let left = self.type_in(&format!("{} list --all --name", connection(command)))?;
        let processes = self.room.shell("readlink /proc/[0-9]*/exe || true", PATIENCE)?;
        if left.trim().is_empty() && !processes.contains("qemu-system") {
            return Ok(());
        }
        fail(format!("after `{command}`, domains: {left:?}, processes:\n{processes}"))
    }
}

/// `virsh` and the options that come before what it is to do.
fn connection(command: &str) -> &str {
    command.rsplit_once(" destroy ").map_or(command, |(virsh, _)| virsh)
}

/// The domain of the page on this machine: without KVM, and with the lines to the guest that tests have.
fn domain(page: &Page, directory: &Path) -> Result<String> {
    let line = |name: &str| directory.join(format!("guest.{name}")).display().to_string();
    let lines = format!(
        "<serial type='file'><source path='{}'/></serial>
         <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='agent'/></channel>",
        line("console"),
        line("agent")
    );
    let domain = replaced(page.block("xml domain")?, "type='kvm'", "type='qemu'")?;
    let domain = replaced(&domain, "console=ttyS0 net.ifnames=0", qemu::KERNEL_ARGUMENTS)?;
    replaced(&domain, "<console type='pty'/>", &lines)
}

/// What is from one text to another, both included.
fn element<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str> {
    let part = text.find(from).and_then(|start| {
        let rest = &text[start..];
        rest.find(to).map(|end| &rest[..end + to.len()])
    });
    part.map_or_else(|| fail(format!("nothing from `{from}` to `{to}` in:\n{text}")), Ok)
}

/// The system's libvirt, and a socket as that of the package's service.
pub(super) fn vhost_user(stage: &Stage, name: &str) -> Result<()> {
    let page = Page::read("libvirt.md")?;
    let mut lab = Lab::new(stage, name, &[TapSpec::numbered(0, PAIRS)])?;
    let libvirt = Libvirt::new(stage, &lab, Whose::System)?;
    libvirt.room.shell(
        &format!(
            "cd {}; chmod 750 tap0.sock
             install -d -g kvm -m 750 /run/mqtap/vm0
             touch /run/mqtap/vm0/net0.sock
             mount --bind tap0.sock /run/mqtap/vm0/net0.sock",
            lab.logs.display()
        ),
        PATIENCE,
    )?;
    let mut domain = domain(&page, libvirt.public.path())?;
    if !qemu::has_working_msix() {
        domain = replaced(&domain, "</domain>", &format!("{}\n</domain>", page.block("xml vectors")?))?;
    }
    let daemon = libvirt.start(&lab)?;
    libvirt.write(&domain)?;
    let start = page.block("sh start")?;
    let socket = "/run/mqtap/vm0/net0.sock";
    libvirt.refuses(&page, start, &format!("Failed to connect to '{socket}': Permission denied"))?;
    libvirt.room.shell(&format!("chgrp kvm {socket}; chmod 770 {socket}"), PATIENCE)?;
    let mut guest = libvirt.boot(&lab, daemon, start)?;
    checks::four_pairs(&mut lab, &mut guest)?;
    libvirt.stop(page.block("sh stop")?)?;
    guest.must_run()?;
    lab.backend.must_run()?;
    checks::attached(&lab, 0, PAIRS)
}

/// A user's libvirt, and a tap that was made for the user.
pub(super) fn ethernet(stage: &Stage, name: &str) -> Result<()> {
    let page = Page::read("libvirt.md")?;
    // No daemon of ours: QEMU moves the frames.
    let stage = Stage { kind: BackendKind::Qemu, image: stage.image.clone(), real_root: stage.real_root };
    let mut lab = Lab::new(&stage, name, &[])?;
    let libvirt = Libvirt::new(&stage, &lab, Whose::Alice)?;
    let domain = domain(&page, libvirt.public.path())?;
    let memory = element(&domain, "<memoryBacking>", "</memoryBacking>")?;
    let interface = element(&domain, "<interface ", "</interface>")?;
    let domain = domain.replace(memory, "").replace(interface, page.block("xml ethernet")?);
    libvirt.write(&domain)?;
    let daemon = libvirt.start(&lab)?;
    let start = page.block("sh session-start")?;
    let wrong = [
        ("mqtap create tap0 --owner alice", "Unable to create tap device tap0: Invalid argument"),
        (
            "mqtap create tap0 --owner root --multi-queue",
            "Unable to create tap device tap0: Operation not permitted",
        ),
        ("true", "target managed='no' but specified dev doesn't exist"),
    ];
    for (tap, words) in wrong {
        libvirt.room.shell(tap, PATIENCE)?;
        libvirt.refuses(&page, start, words)?;
        libvirt.room.shell("mqtap delete tap0 --if-exists", PATIENCE)?;
    }
    libvirt.room.shell(page.block("sh tap")?, PATIENCE)?;
    serve::address(&lab.namespace, "tap0", 0)?;
    let mut guest = libvirt.boot(&lab, daemon, start)?;
    checks::four_pairs(&mut lab, &mut guest)?;
    guest.run("ethtool -L eth0 combined 2")?;
    checks::attached(&lab, 2, PAIRS - 2)?;
    traffic::ping_both(&lab)?;
    libvirt.stop(page.block("sh session-stop")?)?;
    guest.must_run()?;
    checks::attached(&lab, 0, 0)
}
