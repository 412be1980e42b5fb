//! On what it was measured. No host names, no paths.

use std::process::Command;
use std::time::Duration;

use super::model::Machine;
use crate::{paths, process};

const QUICK: Duration = Duration::from_secs(20);

pub(super) fn look(programs: &[(&str, &[&str])]) -> Machine {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cpuinfo = text("/proc/cpuinfo");
    let number = |key: &str| format!("{key} {}", field(&cpuinfo, key));
    let cpu = format!("{} ({}, {})", field(&cpuinfo, "model name"), number("cpu family"), number("model"));
    let memory: u64 = field(&text("/proc/meminfo"), "MemTotal")
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    // The build behind the version says who made the machine, and nothing about its speed.
    let kernel = text("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let line = |command: &mut Command| {
        let output = process::output(command, QUICK).unwrap_or_default();
        output.lines().next().unwrap_or_default().trim().to_owned()
    };
    let revision =
        line(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(paths::root()));
    let programs = programs
        .iter()
        .map(|(program, arguments)| line(Command::new(program).args(*arguments)))
        .filter(|version| !version.is_empty())
        .collect();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let date = line(Command::new("date").args(["-u", "+%Y-%m-%d"]));
    Machine { date, cpu, cpus, memory_gib: memory.div_ceil(1 << 20), kernel, revision, programs }
}
