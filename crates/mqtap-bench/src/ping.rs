//! A round trip without virtio in between: the request is written, and the kernel's answer can be read at once.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use mqtap::TapQueue;
use mqtap_driver::load::{RoundTrips, Shape, echo_request, is_answer};
use mqtap_driver::{VirtioNetHeader, wait_readable};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::relay::stay_on;
use crate::talk::{BoxError, serve, unknown};
use crate::tap::TapOptions;

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  ping N US    send N echo requests, each so many microseconds after the answer
               to the one before
  quit         end, as does the end of stdin";

const LOST: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    tap: TapOptions,
    /// Sender and receiver of the requests, as in `mqtap-driver load --help`
    #[arg(long, default_value = "udp")]
    frames: Shape,
    /// Sleep until a thread on this CPU wakes us for each request, as a driver's kick does
    #[arg(long, value_name = "CPU")]
    woken_from: Option<usize>,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = options.tap.open()?;
    let Some(queue) = tap.queues().first() else { return Err("the tap has no queue".into()) };
    serve(|words| match *words {
        ["ping", count, us] => {
            let (count, gap) = (count.parse()?, Duration::from_micros(us.parse()?));
            let trip = |number| round_trip(queue, &options.frames, number);
            match options.woken_from {
                None => times(count, gap, trip),
                Some(cpu) => woken(cpu, count, gap, trip),
            }
        }
        _ => unknown(words),
    })
}

/// One request and its answer.
fn round_trip(queue: &TapQueue, shape: &Shape, number: u64) -> Result<(), BoxError> {
    let sequence = number as u16;
    let mut request = VirtioNetHeader::default().to_bytes().to_vec();
    request.extend(echo_request(shape, sequence));
    rustix::io::write(queue.as_fd(), &request)?;
    let mut answer = [0; 256];
    loop {
        match rustix::io::read(queue.as_fd(), &mut answer[..]) {
            Ok(length) if is_answer(&answer[..length], sequence) => return Ok(()),
            Ok(_) => {}
            Err(Errno::AGAIN) => {
                if !wait_readable(&[queue.as_fd()], Some(LOST))? {
                    return Err(format!("request {sequence} was not answered").into());
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn times(
    count: u64,
    gap: Duration,
    mut trip: impl FnMut(u64) -> Result<(), BoxError>,
) -> Result<Value, BoxError> {
    let mut times = RoundTrips::default();
    for number in 0..count {
        let sent = Instant::now();
        trip(number)?;
        let now = Instant::now();
        times.add(now - sent);
        while now.elapsed() < gap {
            std::hint::spin_loop();
        }
    }
    let round_trips = times.count();
    let [p50, p99, p999] = times.quantiles().map(|time| time.as_nanos() as u64);
    Ok(json!({
        "ok": true,
        "round_trips": round_trips,
        "p50_ns": p50,
        "p99_ns": p99,
        "p99.9_ns": p999,
    }))
}

/// The same for a thread on `cpu`, which never sleeps; this one makes the trips, and sleeps between them.
fn woken(
    cpu: usize,
    count: u64,
    gap: Duration,
    mut trip: impl FnMut(u64) -> Result<(), BoxError>,
) -> Result<Value, BoxError> {
    let kick = eventfd(0, EventfdFlags::NONBLOCK)?;
    // Requests that were answered; all of them once something went wrong.
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (kick, answered) = (&kick, &answered);
        let asking = scope.spawn(move || {
            stay_on(cpu);
            let asked = times(count, gap, |number| {
                rustix::io::write(kick, &1u64.to_ne_bytes())?;
                while answered.load(Ordering::Acquire) <= number {
                    std::hint::spin_loop();
                }
                Ok(())
            });
            asked.map_err(|error| error.to_string())
        });
        let served = (0..count).try_for_each(|number| {
            if !wait_readable(&[kick.as_fd()], None)? {
                return Err("nobody asks".into());
            }
            rustix::io::read(kick, &mut [0; 8])?;
            trip(number)?;
            answered.store(number + 1, Ordering::Release);
            Ok(())
        });
        answered.store(u64::MAX, Ordering::Release);
        let asked = asking.join().map_err(|_| "the asking thread panicked")?;
        served.and_then(|()| Ok(asked?))
    })
}
