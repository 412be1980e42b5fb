//! On a system without tap devices the crate builds, and whatever would open something says so.
//!
//! Run it with `RUSTFLAGS='--cfg mqtap_other_os' cargo test -p mqtap --lib --test other_os`.
#![cfg(mqtap_other_os)]

use mqtap::create::{CreateOptions, create, delete};
use mqtap::device::Error;
use mqtap::features::Features;
use mqtap::netdev::{self, Netdev};
use mqtap::{Capabilities, Links, OpenOptions, TapDevice, doctor, inspect, link};

#[test]
fn opening_a_device_is_unsupported() {
    let error = TapDevice::open(&OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Unsupported), "{error}");
    assert_eq!(error.to_string(), "tap devices are supported on Linux only");
}

#[test]
fn adopting_queues_is_unsupported() {
    assert!(matches!(TapDevice::adopt(&[3, 4]), Err(Error::Unsupported)));
}

#[test]
fn probing_the_kernel_is_unsupported() {
    assert!(matches!(Capabilities::probe(), Err(Error::Unsupported)));
    assert!(matches!(Capabilities::probe_offloads(), Err(Error::Unsupported)));
}

#[test]
fn links_are_unsupported() {
    assert!(matches!(Links::open(), Err(link::Error::Unsupported)));
}

#[test]
fn looking_is_unsupported() {
    let unsupported = |error| matches!(error, inspect::Error::Link(link::Error::Unsupported));
    assert!(unsupported(inspect::list(None).unwrap_err()));
    assert!(unsupported(inspect::find("tap0".parse().unwrap(), None).unwrap_err()));
    assert!(unsupported(doctor::sample_all(None).unwrap_err()));
    assert!(matches!(Features::probe(), Err(Error::Unsupported)));
    assert!(matches!(doctor::Host::look(), Err(Error::Unsupported)));
    assert!(!doctor::explain("EINVAL").is_empty(), "what is known is known everywhere");
}

#[test]
fn netdevs_parse_and_do_not_open() {
    for text in ["tap,id=hn0,queues=4", "tap,id=hn0,fds=3:4"] {
        let options: netdev::Options = text.parse().unwrap();
        let error = Netdev::open(&options).unwrap_err();
        assert!(matches!(error, netdev::Error::Device { source: Error::Unsupported, .. }), "{error}");
    }
}

#[test]
fn taps_that_stay_are_unsupported() {
    let made = create(&CreateOptions::new("tap0".parse().unwrap())).unwrap_err();
    let elsewhere = Some("blue".parse().unwrap());
    let there =
        create(&CreateOptions { namespace: elsewhere, ..CreateOptions::new("tap0".parse().unwrap()) });
    let deleted = delete("tap0".parse().unwrap(), None).unwrap_err();
    for error in [made, there.unwrap_err(), deleted] {
        assert_eq!(error.to_string(), "tap devices are supported on Linux only");
    }
}
