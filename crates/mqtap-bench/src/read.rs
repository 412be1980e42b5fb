//! `read(2)` and `readv(2)` of one frame, again and again.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use mqtap::TapQueue;
use mqtap_driver::load::Checker;
use mqtap_driver::{GSO_NONE, LARGEST_FRAME, VirtioNetHeader, wait_readable};
use rustix::io::Errno;
use serde_json::{Value, json};

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
    /// Pieces of 2048 bytes that `readv` scatters each frame over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=33))]
    pieces: u16,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Call {
    Read,
    Readv,
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
        memory: vec![0; PIECE * usize::from(options.buffers) + ROOM],
        buffers: options.buffers.into(),
        next: 0,
        pieces: options.pieces.into(),
    };
    serve(|words| match *words {
        ["collect", frames, ms] => reader.collect(frames.parse()?, Duration::from_millis(ms.parse()?), None),
        ["verify", frames, ms] => {
            let mut checker = Checker::default();
            reader.collect(frames.parse()?, Duration::from_millis(ms.parse()?), Some(&mut checker))
        }
        _ => unknown(words),
    })
}

/// Segments of a super-frame; 1 of any other.
fn payloads_of(bytes: &[u8]) -> u64 {
    match VirtioNetHeader::from_bytes(bytes) {
        Some(header) if header.gso_type != GSO_NONE && header.gso_size > 0 => {
            let payload = bytes.len().saturating_sub(VirtioNetHeader::SIZE + usize::from(header.hdr_len));
            payload.div_ceil(header.gso_size.into()) as u64
        }
        _ => 1,
    }
}

struct Reader {
    queue: Arc<TapQueue>,
    call: Call,
    memory: Vec<u8>,
    buffers: usize,
    /// The buffer that the next frame begins in.
    next: usize,
    pieces: usize,
}

impl Reader {
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
                Ok(length) => {
                    frames += 1;
                    let frame = &self.memory[self.next * PIECE..][..length];
                    payloads += payloads_of(frame);
                    bytes += length.saturating_sub(VirtioNetHeader::SIZE) as u64;
                    if let Some(checker) = checker.as_deref_mut() {
                        checker.frame(frame, length, true);
                    }
                    self.next = (self.next + length.div_ceil(PIECE)) % self.buffers;
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

    fn read(&mut self) -> rustix::io::Result<usize> {
        let room = &mut self.memory[self.next * PIECE..][..ROOM];
        match self.call {
            Call::Read => rustix::io::read(self.queue.as_fd(), room),
            Call::Readv if self.pieces == 1 => {
                rustix::io::readv(self.queue.as_fd(), &mut [IoSliceMut::new(room)])
            }
            Call::Readv => {
                let pieces = room.chunks_mut(PIECE).take(self.pieces);
                let mut slices: Vec<IoSliceMut<'_>> = pieces.map(IoSliceMut::new).collect();
                rustix::io::readv(self.queue.as_fd(), &mut slices)
            }
        }
    }
}
