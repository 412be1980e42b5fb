//! What the kernel takes to attach the queues of a tap: the floor of a set-up.

use std::time::Instant;

use clap::Args;
use mqtap::device::VnetHeaderMode;
use mqtap::{OpenOptions, TapDevice};
use serde_json::json;

use crate::talk::{BoxError, serve, unknown};

pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout:

  attach     attach all queues, one after the other, and detach them again;
             say how long the former took
  quit       end, as does the end of stdin";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Tap to make
    #[arg(long)]
    tap: String,
    /// With so many queues
    #[arg(long, default_value_t = 1)]
    queues: u16,
}

pub(crate) fn run(options: &Options) -> Result<(), BoxError> {
    let tap = TapDevice::open(&OpenOptions {
        name: options.tap.parse()?,
        queues: options.queues,
        vnet_header: VnetHeaderMode::Require,
        start_detached: true,
        ..OpenOptions::default()
    })?;
    serve(|words| match *words {
        ["attach"] => {
            let start = Instant::now();
            for queue in tap.queues() {
                queue.attach()?;
            }
            let time = start.elapsed();
            for queue in tap.queues().iter().rev() {
                queue.detach()?;
            }
            Ok(json!({ "ok": true, "attach_ns": time.as_nanos() as u64 }))
        }
        _ => unknown(words),
    })
}
