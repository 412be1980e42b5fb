//! Opening, adopting, closing.

use std::error::Error as _;
use std::os::fd::{AsFd as _, AsRawFd as _};

use mqtap::netdev::{self, Netdev, OpenMode};
use mqtap::{OpenOptions, TapDevice, VnetHeaderMode};
use mqtap_test_support::{TestResult, eventually, ip};

use crate::{details, interfaces, list, open, parse, pass, passed, passed_queues, refused, says};

pub(crate) fn opens_as_many_queues_as_asked() -> TestResult {
    let netdev = open("tap,id=hn0,ifname=tap7,queues=4");
    assert_eq!(netdev.id().as_str(), "hn0");
    assert_eq!(netdev.device().name().as_str(), "tap7");
    assert_eq!(netdev.device().queue_count(), 4);
    let shown = details("tap7");
    assert!(shown.contains("numqueues 4"), "{shown}");
    assert!(shown.contains("vnet_hdr on"), "{shown}");
    Ok(())
}

pub(crate) fn takes_the_name_the_kernel_chooses() -> TestResult {
    let first = open("tap,id=a,queues=2");
    let second = open("tap,id=b,queues=2");
    assert_eq!(first.device().name().as_str(), "tap0");
    assert_eq!(second.device().name().as_str(), "tap1");
    assert!(details("tap1").contains("numqueues 2"), "{}", details("tap1"));
    Ok(())
}

pub(crate) fn takes_a_pattern() -> TestResult {
    let netdev = open("tap,id=a,ifname=vm%d,queues=3");
    assert_eq!(netdev.device().name().as_str(), "vm0");
    assert_eq!(netdev.device().queue_count(), 3);
    assert_eq!(interfaces(), 2);
    Ok(())
}

pub(crate) fn one_queue_of_a_multi_queue_tap() -> TestResult {
    ip("tuntap add tap0 mode tap multi_queue")?;
    let netdev = open("tap,id=a,ifname=tap0,queues=1");
    assert!(netdev.device().is_multi_queue());
    let shown = details("tap0");
    assert!(shown.contains("multi_queue numqueues 1"), "{shown}");
    Ok(())
}

pub(crate) fn one_queue_of_a_single_queue_tap() -> TestResult {
    ip("tuntap add tap0 mode tap")?;
    let netdev = open("tap,id=a,ifname=tap0");
    assert!(!netdev.device().is_multi_queue());
    Ok(())
}

pub(crate) fn two_queues_of_a_single_queue_tap_are_refused_with_the_remedy() -> TestResult {
    ip("tuntap add tap0 mode tap")?;
    let before = details("tap0");
    let error = refused("tap,id=hn0,ifname=tap0,queues=2");
    says(&error, &["hn0", "tap0", "multi_queue", "queues=1"]);
    assert!(error.source().is_some());
    assert_eq!(details("tap0"), before);
    Ok(())
}

pub(crate) fn too_many_queues_are_refused_before_anything_is_opened() -> TestResult {
    let error = refused("tap,id=a,ifname=tap0,queues=257");
    assert!(matches!(error, netdev::Error::Options { .. }), "{error}");
    says(&error, &["netdev a: queues=257", "256"]);
    assert_eq!(interfaces(), 1);
    Ok(())
}

pub(crate) fn can_leave_every_queue_detached() -> TestResult {
    let netdev = Netdev::open_with(&parse("tap,id=a,ifname=tap0,queues=4"), OpenMode::Detached)?;
    assert_eq!(netdev.device().queue_count(), 4);
    for queue in netdev.device().queues() {
        assert!(!queue.is_attached()?, "queue {}", queue.index());
    }
    assert!(details("tap0").contains("numdisabled 4"), "{}", details("tap0"));
    Ok(())
}

pub(crate) fn the_carrier_is_as_asked() -> TestResult {
    for (options, mode, carrier) in [
        ("", OpenMode::Attached, true),
        (",carrier=on", OpenMode::Attached, true),
        (",carrier=off", OpenMode::Attached, false),
        ("", OpenMode::Detached, false),
        (",carrier=on", OpenMode::Detached, true),
        (",carrier=off", OpenMode::Detached, false),
    ] {
        for queues in ["1", "2"] {
            let text = format!("tap,id=a,queues={queues}{options}");
            let netdev = Netdev::open_with(&parse(&text), mode)?;
            netdev.device().set_up(true)?;
            let shown = details(netdev.device().name().as_str());
            assert_eq!(!shown.contains("NO-CARRIER"), carrier, "{text} {mode:?}: {shown}");
        }
    }
    Ok(())
}

pub(crate) fn the_vnet_header_is_as_asked() -> TestResult {
    for (options, header) in [("", true), (",vnet_hdr=on", true), (",vnet_hdr=off", false)] {
        let netdev = open(&format!("tap,id=a{options}"));
        assert_eq!(netdev.device().has_vnet_header(), header, "{options}");
    }
    Ok(())
}

pub(crate) fn the_qdisc_is_as_asked() -> TestResult {
    for (options, qdisc) in [("", "noqueue"), (",qdisc=noqueue", "noqueue"), (",qdisc=mq", "mq")] {
        let netdev = open(&format!("tap,id=a,queues=2{options}"));
        netdev.device().set_up(true)?;
        let shown = details(netdev.device().name().as_str());
        assert!(shown.contains(&format!("qdisc {qdisc} ")), "{options}: {shown}");
    }
    Ok(())
}

pub(crate) fn finds_out_the_header_of_what_it_adopts() -> TestResult {
    for (vnet_header, expected) in [(VnetHeaderMode::Require, true), (VnetHeaderMode::Off, false)] {
        let opener = TapDevice::open(&OpenOptions { vnet_header, ..OpenOptions::default() })?;
        let fds = passed(&opener);
        drop(opener);
        let netdev = open(&format!("tap,id=a,fd={}", list(&fds)));
        assert_eq!(netdev.device().has_vnet_header(), expected);
    }
    Ok(())
}

pub(crate) fn a_send_buffer_can_be_set() -> TestResult {
    for sndbuf in ["0", "64k", "2147483647"] {
        open(&format!("tap,id=a,queues=2,sndbuf={sndbuf}"));
        let fds = passed_queues("vm%d", 2);
        open(&format!("tap,id=a,fds={},sndbuf={sndbuf}", list(&fds)));
    }
    Ok(())
}

pub(crate) fn adopts_a_queue() -> TestResult {
    let fds = passed_queues("tap3", 1);
    let netdev = open(&format!("tap,id=a,fd={}", list(&fds)));
    assert_eq!(netdev.device().name().as_str(), "tap3");
    assert_eq!(netdev.device().queue_count(), 1);
    drop(netdev);
    eventually("the queue is closed with the netdev", || interfaces() == 1)
}

pub(crate) fn adopts_queues_in_order() -> TestResult {
    let mut fds = passed_queues("tap0", 4);
    fds.reverse();
    let netdev = open(&format!("tap,id=a,fds={}", list(&fds)));
    assert_eq!(netdev.device().queue_count(), 4);
    let numbers: Vec<i32> = netdev.device().queues().iter().map(|queue| queue.as_fd().as_raw_fd()).collect();
    assert_eq!(numbers, fds, "queue i is the i-th of the list");
    Ok(())
}

pub(crate) fn adopts_queues_and_leaves_them_detached() -> TestResult {
    let fds = passed_queues("tap0", 2);
    let options = parse(&format!("tap,id=a,fds={}", list(&fds)));
    let netdev = Netdev::open_with(&options, OpenMode::Detached)?;
    for queue in netdev.device().queues() {
        assert!(!queue.is_attached()?, "queue {}", queue.index());
    }
    netdev.device().set_up(true)?;
    assert!(details("tap0").contains("NO-CARRIER"), "{}", details("tap0"));
    Ok(())
}

pub(crate) fn refuses_queues_of_two_devices_and_leaves_them_alone() -> TestResult {
    let [one, other] = [passed_queues("tap0", 2), passed_queues("tap1", 2)];
    let error = refused(&format!("tap,id=a,fds={}:{}", one[0], other[0]));
    says(&error, &["netdev a", "tap0", "tap1"]);
    assert_eq!(interfaces(), 3);
    // They are not ours yet, so they can be given again, rightly.
    open(&format!("tap,id=a,fds={}", list(&one)));
    open(&format!("tap,id=b,fds={}", list(&other)));
    Ok(())
}

pub(crate) fn refuses_what_is_not_a_tap() -> TestResult {
    let file = pass(std::fs::File::open("/dev/null")?);
    says(&refused(&format!("tap,id=a,fd={file}")), &["netdev a", &file.to_string()]);
    says(&refused("tap,id=a,fd=65000"), &["netdev a", "65000"]);
    Ok(())
}

/// The device has room for two more queues, so that the third of the netdev's is the one that fails.
pub(crate) fn a_failure_at_a_later_queue_leaves_no_trace() -> TestResult {
    let _holder = open("tap,id=a,ifname=tap0,queues=254");
    let before = details("tap0");
    assert!(before.contains("numqueues 254"), "{before}");
    let error = refused("tap,id=b,ifname=tap0,queues=4");
    says(&error, &["netdev b", "tap0", "256"]);
    eventually("the queues that were opened are closed", || details("tap0") == before)?;
    open("tap,id=c,ifname=tap0,queues=2");
    Ok(())
}

pub(crate) fn an_exclusive_netdev_refuses_a_used_interface() -> TestResult {
    let holder = open("tap,id=a,ifname=tap0,queues=2,exclusive=on");
    let error = refused("tap,id=b,ifname=tap0,queues=2,exclusive=on");
    says(&error, &["netdev b", "tap0"]);
    assert!(details("tap0").contains("numqueues 2"), "{}", details("tap0"));
    drop(holder);
    eventually("the interface is gone", || interfaces() == 1)?;
    open("tap,id=b,ifname=tap0,queues=2,exclusive=on");
    Ok(())
}

pub(crate) fn closing_a_netdev_removes_its_interface() -> TestResult {
    let netdev = open("tap,id=a,queues=4");
    assert_eq!(interfaces(), 2);
    drop(netdev);
    eventually("the interface is gone", || interfaces() == 1)
}

pub(crate) fn refuses_options_that_make_no_sense() -> TestResult {
    let error = refused("tap,id=a,queues=1,fd=3");
    says(&error, &["netdev a: fd= and queues="]);
    assert!(matches!(error, netdev::Error::Options { .. }));
    assert_eq!(interfaces(), 1);
    Ok(())
}
