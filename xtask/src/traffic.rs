//! Traffic between the namespace and the guest, made by the programs people use for that.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::outcome::{Context as _, Result, fail, failure};
use crate::process::{self, Supervised};
use crate::qemu::Guest;

/// For anything that moves a bounded amount of data on a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);

const QUICK: Duration = Duration::from_secs(20);

const FIRST_PORT: u16 = 5201;

/// Lists what connects a client with the first port: that over which it speaks with the server, and then the streams.
const ESTABLISHED: &str = "ss -Htn state established 'dport = :5201'; ss -Hun 'dport = :5201'";

/// iperf3 servers on the host's side of a wire, one for each flow that runs at the same time.
pub(crate) struct Servers {
    processes: Vec<Supervised>,
    wire: usize,
}

impl Servers {
    pub(crate) fn start(lab: &Lab, wire: usize, count: u16) -> Result<Self> {
        let mut processes = Vec::new();
        for index in 0..count {
            let mut command = lab.namespace.command("iperf3");
            command
                .args([
                    "-s",
                    "--forceflush",
                    "-B",
                    &host_address(wire),
                    "-p",
                    &(FIRST_PORT + index).to_string(),
                ])
                .stdin(Stdio::null());
            let log = lab.logs.join(format!("iperf3-server-{wire}-{index}.log"));
            processes.push(Supervised::start(&mut command, "iperf3 -s", &log)?);
        }
        for server in &mut processes {
            process::until(Duration::from_secs(20), "iperf3 -s to listen", || {
                server.must_run()?;
                Ok(server.log().contains("Server listening").then_some(()))
            })?;
        }
        Ok(Self { processes, wire })
    }

    /// One flow from each of the guest's CPUs at once: the guest's driver sends what CPU i has to say on queue i, and the tap
    /// answers a flow on the queue it came from, so this reaches every queue pair both ways.
    pub(crate) fn load_each_cpu(&mut self, guest: &mut Guest, megabytes: u32) -> Result<()> {
        let mut script = String::new();
        for (cpu, _) in self.processes.iter().enumerate() {
            let port = usize::from(FIRST_PORT) + cpu;
            let address = host_address(self.wire);
            let mask = 1_u32 << cpu;
            // A server closes its port for a moment between two tests.
            script.push_str(&format!(
                "(n=0; until taskset {mask:x} iperf3 -c {address} -p {port} -n {megabytes}M > /tmp/flow{cpu} 2>&1; do \
                 n=$((n+1)); [ $n -lt 5 ] || {{ echo flow {cpu} failed; tail -n 3 /tmp/flow{cpu}; break; }}; sleep 0.5; \
                 done) & ",
            ));
        }
        script.push_str("wait");
        let complaints = guest.run_within(&script, LONG)?;
        if complaints.trim().is_empty() {
            Ok(())
        } else {
            fail(format!("iperf3 in the guest: {}", complaints.trim()))
        }
    }
}

/// The host's IPv4 address on a wire.
pub(crate) fn host_address(wire: usize) -> String {
    format!("10.{}.0.1", 77 + wire)
}

/// The guest's IPv4 address on a wire.
pub(crate) fn guest_address(wire: usize) -> String {
    format!("10.{}.0.2", 77 + wire)
}

/// The guest's IPv6 address on a wire.
pub(crate) fn guest_address6(wire: usize) -> String {
    format!("fd{}::2", 77 + wire)
}

/// Shell commands that ping an address so many times, each time with so many requests at once. None is lost if the output is
/// [`none_lost`]: iputils' ping ends with its last answer, and waits for it for its interval, or as long as `-W` says where nothing
/// has come yet. Ten seconds are long enough for whoever waits for his CPU. The namespace gives ping a socket that gets no
/// answers to others: of one that gets all of them the buffer runs over.
pub(crate) fn pings_command(pings: u32, requests: u32, options: &str, address: &str) -> String {
    format!(
        "echo 0 0 > /proc/sys/net/ipv4/ping_group_range; for ping in $(seq {pings}); do \
         /usr/bin/ping -q -n -c {requests} -l {requests} -i 10 -W 10 {options} {address}; done"
    )
}

/// Whether the output of so many pings says that each got all its answers.
pub(crate) fn none_lost(text: &str, pings: u32) -> bool {
    text.matches(" 0% packet loss").count() == pings as usize
}

/// Pings the guest from the host, with 5 requests at once: each is answered. `options` are those of iputils' ping.
pub(crate) fn ping(lab: &Lab, address: &str, pings: u32, options: &str) -> Result<()> {
    let command = pings_command(pings, 5, options, address);
    // Where there are no answers at all, the first one says so.
    let text = lab.namespace.shell(&format!("set -e; {command}"), LONG)?;
    if none_lost(&text, pings) {
        Ok(())
    } else {
        fail(format!("answers are missing: `{command}`: {}", process::tail(&text, 12)))
    }
}

/// Pings IPv4 and IPv6 on the first wire.
pub(crate) fn ping_both(lab: &Lab) -> Result<()> {
    ping(lab, &guest_address(0), 2, "")?;
    ping(lab, &guest_address6(0), 2, "")
}

/// Starts an iperf3 server in the guest.
pub(crate) fn serve_in_guest(guest: &mut Guest) -> Result<()> {
    guest.run("iperf3 -s -D").map(|_| ())
}

/// Starts an iperf3 client on the host's side, and returns when its traffic runs; the guest must serve.
pub(crate) fn start_client(lab: &Lab, options: &str, log: &str) -> Result<Supervised> {
    let mut refused = 0;
    loop {
        let mut command = lab.namespace.command("iperf3");
        command
            .args(["-c", &guest_address(0), "--json"])
            .args(options.split_whitespace())
            .stdin(Stdio::null());
        let mut client = Supervised::start(&mut command, "iperf3 -c", &lab.logs.join(log))?;
        // A server needs a moment to start, closes its port between two tests, and a slow guest takes its time.
        let streams = process::until(LONG, "iperf3's streams, or its end", || {
            let ended = client.wait(Duration::from_millis(100))?.is_some();
            Ok((ended || lab.namespace.shell(ESTABLISHED, QUICK)?.lines().count() > 1).then_some(!ended))
        })?;
        if streams || refused == 20 {
            return Ok(client);
        }
        refused += 1;
    }
}

/// Waits for an iperf3 client and returns its report.
pub(crate) fn report(mut client: Supervised) -> Result<Value> {
    let Some(status) = client.wait(LONG)? else {
        return fail("iperf3 did not end");
    };
    let log = client.log();
    let report: Value =
        serde_json::from_str(&log).context(|| format!("iperf3 ended with {status} and no report"))?;
    match report.get("error").and_then(Value::as_str) {
        None if status.success() => Ok(report),
        error => fail(format!("iperf3 ended with {status}: {}", error.unwrap_or("no reason given"))),
    }
}

/// Runs many flows and checks that each of them arrives: a queue that swallows frames kills the flows that hash to it.
pub(crate) fn flows(lab: &Lab, flows: u32, seconds: u32, reverse: bool) -> Result<()> {
    let direction = if reverse { "-R" } else { "" };
    let report = report(start_client(
        lab,
        &format!("-u -b 200k -l 500 -P {flows} -t {seconds} {direction}"),
        "flows.json",
    )?)?;
    let streams = report
        .pointer("/end/streams")
        .and_then(Value::as_array)
        .ok_or_else(|| failure("iperf3 reported no streams"))?;
    if streams.len() != flows as usize {
        return fail(format!("iperf3 reported {} flows of {flows}", streams.len()));
    }
    for stream in streams {
        let number =
            |key: &str| stream.pointer(&format!("/udp/{key}")).and_then(Value::as_f64).unwrap_or(0.0);
        // Where somebody waits for his CPU, a full queue loses what does not fit; a flow into a dead queue loses all.
        if number("packets") < 1.0 || number("lost_percent") > 50.0 {
            return fail(format!(
                "of {flows} flows, one lost {:.1} % of its {} datagrams",
                number("lost_percent"),
                number("packets")
            ));
        }
    }
    Ok(())
}

/// A file of pseudo-random bytes and its SHA-256 sum.
pub(crate) struct Payload {
    path: std::path::PathBuf,
    sum: String,
}

impl Payload {
    pub(crate) fn create(lab: &Lab, megabytes: usize) -> Result<Self> {
        let path = lab.logs.join("payload");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        // xorshift64*: incompressible and never repeating within the file, which is all that is wanted.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..megabytes * (1 << 20) / 8 {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            file.write_all(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes())?;
        }
        file.flush()?;
        let sum = sum(&path)?;
        Ok(Self { path, sum })
    }

    /// Lets the guest fetch the file over TCP, and compares the sums.
    pub(crate) fn send_to_guest(&self, lab: &Lab, guest: &mut Guest) -> Result<()> {
        let mut command = lab.namespace.command("busybox");
        command.args(["httpd", "-f", "-p", "9000", "-h"]).arg(&lab.logs).stdin(Stdio::null());
        let mut server = Supervised::start(&mut command, "httpd", &lab.logs.join("httpd.log"))?;
        process::until(QUICK, "the server to listen", || {
            server.must_run()?;
            let listens = lab.namespace.shell("ss -Hltn 'sport = :9000'", QUICK)?;
            Ok((!listens.is_empty()).then_some(()))
        })?;
        let fetch = format!(
            "wget -q -O /tmp/payload http://{}:9000/payload && sha256sum /tmp/payload",
            host_address(0)
        );
        let there = guest.run_within(&fetch, LONG)?;
        server.must_run()?;
        if there.contains(&self.sum) {
            return Ok(());
        }
        fail(format!("the guest received something else than was sent: {there} instead of {}", self.sum))
    }

    /// Fetches what the guest received back, and compares the sums.
    pub(crate) fn fetch_from_guest(&self, lab: &Lab, guest: &mut Guest) -> Result<()> {
        guest.attempt("httpd -p 9001 -h /tmp", QUICK)?;
        let back = lab.logs.join("payload.back");
        let fetch = format!("busybox wget -q -O {} http://{}:9001/payload", back.display(), guest_address(0));
        lab.namespace.shell(&fetch, LONG)?;
        let came = sum(&back)?;
        std::fs::remove_file(&back)?;
        if came == self.sum { Ok(()) } else { fail("what came back from the guest is not what it had") }
    }

    /// There and back.
    pub(crate) fn round_trip(&self, lab: &Lab, guest: &mut Guest) -> Result<()> {
        self.send_to_guest(lab, guest)?;
        self.fetch_from_guest(lab, guest)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn sum(path: &Path) -> Result<String> {
    let text = process::output(std::process::Command::new("sha256sum").arg(path), Duration::from_secs(60))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
