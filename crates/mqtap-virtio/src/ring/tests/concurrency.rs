//! A driver and a device on two threads: nothing is lost, and no iovec is ever wild.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mqtap_test_support::patience;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::driver::{INDIRECT, NEXT, Wish};
use super::*;

/// An eventfd to sleep on. Only a hang ends the wait.
struct Bell(std::os::fd::OwnedFd);

impl Bell {
    fn new() -> Bell {
        Bell(eventfd(0, EventfdFlags::NONBLOCK).unwrap())
    }

    fn ring(&self) {
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).unwrap();
    }

    /// Panics after a minute without a bell: somebody lost a wake-up.
    fn wait(&self, who: &str) {
        let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&minute)).unwrap(), 1, "{who} sleeps forever");
        rustix::io::read(&self.0, &mut [0; 8]).unwrap();
    }
}

/// Moves `total` chains, both sides sleeping whenever they find nothing to do.
fn move_chains(packed: bool, event_index: bool, total: u64) {
    let start = config(64, features(packed, event_index), Direction::Transmit);
    let Bed { mut driver, mut ring, mut batch, memory } = Bed::new(&start);
    let (kick, call) = (Bell::new(), Bell::new());
    let kicks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0u64;
            let mut done = Vec::new();
            while seen < total {
                ring.suppress_kicks();
                while ring.pop_batch(&mut batch, 1 + (seen % 40) as usize).unwrap() > 0 {
                    for chain in batch.chains() {
                        let buffers = batch.iovecs(chain);
                        // The chain says which it is: by its length, and in its buffer.
                        assert_eq!(chain.bytes, 8 + seen % 1000);
                        let mut tag = [0; 8];
                        let at = GuestAddress(guest(&memory, &buffers[0]));
                        memory.read(at, &mut tag).unwrap();
                        assert_eq!(u64::from_le_bytes(tag), seen);
                        seen += 1;
                        done.push(chain.completion(0));
                    }
                    ring.complete_batch(&done).unwrap();
                    if ring.must_notify() {
                        call.ring();
                    }
                    done.clear();
                    batch.clear();
                }
                if seen < total && !ring.arm_kicks().unwrap() {
                    kick.wait("the device");
                }
            }
        });
        let (mut added, mut collected) = (0u64, 0u64);
        while collected < total {
            driver.wish(Wish::Nothing);
            let mut idle = true;
            let burst = added + 1 + added % 17;
            while added < total.min(burst) {
                let at = DATA + (added % 256) * 0x400;
                memory.write(GuestAddress(at), &added.to_le_bytes()).unwrap();
                // In one piece or two.
                let rest = (added % 1000) as u32;
                let buffers: &[Buffer] = &[(at, 8), (at + 8, rest)];
                let buffers = if rest == 0 { &buffers[..1] } else { buffers };
                if driver.add(buffers, added % 5 == 0).is_none() {
                    break;
                }
                added += 1;
                idle = false;
            }
            if driver.must_kick() {
                kicks.fetch_add(1, Ordering::Relaxed);
                kick.ring();
            }
            let done = driver.collect().len() as u64;
            collected += done;
            if idle && done == 0 && collected < total {
                driver.wish(if event_index { Wish::After(0) } else { Wish::Everything });
                let late = driver.collect().len() as u64;
                collected += late;
                if late == 0 {
                    call.wait("the driver");
                }
            }
        }
    });
    assert_eq!(driver.collect().len(), 0);
    assert!(kicks.into_inner() > 0);
}

#[test]
fn no_wake_up_is_lost_split() {
    move_chains(false, false, 100_000);
    move_chains(false, true, 200_000);
}

#[test]
fn no_wake_up_is_lost_packed() {
    move_chains(true, false, 100_000);
    move_chains(true, true, 200_000);
}

/// A thread that rewrites descriptors and tables while they are walked. Whatever comes out lies in guest
/// memory and in bounds; errors are fine.
fn rewrite_while_popping(packed: bool) {
    let start = config(16, features(packed, false), Direction::Transmit);
    let memory = ram();
    let driver = Driver::new(&start, &memory);
    let stop = AtomicBool::new(false);
    let (mut chains, mut errors) = (0u64, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 0x9e37_79b9_7f4a_7c15u64;
            let mut random = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            // Mostly sensible, or hardly a chain would be whole.
            let mut addresses = [DATA; 16];
            addresses[..6].copy_from_slice(&[
                SEAM - 100,
                HIGH + 0xfff0,
                TABLES,
                TABLES + 0x80,
                u64::MAX - 8,
                0,
            ]);
            let mut lens = [16; 16];
            lens[..5].copy_from_slice(&[64, 128, 200, 0x1_0000, u32::MAX]);
            while !stop.load(Ordering::Relaxed) {
                let word = random();
                let pick = |n: usize, shift: u32| (word >> shift) as usize % n;
                let buffer = (addresses[pick(16, 0)], lens[pick(16, 8)]);
                let table = [DESCRIPTORS, TABLES, TABLES + 0x80][pick(3, 16)];
                let index = pick(16, 24) as u16 % if table == DESCRIPTORS { 16 } else { 8 };
                let mut flags = [0, 0, 0, 0, 0, NEXT, NEXT, INDIRECT][pick(8, 32)];
                let third = if packed {
                    flags |= [driver::AVAIL, driver::AVAIL, driver::AVAIL, driver::USED][pick(4, 40)];
                    index
                } else {
                    flags
                };
                let fourth = if packed { flags } else { pick(17, 48) as u16 };
                driver.descriptor(table, index, buffer, third, fourth);
                if !packed {
                    driver.set16(DRIVER + 4 + pick(16, 56) as u64 * 2, pick(16, 60) as u16);
                }
            }
        });
        let mut batch = Batch::with_capacity(8, 64);
        let mut done = Vec::new();
        let deadline = Instant::now() + patience();
        for round in 0_u32.. {
            // The other thread has to have had its turn, too.
            let enough = round >= 400_000 && chains > 100 && errors > 100;
            if enough || Instant::now() > deadline {
                break;
            }
            // The next device goes on at the base of the last, as if the frontend had started it again.
            let base = if packed { RingBase(0x8000_8000) } else { RingBase(0) };
            let mut ring = Ring::new(&RingConfig { base, ..start }, &memory).unwrap();
            if !packed {
                driver.set16(DRIVER + 2, 16);
            }
            batch.clear();
            loop {
                match ring.pop_batch(&mut batch, 8) {
                    Ok(0) => break,
                    Ok(n) => chains += n as u64,
                    Err(_) => {
                        errors += 1;
                        break;
                    }
                }
                for chain in batch.chains() {
                    let iovecs = batch.iovecs(chain);
                    let mut bytes = 0;
                    for iovec in iovecs {
                        guest(&memory, iovec);
                        bytes += iovec.len() as u64;
                    }
                    assert_eq!(bytes, chain.bytes);
                    assert!(bytes < 1 << 32);
                    done.push(chain.completion(0));
                }
                // Completing would overwrite what the other thread writes; now and then it does.
                if round % 16 == 0 {
                    ring.complete_batch(&done).unwrap();
                }
                done.clear();
                batch.clear();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Both happened, or this test shows nothing.
    assert!(chains > 100 && errors > 100, "{chains} chains, {errors} errors");
}

#[test]
fn descriptors_that_change_while_they_are_read() {
    rewrite_while_popping(false);
    rewrite_while_popping(true);
}

#[test]
fn the_hang_guard_is_longer_than_any_step() {
    // The bells above must be able to fail, and not to fail by chance.
    let bell = Bell::new();
    bell.ring();
    bell.wait("nobody");
    let short = Timespec::try_from(Duration::from_millis(1)).unwrap();
    let mut fds = [PollFd::new(&bell.0, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&short)).unwrap(), 0);
}
