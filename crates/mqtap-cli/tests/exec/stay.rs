//! Netdevs that leave something to undo: `mqtap exec` stays, and waits for the command.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use mqtap_test_support::{Scripts, TestResult, eventually, gone, ip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::descriptors::from_3;
use super::support::{LIST, PATH, Result, exec, lines, minding_signals, texts};

/// A persistent interface that is put on a bridge, and has to leave it again.
const ON_BRIDGE: &str = "tap,id=hn0,ifname=tap0,queues=2,br=br0";

fn bridge() -> TestResult {
    ip("link add br0 type bridge")?;
    ip("link set br0 up")?;
    ip("tuntap add dev tap0 mode tap multi_queue vnet_hdr")?;
    Ok(())
}

fn on_bridge() -> bool {
    ip("link show tap0").unwrap().contains("master br0")
}

pub(crate) fn a_netdev_is_undone_after_the_command() -> TestResult {
    bridge()?;
    let text = lines(exec(&[ON_BRIDGE]).args(["--", "sh", "-c", "ip link show tap0"]))?.join("\n");
    assert!(text.contains("master br0"), "{text}");
    assert!(!on_bridge());
    // One that the kernel undoes needs nobody to wait: the command is the process that was started.
    let ours = lines(exec(&["tap,id=hn0,ifname=tap1,br=br0"]).args(["--", "sh", "-c", "echo $PPID"]))?;
    assert_eq!(ours, [std::process::id().to_string()]);
    Ok(())
}

pub(crate) fn scripts_are_run_before_and_after_the_command() -> TestResult {
    let scripts = Scripts::new()?;
    let up = scripts.script("up", "echo up $1 >>$dir/log")?;
    let down = scripts.script("down", "ip link show $1 >/dev/null && echo down $1 >>$dir/log")?;
    let netdev = format!("tap,id=hn0,ifname=tap0,queues=2,script={up},downscript={down}");
    let log = scripts.file("log").display().to_string();
    let mut command = exec(&[&netdev]);
    let status = command.args(["--", "sh", "-c", "echo command >>$0; exit 3", &log]).status()?;
    assert_eq!(status.code(), Some(3));
    assert_eq!(scripts.written("log")?, "up tap0\ncommand\ndown tap0\n");
    // One that fails keeps the command from starting.
    let up = scripts.script("fail", "exit 5")?;
    let netdev = format!("tap,id=hn0,ifname=tap0,queues=2,script={up},downscript={down}");
    let output = exec(&[&netdev]).args(["--", "sh", "-c", "echo command >>$0", &log]).output()?;
    let (_, stderr) = texts(&output)?;
    assert!(stderr.contains("netdev hn0: script=") && stderr.contains("exit status: 5"), "{stderr}");
    assert_eq!(scripts.written("log")?.lines().count(), 3);
    gone("tap0")
}

/// Also if the command cannot be run.
pub(crate) fn netdevs_are_undone_in_reverse() -> TestResult {
    let scripts = Scripts::new()?;
    let down = scripts.script("down", "ip link show $1 >/dev/null && echo down $1 >>$dir/log")?;
    let netdevs = ["a", "b"].map(|id| format!("tap,id={id},ifname=tap-{id},downscript={down}"));
    for (command, status) in [("false", 1), ("mqtap-no-such-command", 127)] {
        let mut exec = exec(&netdevs.each_ref().map(String::as_str));
        let output = exec.env("PATH", PATH).args(["--", command]).output()?;
        assert_eq!(output.status.code(), Some(status), "{}", texts(&output)?.1);
        assert_eq!(scripts.written("log")?, "down tap-b\ndown tap-a\n");
        std::fs::remove_file(scripts.file("log"))?;
        gone("tap-a")?;
        gone("tap-b")?;
    }
    Ok(())
}

pub(crate) fn a_child_inherits_as_well() -> TestResult {
    bridge()?;
    let listed = lines(exec(&[ON_BRIDGE, "tap,id=b,ifname=tap1"]).args(["--", "sh", "-c", LIST]))?;
    assert_eq!(from_3(&listed), ["3 /dev/net/tun tap0", "4 /dev/net/tun tap0", "5 /dev/net/tun tap1"]);
    let script = r#"echo "$LISTEN_FDS $LISTEN_FDNAMES $*"; [ "$LISTEN_PID" = $$ ] && grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -Sn"#;
    let told = lines(exec(&[ON_BRIDGE]).args(["--drop-caps", "--", "sh", "-c", script, "sh", "{hn0}"]))?;
    assert_eq!(told[0], "2 hn0:hn0 tap,id=hn0,fds=3:4");
    assert_eq!(told[1].trim_start_matches("SigBlk:").trim(), "0000000000000000");
    let ignored = u64::from_str_radix(told[2].trim_start_matches("SigIgn:").trim(), 16)?;
    assert_eq!(ignored & 1 << (Signal::SIGPIPE as i32 - 1), 0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    assert_eq!(told[3], limit.to_string());
    let dropped = "grep -c 'Cap.*0000000000000000' /proc/self/status";
    assert_eq!(lines(exec(&[ON_BRIDGE]).args(["--drop-caps", "--", "sh", "-c", dropped]))?, ["5"]);
    assert!(!on_bridge());
    Ok(())
}

pub(crate) fn the_status_is_passed_on() -> TestResult {
    bridge()?;
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let output = exec(&[ON_BRIDGE]).args(["--", "sh", "-c", script]).output()?;
        assert_eq!(output.status.code(), Some(status), "{script}: {}", texts(&output)?.1);
        assert!(!on_bridge());
    }
    for (command, status) in [("mqtap-no-such-command", 127), ("/etc/passwd", 126)] {
        let output = exec(&[ON_BRIDGE]).env("PATH", PATH).args(["--", command]).output()?;
        assert_eq!(output.status.code(), Some(status));
        assert!(texts(&output)?.1.contains(command));
        assert!(!on_bridge());
    }
    Ok(())
}

/// A command that says which signals it gets, and ends with status 3 at the first SIGTERM.
const TELL: &str = r#"
for name in HUP INT QUIT USR1 USR2 WINCH; do trap "echo $name" $name; done
trap 'echo TERM; exit 3' TERM
echo ready $$
while :; do sleep 0.02; done"#;

struct Telling {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    command: Pid,
}

impl Telling {
    fn start() -> Result<Self> {
        let mut child = minding_signals(exec(&[ON_BRIDGE]).args(["--", "sh", "-c", TELL]))
            .stdout(Stdio::piped())
            // SIGTSTP does nothing in a process group without a parent in another one, as this test's own may be.
            .process_group(0)
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line)?;
        let command = line.trim().strip_prefix("ready ").ok_or(line.clone())?.parse()?;
        Ok(Self { child, output, command: Pid::from_raw(command) })
    }

    fn ours(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = kill(self.command, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

pub(crate) fn signals_are_passed_on() -> TestResult {
    bridge()?;
    let mut telling = Telling::start()?;
    assert_ne!(telling.ours(), telling.command);
    for (signal, name) in [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGTERM, "TERM"),
    ] {
        kill(telling.ours(), signal)?;
        assert_eq!(telling.line()?, name);
    }
    assert_eq!(telling.child.wait()?.code(), Some(3));
    assert!(!on_bridge());
    Ok(())
}

pub(crate) fn a_killed_command_is_undone() -> TestResult {
    bridge()?;
    let mut telling = Telling::start()?;
    assert!(on_bridge());
    kill(telling.command, Signal::SIGKILL)?;
    assert_eq!(telling.child.wait()?.code(), Some(137));
    assert!(!on_bridge());
    Ok(())
}

/// The state letter of a process, as `ps` shows it.
fn state(process: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

pub(crate) fn a_command_that_somebody_stops_is_waited_for() -> TestResult {
    bridge()?;
    let mut telling = Telling::start()?;
    let (ours, command) = (telling.ours(), telling.command);
    kill(command, Signal::SIGSTOP)?;
    eventually("the command is stopped", || state(command) == 'T')?;
    kill(command, Signal::SIGCONT)?;
    kill(command, Signal::SIGTERM)?;
    assert_eq!(telling.line()?, "TERM");
    assert_eq!(telling.child.wait()?.code(), Some(3));
    // Stopped as a terminal would, both stop, and both go on.
    let mut telling = Telling::start()?;
    let (again, command) = (telling.ours(), telling.command);
    assert_ne!(ours, again);
    kill(again, Signal::SIGTSTP)?;
    eventually("both are stopped", || (state(again), state(command)) == ('T', 'T'))?;
    kill(again, Signal::SIGCONT)?;
    eventually("both go on", || state(again) != 'T' && state(command) != 'T')?;
    kill(again, Signal::SIGTERM)?;
    assert_eq!(telling.line()?, "TERM");
    assert_eq!(telling.child.wait()?.code(), Some(3));
    Ok(())
}

/// A terminal with a shell on it that runs `script`, jobs in groups of their own.
struct Terminal {
    shell: Child,
    keyboard: File,
    screen: BufReader<File>,
}

impl Terminal {
    fn run(script: &str) -> Result<Self> {
        let pty = nix::pty::openpty(None, None)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "-m", "-c", script]);
        let mut command = minding_signals(&command);
        let slave = File::from(pty.slave);
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let keyboard = File::from(pty.master);
        Ok(Self { shell: command.spawn()?, screen: BufReader::new(keyboard.try_clone()?), keyboard })
    }

    /// Reads until a line that contains `text`; returns all lines.
    fn wait_for(&mut self, text: &str) -> Result<String> {
        let mut seen = String::new();
        let mut line = Vec::new();
        while !String::from_utf8_lossy(&line).contains(text) {
            line.clear();
            if self.screen.read_until(b'\n', &mut line)? == 0 {
                return Err(format!("the terminal never showed {text:?}, but: {seen}").into());
            }
            seen.push_str(&String::from_utf8_lossy(&line));
        }
        Ok(seen)
    }

    fn press(&mut self, key: char) -> TestResult {
        Ok(self.keyboard.write_all(&[key as u8 & 0x1f])?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// `mqtap exec` for a shell's script, and what it prints its status as.
fn in_shell(command: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_mqtap");
    format!(
        "{binary} exec --netdev {ON_BRIDGE} -- sh -c '{}'; echo status $?",
        command.replace('\'', r"'\''")
    )
}

fn pid_after(text: &str, word: &str) -> Result<Pid> {
    let pid = text.lines().find_map(|line| line.trim().strip_prefix(word)).ok_or("no pid")?;
    Ok(Pid::from_raw(pid.trim().parse()?))
}

pub(crate) fn ctrl_c_arrives_once() -> TestResult {
    bridge()?;
    let mut terminal = Terminal::run(&in_shell(&TELL.replace("echo $name", "echo [$name]")))?;
    let command = pid_after(&terminal.wait_for("ready")?, "ready ")?;
    terminal.press('C')?;
    terminal.wait_for("[INT]")?;
    terminal.press('\\')?;
    let mut seen = terminal.wait_for("[QUIT]")?;
    kill(command, Signal::SIGTERM)?;
    seen.push_str(&terminal.wait_for("status 3")?);
    assert!(!seen.contains("[INT]") && seen.matches("[QUIT]").count() == 1, "once, not twice: {seen}");
    assert!(!on_bridge());
    // Without a handler it ends the command, and the netdev is undone all the same.
    let mut terminal = Terminal::run(&in_shell("echo ready; exec sleep 1000"))?;
    terminal.wait_for("ready")?;
    terminal.press('C')?;
    terminal.wait_for("status 130")?;
    assert!(!on_bridge());
    Ok(())
}

pub(crate) fn ctrl_z_gives_the_terminal_back() -> TestResult {
    bridge()?;
    let script = format!("{}; fg; echo finally $?", in_shell("echo ready $$; exec sleep 1000"));
    let mut terminal = Terminal::run(&script)?;
    let command = pid_after(&terminal.wait_for("ready")?, "ready ")?;
    terminal.press('Z')?;
    // What shells have for SIGTSTP, or for SIGSTOP: they see us.
    terminal.wait_for("status 14")?;
    eventually("it goes on in the foreground", || state(command) == 'S')?;
    terminal.press('C')?;
    terminal.wait_for("finally 130")?;
    assert!(!on_bridge());
    Ok(())
}
