//! The kernel's vhost-net, in a guest that is the host: Debian's cloud kernel has it, whatever this machine's has.

mod exec;

use std::path::Path;
use std::time::Duration;

pub(super) use exec::{exec, guest as exec_guest};

use super::lab::{self, Lab, PATIENCE};
use crate::image::{LAB_MODULES, Program};
use crate::lab::Stage;
use crate::outcome::{Result, fail};
use crate::testpmd::{self, Driver};
use crate::{process, serve as programs, traffic};

/// Where there is no vhost-net, `vhost=on` is an error that says what to type, and `vhost=try` does without.
pub(super) fn without_module(_: &Stage, name: &str) -> Result<()> {
    let (mqtap, driver) = (programs::mqtap_binary()?, programs::driver_binary()?);
    let mut lab = Lab::boot(name, &[Program::new(mqtap.clone()), Program::new(driver.clone())])?;
    let (mqtap, driver) = (mqtap.display(), driver.display());
    let refused = lab.guest.attempt(
        &format!("{mqtap} serve --netdev tap,id=hn0,ifname=tap0,queues=4,vhost=on --socket /tmp/hn0"),
        Duration::from_secs(30),
    )?;
    for piece in ["netdev hn0", "/dev/vhost-net does not exist", "modprobe vhost_net", "vhost=try"] {
        if refused.status != 1 || !refused.output.contains(piece) {
            return fail(format!("status {}, without `{piece}`: {}", refused.status, refused.output));
        }
    }
    lab.guest.run("! ip link show tap0 && ! [ -e /tmp/hn0 ]")?;

    lab.start(
        "serve",
        &format!("{mqtap} serve --netdev tap,id=hn0,ifname=tap0,queues=2,vhost=try --socket /tmp/hn0"),
    )?;
    let said = lab.await_log("serve", "virtqueues), listening", 0)?;
    if !said.contains("netdev hn0: vhost-net is not used") {
        return fail(format!("vhost=try fell back without a word:\n{said}"));
    }
    lab.guest.run("ip address add 10.0.0.1/24 dev tap0 && ip link set tap0 up")?;
    lab.guest.run("mkfifo /tmp/in && (sleep 600 > /tmp/in &)")?;
    lab.start("driver", &format!("{driver} guest --queue-pairs 2 --socket /tmp/hn0 < /tmp/in"))?;
    lab.await_log("driver", "\"ok\":true", 0)?;
    lab.guest.run("ping -c 5 -i 0.2 -W 10 10.0.0.2").map(drop)
}

/// The tests of `mqtap serve` that hold for the kernel's data path, and those of its own, with the real vhost-net under them.
pub(super) fn serve(_: &Stage, name: &str) -> Result<()> {
    lab::tests_of_serve(name, &LAB_MODULES[1..], "MQTAP_TEST_VHOST=on", 30)
}

/// DPDK's driver, frames both ways.
pub(super) fn dpdk_on_one_pair(_: &Stage, name: &str) -> Result<()> {
    dpdk(name, 1)
}

/// The same with queues for more CPUs than the guest has.
pub(super) fn dpdk_on_four_pairs(_: &Stage, name: &str) -> Result<()> {
    dpdk(name, 4)
}

fn dpdk(name: &str, queues: u16) -> Result<()> {
    let installation = testpmd::install()?;
    let mqtap = programs::mqtap_binary()?;
    let mut lab = Lab::boot(name, &[Program::new(mqtap.clone()), installation.program()])?;
    lab.load(&LAB_MODULES[1..])?;
    let netdev = format!("tap,id=hn0,ifname=tap0,queues={queues},vhost=on");
    lab.start("serve", &format!("{} serve --netdev {netdev} --socket /tmp/hn0", mqtap.display()))?;
    lab.await_log("serve", "frames moved by the kernel", 0)?;
    lab.guest.run("ip address add 10.77.0.1/16 dev tap0 && ip link set tap0 up")?;

    let driver = Driver {
        queues,
        packed: false,
        mergeable: true,
        in_order: false,
        hugepages: false,
        server: false,
        ring_size: 256,
        cpu: Some(1),
    };
    let arguments: Vec<String> = testpmd::arguments(&installation, Path::new("/tmp/hn0"), driver, 1);
    let environment = installation.environment();
    let environment = environment.iter().map(|(name, value)| format!("{name}={} ", value.display()));
    let environment: String = environment.collect();
    // DPDK loads nothing from below a directory that others can write to, as the root of this guest is.
    lab.guest.run("chmod 755 / && mkdir -p /var/run && mkfifo /tmp/in && (sleep 3000 > /tmp/in &)")?;
    let program = installation.program.display();
    lab.start("testpmd", &format!("{environment}stdbuf -oL {program} {} < /tmp/in", arguments.join(" ")))?;
    let start = lab.await_log("testpmd", testpmd::PROMPT, 0)?;
    testpmd::check_negotiated(&start, driver)?;
    lab.guest.run("ip link show tap0 | grep -q LOWER_UP")?;

    // Out of the guest, on all queues, as fast as it can.
    let frames = |lab: &mut Lab, what: &str| -> Result<u64> {
        Ok(lab.guest.run(&format!("cat /sys/class/net/tap0/statistics/{what}_packets"))?.trim().parse()?)
    };
    let before = frames(&mut lab, "rx")?;
    lab.guest.run("echo 'set fwd txonly' > /tmp/in; echo start > /tmp/in")?;
    process::until(PATIENCE, "10000 frames from testpmd on the tap", || {
        Ok((frames(&mut lab, "rx")? >= before + 10_000).then_some(()))
    })?;
    lab.guest.run("echo stop > /tmp/in")?;

    // Into the guest and back: each ping is answered.
    lab.guest.run("echo 'set fwd icmpecho' > /tmp/in; echo start > /tmp/in")?;
    process::until(PATIENCE, "testpmd to answer", || {
        let ping = lab.guest.attempt("ping -q -c 1 -W 2 10.77.0.2", Duration::from_secs(20))?;
        Ok((ping.status == 0).then_some(()))
    })?;
    let pings = traffic::pings_command(5, 5, "-s 1400", "10.77.0.$i");
    let pings = format!("for i in 2 3 4 5 6 7 8 9; do ({pings}) & done; wait");
    let text = lab.guest.run_within(&pings, Duration::from_secs(120))?;
    if !traffic::none_lost(&text, 8 * 5) {
        return fail(format!("pings were lost:\n{text}"));
    }
    lab.guest.run("echo stop > /tmp/in; echo quit > /tmp/in")?;
    process::until(PATIENCE, "testpmd to end, and its queues to be detached", || {
        // The shell prefers busybox's own `ip`, which knows no details. Of one queue there are none.
        let state = "cat /sys/class/net/tap0/carrier && /usr/bin/ip -details link show tap0";
        let state = lab.guest.run(state)?;
        let detached = queues == 1 || state.contains(&format!("numqueues 0 numdisabled {queues}"));
        Ok((detached && state.starts_with('0')).then_some(()))
    })?;
    lab.guest.run("kill $(cat /tmp/serve.pid)")?;
    lab.await_failure("the daemon to end, and its tap to be gone", "ip link show tap0")
}
