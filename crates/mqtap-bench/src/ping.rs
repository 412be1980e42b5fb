//! A round trip without anybody in between: the request is written, and the kernel's answer can be read at once.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use mqtap_driver::load::{RoundTrips, Shape, echo_request, is_answer};
use mqtap_driver::{VirtioNetHeader, wait_readable};
use rustix::io::Errno;
use serde_json::json;

use crate::talk::{BoxError, serve, unknown};
use crate::tap::TapOptions;

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  ping N US    send N echo requests, each so many microseconds after the answer
               to the one before
  quit         end, as does the end of stdin";

const LOST: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    tap: TapOptions,
    /// Sender and receiver of the requests, as in `mqtap-driver load --help`
    #[arg(long, default_value = "udp")]
    frames: Shape,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = options.tap.open()?;
    let Some(queue) = tap.queues().first() else { return Err("the tap has no queue".into()) };
    serve(|words| match *words {
        ["ping", count, us] => {
            let (count, gap) = (count.parse::<u64>()?, Duration::from_micros(us.parse()?));
            let mut times = RoundTrips::default();
            let mut answer = [0; 256];
            for number in 0..count {
                let sequence = number as u16;
                let mut request = VirtioNetHeader::default().to_bytes().to_vec();
                request.extend(echo_request(&options.frames, sequence));
                let sent = Instant::now();
                rustix::io::write(queue.as_fd(), &request)?;
                loop {
                    match rustix::io::read(queue.as_fd(), &mut answer[..]) {
                        Ok(length) if is_answer(&answer[..length], sequence) => break,
                        Ok(_) => {}
                        Err(Errno::AGAIN) => {
                            if !wait_readable(&[queue.as_fd()], Some(LOST))? {
                                return Err(format!("request {sequence} was not answered").into());
                            }
                        }
                        Err(errno) => return Err(errno.into()),
                    }
                }
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
        _ => unknown(words),
    })
}
