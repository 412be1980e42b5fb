//! The hot functions, run a known number of times between two marks that valgrind can see: for counts of instructions, which
//! do not depend on how busy the machine is.

use std::hint::black_box;

use clap::{Args, ValueEnum};
use mqtap::{VnetHeader, VnetHeaderSize};
use mqtap_driver::load::Generator;
use mqtap_driver::ring::{Buffer, DriverRing, RingLayout, RingOptions};
use mqtap_driver::{GuestRam, VirtioNetHeader};
use mqtap_virtio::offload::checksum::Sum;
use mqtap_virtio::offload::coalesce::{self, Coalescer};
use mqtap_virtio::offload::segment::{Checksums, Segments};
use mqtap_virtio::ring::{Batch, Direction, Ring, RingAddresses, RingBase, RingConfig, RingFeatures};
use serde_json::json;

use crate::talk::{BoxError, say};

/// Frames in a burst.
const BURST: usize = 32;
/// Descriptors of a ring.
const RING: u16 = 256;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to run
    #[arg(long, value_enum)]
    subject: Subject,
    /// How often
    #[arg(long, default_value_t = 100)]
    iterations: u32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "kebab-case")]
enum Subject {
    RingSplitTransmit,
    RingSplitReceive,
    RingPackedTransmit,
    RingPackedReceive,
    CoalesceUdp60,
    CoalesceUdp1514Partial,
    CoalesceTcp1514Partial,
    CoalesceDistinct,
    SegmentTcp,
    SegmentUdp,
    Checksum60,
    Checksum1500,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    use Subject as S;
    let times = options.iterations;
    // How many frames, segments or checksums each iteration is about.
    let each = match options.subject {
        S::RingSplitTransmit => ring(false, Direction::Transmit, times)?,
        S::RingSplitReceive => ring(false, Direction::Receive, times)?,
        S::RingPackedTransmit => ring(true, Direction::Transmit, times)?,
        S::RingPackedReceive => ring(true, Direction::Receive, times)?,
        S::CoalesceUdp60 => coalesce("udp,size=60", 1, times)?,
        S::CoalesceUdp1514Partial => coalesce("udp,size=1514,checksum=partial", 1, times)?,
        S::CoalesceTcp1514Partial => coalesce("tcp,size=1514,checksum=partial", 1, times)?,
        S::CoalesceDistinct => coalesce("udp,size=60,flows=distinct", BURST, times)?,
        S::SegmentTcp => segment("tcp,size=65160,checksum=partial,segment=1448", times)?,
        S::SegmentUdp => segment("udp,size=64810,checksum=partial,segment=1472", times)?,
        S::Checksum60 => checksum(60, times),
        S::Checksum1500 => checksum(1500, times),
    };
    say(&json!({"ok": true, "units": u64::from(times) * each as u64}))
}

/// What is counted: a function of its own, which valgrind is told the name of.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// A burst popped and given back.
fn ring(packed: bool, direction: Direction, times: u32) -> Result<usize, BoxError> {
    let mut ram = GuestRam::create(1 << 20, 1)?;
    let [descriptors, driver, device] = RingLayout::lengths(packed, RING);
    let layout = RingLayout {
        packed,
        size: RING,
        descriptors: ram.allocate_whole(descriptors, 64)?,
        driver: ram.allocate_whole(driver, 64)?,
        device: ram.allocate_whole(device, 64)?,
    };
    let buffer = Buffer { at: ram.allocate(2048, 64)?, len: 2048 };
    let options = RingOptions { event_index: true, ..RingOptions::default() };
    let mut driver = DriverRing::new(0, ram.memory(), layout, options, None)?;
    let config = RingConfig {
        size: RING,
        addresses: RingAddresses {
            descriptors: layout.descriptors,
            driver: layout.driver,
            device: layout.device,
            log: None,
        },
        features: RingFeatures { packed, event_index: true, ..RingFeatures::default() },
        direction,
        base: RingBase(driver.base()),
    };
    let mut ring = Ring::new(&config, ram.memory())?;
    let mut batch = Batch::with_capacity(BURST, BURST);
    let mut done = Vec::with_capacity(BURST);
    for _ in 0..times {
        for _ in 0..BURST {
            match direction {
                Direction::Transmit => driver.add(&[buffer], &[])?,
                Direction::Receive => driver.add(&[], &[buffer])?,
            };
        }
        driver.publish()?;
        let popped = measured(|| -> Result<usize, mqtap_virtio::ring::Error> {
            batch.clear();
            done.clear();
            let popped = ring.pop_batch(&mut batch, BURST)?;
            done.extend(batch.chains().iter().map(|chain| chain.completion(60)));
            ring.complete_batch(&done)?;
            black_box(ring.must_notify());
            Ok(popped)
        })?;
        if popped != BURST {
            return Err(format!("of {BURST} chains, {popped} were popped").into());
        }
        while driver.reap()?.is_some() {}
    }
    Ok(BURST)
}

/// A burst of frames looked at, of which `groups` are to be left.
fn coalesce(shape: &str, groups: usize, times: u32) -> Result<usize, BoxError> {
    let mut generator = Generator::new(shape.parse()?);
    let frames: Vec<Vec<u8>> = (0..BURST)
        .map(|_| {
            generator.stamp();
            generator.frame().to_vec()
        })
        .collect();
    let options = coalesce::Options { header: VnetHeaderSize::Modern12, udp: true, pieces: 1024 };
    let mut coalescer = Coalescer::new(options, BURST);
    for _ in 0..times {
        let left = measured(|| {
            coalescer.begin();
            for (position, frame) in frames.iter().enumerate() {
                let head = frame.len().min(coalesce::HEAD);
                coalescer.head()[..head].copy_from_slice(&frame[..head]);
                let pushed =
                    coalesce::Frame { position: position as u16, head, length: frame.len(), pieces: 1 };
                coalescer.push(pushed, |position, from| Sum::of(&frames[usize::from(position)][from..]));
            }
            coalescer.finish().len()
        });
        if left != groups {
            return Err(format!("{left} groups are left, not {groups}").into());
        }
    }
    Ok(BURST)
}

/// A super-frame cut up; the checksums stay partial.
fn segment(shape: &str, times: u32) -> Result<usize, BoxError> {
    let mut generator = Generator::new(shape.parse()?);
    generator.stamp();
    let (header, frame) = generator.frame().split_at(VirtioNetHeader::SIZE);
    let Some(header) = VnetHeader::from_bytes(header, VnetHeaderSize::Modern12) else {
        return Err("there is no header".into());
    };
    let chunks = generator.shape().chunks() as usize;
    for _ in 0..times {
        let count = measured(|| {
            let mut segments = Segments::new(frame, &header, Checksums::Partial)?;
            let mut count = 0;
            while segments.next(frame).is_some() {
                black_box(segments.head());
                count += 1;
            }
            Some(count)
        });
        if count != Some(chunks) {
            return Err(format!("{count:?} segments came, not {chunks}").into());
        }
    }
    Ok(chunks)
}

fn checksum(length: usize, times: u32) -> usize {
    let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
    for _ in 0..times {
        measured(|| Sum::of(black_box(&bytes)).checksum());
    }
    1
}
