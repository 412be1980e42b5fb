//! The host, and names that are not there.

use mqtap::doctor::{self, Host, Id, Severity};
use mqtap::features::Features;
use mqtap_test_support::{TestResult, cannot_run, eventually, ip};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::raw;
use super::support::*;

/// The kernel shows nobody which program steers a tap, so that all that can be found is a program which nobody holds.
pub(crate) fn trap_c_a_steering_program_left_behind_is_suspected() -> TestResult {
    let queue = raw::open(b"trapc2", QUEUE)?;
    if let Err(Errno::PERM) = raw::steer_to_queue_1(&queue) {
        return cannot_run("this user may load no BPF program, which needs root");
    }
    if !raw::may_list_programs() {
        return cannot_run("this user may not list BPF programs, which needs root");
    }
    // A process that another test has just started holds it for a moment.
    let mut findings = Vec::new();
    eventually("the program is suspected", || {
        findings = doctor::examine_host(&Host::look().unwrap());
        findings.iter().any(|finding| finding.id == Id::SteeringProgram)
    })?;
    assert_eq!(only(&findings, Id::SteeringProgram).severity, Severity::Info);
    Ok(())
}

pub(crate) fn a_host_says_what_it_has() -> TestResult {
    let before = mqtap::Links::open()?.list()?;
    let host = Host::look()?;
    let device = host.features().device.as_ref().unwrap();
    assert_eq!(device.offloads, mqtap::Capabilities::probe_offloads()?);
    assert!(device.queues && device.carrier, "{device:?}");
    assert_eq!(device.header_sizes[..3], [10, 12, 20]);
    assert!(host.features().may_create);
    has_none(&doctor::examine_host(&host), Id::TunMissing);
    assert_eq!(mqtap::Links::open()?.list()?, before, "what was tried was tried elsewhere");
    Ok(())
}

pub(crate) fn without_privilege_a_tap_is_tried_in_a_namespace_of_ones_own() -> TestResult {
    let probe = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        Features::probe().unwrap()
    };
    let features = std::thread::scope(|scope| scope.spawn(probe).join()).unwrap();
    assert!(!features.may_create);
    match features.device {
        Ok(device) => assert_eq!(device.offloads, mqtap::Capabilities::probe_offloads()?),
        Err(errno) => return cannot_run(&format!("user namespaces are forbidden here: {errno}")),
    }
    Ok(())
}

pub(crate) fn a_name_that_is_not_there_is_looked_for() -> TestResult {
    ip("tuntap add dev there0 mode tap")?;
    let finding = doctor::missing("their0".parse()?, None);
    assert_eq!((finding.id, finding.severity), (Id::NoSuchInterface, Severity::Error));
    assert_eq!(finding.advice.as_deref(), Some("the taps here are there0"));
    Ok(())
}
