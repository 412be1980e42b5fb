//! Looking, typing what a doctor says, and others who hold taps.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use mqtap::doctor::{self, Finding, Id, Sample, Wanted};
use mqtap::{MultiQueue, OpenOptions};
use mqtap_test_support::{TestResult, eventually, ip};

use super::raw;

pub(crate) const QUEUE: u16 = raw::TAP | raw::MULTI_QUEUE | raw::NO_PI | raw::VNET_HDR;

pub(crate) fn sample(name: &str) -> Sample {
    doctor::sample(name.parse().unwrap(), None).unwrap()
}

/// What is found at one look, by what somebody wants.
pub(crate) fn look_for(name: &str, wanted: Wanted) -> Vec<Finding> {
    doctor::examine(None, &sample(name), &wanted)
}

pub(crate) fn look(name: &str) -> Vec<Finding> {
    look_for(name, Wanted::default())
}

pub(crate) fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id.as_str()).collect()
}

/// The one finding with this id.
#[track_caller]
pub(crate) fn only(findings: &[Finding], id: Id) -> Finding {
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(found.len(), 1, "{id} in {:?}", ids(findings));
    found[0].clone()
}

#[track_caller]
pub(crate) fn has_none(findings: &[Finding], id: Id) {
    assert!(findings.iter().all(|finding| finding.id != id), "{id} in {findings:?}");
}

/// Types what a finding says, and looks again.
#[track_caller]
pub(crate) fn mend(name: &str, finding: &Finding) -> Vec<Finding> {
    assert!(!finding.commands.is_empty(), "{finding:?}");
    for command in &finding.commands {
        let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    look(name)
}

pub(crate) fn options(name: &str, queues: u16) -> OpenOptions {
    let name = name.parse().unwrap();
    OpenOptions { name, queues, multi_queue: MultiQueue::Always, ..OpenOptions::default() }
}

/// Brings it up, with a neighbour that needs no ARP, and no frames but those that a test sends.
pub(crate) fn address(name: &str) -> TestResult {
    ip(&format!("link set {name} addrgenmode none"))?;
    ip(&format!("address add 10.8.2.1/24 dev {name}"))?;
    ip(&format!("link set {name} up"))?;
    ip(&format!("neighbour replace 10.8.2.2 lladdr 02:00:00:00:00:02 dev {name}"))?;
    Ok(())
}

pub(crate) fn send(frames: usize, payload: &[u8]) -> TestResult {
    let socket = std::net::UdpSocket::bind("10.8.2.1:0")?;
    for _ in 0..frames {
        socket.send_to(payload, "10.8.2.2:9")?;
    }
    Ok(())
}

/// A process that has `fd` as its standard input, until it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn with(fd: impl AsFd, command: &str) -> Self {
        let input = Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let child = Command::new(program).args(words).stdin(input).stdout(Stdio::null()).spawn().unwrap();
        let process = Self(child);
        // Until exec it is a copy of this process, with all its descriptors.
        let command = || std::fs::read_to_string(format!("/proc/{}/comm", process.0.id())).unwrap();
        eventually("the process runs", || command().trim_end() == program).unwrap();
        process
    }

    pub(crate) fn idle(fd: impl AsFd) -> Self {
        Self::with(fd, "sleep 1000")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A queue that was opened in a network namespace of its own.
pub(crate) fn opened_elsewhere(name: &'static [u8]) -> OwnedFd {
    let open = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        raw::open(name, QUEUE).unwrap()
    };
    std::thread::spawn(open).join().unwrap()
}
