//! The driver that runs as a process, as the guest.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use crate::lab::{Lab, Stage};
use crate::outcome::{Context as _, Result, fail, failure, say};
use crate::process;
use crate::serve::{self, BackendKind, TapSpec};
use crate::traffic;

const QUICK: Duration = Duration::from_secs(20);

pub(super) fn show() -> Result<()> {
    let stage = Stage { kind: BackendKind::Mqtap, image: None, real_root: false };
    say(
        "`mqtap serve --netdev tap,id=hn0,ifname=tap0,queues=4 --socket …` in a network namespace of its own",
    );
    let mut lab = Lab::new(&stage, "demo-embedded", &[TapSpec::numbered(0, 4)])?;
    say("`mqtap-driver guest` plays a guest with a virtio-net card of 4 queue pairs (8 virtqueues)");
    let mut guest = Guest::start(&lab)?;
    traffic::ping(&lab, &traffic::guest_address(0), 1, "")?;
    say("the host pings it");
    for (pairs, title) in [
        (4, "64 UDP flows each way over all 4 queues:"),
        (2, "the guest keeps 2 queue pairs, and the same 64 flows:"),
        (4, "all 4 again:"),
    ] {
        guest.ask(&format!("pairs {pairs}"))?;
        guest.ask("send all 20000 1514 64")?;
        let script = "for port in $(seq 6000 6063); do for i in 1 2 3 4 5; do echo > /dev/udp/10.77.0.2/$port; done; done";
        process::output(lab.namespace.command("bash").args(["-c", script]), QUICK)?;
        say(title);
        super::show_table(&mut lab)?;
    }
    drop(guest);
    lab.backend.terminate()?;
    say("done: the driver is gone, and with SIGTERM the daemon, its socket and tap0");
    Ok(())
}

/// `mqtap-driver guest`, which answers each line with one line.
struct Guest {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Guest {
    fn start(lab: &Lab) -> Result<Self> {
        let mut command = lab.namespace.command(serve::driver_binary()?);
        command.args(["guest", "--queue-pairs", "4", "--ip", "10.77.0.2", "--peer", "10.77.0.1", "--socket"]);
        command.arg(lab.backend.socket(0)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().context(|| format!("cannot start `{}`", process::describe(&command)))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return fail("mqtap-driver has no input or output");
        };
        let mut guest = Self { child, input, output: BufReader::new(output) };
        guest.answer("start")?;
        Ok(guest)
    }

    fn ask(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context(|| "mqtap-driver ended".to_owned())?;
        self.answer(line)
    }

    fn answer(&mut self, line: &str) -> Result<()> {
        let mut text = String::new();
        self.output.read_line(&mut text)?;
        let answer: serde_json::Value = serde_json::from_str(&text)
            .map_err(|_| failure(format!("mqtap-driver answered `{line}` with {text:?}")))?;
        if answer.get("ok").and_then(serde_json::Value::as_bool) == Some(false) {
            return fail(format!("mqtap-driver refused `{line}`: {text}"));
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
