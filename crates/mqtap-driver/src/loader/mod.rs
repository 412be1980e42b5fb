//! The guest of the benchmark: fills rings and empties them, on command.

mod ping;

use std::io::{Write as _, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use mqtap_driver::load::{Collector, Generator, Limit, Protocol, Sender, Shape};
use mqtap_driver::protocol::feature;
use mqtap_driver::{Driver, DriverOptions, PairCounters, VirtioNetHeader};
use serde_json::{Value, json};

use crate::DeviceOptions;

/// What `--help` says about stdin and stdout.
pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout, with
\"ok\": true, or with \"ok\": false and \"error\":

  transmit MS      transmit for so long, as fast as the rings take it, on
                   every enabled pair, and wait until all is given back
  send N US        transmit N frames in bursts, with so many microseconds
                   between two bursts, and wait until all is given back
  fill             transmit as much as the rings take at once
  drain            wait until all is given back
  collect N MS     receive N numbered payloads, or until none came for so
                   long; every 16th frame is checked whole
  verify N MS      the same, every frame is checked whole
  ping N US [RATE] send N echo requests, each so many microseconds after the
                   answer to the one before, and meanwhile RATE frames a second
  forget           expect numbers anew from 0
  quit             end, as does the end of stdin

A super-frame carries several payloads. The shape of the frames is written
  udp,size=60,flows=64,checksum=partial,mac=02:00:00:00:00:01,to=10.77.0.1:9
with flows=distinct for a new flow with each frame, tcp for udp, and
segment=BYTES for super-frames.";

/// How long to wait for a backend that gives nothing back.
const STUCK: Duration = Duration::from_secs(30);
/// How often to look whether all is given back: at the end of a run, and while backends use every CPU.
const SOON: Duration = Duration::from_micros(20);
const NOT_SO_SOON: Duration = Duration::from_micros(200);
/// Frames between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

type BoxError = Box<dyn std::error::Error>;

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// Socket the backend listens at
    #[arg(long)]
    socket: PathBuf,
    #[command(flatten)]
    device: DeviceOptions,
    /// What the transmitted frames look like
    #[arg(long, default_value = "udp")]
    frames: Shape,
    /// Sender and receiver of the requests of `ping` [default: those of the frames]
    #[arg(long)]
    echo: Option<Shape>,
    /// Descriptors that each of them is spread over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pieces: u16,
    /// Frames made available at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    burst: u16,
    /// Sleep until the backend calls, instead of looking again and again
    #[arg(long)]
    sleep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IdleOptions {
    /// Sockets the backends listen at; may be given often
    #[arg(long, required = true)]
    socket: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceOptions,
}

struct Loader {
    driver: Driver,
    senders: Vec<Sender>,
    collector: Collector,
    echo: Shape,
    burst: usize,
    sleep: bool,
}

pub(crate) fn run(options: &LoadOptions) -> Result<(), BoxError> {
    let pairs = options.device.queue_pairs;
    // Each pair has flows of its own, or their frames would overtake each other.
    let flows = (options.frames.flows / pairs).max(1);
    let generator = Generator::new(Shape { flows, ..options.frames });
    let memory = Sender::memory(&generator, options.device.ring_size);
    let driver_options = DriverOptions {
        spare_memory: u64::from(pairs) * memory,
        // The senders bring their own buffers.
        transmit_buffer_size: 128,
        ..options.device.driver_options()
    };
    let start = Instant::now();
    let mut driver = Driver::connect(&options.socket, driver_options)?;
    driver.set_active_pairs(options.device.active.unwrap_or(pairs))?;
    let connected = start.elapsed();
    // One frame, on the pair that was started last, before there is anything else on the ring.
    let last = pairs - 1;
    let plain =
        Shape { protocol: Protocol::Udp, size: 60, partial_checksum: false, segment: None, ..options.frames };
    driver.transmit(last, &Generator::new(plain).frame()[VirtioNetHeader::SIZE..])?;
    if !driver.pair(last).drain(STUCK)? {
        return Err("the backend does not give the first frame back".into());
    }
    let first_frame = start.elapsed();
    let senders = (0..pairs)
        .map(|pair| Sender::new(&mut driver, pair, generator.clone().from_flow(pair * flows), options.pieces))
        .collect::<Result<_, _>>()?;
    say(&json!({
        "ok": true,
        "features": format!("{:#x}", driver.features()),
        "packed": driver.features() & feature::RING_PACKED != 0,
        "frame_bytes": options.frames.frame_length(),
        "payloads": options.frames.chunks(),
        "connect_ns": connected.as_nanos() as u64,
        "first_frame_ns": first_frame.as_nanos() as u64,
    }))?;
    let collector = Collector::new(options.sleep);
    let burst = options.burst.into();
    let echo = options.echo.unwrap_or(options.frames);
    let mut loader = Loader { driver, senders, collector, echo, burst, sleep: options.sleep };
    for line in stdin().lines() {
        let line = line?;
        if line.trim() == "quit" {
            return say(&json!({"ok": true}));
        }
        let answer = loader.obey(&line);
        say(&answer.unwrap_or_else(|error| json!({"ok": false, "error": error.to_string()})))?;
    }
    Ok(())
}

/// Connects and holds still.
pub(crate) fn idle(options: &IdleOptions) -> Result<(), BoxError> {
    let mut drivers = Vec::new();
    for socket in &options.socket {
        let mut driver = Driver::connect(socket, options.device.driver_options())?;
        driver.set_active_pairs(options.device.active.unwrap_or(options.device.queue_pairs))?;
        drivers.push(driver);
    }
    say(&json!({"ok": true, "guests": drivers.len()}))?;
    for line in stdin().lines() {
        line?;
    }
    Ok(())
}

fn say(line: &Value) -> Result<(), BoxError> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

impl Loader {
    fn obey(&mut self, line: &str) -> Result<Value, BoxError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["transmit", ms] => {
                let time = Duration::from_millis(ms.parse()?);
                self.measured(|loader| loader.transmit(time))
            }
            ["send", count, us] => {
                let (count, pause) = (count.parse()?, Duration::from_micros(us.parse()?));
                self.measured(|loader| loader.send(count, pause))
            }
            ["fill"] => {
                let active = self.driver.active_pairs().into();
                self.measured(|loader| {
                    for sender in &mut loader.senders[..active] {
                        sender.send(&mut loader.driver, usize::MAX)?;
                    }
                    Ok(None)
                })
            }
            ["drain"] => self.measured(|loader| loader.drain(NOT_SO_SOON).map(|()| None)),
            ["collect" | "verify", payloads, ms] => {
                let limit =
                    Limit { payloads: payloads.parse()?, patience: Duration::from_millis(ms.parse()?) };
                self.collector.whole = words[0] == "verify";
                self.measured(|loader| Ok(Some(loader.collector.collect(&mut loader.driver, limit)?)))
            }
            ["ping", count, us] => self.ping(count.parse()?, Duration::from_micros(us.parse()?), 0),
            ["ping", count, us, rate] => {
                self.ping(count.parse()?, Duration::from_micros(us.parse()?), rate.parse()?)
            }
            ["forget"] => {
                self.collector.reset();
                Ok(json!({"ok": true}))
            }
            _ => Err(format!("unknown command {line:?}, see --help").into()),
        }
    }

    /// Does something and says what changed. The time is what it returns, or all that it took.
    fn measured(
        &mut self,
        what: impl FnOnce(&mut Loader) -> Result<Option<Duration>, BoxError>,
    ) -> Result<Value, BoxError> {
        let calls = |loader: &Loader| -> Result<[u64; 2], BoxError> {
            let mut sum = [0; 2];
            for pair in loader.driver.pairs() {
                sum[0] += pair.transmitter.events().take_calls()?;
                sum[1] += pair.receiver.events().take_calls()?;
            }
            Ok(sum)
        };
        calls(self)?;
        let (before, seen) = (self.counters(), self.collector.checker().counters());
        let start = Instant::now();
        let time = what(self)?.unwrap_or_else(|| start.elapsed());
        let ([transmit_calls, receive_calls], after) = (calls(self)?, self.counters());
        let (sent, got) = (after.transmit, after.receive);
        let seen = self.collector.checker().counters() - seen;
        Ok(json!({
            "ok": true,
            "wall_ns": time.as_nanos() as u64,
            "tx_frames": sent.frames - before.transmit.frames,
            "tx_bytes": sent.bytes - before.transmit.bytes,
            "tx_completed": sent.completed - before.transmit.completed,
            "tx_kicks": sent.kicks - before.transmit.kicks,
            "tx_calls": transmit_calls,
            "rx_frames": got.frames - before.receive.frames,
            "rx_bytes": got.bytes - before.receive.bytes,
            "rx_kicks": got.kicks - before.receive.kicks,
            "rx_calls": receive_calls,
            "payloads": seen.payloads,
            "out_of_order": seen.out_of_order,
            "missing": seen.missing,
            "corrupt": seen.corrupt,
            "others": seen.others,
        }))
    }

    fn counters(&self) -> PairCounters {
        let mut sum = PairCounters::default();
        for counters in self.driver.pairs().iter().map(mqtap_driver::Pair::counters) {
            sum.transmit.frames += counters.transmit.frames;
            sum.transmit.bytes += counters.transmit.bytes;
            sum.transmit.completed += counters.transmit.completed;
            sum.transmit.kicks += counters.transmit.kicks;
            sum.receive.frames += counters.receive.frames;
            sum.receive.bytes += counters.receive.bytes;
            sum.receive.kicks += counters.receive.kicks;
        }
        sum
    }

    fn transmit(&mut self, time: Duration) -> Result<Option<Duration>, BoxError> {
        let active = usize::from(self.driver.active_pairs());
        let start = Instant::now();
        while start.elapsed() < time {
            let mut sent = 0;
            for _ in 0..BETWEEN_LOOKS {
                let before = sent;
                for sender in &mut self.senders[..active] {
                    sent += sender.send(&mut self.driver, self.burst)?;
                }
                if sent == before {
                    if self.sleep && active == 1 {
                        self.driver.pair(0).wait_for_completions(Duration::from_millis(20))?;
                    } else {
                        std::hint::spin_loop();
                    }
                }
            }
        }
        self.drain(SOON)?;
        Ok(Some(start.elapsed()))
    }

    fn send(&mut self, count: u64, pause: Duration) -> Result<Option<Duration>, BoxError> {
        let active = u64::from(self.driver.active_pairs());
        let start = Instant::now();
        let mut sent = 0;
        while sent < count {
            // Each pair in turn: which flow goes where is no matter.
            let turn = (sent / self.burst as u64 % active) as usize;
            let burst = (count - sent).min(self.burst as u64) as usize;
            sent += self.senders[turn].send(&mut self.driver, burst)? as u64;
            if start.elapsed() > STUCK + pause * (count as u32) {
                return Err("the backend takes no frames".into());
            }
            let next = Instant::now() + pause;
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
        self.drain(SOON)?;
        Ok(Some(start.elapsed()))
    }

    fn drain(&mut self, pause: Duration) -> Result<(), BoxError> {
        let deadline = Instant::now() + STUCK;
        for sender in &mut self.senders {
            while sender.in_flight(&mut self.driver)? > 0 {
                if Instant::now() > deadline {
                    return Err("the backend does not give frames back".into());
                }
                // Leaves the CPU to the backend, where it has no other.
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }
}
