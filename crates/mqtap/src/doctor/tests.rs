//! What is hard to have on a machine: old kernels, closed doors, other people's processes.

use rustix::io::Errno;

use super::host::examine_features;
use super::*;
use crate::capabilities::Capabilities;
use crate::features::{Access, DeviceFeatures, Features, IoUring};
use crate::inspect::{Hidden, Holder, QueueState};
use crate::link::{Link, TunLink};
use crate::offload::Offloads;
use crate::sys::flag;

fn holder(pid: u32, fd: i32) -> Holder {
    Holder {
        pid,
        command: format!("vmm{pid}"),
        arguments: Vec::new(),
        unit: None,
        stopped: false,
        namespace: None,
        fd,
        blocking: false,
        io_uring: false,
        vhost_net: false,
        queue: Ok(QueueState {
            interface: "tap0".parse().unwrap(),
            attached: true,
            flags: flag::TAP | flag::MULTI_QUEUE | flag::NO_PI | flag::VNET_HDR,
            has_frames: false,
            vnet_header_size: Some(12),
            send_buffer: Some(i32::MAX),
            classic_filter: false,
            device_namespace: None,
            opened_in: None,
        }),
        same_as: None,
    }
}

/// A tap that is up and in use by these, and well.
fn tap(holders: Vec<Holder>) -> Tap {
    let queues = holders.iter().filter(|holder| holder.same_as.is_none()).count() as u32;
    let link = Link {
        index: 2,
        name: "tap0".parse().unwrap(),
        alternative_names: Vec::new(),
        up: true,
        carrier: true,
        flags: 0x1_1043,
        mtu: 1500,
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        kind: Some("tun".to_owned()),
        mode: None,
        parent: None,
        master: None,
        qdisc: Some("noqueue".to_owned()),
        transmit_queue_length: 1000,
        transmit_queues: 256,
        receive_queues: 256,
        operational_state: "UP",
        alias: None,
        xdp_program: None,
        counters: LinkCounters::default(),
        tun: Some(TunLink {
            tap: true,
            multi_queue: true,
            persistent: true,
            vnet_header: true,
            owner: Some(65533),
            attached_queues: queues,
            ..TunLink::default()
        }),
    };
    Tap {
        kind: Kind::Tap,
        link,
        namespace: None,
        master: None,
        parent: None,
        offloads: Some(Offloads::CSUM),
        queue_counters: Vec::new(),
        holders,
        namesakes: Vec::new(),
    }
}

fn found(tap: Tap) -> Vec<Finding> {
    let sample =
        Sample { later: tap.link.counters, tap, reads: BTreeMap::new(), obstacle: None, namespace: None };
    examine(None, &sample, &Wanted::default())
}

#[test]
fn a_tap_that_is_well_has_no_findings() {
    assert_eq!(found(tap(vec![holder(7, 3), holder(7, 4)])), []);
}

#[test]
fn queues_of_processes_that_hide_are_told() {
    let mut hidden = holder(8, 3);
    hidden.queue = Err(Hidden::NotAllowed);
    let mut tap = tap(vec![holder(7, 3), hidden]);
    tap.link.tun.as_mut().unwrap().attached_queues = 4;
    let findings = found(tap);
    let finding = findings.iter().find(|finding| finding.id == Id::HiddenHolders).unwrap();
    assert_eq!(finding.summary, "3 queues of tap0 cannot be looked at");
}

#[test]
fn a_parent_that_kept_its_childs_queues_is_no_stranger() {
    // libvirt opens queues, hands them to QEMU, and keeps one for a moment.
    let mut kept = holder(5, 20);
    kept.same_as = Some((7, 3));
    assert_eq!(found(tap(vec![holder(7, 3), holder(7, 4), kept])), []);
    let findings = found(tap(vec![holder(5, 20), holder(7, 3), holder(7, 4)]));
    assert_eq!((findings.len(), findings[0].id), (1, Id::SeveralProcesses));
    let advice = findings[0].advice.as_ref().unwrap();
    assert!(
        advice.ends_with("`kill 5` of vmm5 (pid 5) with 1 queue, or `kill 7` of vmm7 (pid 7) with 2 queues"),
        "{advice}"
    );
    assert!(findings[0].commands.is_empty(), "which is the stranger cannot be known");
}

#[test]
fn a_service_is_stopped_as_one() {
    let mut stray = holder(5, 20);
    stray.unit = Some("vpn.service".to_owned());
    let findings = found(tap(vec![stray, holder(7, 3), holder(7, 4)]));
    let advice = findings[0].advice.as_ref().unwrap();
    assert!(advice.contains("`systemctl stop vpn.service` of vmm5 (pid 5)"), "{advice}");
}

#[test]
fn descriptors_that_block_do_not_matter_where_the_kernel_moves_the_frames() {
    for (io_uring, vhost_net, count) in [(false, false, 1), (true, false, 0), (false, true, 0)] {
        let findings = found(tap(vec![Holder { blocking: true, io_uring, vhost_net, ..holder(7, 3) }]));
        assert_eq!(findings.len(), count, "{findings:?}");
    }
}

#[test]
fn what_makes_a_tap_again_says_all_that_it_was() {
    let mut tap = tap(Vec::new());
    let tun = tap.link.tun.as_mut().unwrap();
    (tun.vnet_header, tun.group) = (false, Some(65533));
    tap.master =
        Some(Link { name: "br0".parse().unwrap(), kind: Some("bridge".to_owned()), ..tap.link.clone() });
    tap.link.qdisc = Some("mq".to_owned());
    let wanted = Wanted::default();
    let [first, second] =
        commands::remake(&tap, &wanted, |tun| tun.vnet_header = true).map(crate::shell::line);
    assert_eq!(first, "mqtap delete tap0");
    assert_eq!(
        second,
        "mqtap create tap0 --multi-queue --vnet-hdr --owner 65533 --group 65533 \
         --mac 02:00:00:00:00:01 --mtu 1500 --bridge br0 --qdisc mq --up"
    );
}

#[test]
fn who_holds_a_tap_is_to_be_stopped_before_it_is_made_again() {
    let advice = |holders: Vec<Holder>| {
        let mut tap = tap(holders);
        let tun = tap.link.tun.as_mut().unwrap();
        (tun.persistent, tun.owner) = (true, None);
        found(tap).into_iter().find(|finding| finding.id == Id::NoOwner).unwrap().advice.unwrap()
    };
    assert!(
        advice(vec![holder(7, 3), holder(7, 4)])
            .ends_with("; stop vmm7 (pid 7) first: who holds the tap loses it with this")
    );
    assert!(!advice(Vec::new()).contains("first"));
}

#[test]
fn what_mends_one_thing_leaves_the_other_mended() {
    let mut tap = tap(Vec::new());
    let tun = tap.link.tun.as_mut().unwrap();
    (tun.multi_queue, tun.vnet_header, tun.persistent, tun.owner) = (false, false, true, None);
    let wanted = Wanted { queues: Some(4), vnet_header: Some(true) };
    let alone = |tap: &Tap| Sample {
        tap: tap.clone(),
        reads: BTreeMap::new(),
        later: tap.link.counters,
        obstacle: None,
        namespace: None,
    };
    let findings = examine(Some(&alone(&tap)), &alone(&tap), &wanted);
    let made: Vec<&String> = findings
        .iter()
        .flat_map(|finding| &finding.commands)
        .filter(|command| command.starts_with("mqtap create"))
        .collect();
    assert!(made.len() >= 3, "{findings:?}");
    assert!(made.iter().all(|command| command.contains("--multi-queue --vnet-hdr")), "{made:?}");
}

#[test]
fn frames_that_are_read_between_two_looks_are_no_complaint() {
    let mut waiting = holder(7, 3);
    waiting.queue.as_mut().unwrap().has_frames = true;
    let before = tap(vec![waiting]);
    let sample = |tap: &Tap, sent| {
        let mut later = tap.link.counters;
        later.sent_frames = sent;
        Sample { tap: tap.clone(), reads: BTreeMap::new(), later, obstacle: None, namespace: None }
    };
    let ids = |sent| {
        let findings = examine(Some(&sample(&before, 0)), &sample(&before, sent), &Wanted::default());
        findings.iter().map(|finding| finding.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0), [Id::QueueNotRead]);
    assert_eq!(ids(1), [], "other frames wait now");
}

fn features() -> Features {
    Features {
        kernel: "6.12".to_owned(),
        tun: Access::Yes,
        capabilities: Some(Capabilities::from_flags(0x7173)),
        device: Ok(DeviceFeatures {
            offloads: Offloads::ALL,
            header_sizes: vec![10, 12, 20, 24],
            carrier: true,
            steering: true,
            little_endian: true,
            big_endian: false,
            device_namespace: true,
            queues: true,
        }),
        may_create: true,
        vhost_net: Access::Yes,
        macvtap: true,
        ipvtap: true,
        io_uring: IoUring::Yes,
    }
}

#[test]
fn a_host_that_is_ready_has_no_findings() {
    assert_eq!(examine_features(&features()), []);
}

#[test]
fn each_lack_of_a_host_has_its_finding() {
    let cases: [(Features, Id, Severity); 9] = [
        (
            Features { tun: Access::Missing, capabilities: None, ..features() },
            Id::TunMissing,
            Severity::Error,
        ),
        (
            Features { tun: Access::Refused, capabilities: None, ..features() },
            Id::TunPermission,
            Severity::Error,
        ),
        // A device cgroup says no when it is opened, not before.
        (Features { capabilities: None, ..features() }, Id::TunPermission, Severity::Error),
        (
            Features { capabilities: Some(Capabilities::from_flags(0x5002)), ..features() },
            Id::KernelFeatures,
            Severity::Error,
        ),
        (Features { may_create: false, ..features() }, Id::CreatePermission, Severity::Info),
        (Features { vhost_net: Access::Missing, ..features() }, Id::VhostNetMissing, Severity::Info),
        (Features { vhost_net: Access::Refused, ..features() }, Id::VhostNetPermission, Severity::Info),
        (Features { io_uring: IoUring::Disabled(2), ..features() }, Id::IoUring, Severity::Info),
        (Features { io_uring: IoUring::Refused(Errno::PERM), ..features() }, Id::IoUring, Severity::Info),
    ];
    for (features, id, severity) in cases {
        let findings = examine_features(&features);
        let worst = findings.first().map(|finding| (finding.id, finding.severity));
        assert_eq!(worst, Some((id, severity)), "{findings:?}");
    }
}

#[test]
fn what_a_kernel_lacks_is_named_with_its_version() {
    let mut old = features();
    if let Ok(device) = &mut old.device {
        device.carrier = false;
        device.offloads = Offloads::CSUM | Offloads::TSO4;
    }
    let findings = examine_features(&old);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].summary,
        "Linux 6.12 lacks switching the carrier (TUNSETCARRIER, 5.0), UDP segmentation offload (6.2)"
    );
}
