//! DPDK's `testpmd` with `net_virtio_user`: another people's virtio driver, in a process instead of a guest.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::netns::Namespace;
use crate::outcome::{Context as _, Result, fail, failure, say};
use crate::process::{self, Supervised};
use crate::{image, paths, setup};

const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PROMPT: &str = "testpmd>";

/// The drivers it needs: for rings of buffers, and for virtio.
const PLUGINS: &[&str] = &["librte_mempool_ring.so.23", "librte_net_virtio.so.23"];

/// Memory that testpmd maps and shares with the daemon.
const MEMORY_MIB: u64 = 256;

/// The program, and where its libraries are.
#[derive(Clone)]
pub(crate) struct Installation {
    pub(crate) program: PathBuf,
    libraries: PathBuf,
}

impl Installation {
    /// The program with the drivers that it has to load, for a shell.
    pub(crate) fn command_line(&self, plugins: &[&str]) -> String {
        let mut line = self.program.display().to_string();
        for plugin in self.plugins(plugins) {
            line.push_str(&format!(" -d {}", plugin.display()));
        }
        line
    }

    /// What has to be in its environment.
    pub(crate) fn environment(&self) -> Vec<(String, PathBuf)> {
        vec![("LD_LIBRARY_PATH".to_owned(), self.libraries.clone())]
    }

    /// For an image, with the drivers that it has to load.
    pub(crate) fn program(&self) -> image::Program {
        image::Program {
            libraries: Some(self.libraries.clone()),
            plugins: self.plugins(PLUGINS).collect(),
            ..image::Program::new(self.program.clone())
        }
    }

    fn plugins<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = PathBuf> + 'a {
        names.iter().map(|name| self.libraries.join(name))
    }
}

/// Downloads testpmd with its libraries into the cache: nothing is installed, for the package would bring two hundred; and what is
/// installed does not count, whichever version of it that is.
pub(crate) fn install() -> Result<Installation> {
    let tree = paths::cache()?.join("dpdk");
    if !tree.is_dir() {
        say("downloading DPDK's testpmd (package dpdk-dev and the libraries it needs)");
        let unpacked = image::unpack_packages(&packages()?, &paths::cache()?.join("unpacking-dpdk"))?;
        std::fs::rename(&unpacked, &tree)?;
    }
    let program = tree.join("usr/bin/dpdk-testpmd");
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let needed = std::iter::once(program.clone()).chain(PLUGINS.iter().map(|name| libraries.join(name)));
    for file in needed {
        if !file.is_file() {
            return fail(format!("{} is missing; delete {} and try again", file.display(), tree.display()));
        }
    }
    Ok(Installation { program, libraries })
}

/// What apt would install for dpdk-dev on a system that has nothing, without headers and without anything that runs
/// the system. What happens to be installed does not count: the drivers are looked for among what was unpacked.
fn packages() -> Result<Vec<String>> {
    let simulate = || {
        process::output(
            Command::new("apt-get").args(["install", "--simulate", "--no-install-recommends"]).args([
                "-o",
                "Dir::State::status=/dev/null",
                "dpdk-dev",
            ]),
            PATIENCE,
        )
    };
    let plan = match simulate() {
        Ok(plan) => plan,
        Err(_) => {
            setup::update_lists()?;
            simulate()?
        }
    };
    let mut wanted: Vec<String> = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .filter(|name| {
            name.starts_with("librte-") && !name.starts_with("librte-meta")
                || ["libibverbs", "ibverbs-", "libnl-", "libbpf", "libxdp", "libpcap", "libfdt", "libjansson"]
                    .iter()
                    .chain(&[
                        "libnuma",
                        "libipsec",
                        "libisal",
                        "libelf",
                        "libbsd",
                        "libmd",
                        "libdbus",
                        "libarchive",
                    ])
                    .any(|prefix| name.starts_with(prefix))
        })
        .filter(|name| !name.ends_with("-dev"))
        .map(str::to_owned)
        .collect();
    wanted.push("dpdk-dev".to_owned());
    Ok(wanted)
}

/// How the driver shall use its device.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) queues: u16,
    pub(crate) packed: bool,
    pub(crate) mergeable: bool,
    pub(crate) in_order: bool,
    pub(crate) hugepages: bool,
    /// The frontend listens, the daemon connects.
    pub(crate) server: bool,
    pub(crate) ring_size: u16,
    /// Where it runs; on the last CPU that we may use if nothing is said.
    pub(crate) cpu: Option<usize>,
}

/// A running testpmd, obeying commands.
pub(crate) struct Testpmd {
    process: Supervised,
    // Read so far of its log.
    seen: usize,
}

impl Testpmd {
    /// Starts it on the socket; returns when the port is up.
    pub(crate) fn start(
        installation: &Installation,
        namespace: &Namespace,
        socket: &Path,
        log: &Path,
        driver: Driver,
    ) -> Result<Self> {
        // Its prompt comes unbuffered; so must the answers, or they come after it.
        let mut command = namespace.command("stdbuf");
        command.arg("-oL").arg(&installation.program);
        command.envs(installation.environment());
        let cpu = driver.cpu.map_or_else(last_cpu, Ok)?;
        command.args(arguments(installation, socket, driver, cpu));
        command.stdin(Stdio::piped());
        let mut testpmd = Self { process: Supervised::start(&mut command, "dpdk-testpmd", log)?, seen: 0 };
        let start = testpmd.answer()?;
        check_negotiated(&start, driver)?;
        Ok(testpmd)
    }

    /// Types a command; returns what it printed.
    pub(crate) fn command(&mut self, line: &str) -> Result<String> {
        self.type_line(line)?;
        self.answer()
    }

    /// Ends it as a user would, so that it stops its rings.
    pub(crate) fn quit(mut self) -> Result<()> {
        self.type_line("quit")?;
        match self.process.wait(PATIENCE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                fail(format!("dpdk-testpmd ended with {status}:\n{}", process::tail(&self.process.log(), 10)))
            }
            None => fail("dpdk-testpmd did not quit"),
        }
    }

    fn type_line(&mut self, line: &str) -> Result<()> {
        let input =
            self.process.child().stdin.as_mut().ok_or_else(|| failure("dpdk-testpmd has no input"))?;
        input
            .write_all(format!("{line}\n").as_bytes())
            .context(|| format!("cannot type `{line}` to dpdk-testpmd"))
    }

    fn answer(&mut self) -> Result<String> {
        let (process, seen) = (&mut self.process, &mut self.seen);
        process::until(PATIENCE, "dpdk-testpmd to answer", || {
            process.must_run()?;
            let log = process.log();
            let fresh = log.get(*seen..).unwrap_or_default();
            // It echoes the line, answers, and prompts again at the start of a line.
            let Some(end) = fresh.rfind(&format!("\n{PROMPT}")) else {
                return Ok(None);
            };
            let text = fresh[..end].to_owned();
            *seen += end + 1 + PROMPT.len();
            Ok(Some(text))
        })
        .map_err(|error| {
            format!("{error}; it printed last:\n{}", process::tail(&self.process.log(), 12)).into()
        })
    }
}

/// How it is started; what it runs on is `cpu`.
pub(crate) fn arguments(
    installation: &Installation,
    socket: &Path,
    driver: Driver,
    cpu: usize,
) -> Vec<String> {
    let mut all = Vec::new();
    for plugin in installation.plugins(PLUGINS) {
        all.extend(["-d".to_owned(), plugin.display().to_string()]);
    }
    all.extend(["--lcores".to_owned(), format!("0@{cpu},1@{cpu}")]);
    // It says which features were negotiated.
    all.extend(["--no-pci", "--no-telemetry", "--log-level=pmd.net.virtio.init:debug"].map(str::to_owned));
    all.extend(["-m".to_owned(), MEMORY_MIB.to_string()]);
    let memory: &[&str] = if driver.hugepages {
        &["--in-memory", "--single-file-segments"]
    } else {
        &["--no-huge", "--no-shconf", "--iova-mode=va"]
    };
    all.extend(memory.iter().map(|argument| (*argument).to_owned()));
    let flag = u8::from;
    all.push("--vdev".to_owned());
    all.push(format!(
        "net_virtio_user0,path={},mac=02:00:00:4d:51:02,queues={},queue_size={},packed_vq={},mrg_rxbuf={},in_order={},server={}",
        socket.display(),
        driver.queues,
        driver.ring_size,
        flag(driver.packed),
        flag(driver.mergeable),
        flag(driver.in_order),
        flag(driver.server),
    ));
    let application =
        ["--", "-i", "--nb-cores=1", "--no-lsc-interrupt", "--txonly-multi-flow", "--total-num-mbufs=16384"];
    all.extend(application.map(str::to_owned));
    all.extend([format!("--rxq={}", driver.queues), format!("--txq={}", driver.queues)]);
    all
}

/// Whether what it printed at the start says that it drives its device as it was told.
pub(crate) fn check_negotiated(start: &str, driver: Driver) -> Result<()> {
    for (name, bit, wanted) in [
        ("packed ring", 34, driver.packed),
        ("mergeable buffers", 15, driver.mergeable),
        ("in order", 35, driver.in_order),
    ] {
        if negotiated(start)? >> bit & 1 != u64::from(wanted) {
            return fail(format!("dpdk-testpmd did not negotiate as it was told: {name} should be {wanted}"));
        }
    }
    Ok(())
}

/// The virtio features in use, as the driver prints them.
fn negotiated(log: &str) -> Result<u64> {
    log.lines()
        .filter_map(|line| line.split("features after negotiate = ").nth(1))
        .find_map(|number| u64::from_str_radix(number.trim().trim_start_matches("0x"), 16).ok())
        .ok_or_else(|| failure("dpdk-testpmd did not print the negotiated features"))
}

/// A CPU that this process may use; the highest, for the lowest tend to be busy.
fn last_cpu() -> Result<usize> {
    let allowed =
        rustix::thread::sched_getaffinity(None).context(|| "cannot read the CPU affinity".to_owned())?;
    (0..rustix::thread::CpuSet::MAX_CPU)
        .rev()
        .find(|cpu| allowed.is_set(*cpu))
        .ok_or_else(|| failure("no CPU may be used"))
}

/// Huge pages for testpmd while this value lives.
pub(crate) struct Hugepages {
    before: Option<String>,
}

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";

impl Hugepages {
    /// Makes sure that enough are free for so many at the same time.
    pub(crate) fn reserve(testpmds: u64) -> Result<Self> {
        let free = || -> Result<u64> {
            let text = std::fs::read_to_string("/proc/meminfo")?;
            let line = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:")).unwrap_or("0");
            Ok(line.trim().parse()?)
        };
        // Pages of 2 MiB; testpmd rounds up a little.
        let wanted = testpmds * (MEMORY_MIB / 2 + 16);
        if free()? >= wanted {
            return Ok(Self { before: None });
        }
        let before = std::fs::read_to_string(NR_HUGEPAGES)?;
        let more = before.trim().parse::<u64>()? + wanted - free()?;
        let reserved = Self { before: Some(before) };
        std::fs::write(NR_HUGEPAGES, more.to_string())
            .context(|| format!("cannot reserve huge pages in {NR_HUGEPAGES}; this needs root"))?;
        if free()? < wanted {
            // There may be room, in pieces.
            std::fs::write("/proc/sys/vm/compact_memory", "1")?;
            std::fs::write(NR_HUGEPAGES, more.to_string())?;
        }
        if free()? < wanted {
            return fail(format!("the kernel found no room for {wanted} huge pages of 2 MiB"));
        }
        Ok(reserved)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = std::fs::write(NR_HUGEPAGES, before.trim());
        }
    }
}
