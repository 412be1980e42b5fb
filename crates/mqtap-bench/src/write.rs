//! `write(2)` and `writev(2)` of one frame, again and again.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mqtap::TapQueue;
use mqtap_driver::load::{Generator, Shape};
use rustix::io::Errno;
use serde_json::{Value, json};

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
    /// Pieces that `writev` gathers each frame from
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pieces: u16,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Call {
    Write,
    Writev,
}

struct Output {
    queue: Arc<TapQueue>,
    call: Call,
    pieces: usize,
}

struct Writer {
    output: Output,
    generator: Generator,
    /// Frames with numbers, and which was written last.
    ready: Vec<Vec<u8>>,
    turn: usize,
    written: u64,
    refused: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = options.tap.open()?;
    let Some(queue) = tap.queues().first() else { return Err("the tap has no queue".into()) };
    let output = Output { queue: Arc::clone(queue), call: options.call, pieces: options.pieces.into() };
    let mut ready = Generator::new(options.frames);
    let mut writer = Writer {
        output,
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
            writer.measured(|writer, watch| writer.run(time, watch))
        }
        ["count", frames] => {
            let frames = frames.parse()?;
            writer.measured(|writer, _| writer.write(frames))
        }
        _ => unknown(words),
    })
}

impl Writer {
    fn measured(
        &mut self,
        what: impl FnOnce(&mut Self, &Watch) -> Result<(), BoxError>,
    ) -> Result<Value, BoxError> {
        let (written, refused) = (self.written, self.refused);
        let watch = Watch::start();
        what(self, &watch)?;
        let (cpu, wall) = (watch.cpu(), watch.wall());
        let (frames, shape) = (self.written - written, self.generator.shape());
        Ok(json!({
            "ok": true,
            "wall_ns": wall.as_nanos() as u64,
            "cpu_ns": cpu.as_nanos() as u64,
            "frames": frames,
            "payloads": frames * shape.chunks(),
            "bytes": frames * shape.frame_length() as u64,
            "refused": self.refused - refused,
            "syscalls": frames + self.refused - refused,
        }))
    }

    /// Writes frames that are ready, as a ring has them: making them is not part of the floor.
    fn run(&mut self, time: Duration, watch: &Watch) -> Result<(), BoxError> {
        while watch.wall() < time {
            for _ in 0..BETWEEN_LOOKS {
                self.turn = (self.turn + 1) % self.ready.len();
                let result = self.output.write(&self.ready[self.turn]);
                self.count(result)?;
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
            (Call::Write, _) => rustix::io::write(self.queue.as_fd(), frame),
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
