//! The daemon under test, and what the tests see of its tap.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mqtap_driver::{Driver, DriverOptions};
use mqtap_test_support::{TestResult, eventually, ip};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) const GUEST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];

/// A running `mqtap serve`. It is killed when the test lets go of it.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts the daemon with one NIC, `tap0`, on the socket `0`.
    pub(crate) fn start(netdev: &str, more: &[&str]) -> Result<Self> {
        Self::start_many(&[netdev], more)
    }

    /// Starts the daemon with these netdevs, on the sockets `0`, `1`, ….
    pub(crate) fn start_many(netdevs: &[&str], more: &[&str]) -> Result<Self> {
        let daemon = Self::launch(netdevs, more)?;
        for number in 0..netdevs.len() {
            let socket = daemon.socket(number);
            eventually("the socket is there", || socket.exists())?;
        }
        eventually("the NICs are served", || daemon.log().matches(" virtqueues), ").count() == netdevs.len())
            .map_err(|error| format!("{error}; the daemon said:\n{}", daemon.log()))?;
        Ok(daemon)
    }

    /// As [`start_many`](Self::start_many), and does not wait until they are served.
    pub(crate) fn launch(netdevs: &[&str], more: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtap"));
        command.arg("serve");
        for (number, netdev) in netdevs.iter().enumerate() {
            command
                .args(["--netdev", &on_data_path(netdev), "--socket"])
                .arg(directory.path().join(number.to_string()));
        }
        command.args(more);
        Self::spawn(command, directory)
    }

    pub(crate) fn spawn(mut command: Command, directory: tempfile::TempDir) -> Result<Self> {
        // Its status socket, too.
        command.env("RUNTIME_DIRECTORY", directory.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let lines = Arc::clone(&log);
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Ok(Self { child, log, listener, directory })
    }

    pub(crate) fn socket(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self, options: DriverOptions) -> Result<Driver> {
        self.connect_to("tap0", options)
    }

    /// As [`connect`](Self::connect), where the first tap is called otherwise.
    pub(crate) fn connect_to(&self, device: &str, mut options: DriverOptions) -> Result<Driver> {
        options.zero_num_buffers = in_kernel();
        let driver = Driver::connect(&self.socket(0), options)?;
        settle(device)?;
        Ok(driver)
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn log_has(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(nix::sys::signal::kill(pid, signal)?)
    }

    /// The counters of one NIC, from the table that SIGUSR1 prints: for each pair, attached, then frames, bytes and drops from
    /// the guest, then to the guest.
    pub(crate) fn counters(&self, id: &str) -> Result<Vec<Row>> {
        // A worker counts a burst when it is through with it, which may be after the other end has all of it.
        eventually("the workers are through", || self.sleeps())?;
        let before = self.log.lock().unwrap().len();
        self.signal(nix::sys::signal::Signal::SIGUSR1)?;
        let title = format!("{id} on ");
        let mut rows = Vec::new();
        eventually("the counters are printed", || {
            let log = self.log.lock().unwrap();
            let mut table = log[before..].iter().skip_while(|line| !line.starts_with(&title));
            rows = table.by_ref().skip(2).map_while(|line| Row::parse(line)).collect();
            // What else is to be said follows, and then an empty line.
            table.any(String::is_empty)
        })?;
        Ok(rows)
    }

    /// The counters of all pairs of a NIC together.
    pub(crate) fn all_counters(&self, id: &str) -> Result<Row> {
        self.counters(id)?;
        let log = self.log();
        let line = log.lines().rev().find(|line| line.trim_start().starts_with("all"));
        // It has no state where each pair has its own.
        let line = line.ok_or("no counters")?.replace("all", "0 ");
        let words = line.split_whitespace().filter(|word| *word != "kernel");
        let mut words: Vec<&str> = words.collect();
        words.insert(1, "");
        Row::of(&words).ok_or_else(|| "no counters".into())
    }

    /// How often the tap would have blocked.
    pub(crate) fn blocked(&self, id: &str) -> Result<u64> {
        self.count_of(id, "send buffer of the tap was full")
    }

    /// What the counters say of pair 0 in a line with this text; 0 if there is none.
    pub(crate) fn count_of(&self, id: &str, text: &str) -> Result<u64> {
        let before = self.log.lock().unwrap().len();
        self.counters(id)?;
        let log = self.log.lock().unwrap();
        let line = log[before..].iter().find(|line| line.contains(text));
        let count = line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// Whether all its threads wait for something, rather than run or wait for a CPU (`man 5 proc_pid_stat`).
    pub(crate) fn sleeps(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.pid())) else { return false };
        let mut states = threads.flatten().map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("stat")).ok()?;
            // The name in front may contain anything.
            text.rsplit_once(") ")?.1.chars().next()
        });
        states.all(|state| state == Some('S'))
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })?;
        eventually("its last words are heard", || self.listener.is_finished())?;
        status.ok_or_else(|| "no status".into())
    }
}

/// The whole suite can run with an engine of one's choice: `MQTAP_TEST_ENGINE=syscall cargo test`. What holds for the kernel's data
/// path, too, runs with `MQTAP_TEST_VHOST=on`.
fn on_data_path(netdev: &str) -> String {
    match std::env::var("MQTAP_TEST_ENGINE") {
        _ if in_kernel() && !netdev.contains("vhost") => format!("{netdev},vhost=on"),
        Ok(engine) if !netdev.contains("engine=") => format!("{netdev},engine={engine}"),
        _ => netdev.to_owned(),
    }
}

/// Whether the kernel is to move the frames.
pub(crate) fn in_kernel() -> bool {
    std::env::var("MQTAP_TEST_VHOST").is_ok_and(|value| value == "on")
}

/// Whether rings may be packed: both, where that can be.
pub(crate) fn layouts() -> &'static [bool] {
    if in_kernel() { &[false] } else { &[false, true] }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon said:\n{}", self.log());
        }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) attached: bool,
    pub(crate) transmitted: u64,
    pub(crate) transmit_dropped: u64,
    pub(crate) received: u64,
    pub(crate) receive_dropped: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        Self::of(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// From the words of a line: pair, state, numbers.
    fn of(words: &[&str]) -> Option<Self> {
        let words: Vec<&str> = words.iter().copied().filter(|word| *word != "|").collect();
        let number = |i: usize| words.get(i)?.parse::<u64>().ok();
        number(0)?;
        Some(Self {
            attached: matches!(words.get(1), Some(&"attached" | &"kernel")),
            transmitted: number(2)?,
            transmit_dropped: number(4)?,
            received: number(5)?,
            receive_dropped: number(7)?,
        })
    }
}

/// Gives `tap0` an address and the guest a place in the neighbour table, so that the host sends without asking.
pub(crate) fn address(device: &str, number: u8) -> Result<()> {
    ip(&format!("address add 10.9.{number}.1/24 dev {device}"))?;
    ip(&format!("link set {device} up"))?;
    let mac = "02:00:00:00:00:99";
    ip(&format!("neighbour replace 10.9.{number}.2 lladdr {mac} dev {device} nud permanent"))?;
    Ok(())
}

/// The kernel takes note of a carrier that comes back when it gets around to it, and until then drops what the host sends.
pub(crate) fn settle(device: &str) -> TestResult {
    eventually("the kernel takes note of the carrier", || {
        let text = ip(&format!("link show {device}")).unwrap();
        !text.contains(",UP") || text.contains("state UP") || text.contains("state UNKNOWN")
    })
}

/// The host's own address on `device`.
pub(crate) fn host_mac(device: &str) -> Result<[u8; 6]> {
    let text = ip(&format!("-br link show {device}"))?;
    let mac = text.split_whitespace().find(|word| word.matches(':').count() == 5).ok_or("no MAC")?;
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    Ok(octets.try_into().unwrap())
}

/// Attached and detached queues, as the kernel tells.
pub(crate) fn queues(device: &str) -> Result<(u64, u64)> {
    let text = ip(&format!("-d link show {device}"))?;
    let after = |key: &str| {
        let mut words = text.split_whitespace().skip_while(|word| *word != key).skip(1);
        words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    Ok((after("numqueues"), after("numdisabled")))
}

pub(crate) fn has_carrier(device: &str) -> Result<bool> {
    Ok(!ip(&format!("link show {device}"))?.contains("NO-CARRIER"))
}

/// Waits until the bridge that it is a port of forwards to it.
pub(crate) fn forwards(port: &str) -> TestResult {
    eventually("the bridge forwards", || {
        ip(&format!("-d link show {port}")).is_ok_and(|text| text.contains("state forwarding"))
    })
}
