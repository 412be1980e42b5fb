//! Whatever an honest driver and a device do in whatever order: chains come out once, in order, as they
//! went in; notifications are those the specification demands; no kick is lost.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::driver::Wish;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// The driver adds a chain and kicks if it must.
    Add(Vec<Buffer>, bool),
    Pop(usize),
    /// Completes so many of the chains popped, in so many calls.
    Complete(usize, usize, u32),
    MustNotify,
    Wish(Wish),
    Collect,
    Suppress,
    Arm,
    Rewind,
    /// Another device goes on from the base.
    Restart,
    UpdateMemory,
}

fn buffer() -> impl Strategy<Value = Buffer> {
    prop_oneof![
        8 => (0..0x7_0000u64, 1..3000u32).prop_map(|(offset, len)| (DATA + offset, len)),
        1 => (1..2000u64, 2001..4000u32).prop_map(|(before, len)| (SEAM - before, len)),
        2 => (0..0xf000u64, 1..4000u32).prop_map(|(offset, len)| (HIGH + offset, len)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (vec(buffer(), 1..6), any::<bool>()).prop_map(|(buffers, indirect)| Step::Add(buffers, indirect)),
        8 => (0..20usize).prop_map(Step::Pop),
        8 => (0..20usize, 1..4usize, 0..5000u32).prop_map(|(n, calls, written)| Step::Complete(n, calls, written)),
        6 => Just(Step::MustNotify),
        3 => prop_oneof![
            Just(Wish::Everything),
            Just(Wish::Nothing),
            (0..40u16).prop_map(Wish::After),
        ].prop_map(Step::Wish),
        5 => Just(Step::Collect),
        2 => Just(Step::Suppress),
        4 => Just(Step::Arm),
        1 => Just(Step::Rewind),
        1 => Just(Step::Restart),
        1 => Just(Step::UpdateMemory),
    ]
}

fn start() -> impl Strategy<Value = RingConfig> {
    let size = prop_oneof![Just(1u16), Just(2), Just(8), Just(16), Just(256)];
    let flags = any::<(bool, bool, bool, bool)>();
    (size, 1..300u16, flags, any::<u16>()).prop_map(|(split_size, packed_size, flags, place)| {
        let (packed, event_index, in_order, transmit) = flags;
        let size = if packed { packed_size } else { split_size };
        let features = RingFeatures { packed, event_index, indirect: true, in_order };
        let direction = if transmit { Direction::Transmit } else { Direction::Receive };
        let mut config = config(size, features, direction);
        config.base = RingBase(if packed {
            // Anywhere in either lap.
            let bits = (u32::from(place & 0x7fff) % u32::from(size)) | u32::from(place & 0x8000);
            bits | bits << 16
        } else {
            // Where the 16-bit index wraps, as often as not.
            u32::from(if place & 1 == 0 { place } else { 65535 - place % 64 })
        });
        config
    })
}

/// What must be true of a ring between two steps.
struct Model {
    /// Chains added and not completed: id and buffers.
    chains: VecDeque<(u16, Vec<Buffer>)>,
    /// How many of them were popped.
    popped: usize,
    /// Completed and not collected.
    completed: VecDeque<(u16, u32)>,
    /// Where the device is in the used ring, in the driver's terms.
    position: (u16, bool),
    /// Positions used since the device last asked whether to notify.
    unannounced: u32,
    /// The device has not asked since it started.
    fresh: bool,
    /// The device went to sleep: the next chain must bring a kick.
    asleep: bool,
    /// The device said it wants none.
    suppressed: bool,
}

/// The pieces of a buffer: it may lie over the seam.
fn pieces(buffers: &[Buffer]) -> Vec<(u64, usize)> {
    let mut pieces = Vec::new();
    for (at, len) in buffers {
        let end = at + u64::from(*len);
        if *at < SEAM && end > SEAM {
            pieces.push((*at, (SEAM - at) as usize));
            pieces.push((SEAM, (end - SEAM) as usize));
        } else {
            pieces.push((*at, *len as usize));
        }
    }
    pieces
}

fn run(start: RingConfig, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut bed = Bed::new(&start);
    let packed = start.features.packed;
    let bulk = start.features.in_order && start.direction == Direction::Transmit;
    let mut model = Model {
        chains: VecDeque::new(),
        popped: 0,
        completed: VecDeque::new(),
        position: (bed.driver.used, bed.driver.used_wrap),
        unannounced: 0,
        fresh: true,
        asleep: false,
        suppressed: false,
    };
    for step in steps {
        match step {
            Step::Add(buffers, indirect) => {
                if let Some(id) = bed.driver.add(&buffers, indirect) {
                    model.chains.push_back((id, buffers));
                    let kick = bed.driver.must_kick();
                    prop_assert!(kick || !model.asleep, "a kick is lost");
                    if model.suppressed && (packed || !start.features.event_index) {
                        prop_assert!(!kick, "a kick nobody wants");
                    }
                    model.asleep = false;
                }
            }
            Step::Pop(max) => {
                let before = bed.batch.len();
                let n = bed.ring.pop_batch(&mut bed.batch, max).unwrap();
                let expected = max.min(model.chains.len() - model.popped);
                // 64 chains, and iovecs for all of them.
                prop_assert_eq!(n, expected.min(64 - before));
                model.popped += n;
                if n > 0 {
                    model.asleep = false;
                }
                for index in 0..bed.batch.len() {
                    let (id, buffers) = &model.chains[index];
                    let chain = bed.batch.chains()[index];
                    prop_assert_eq!(chain.id, *id);
                    prop_assert_eq!(bed.buffers(index), pieces(buffers));
                    let bytes: u64 = buffers.iter().map(|buffer| u64::from(buffer.1)).sum();
                    prop_assert_eq!(chain.bytes, bytes);
                }
            }
            Step::Complete(n, calls, written) => {
                let n = n.min(model.popped);
                let written = if bulk { 0 } else { written };
                let done: Vec<_> =
                    bed.batch.chains()[..n].iter().map(|chain| chain.completion(written)).collect();
                for call in done.chunks(n.div_ceil(calls).max(1)) {
                    bed.ring.complete_batch(call).unwrap();
                }
                for completion in done {
                    let (id, _) = model.chains.pop_front().unwrap();
                    model.completed.push_back((id, written));
                    model.unannounced += u32::from(completion.descriptors);
                    let (index, wrap) = &mut model.position;
                    if packed {
                        *index += completion.descriptors;
                        if *index >= start.size {
                            (*index, *wrap) = (*index - start.size, !*wrap);
                        }
                    } else {
                        *index = index.wrapping_add(1);
                    }
                }
                model.popped -= n;
                bed.batch.remove_front(n);
            }
            Step::MustNotify => {
                let (index, wrap) = model.position;
                let wants = bed.driver.wants(index, wrap, model.unannounced);
                let notify = bed.ring.must_notify();
                if model.fresh && start.features.event_index && model.unannounced > 0 {
                    prop_assert!(notify || !wants, "a notification is lost");
                } else {
                    prop_assert_eq!(notify, wants);
                }
                if model.unannounced > 0 {
                    model.fresh = false;
                }
                model.unannounced = 0;
            }
            Step::Wish(wish) => {
                // Seen from a driver that has collected all there is, as drivers do before they ask.
                collect(&mut bed, &mut model, bulk)?;
                let size = start.size;
                let wish = match wish {
                    Wish::After(n) if packed && !start.features.event_index => {
                        if n % 2 == 0 {
                            Wish::Everything
                        } else {
                            Wish::Nothing
                        }
                    }
                    Wish::After(n) => Wish::After(n % size),
                    other => other,
                };
                bed.driver.wish(wish);
            }
            Step::Collect => collect(&mut bed, &mut model, bulk)?,
            Step::Suppress => {
                bed.ring.suppress_kicks();
                model.asleep = false;
                model.suppressed = true;
            }
            Step::Arm => {
                let more = bed.ring.arm_kicks().unwrap();
                prop_assert_eq!(more, model.chains.len() > model.popped);
                model.asleep = !more;
                model.suppressed = more;
            }
            Step::Rewind | Step::Restart | Step::UpdateMemory => {
                match step {
                    Step::Rewind => bed.ring.rewind(),
                    Step::Restart => {
                        let base = bed.ring.base();
                        bed.ring = Ring::new(&RingConfig { base, ..start }, &bed.memory).unwrap();
                        model.unannounced = 0;
                        model.fresh = true;
                        model.suppressed = false;
                    }
                    _ => bed.ring.update_memory(&bed.memory.with_log(None)).unwrap(),
                }
                bed.batch.clear();
                if model.popped > 0 || matches!(step, Step::Restart) {
                    model.asleep = false;
                }
                model.popped = 0;
            }
        }
        prop_assert_eq!(bed.ring.has_available(), model.chains.len() > model.popped);
        prop_assert_eq!(bed.driver.in_flight(), model.chains.len() + model.completed.len());
    }
    // Nothing is lost: the rest comes out and goes back.
    bed.ring.rewind();
    bed.batch.clear();
    while bed.pop().unwrap() > 0 {
        let n = bed.batch.len();
        for _ in 0..n {
            model.completed.push_back((model.chains.pop_front().unwrap().0, 0));
        }
        bed.complete(n, 0).unwrap();
    }
    collect(&mut bed, &mut model, bulk)?;
    prop_assert_eq!(bed.driver.in_flight(), 0);
    prop_assert!(model.chains.is_empty());
    Ok(())
}

fn collect(bed: &mut Bed, model: &mut Model, bulk: bool) -> Result<(), TestCaseError> {
    let done = bed.driver.collect();
    let expected: Vec<_> = model.completed.drain(..).collect();
    prop_assert_eq!(done.len(), expected.len());
    for ((id, written), (expected_id, expected_written)) in done.into_iter().zip(expected) {
        prop_assert_eq!(id, expected_id);
        match written {
            Some(written) => prop_assert_eq!(written, expected_written),
            None => prop_assert!(bulk, "a chain that was never named"),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains_kicks_and_notifications(start in start(), steps in vec(step(), 1..250)) {
        run(start, steps)?;
    }
}
