//! Opening fails at each descriptor it needs, and leaves nothing: alone in its process, whose limit of descriptors it moves.

#![allow(clippy::unwrap_used)]

use mqtap::device::Error;
use mqtap::{Links, OpenOptions, TapDevice, VnetHeaderMode, link};
use mqtap_test_support::{TestResult, ip, open_descriptors};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const QUEUES: u16 = 6;

fn find(text: &str) -> Option<link::Link> {
    Links::open().unwrap().find(text.parse().unwrap()).unwrap()
}

/// The limit under which exactly `room` more descriptors can be opened: each gets the lowest free number.
fn limit_for(room: usize) -> u64 {
    let numbers: Vec<u64> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    let is_open = |number: &u64| {
        // The directory's own descriptor is among them, and closed by now.
        numbers.contains(number) && std::fs::exists(format!("/proc/self/fd/{number}")).unwrap()
    };
    (0..).filter(|number| !is_open(number)).nth(room).unwrap()
}

fn with_room_for<T>(room: usize, act: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: Some(limit_for(room)), ..before };
    setrlimit(Resource::Nofile, limit).unwrap();
    let result = act();
    setrlimit(Resource::Nofile, before).unwrap();
    result
}

/// Opens with room for 0, 1, … descriptors until it works, and checks after each failure.
fn starve(options: &OpenOptions, untouched: impl Fn()) -> TestResult {
    let before = open_descriptors()?;
    for room in 0..usize::from(QUEUES) + 4 {
        match with_room_for(room, || TapDevice::open(options)) {
            Ok(tap) => {
                assert!(room > usize::from(QUEUES), "{room} descriptors are too few");
                assert_eq!(tap.queue_count(), QUEUES);
                drop(tap);
                assert_eq!(open_descriptors()?, before, "closed with the device");
                return Ok(());
            }
            Err(error) => {
                let expected = matches!(error, Error::TooManyFiles { .. } | Error::Link(_));
                assert!(expected && error.to_string().contains("open files"), "{room}: {error}");
                assert_eq!(open_descriptors()?, before, "{room}: {error}");
                untouched();
            }
        }
    }
    Err("never enough".into())
}

fn a_new_device_is_not_left_behind() -> TestResult {
    let options = OpenOptions { name: "tap0".parse()?, queues: QUEUES, ..OpenOptions::default() };
    starve(&options, || assert_eq!(find("tap0"), None))?;
    assert_eq!(find("tap0"), None);

    let options = OpenOptions { persist: Some(true), ..options };
    starve(&options, || assert_eq!(find("tap0"), None))?;
    let kept = find("tap0").unwrap();
    assert!(kept.tun.unwrap().persistent);

    // An idle device that somebody made for other frames stays as he made it.
    ip("tuntap add dev tap1 mode tap pi multi_queue user 0")?;
    let before = find("tap1").unwrap();
    let options = OpenOptions { name: "tap1".parse()?, owner: Some(0), persist: Some(false), ..options };
    starve(&options, || {
        let mut now = find("tap1").unwrap();
        now.carrier = before.carrier;
        assert_eq!(now, before);
    })?;
    assert_eq!(find("tap1"), None, "no longer persistent");

    ip("tuntap add dev tap2 mode tap vnet_hdr multi_queue")?;
    let before = find("tap2").unwrap();
    let off = OpenOptions {
        name: "tap2".parse()?,
        queues: QUEUES,
        vnet_header: VnetHeaderMode::Off,
        ..OpenOptions::default()
    };
    starve(&off, || assert_eq!(find("tap2").unwrap().tun, before.tun))?;
    Ok(())
}

mqtap_test_support::tests!(a_new_device_is_not_left_behind);
