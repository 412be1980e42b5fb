//! Every lie, told to the device's rings.

use std::os::fd::AsFd;

use mqtap_virtio::ring::Direction;

use super::*;
use crate::events::RingEvents;
use crate::ram::GuestRam;
use crate::ring::{DriverRing, RingLayout, RingOptions};
use crate::testing::TestDevice;

/// What became of the ring: broken, or so many chains popped.
fn tell(lie: &Lie, packed: bool, indirect: bool, transmit: bool) -> Option<(Expectation, Option<usize>)> {
    let mut ram = GuestRam::create(1 << 20, 1).unwrap();
    let size = 64;
    let [d, a, u] = RingLayout::lengths(packed, size);
    let mut part = |n| ram.allocate_whole(n, 16).unwrap();
    let layout = RingLayout { packed, size, descriptors: part(d), driver: part(a), device: part(u) };
    let options = RingOptions { event_index: true, in_order: false, indirect };
    let index = u16::from(transmit);
    let ring = DriverRing::new(index, ram.memory(), layout, options, None).unwrap();
    let events = RingEvents::new().unwrap();
    let kick = events.kick_fd().as_fd().try_clone_to_owned().unwrap();
    let raw = RawRing::new(index, ram.memory().clone(), &ring, kick, ram.end());
    let features = if indirect { feature::INDIRECT_DESC } else { 0 };
    if !lie.applies(&raw, features) {
        return None;
    }
    let direction = if transmit { Direction::Transmit } else { Direction::Receive };
    let mut device = TestDevice::new(&ring, options, ram.memory(), direction);
    let expectation = lie.tell(&raw).unwrap();
    let popped = device.ring.pop_batch(&mut device.batch, 64);
    Some((expectation, popped.ok()))
}

#[test]
fn rings_break_exactly_when_they_are_expected_to() {
    let mut told = std::collections::BTreeSet::new();
    for lie in all() {
        for bits in 0..8 {
            let (packed, indirect, transmit) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let context = format!("{} packed {packed} indirect {indirect} transmit {transmit}", lie.name);
            let Some((expectation, popped)) = tell(lie, packed, indirect, transmit) else { continue };
            told.insert(lie.name);
            match expectation {
                Expectation::RingBroken => assert_eq!(popped, None, "{context}"),
                Expectation::FrameDropped => assert_eq!(popped, Some(1), "{context}"),
                Expectation::Survives => assert!(popped.is_some_and(|n| n <= 1), "{context}"),
            }
        }
    }
    assert_eq!(told.len(), all().len(), "every lie applies somewhere");
}
