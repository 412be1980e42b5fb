//! `read(2)` and `readv(2)` of one frame, again and again.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use mqtap::TapQueue;
use mqtap_driver::load::{Checker, segments_of};
use mqtap_driver::{LARGEST_FRAME, VirtioNetHeader, wait_readable};
use mqtap_virtio::BurstIo;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::relay;
use crate::talk::{BoxError, Watch, serve, unknown};
use crate::tap::TapOptions;

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  collect N MS    read frames with N payloads, or until none came for so long
  verify N MS     the same, and check every byte of them
  quit            end, as does the end of stdin";

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    tap: TapOptions,
    /// System call to read frames with
    #[arg(long, value_enum, default_value_t = Call::Read)]
    call: Call,
    /// Buffers of 2048 bytes to read into in turn: as many as in a ring, so that neither has it easier with the caches
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    buffers: u16,
    /// Have a thread on this CPU look at each frame and give its buffer back, as a driver does
    #[arg(long, value_name = "CPU")]
    looked_at_on: Option<usize>,
    /// Frames that io_uring reads with one call
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Pieces of 2048 bytes that `readv` scatters each frame over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=33))]
    pieces: u16,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Call {
    Read,
    Readv,
    /// io_uring, many frames of at most 2048 bytes with one call
    Uring,
}

const PIECE: usize = 2048;
/// Room for the longest frame, in whole pieces.
const ROOM: usize = (VirtioNetHeader::SIZE + LARGEST_FRAME).next_multiple_of(PIECE);

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = options.tap.open()?;
    let Some(queue) = tap.queues().first() else { return Err("the tap has no queue".into()) };
    let mut reader = Reader {
        queue: Arc::clone(queue),
        call: options.call,
        // The last buffer begins a frame that may be longer, or a burst.
        memory: vec![0; PIECE * (usize::from(options.buffers) + options.batch.min(BurstIo::DEPTH)) + ROOM],
        buffers: options.buffers.into(),
        next: 0,
        pieces: options.pieces.into(),
        bursts: match options.call {
            Call::Uring => Some(BurstIo::new()?),
            Call::Read | Call::Readv => None,
        },
        batch: options.batch.clamp(1, BurstIo::DEPTH),
        arrived: Vec::new(),
    };
    serve(|words| match *words {
        ["collect", payloads, ms] => {
            let (payloads, patience) = (payloads.parse()?, Duration::from_millis(ms.parse()?));
            match options.looked_at_on {
                None => reader.collect(payloads, patience, None),
                Some(cpu) => reader.collect_for_another(cpu, payloads, patience, options.tap.offloads),
            }
        }
        ["verify", frames, ms] => {
            let mut checker = Checker::default();
            reader.collect(frames.parse()?, Duration::from_millis(ms.parse()?), Some(&mut checker))
        }
        _ => unknown(words),
    })
}

struct Reader {
    queue: Arc<TapQueue>,
    call: Call,
    memory: Vec<u8>,
    buffers: usize,
    /// The buffer that the next frame begins in.
    next: usize,
    pieces: usize,
    bursts: Option<BurstIo>,
    batch: usize,
    /// Where the frames of the last call are, and their lengths.
    arrived: Vec<(usize, usize)>,
}

/// Bytes of a frame that a driver looks at.
const LOOK: usize = 96;

impl Reader {
    /// Reads frames into buffers that another CPU looks at and gives back. For super-frames these are fewer and larger, and
    /// take as much memory.
    fn collect_for_another(
        &mut self,
        cpu: usize,
        target: u64,
        patience: Duration,
        large: bool,
    ) -> Result<Value, BoxError> {
        let (size, together) = if large { (ROOM, 2) } else { (PIECE, relay::BATCH) };
        let batches = (self.buffers * PIECE / size).div_ceil(together).max(2);
        let batches = (0..batches).map(|_| vec![vec![0; size]; together]).collect();
        // What it looks at in a super-frame is in pieces as well.
        let look = |batch: &mut relay::Batch| {
            for piece in batch.iter().flat_map(|frame| frame.chunks(PIECE)) {
                std::hint::black_box(piece[..LOOK].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
            }
        };
        relay::exchange(cpu, batches, look, |relay| {
            let (mut frames, mut payloads, mut bytes, mut calls) = (0, 0, 0, 0);
            let mut batch = relay.take()?;
            let (waited, watch) = (relay.waited(), Watch::start());
            'all: while payloads < target {
                for buffer in &mut batch {
                    loop {
                        calls += 1;
                        match rustix::io::read(self.queue.as_fd(), &mut buffer[..]) {
                            Ok(length) => {
                                frames += 1;
                                payloads += segments_of(&buffer[..length]);
                                bytes += length.saturating_sub(VirtioNetHeader::SIZE) as u64;
                                break;
                            }
                            Err(Errno::AGAIN) if payloads >= target => break 'all,
                            Err(Errno::AGAIN) => {
                                calls += 1;
                                if !wait_readable(&[self.queue.as_fd()], Some(patience))? {
                                    break 'all;
                                }
                            }
                            Err(errno) => return Err(format!("cannot read from the tap: {errno}").into()),
                        }
                    }
                }
                relay.give(batch)?;
                batch = relay.take()?;
            }
            let (cpu, wall) = (watch.cpu() - (relay.waited() - waited), watch.wall());
            Ok(json!({
                "ok": true,
                "wall_ns": wall.as_nanos() as u64,
                "cpu_ns": cpu.as_nanos() as u64,
                "frames": frames,
                "payloads": payloads,
                "bytes": bytes,
                "syscalls": calls,
            }))
        })
    }

    fn collect(
        &mut self,
        target: u64,
        patience: Duration,
        mut checker: Option<&mut Checker>,
    ) -> Result<Value, BoxError> {
        let (mut frames, mut payloads, mut bytes, mut calls) = (0, 0, 0, 0);
        let watch = Watch::start();
        let mut last = Instant::now();
        while payloads < target {
            calls += 1;
            match self.read() {
                Ok(()) => {
                    for &(at, length) in &self.arrived {
                        let frame = &self.memory[at..at + length];
                        frames += 1;
                        payloads += segments_of(frame);
                        bytes += length.saturating_sub(VirtioNetHeader::SIZE) as u64;
                        if let Some(checker) = checker.as_deref_mut() {
                            checker.frame(frame, length, true);
                        }
                    }
                }
                Err(Errno::AGAIN) => {
                    calls += 1;
                    if !wait_readable(&[self.queue.as_fd()], Some(patience.saturating_sub(last.elapsed())))? {
                        break;
                    }
                    last = Instant::now();
                }
                Err(errno) => return Err(format!("cannot read from the tap: {errno}").into()),
            }
        }
        let (cpu, wall) = (watch.cpu(), watch.wall());
        let seen = checker.map(|checker| checker.counters()).unwrap_or_default();
        Ok(json!({
            "ok": true,
            "wall_ns": wall.as_nanos() as u64,
            "cpu_ns": cpu.as_nanos() as u64,
            "frames": frames,
            "bytes": bytes,
            "syscalls": calls,
            "payloads": payloads,
            "out_of_order": seen.out_of_order,
            "missing": seen.missing,
            "corrupt": seen.corrupt,
            "others": seen.others,
        }))
    }

    /// Reads one frame, or as many as io_uring gets at once.
    fn read(&mut self) -> rustix::io::Result<()> {
        self.arrived.clear();
        if let Some(bursts) = &mut self.bursts {
            let at = self.next * PIECE;
            let mut places: Vec<&mut [u8]> = self.memory[at..].chunks_mut(PIECE).take(self.batch).collect();
            let outcomes = bursts.read(self.queue.as_fd(), &mut places).map_err(|_| Errno::IO)?;
            for (place, outcome) in outcomes.iter().enumerate() {
                match usize::try_from(*outcome) {
                    Ok(length) => self.arrived.push((at + place * PIECE, length)),
                    Err(_) if *outcome == -Errno::AGAIN.raw_os_error() => {}
                    Err(_) => return Err(Errno::from_raw_os_error(-*outcome)),
                }
            }
            self.next = (self.next + self.batch) % self.buffers;
            return if self.arrived.is_empty() { Err(Errno::AGAIN) } else { Ok(()) };
        }
        let at = self.next * PIECE;
        let room = &mut self.memory[at..][..ROOM];
        let length = match (self.call, self.pieces) {
            (Call::Read | Call::Uring, _) => rustix::io::read(self.queue.as_fd(), room)?,
            (Call::Readv, 1) => rustix::io::readv(self.queue.as_fd(), &mut [IoSliceMut::new(room)])?,
            (Call::Readv, pieces) => {
                let mut slices: Vec<IoSliceMut<'_>> =
                    room.chunks_mut(PIECE).take(pieces).map(IoSliceMut::new).collect();
                rustix::io::readv(self.queue.as_fd(), &mut slices)?
            }
        };
        self.arrived.push((at, length));
        self.next = (self.next + length.div_ceil(PIECE)) % self.buffers;
        Ok(())
    }
}
