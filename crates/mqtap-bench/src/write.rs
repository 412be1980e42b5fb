//! `write(2)` and `writev(2)` of one frame, again and again.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mqtap::TapQueue;
use mqtap_driver::load::{Generator, STAMP, Shape};
use mqtap_virtio::BurstIo;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::relay;
use crate::talk::{BoxError, Watch, serve, unknown};
use crate::tap::TapOptions;

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  run MS     write frames for so long
  count N    write N frames
  quit       end, as does the end of stdin";

/// Frames between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;
const MOST_PIECES: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    tap: TapOptions,
    /// What the frames look like, as in `mqtap-driver load --help`
    #[arg(long, default_value = "udp")]
    frames: Shape,
    /// System call to write them with
    #[arg(long, value_enum, default_value_t = Call::Write)]
    call: Call,
    /// Frames that lie ready: as many as in a ring, so that neither has it easier with the caches
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    buffers: u16,
    /// Have each frame made on this CPU just before it is written, as a driver's frames are
    #[arg(long, value_name = "CPU")]
    made_on: Option<usize>,
    /// Frames that io_uring writes with one call
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Pieces that `writev` gathers each frame from
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pieces: u16,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Call {
    Write,
    Writev,
    /// io_uring, many frames with one call
    Uring,
}

struct Output {
    queue: Arc<TapQueue>,
    call: Call,
    pieces: usize,
}

/// Frames that are written together.
struct Bursts {
    io: BurstIo,
    batch: usize,
}

struct Writer {
    output: Output,
    bursts: Option<Bursts>,
    generator: Generator,
    /// Frames with numbers, and which was written last.
    ready: Vec<Vec<u8>>,
    turn: usize,
    written: u64,
    refused: u64,
    /// System calls.
    calls: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = options.tap.open()?;
    let Some(queue) = tap.queues().first() else { return Err("the tap has no queue".into()) };
    let output = Output { queue: Arc::clone(queue), call: options.call, pieces: options.pieces.into() };
    let mut ready = Generator::new(options.frames);
    let bursts = match options.call {
        Call::Uring => Some(Bursts { io: BurstIo::new()?, batch: options.batch.clamp(1, BurstIo::DEPTH) }),
        Call::Write | Call::Writev => None,
    };
    let mut writer = Writer {
        output,
        bursts,
        calls: 0,
        generator: ready.clone(),
        ready: (0..options.buffers)
            .map(|_| {
                ready.stamp();
                ready.frame().to_vec()
            })
            .collect(),
        turn: 0,
        written: 0,
        refused: 0,
    };
    serve(|words| match *words {
        ["run", ms] => {
            let time = Duration::from_millis(ms.parse()?);
            match options.made_on {
                None => writer.measured(|writer, watch| writer.run(time, watch).map(|()| Duration::ZERO)),
                Some(cpu) => writer.run_made_elsewhere(cpu, time),
            }
        }
        ["count", frames] => {
            let frames = frames.parse()?;
            writer.measured(|writer, _| writer.write(frames).map(|()| Duration::ZERO))
        }
        _ => unknown(words),
    })
}

impl Writer {
    /// Does something and says what it took, without the CPU time that it says is not to be counted.
    fn measured(
        &mut self,
        what: impl FnOnce(&mut Self, &Watch) -> Result<Duration, BoxError>,
    ) -> Result<Value, BoxError> {
        let (written, refused, calls) = (self.written, self.refused, self.calls);
        let watch = Watch::start();
        let waited = what(self, &watch)?;
        let (cpu, wall) = (watch.cpu() - waited, watch.wall());
        let (frames, shape) = (self.written - written, self.generator.shape());
        Ok(json!({
            "ok": true,
            "wall_ns": wall.as_nanos() as u64,
            "cpu_ns": cpu.as_nanos() as u64,
            "frames": frames,
            "payloads": frames * shape.chunks(),
            "bytes": frames * shape.frame_length() as u64,
            "refused": self.refused - refused,
            "syscalls": self.calls - calls,
        }))
    }

    /// Writes frames that are ready, as a ring has them: making them is not part of the floor.
    fn run(&mut self, time: Duration, watch: &Watch) -> Result<(), BoxError> {
        while watch.wall() < time {
            if self.bursts.is_some() {
                self.burst()?;
                continue;
            }
            for _ in 0..BETWEEN_LOOKS {
                self.turn = (self.turn + 1) % self.ready.len();
                let result = self.output.write(&self.ready[self.turn]);
                self.count(result)?;
            }
        }
        Ok(())
    }

    /// Writes frames that another CPU has just made.
    fn run_made_elsewhere(&mut self, cpu: usize, time: Duration) -> Result<Value, BoxError> {
        let batches = self.ready.chunks(relay::BATCH).map(<[_]>::to_vec).collect();
        let mut generator = self.generator.clone();
        let make = move |batch: &mut relay::Batch| {
            for frame in batch {
                generator.stamp();
                let head = generator.head_length();
                frame[..head].copy_from_slice(&generator.frame()[..head]);
                for at in generator.further_stamps() {
                    frame[at..at + STAMP].copy_from_slice(&generator.frame()[at..at + STAMP]);
                }
            }
        };
        relay::exchange(cpu, batches, make, |relay| {
            self.measured(|writer, watch| {
                while watch.wall() < time {
                    let batch = relay.take()?;
                    for frame in &batch {
                        let result = writer.output.write(frame);
                        writer.count(result)?;
                    }
                    relay.give(batch)?;
                }
                Ok(relay.waited())
            })
        })
    }

    /// Writes frames that are ready with one call.
    fn burst(&mut self) -> Result<(), BoxError> {
        let Some(bursts) = &mut self.bursts else { return Ok(()) };
        let mut frames: [&[u8]; BurstIo::DEPTH] = [&[]; BurstIo::DEPTH];
        let frames = &mut frames[..bursts.batch];
        for frame in &mut *frames {
            self.turn = (self.turn + 1) % self.ready.len();
            *frame = &self.ready[self.turn];
        }
        self.calls += 1;
        for outcome in bursts.io.write(self.output.queue.as_fd(), frames)? {
            match *outcome {
                0.. => self.written += 1,
                error if error == -Errno::AGAIN.raw_os_error() => self.refused += 1,
                error => return Err(format!("cannot write to the tap: error {}", -error).into()),
            }
        }
        Ok(())
    }

    /// Writes frames with new numbers.
    fn write(&mut self, frames: usize) -> Result<(), BoxError> {
        for _ in 0..frames {
            self.generator.stamp();
            let result = self.output.write(self.generator.frame());
            self.count(result)?;
        }
        Ok(())
    }

    fn count(&mut self, result: rustix::io::Result<usize>) -> Result<(), BoxError> {
        self.calls += 1;
        match result {
            Ok(_) => self.written += 1,
            Err(Errno::AGAIN | Errno::NOBUFS) => self.refused += 1,
            Err(errno) => return Err(format!("cannot write to the tap: {errno}").into()),
        }
        Ok(())
    }
}

impl Output {
    fn write(&self, frame: &[u8]) -> rustix::io::Result<usize> {
        match (self.call, self.pieces) {
            // Frames with new numbers are few, and go one by one.
            (Call::Write | Call::Uring, _) => rustix::io::write(self.queue.as_fd(), frame),
            (Call::Writev, 1) => rustix::io::writev(self.queue.as_fd(), &[IoSlice::new(frame)]),
            (Call::Writev, pieces) => {
                let mut slices = [IoSlice::new(&[]); MOST_PIECES];
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(frame.chunks(frame.len().div_ceil(pieces))) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                rustix::io::writev(self.queue.as_fd(), &slices[..count])
            }
        }
    }
}
