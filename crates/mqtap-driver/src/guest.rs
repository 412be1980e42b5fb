//! The embedded guest: one thread that sleeps until a ring, a line on stdin or the end of the connection wakes it.

use std::io::{Stdin, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mqtap_driver::frames::partial;
use mqtap_driver::host::Host;
use mqtap_driver::protocol::feature;
use mqtap_driver::traffic::Source;
use mqtap_driver::{Driver, Error, VirtioNetHeader, wait_readable};
use serde_json::{Value, json};

use crate::GuestOptions;

/// What `--help` says about stdin and stdout.
pub(crate) const HELP: &str = "\
Every line on stdin is answered by one line of JSON on stdout, with
\"ok\": true, or with \"ok\": false and \"error\":

  pairs N     enable queue pairs 0..N and disable the others
  send PAIR COUNT SIZE FLOWS
              send COUNT numbered UDP frames of SIZE bytes in FLOWS flows
              to --peer, on queue pair PAIR, or with `all` spread over the
              enabled pairs by flow
  stats       per pair: tx_frames, tx_bytes, rx_frames, rx_bytes; and what
              the UDP sink (port 9) has seen
  mtu N       tell the backend the MTU
  announce    ask the backend to announce our Ethernet address
  restart     stop all rings and start anew, as a guest that boots again
  quit        end, as does the end of stdin

The first line on stdout says what was negotiated. The guest ends with
status 1 when the backend goes away.";

/// How long a `send` waits without progress before it gives up.
const STUCK: Duration = Duration::from_secs(30);
/// Frames between two looks at the receive rings while sending.
const BURST: usize = 32;

type BoxError = Box<dyn std::error::Error>;

struct Guest<'a> {
    options: &'a GuestOptions,
    driver: Driver,
    host: Host,
}

pub(crate) fn run(options: &GuestOptions) -> Result<(), BoxError> {
    let mut driver = Driver::connect(&options.socket, options.device.driver_options())?;
    driver.set_active_pairs(options.device.active.unwrap_or(options.device.queue_pairs))?;
    let host = Host::new(options.mac, Some(options.ip), options.ip6);
    say(&json!({
        "ok": true,
        "queue_pairs": options.device.queue_pairs,
        "active": driver.active_pairs(),
        "features": format!("{:#x}", driver.features()),
        "packed": driver.features() & feature::RING_PACKED != 0,
        "mac": options.mac.map(|byte| format!("{byte:02x}")).join(":"),
        "ip": options.ip.to_string(),
    }))?;
    Guest { options, driver, host }.serve()
}

fn say(line: &Value) -> Result<(), BoxError> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

impl Guest<'_> {
    fn serve(mut self) -> Result<(), BoxError> {
        let mut lines = Lines::new();
        loop {
            while let Some(line) = lines.next() {
                if line.trim() == "quit" {
                    return say(&json!({"ok": true}));
                }
                let answer = match self.obey(&line) {
                    Ok(answer) => answer,
                    Err(error) => json!({"ok": false, "error": error.to_string()}),
                };
                say(&answer)?;
            }
            if lines.ended {
                return Ok(());
            }
            self.sleep(&lines.stdin)?;
            self.answer_all()?;
            if wait_readable(&[lines.stdin.as_fd()], Some(Duration::ZERO))? {
                lines.fill()?;
            }
            // Nothing comes on this socket unasked, except its end.
            if wait_readable(&[self.driver.frontend().as_fd()], Some(Duration::ZERO))? {
                return Err("the backend closed the connection".into());
            }
        }
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self, stdin: &Stdin) -> Result<(), BoxError> {
        for pair in self.driver.pairs_mut() {
            if pair.arm_receive()? {
                return Ok(());
            }
        }
        let socket = self.driver.frontend().stream().try_clone()?;
        let mut fds = vec![stdin.as_fd(), socket.as_fd()];
        fds.extend(self.driver.pairs().iter().map(|pair| pair.receiver.events().call_fd()));
        wait_readable(&fds, None)?;
        Ok(())
    }

    /// Answers everything that has come, on the pair it came on.
    fn answer_all(&mut self) -> Result<(), Error> {
        for pair in self.driver.pairs_mut() {
            while let Some(received) = pair.receive()? {
                let Some(answer) = self.host.handle(&received.header, &received.frame) else {
                    continue;
                };
                match pair.transmit(&answer) {
                    // As any host under load: an answer that finds no room is lost.
                    Ok(()) | Err(Error::Full) => {}
                    Err(error) => return Err(error),
                }
            }
            pair.transmitter.reap()?;
        }
        Ok(())
    }

    fn obey(&mut self, line: &str) -> Result<Value, BoxError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => Ok(json!({"ok": true})),
            ["pairs", n] => {
                self.driver.set_active_pairs(n.parse()?)?;
                Ok(json!({"ok": true, "active": self.driver.active_pairs()}))
            }
            ["send", pair, count, size, flows] => {
                let pair = if pair == "all" { None } else { Some(pair.parse()?) };
                let sent = self.send(pair, count.parse()?, size.parse()?, flows.parse()?)?;
                Ok(json!({"ok": true, "sent": sent}))
            }
            ["stats"] => Ok(self.stats()),
            ["mtu", n] => {
                self.driver.set_mtu(n.parse()?)?;
                Ok(json!({"ok": true}))
            }
            ["announce"] => {
                self.driver.announce(self.options.mac)?;
                Ok(json!({"ok": true}))
            }
            ["restart"] => {
                let active = self.driver.active_pairs();
                self.driver.restart()?;
                self.driver.set_active_pairs(active)?;
                Ok(json!({"ok": true, "active": active}))
            }
            _ => Err(format!("unknown command {line:?}, see --help").into()),
        }
    }

    fn stats(&self) -> Value {
        let pairs: Vec<Value> = self
            .driver
            .pairs()
            .iter()
            .map(|pair| {
                let counters = pair.counters();
                json!({
                    "tx_frames": counters.transmit.frames,
                    "tx_bytes": counters.transmit.bytes,
                    "tx_completed": counters.transmit.completed,
                    "tx_kicks": counters.transmit.kicks,
                    "rx_frames": counters.receive.frames,
                    "rx_bytes": counters.receive.bytes,
                })
            })
            .collect();
        let (sink, host) = (self.host.sink(), self.host.counters());
        json!({
            "ok": true,
            "active": self.driver.active_pairs(),
            "pairs": pairs,
            "sink": {
                "received": sink.received,
                "out_of_order": sink.out_of_order,
                "missing": sink.missing,
                "corrupt": sink.corrupt,
                "unnumbered": sink.unnumbered,
            },
            "host": {
                "frames": host.frames,
                "foreign": host.foreign,
                "bad": host.bad,
                "answered": host.answered,
            },
        })
    }

    fn send(&mut self, pair: Option<u16>, count: u64, size: usize, flows: u16) -> Result<u64, BoxError> {
        if let Some(pair) = pair.filter(|pair| *pair >= self.options.device.queue_pairs) {
            return Err(format!("there is no queue pair {pair}").into());
        }
        let path = self.find_peer()?;
        let mut source = Source::new(path, self.options.port, flows, size);
        let offload = self.driver.features() & feature::CSUM != 0;
        let active = self.driver.active_pairs();
        for n in 0..count {
            let (flow, mut frame) = source.next_frame();
            let header = if offload { partial(&mut frame, None) } else { None };
            let header = header.unwrap_or_default();
            self.send_one(pair.unwrap_or(flow % active), &header, &frame)?;
            if n.is_multiple_of(BURST as u64) {
                self.answer_all()?;
            }
        }
        for pair in self.driver.pairs_mut() {
            pair.transmitter.flush()?;
            if !pair.drain(STUCK)? {
                return Err("the backend does not give frames back".into());
            }
        }
        Ok(count)
    }

    fn send_one(&mut self, pair: u16, header: &VirtioNetHeader, frame: &[u8]) -> Result<(), BoxError> {
        let deadline = Instant::now() + STUCK;
        loop {
            let transmitter = &mut self.driver.pair(pair).transmitter;
            match transmitter.queue(header, frame) {
                Ok(()) => {
                    // One kick for a burst, if the device sleeps that long.
                    if transmitter.counters().frames.is_multiple_of(BURST as u64) {
                        transmitter.flush()?;
                    }
                    return Ok(());
                }
                Err(Error::Full) => transmitter.flush()?,
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > deadline {
                return Err(format!("queue pair {pair} takes no frames").into());
            }
            self.driver.pair(pair).wait_for_completions(Duration::from_millis(20))?;
            self.answer_all()?;
        }
    }

    /// The way to the peer, by ARP if need be.
    fn find_peer(&mut self) -> Result<mqtap_driver::frames::Path, BoxError> {
        let deadline = Instant::now() + STUCK;
        while Instant::now() < deadline {
            if let Some(path) = self.host.path_to(self.options.peer) {
                return Ok(path);
            }
            let Some(question) = self.host.ask_for(self.options.peer) else { break };
            self.driver.pair(0).transmit(&question)?;
            // The kernel may answer on any pair.
            for pair in self.driver.pairs_mut() {
                pair.arm_receive()?;
            }
            let calls: Vec<_> = self.driver.pairs().iter().map(|p| p.receiver.events().call_fd()).collect();
            wait_readable(&calls, Some(Duration::from_millis(250)))?;
            self.answer_all()?;
        }
        match self.host.path_to(self.options.peer) {
            Some(path) => Ok(path),
            None => Err(format!("{} does not answer ARP", self.options.peer).into()),
        }
    }
}

/// Lines of stdin, without waiting for them.
struct Lines {
    stdin: Stdin,
    bytes: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn new() -> Lines {
        Lines { stdin: stdin(), bytes: Vec::new(), ended: false }
    }

    /// Reads what there is; call it when stdin is readable. Not through the standard library's buffer, which would
    /// hide from poll(2) what it holds.
    fn fill(&mut self) -> Result<(), BoxError> {
        let mut chunk = [0; 4096];
        let n = rustix::io::read(self.stdin.as_fd(), &mut chunk)?;
        self.ended |= n == 0;
        self.bytes.extend_from_slice(&chunk[..n]);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}
