//! `mqtap exec` with QEMU as the command: a VMM without privilege, whose frames the kernel moves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::lab::{Lab, PATIENCE};
use crate::image::{self, LAB_MODULES, Program};
use crate::lab::Stage;
use crate::outcome::{Result, fail, failure};
use crate::{process, serve as programs, setup, traffic};

/// Queue pairs of the NIC.
const PAIRS: usize = 2;
/// Users of the lab have no names.
const USER: &str = "65534";
const MAC: &str = "52:54:00:12:34:56";

/// The kernel's threads for QEMU, named after its process: of the kernel's own before Linux 6.4, and of QEMU's since.
const THREADS: &str =
    "cat /proc/[0-9]*/task/[0-9]*/comm 2> /dev/null | grep \"^vhost-$(cat /tmp/qemu.pid)$\" || true";

/// QEMU with what it reads: its firmware, and the network boot program of a NIC. Debian has its emulator in a library.
fn qemu() -> Result<Program> {
    const FIRMWARE: [&str; 4] = [
        "seabios/bios-256k.bin",
        "qemu/kvmvapic.bin",
        "qemu/linuxboot_dma.bin",
        "../lib/ipxe/qemu/efi-virtio.rom",
    ];
    let Some(path) = setup::find("qemu-system-x86_64") else {
        return fail("qemu-system-x86_64 is not installed");
    };
    let emulator = PathBuf::from("/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so");
    let firmware = FIRMWARE.map(|file| {
        let file = Path::new("/usr/share").join(file);
        file.canonicalize()
            .map_err(|error| failure(format!("QEMU's firmware {} is not there: {error}", file.display())))
    });
    Ok(Program {
        plugins: if emulator.is_file() { vec![emulator] } else { Vec::new() },
        data: firmware.into_iter().collect::<Result<_>>()?,
        ..Program::new(path)
    })
}

/// Starts QEMU by way of `mqtap exec`, with its monitor at a pipe.
fn start(lab: &mut Lab, qemu: &Program, machine: &str) -> Result<()> {
    let mqtap = programs::mqtap_binary()?;
    let exec = format!(
        "{} exec --user {USER} --group {USER} --drop-caps --netdev tap,id=hn0,ifname=tap0,queues={PAIRS},vhost=on --",
        mqtap.display()
    );
    let alone = "-nodefaults -no-user-config -display none -machine pc,accel=tcg -monitor stdio";
    let nic = format!("virtio-net-pci,id=nic,netdev=hn0,mq=on,vectors={{hn0.vectors}},mac={MAC}");
    let qemu = qemu.path.display();
    lab.guest.run("chmod 755 / && mkfifo /tmp/in && (sleep 3000 > /tmp/in &)")?;
    lab.start("qemu", &format!("{exec} {qemu} {alone} -netdev {{hn0}} -device {nic} {machine} < /tmp/in"))?;
    lab.await_log("qemu", "(qemu) ", 0).map(drop)
}

/// Says something to QEMU's monitor, and returns what it answers.
fn monitor(lab: &mut Lab, command: &str) -> Result<String> {
    let before = lab.log("qemu")?.len();
    lab.guest.run(&format!("echo '{command}' > /tmp/in"))?;
    // It repeats the command as if it were typed, and ends with its prompt.
    lab.await_log("qemu", "\n(qemu) ", before).map(|answer| answer.replace('\r', ""))
}

/// QEMU takes the queues and the handles that it inherits, has the kernel's threads for them, and a program in its firmware gets an
/// address over them.
pub(in super::super) fn exec(_: &Stage, name: &str) -> Result<()> {
    let qemu = qemu()?;
    let mqtap = Program::new(programs::mqtap_binary()?);
    let mut lab = Lab::boot(name, &[mqtap, qemu.clone()])?;
    lab.load(&LAB_MODULES[1..])?;
    // With a processor that does nothing yet.
    start(&mut lab, &qemu, "-m 64 -S -boot reboot-timeout=1000")?;
    inherited(&mut lab)?;
    address_of_the_guest(&mut lab)?;
    end(&mut lab)
}

/// The descriptors that it got are in use: the kernel has a thread for each handle.
fn inherited(lab: &mut Lab) -> Result<()> {
    let files = lab.guest.run("for n in 3 4 5 6; do readlink /proc/$(cat /tmp/qemu.pid)/fd/$n; done")?;
    let expected = ["/dev/net/tun", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-net"];
    if files.lines().collect::<Vec<_>>() != expected {
        return fail(format!("QEMU has these files from 3 on:\n{files}"));
    }
    let all = lab.guest.run("ls -l /proc/$(cat /tmp/qemu.pid)/fd | grep -cE '/dev/(net/tun|vhost-net)'")?;
    if all.trim() != (2 * PAIRS).to_string() {
        return fail(format!("QEMU has {} taps and handles, not {}", all.trim(), 2 * PAIRS));
    }
    let status = lab.guest.run("grep -E 'Uid|CapEff' /proc/$(cat /tmp/qemu.pid)/status")?;
    if !status.contains(&format!("Uid:\t{USER}\t{USER}")) || !status.contains("CapEff:\t0000000000000000") {
        return fail(format!("QEMU has privileges: {status}"));
    }
    let threads = lab.guest.run(THREADS)?;
    if threads.lines().count() != PAIRS {
        return fail(format!("the kernel has these threads for QEMU, not {PAIRS}:\n{threads}"));
    }
    let network = monitor(lab, "info network")?;
    for pair in 0..PAIRS {
        if !network.contains(&format!("hn0: index={pair},type=tap")) {
            return fail(format!("QEMU has not pair {pair}: {network}"));
        }
    }
    Ok(())
}

/// The boot program asks for an address and gets one, which takes frames both ways.
fn address_of_the_guest(lab: &mut Lab) -> Result<()> {
    // It then asks for a file that nobody has for some time, gives up, and is booted again.
    const CONFIGURATION: &str = "start 10.0.0.2\\nend 10.0.0.2\\ninterface tap0\\nlease_file /tmp/leases\\npidfile /tmp/pid\\n\
        option subnet 255.255.255.0\\nsiaddr 10.0.0.1\\nboot_file nothing\\n";
    lab.guest.run("ip address add 10.0.0.1/24 dev tap0 && ip link set tap0 up && touch /tmp/leases")?;
    lab.guest.run(&format!("printf '{CONFIGURATION}' > /tmp/udhcpd.conf"))?;
    lab.start("udhcpd", "udhcpd -f /tmp/udhcpd.conf")?;
    lab.await_log("udhcpd", "started", 0)?;
    monitor(lab, "cont")?;
    lab.await_log("udhcpd", "sending ACK to 10.0.0.2", 0)?;
    process::until(PATIENCE, "the boot program to answer over vhost-net", || {
        let ping = lab.guest.attempt("/usr/bin/ping -c 1 -W 2 10.0.0.2", Duration::from_secs(30))?;
        Ok((ping.status == 0 && is_moved_by_the_kernel(&virtio_status(lab)?)).then_some(()))
    })
}

fn virtio_status(lab: &mut Lab) -> Result<String> {
    monitor(lab, "info virtio-status /machine/peripheral/nic/virtio-backend")
}

fn is_moved_by_the_kernel(status: &str) -> bool {
    status.lines().any(|line| line.contains("vhost_started") && line.contains("true"))
}

fn end(lab: &mut Lab) -> Result<()> {
    lab.guest.run("echo quit > /tmp/in")?;
    let anything = "kill -0 $(cat /tmp/qemu.pid) || ip link show tap0";
    lab.await_failure("QEMU to end, and its tap to be gone", anything)?;
    let left = lab.guest.run(&format!("{THREADS}; dmesg | grep -E 'BUG|WARNING|Oops' || true"))?;
    if left.is_empty() { Ok(()) } else { fail(format!("this is left, or the kernel complained:\n{left}")) }
}

/// A Linux in QEMU in the lab: its driver enables both pairs, and both carry frames.
pub(in super::super) fn guest(_: &Stage, name: &str) -> Result<()> {
    let mut qemu = qemu()?;
    let image = image::build()?;
    let (kernel, initrd) = (image.kernel.display(), image.initrd.display());
    // An emulator in an emulator: no more processors and no more words than it takes.
    let machine = format!(
        "-m 192 -kernel {kernel} -initrd {initrd} -append \"quiet panic=-1 nokaslr mitigations=off random.trust_cpu=on net.ifnames=0\" \
         -device virtio-serial-pci -chardev pipe,id=agent,path=/tmp/agent -device virtserialport,chardev=agent,name=agent"
    );
    qemu.data.extend([image.kernel.clone(), image.initrd.clone()]);
    let mqtap = Program::new(programs::mqtap_binary()?);
    let mut lab = Lab::boot(name, &[mqtap, qemu.clone()])?;
    lab.load(&LAB_MODULES[1..])?;
    lab.guest.run("mkfifo -m 666 /tmp/agent.in /tmp/agent.out && (sleep 3000 > /tmp/agent.in &)")?;
    lab.start("agent", "cat /tmp/agent.out")?;
    start(&mut lab, &qemu, &machine)?;
    lab.guest.run("ip address add 10.0.0.1/24 dev tap0 && ip link set tap0 up")?;
    lab.await_log("agent", "@@ready@@", 0)?;
    let status = virtio_status(&mut lab)?;
    if !is_moved_by_the_kernel(&status) {
        return fail(format!("QEMU moves the frames itself:\n{status}"));
    }
    ask(
        &mut lab,
        1,
        "for i in $(seq 2 25); do ip address add 10.0.0.$i/24 dev eth0; done; ip link set eth0 up; ethtool -L eth0 combined 2",
    )?;
    let details = lab.guest.run("/usr/bin/ip -details link show tap0")?;
    if !details.contains("numqueues 2 numdisabled 0") {
        return fail(format!("its driver did not enable both pairs: {details}"));
    }
    // So many that all of them are on one queue once in eight million runs.
    let pings = traffic::pings_command(1, 5, "-s 1000", "10.0.0.$i");
    let text = lab.guest.run_within(&format!("for i in $(seq 2 25); do ({pings}) & done; wait"), PATIENCE)?;
    if !traffic::none_lost(&text, 24) {
        return fail(format!("pings were lost:\n{text}"));
    }
    let counters = ask(&mut lab, 2, "ethtool -S eth0")?;
    for counter in ["rx_queue_0_packets", "rx_queue_1_packets", "tx_queue_0_packets", "tx_queue_1_packets"] {
        let count = counters.lines().find_map(|line| line.trim().strip_prefix(counter)?.strip_prefix(": "));
        if count.is_none_or(|count| count == "0") {
            return fail(format!("not every queue carried frames:\n{counters}"));
        }
    }
    end(&mut lab)
}

/// Has the guest in the lab run a command; returns what it printed.
fn ask(lab: &mut Lab, number: u32, command: &str) -> Result<String> {
    let before = lab.log("agent")?.len();
    lab.guest.run(&format!("echo '{number} 600 {command}' > /tmp/agent.in"))?;
    lab.await_log("agent", &format!("@@{number} 0@@"), before)
}
