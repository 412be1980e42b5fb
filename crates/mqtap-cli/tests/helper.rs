//! `mqtap helper`: with `mqtap exec` as the one that asks for queues, and with the privilege of a file.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mqtap_test_support::{
    Scripts, TestResult, all_users_exist, cannot_run, eventually, ip, own_directory, tests,
};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

tests!(
    passes_as_many_queues_as_asked_of_a_tap_on_the_bridge,
    passes_more_queues_than_fit_into_a_message,
    the_tap_is_for_whom_it_was_made,
    is_a_helper_for_qemu_as_well,
    qemu_takes_a_queue_from_it,
    uses_the_access_list_of_qemu_if_there_is_no_other,
    refuses_what_the_access_list_does_not_allow,
    refuses_an_access_list_that_others_can_write,
    refuses_a_bridge_by_an_alternative_name,
    needs_a_bridge_and_leaves_nothing,
    needs_a_unix_socket_and_leaves_nothing,
    takes_another_access_list_from_whoever_has_no_more_privilege_than_his_own,
    without_the_capability_says_how_to_give_it,
    wrong_usage_is_exit_status_2,
    a_user_gets_queues_by_the_capability_of_the_file,
    the_capability_of_the_file_is_for_the_helper_only,
    the_capability_of_a_service_is_its_own,
    a_user_does_not_choose_the_access_list,
    a_user_is_not_told_what_he_may_not_read,
    must_not_be_set_user_id,
);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Access lists, in an `/etc` that only this test sees, and a bridge.
fn prepare(access_list: &str) -> TestResult {
    own_directory("/etc")?;
    fs::create_dir("/etc/mqtap")?;
    fs::write("/etc/mqtap/bridge.conf", access_list)?;
    ip("link add br0 type bridge")?;
    ip("link set br0 mtu 2500 up")?;
    Ok(())
}

fn mqtap() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mqtap"))
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let (out, error) = texts(&output);
    if output.status.success() {
        Ok(out)
    } else {
        Err(format!("{command:?}: {}: {error}", output.status).into())
    }
}

/// Standard error of a command that must fail, with status 1.
#[track_caller]
fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {out} {error}");
    error
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// `mqtap exec` with this netdev, and a shell that runs a script.
fn exec(mut mqtap: Command, netdev: &str, script: &str) -> Command {
    mqtap.args(["exec", "--netdev", netdev, "--", "sh", "-c", script]);
    mqtap
}

/// The helper alone, with descriptor 3 for its socket.
fn alone(arguments: &str, redirection: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("\"$0\" helper {arguments} {redirection}"), env!("CARGO_BIN_EXE_mqtap")]);
    command
}

fn nothing_is_left() -> TestResult {
    // The loopback and the bridge.
    eventually("no tap is left", || ip("-oneline link show").unwrap().lines().count() == 2)
}

fn passes_as_many_queues_as_asked_of_a_tap_on_the_bridge() -> TestResult {
    prepare("allow br0\n")?;
    let script = "grep -l ^iff: /proc/$$/fdinfo/* | wc -l; ip -d link show tap0";
    let out = output(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=4,br=br0", script))?;
    assert_eq!(out.lines().next(), Some("4"), "{out}");
    for piece in [
        "master br0",
        "mtu 2500",
        ",UP",
        "multi_queue numqueues 4",
        "vnet_hdr on",
        "link/ether fe:",
        "qdisc noqueue",
    ] {
        assert!(out.contains(piece), "{piece} is missing in: {out}");
    }
    nothing_is_left()
}

fn passes_more_queues_than_fit_into_a_message() -> TestResult {
    prepare("allow br0\n")?;
    let script = "grep -l ^iff: /proc/$$/fdinfo/* | wc -l";
    let out = output(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=256", script))?;
    assert_eq!(out, "256\n");
    nothing_is_left()
}

/// An interface without an owner is open to every user of the machine.
fn the_tap_is_for_whom_it_was_made() -> TestResult {
    prepare("allow br0\n")?;
    let out = output(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=2", "ip -d link show tap0"))?;
    assert!(out.contains("user root") || out.contains("user 0 "), "{out}");
    Ok(())
}

/// One queue of a device that can have one, as QEMU's helper gives it.
fn is_a_helper_for_qemu_as_well() -> TestResult {
    prepare("allow br0\n")?;
    let netdev = format!("tap,id=a,helper={} helper", env!("CARGO_BIN_EXE_mqtap"));
    let out = output(&mut exec(mqtap(), &netdev, "ip -d link show tap0"))?;
    assert!(out.contains("master br0") && !out.contains("multi_queue"), "{out}");
    Ok(())
}

/// The real one, which looks at nothing but its netdev and ends.
fn qemu_takes_a_queue_from_it() -> TestResult {
    const QEMU: &str = "qemu-system-x86_64";
    prepare("allow br0\n")?;
    let mut command = Command::new(QEMU);
    command.args(["-nodefaults", "-display", "none", "-S", "-monitor", "stdio", "-netdev"]);
    command.arg(format!("tap,id=n0,br=br0,helper={} helper", env!("CARGO_BIN_EXE_mqtap")));
    command.args(["-device", "virtio-net-pci,netdev=n0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut qemu = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return cannot_run("QEMU is not installed; Debian has it in qemu-system-x86");
        }
        result => result?,
    };
    eventually("QEMU has its tap on the bridge", || {
        ip("link show tap0").is_ok_and(|shown| shown.contains("master br0"))
            || qemu.try_wait().unwrap().is_some()
    })?;
    qemu.stdin.take().unwrap().write_all(b"info network\nquit\n")?;
    let (out, error) = texts(&qemu.wait_with_output()?);
    assert!(out.contains("index=0,type=tap,helper="), "{out} {error}");
    nothing_is_left()
}

fn uses_the_access_list_of_qemu_if_there_is_no_other() -> TestResult {
    prepare("")?;
    let netdev = "tap,id=a,helper=mqtap,queues=2";
    fs::create_dir("/etc/qemu")?;
    fs::write("/etc/qemu/bridge.conf", "allow all\n")?;
    let error = failure(&mut exec(mqtap(), netdev, "true"));
    assert!(error.contains("/etc/mqtap/bridge.conf does not allow"), "ours counts if it is there: {error}");
    fs::remove_file("/etc/mqtap/bridge.conf")?;
    output(&mut exec(mqtap(), netdev, "true"))?;
    fs::remove_file("/etc/qemu/bridge.conf")?;
    let error = failure(&mut exec(mqtap(), netdev, "true"));
    assert!(error.contains("no access list") && error.contains("/etc/mqtap/bridge.conf"), "{error}");
    nothing_is_left()
}

fn refuses_what_the_access_list_does_not_allow() -> TestResult {
    prepare("allow br1\n")?;
    let error = failure(&mut exec(mqtap(), "tap,id=hn0,helper=mqtap,queues=2", "true"));
    for piece in ["netdev hn0: helper=mqtap: ", "exit status: 1", "does not allow bridge br0", "`allow br0`"]
    {
        assert!(error.contains(piece), "{piece} is missing in: {error}");
    }
    fs::write("/etc/mqtap/bridge.conf", "allow br0\ndeny br0\n")?;
    let error = failure(&mut exec(mqtap(), "tap,id=hn0,helper=mqtap,queues=2", "true"));
    assert!(error.contains("/etc/mqtap/bridge.conf denies bridge br0"), "{error}");
    fs::write("/etc/mqtap/bridge.conf", "allow all\ndney br0\n")?;
    let error = failure(&mut exec(mqtap(), "tap,id=hn0,helper=mqtap,queues=2", "true"));
    assert!(error.contains("line 2") && error.contains("`dney`"), "{error}");
    nothing_is_left()
}

fn refuses_an_access_list_that_others_can_write() -> TestResult {
    prepare("allow all\n")?;
    fs::set_permissions("/etc/mqtap/bridge.conf", fs::Permissions::from_mode(0o666))?;
    let error = failure(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=2", "true"));
    assert!(error.contains("chmod go-w"), "{error}");
    nothing_is_left()
}

/// The kernel finds the bridge by it, and `deny br0` would be got round.
fn refuses_a_bridge_by_an_alternative_name() -> TestResult {
    prepare("allow all\ndeny br0\n")?;
    ip("link property add dev br0 altname lan")?;
    let error = failure(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=2,br=lan", "true"));
    assert!(error.contains("another name of br0"), "{error}");
    nothing_is_left()
}

fn needs_a_bridge_and_leaves_nothing() -> TestResult {
    prepare("allow all\n")?;
    let error = failure(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=2,br=br7", "true"));
    assert!(error.contains("there is no br7"), "{error}");
    let error = failure(&mut exec(mqtap(), "tap,id=a,helper=mqtap,queues=2,br=lo", "true"));
    assert!(error.contains("lo is not a bridge"), "{error}");
    nothing_is_left()
}

fn needs_a_unix_socket_and_leaves_nothing() -> TestResult {
    prepare("allow all\n")?;
    let error = failure(&mut alone("--br=br0 --fd=3 --queues=2", "3<>/dev/null"));
    assert!(error.contains("--fd=3") && error.contains("must be a Unix socket"), "{error}");
    nothing_is_left()?;
    let error = failure(&mut alone("--br=br0 --fd=3", ""));
    assert!(error.contains("--fd: file descriptor 3 is not open"), "{error}");
    Ok(())
}

fn takes_another_access_list_from_whoever_has_no_more_privilege_than_his_own() -> TestResult {
    prepare("allow all\n")?;
    let place = tempfile::tempdir()?;
    let list = place.path().join("list");
    fs::write(&list, "allow br5\n")?;
    let arguments = format!("--br=br0 --fd=3 --config={}", list.display());
    let error = failure(&mut alone(&arguments, "3<>/dev/null"));
    assert!(error.contains(&format!("{} does not allow bridge br0", list.display())), "{error}");
    Ok(())
}

fn without_the_capability_says_how_to_give_it() -> TestResult {
    prepare("allow all\n")?;
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-net_admin", "--bounding-set=-net_admin", "sh", "-c"]);
    command.args(["\"$0\" helper --br=br0 --fd=3 3<>/dev/null", env!("CARGO_BIN_EXE_mqtap")]);
    let error = failure(&mut command);
    assert!(error.contains("setcap cap_net_admin+ep ") && error.contains("/mqtap`"), "{error}");
    Ok(())
}

fn wrong_usage_is_exit_status_2() -> TestResult {
    for arguments in [
        "",
        "--br=br0",
        "--fd=3",
        "--br=br0 --fd=3 --queues=0",
        "--br=br0 --fd=3 --queues=257",
        "--br=a/b --fd=3",
    ] {
        let status = alone(arguments, "").output()?.status;
        assert_eq!(status.code(), Some(2), "{arguments}");
    }
    Ok(())
}

/// A user of the machine, as far as this needs root: one cannot become somebody else in a user namespace of one's own.
struct User {
    place: Scripts,
}

const UID: &str = "65534";

impl User {
    /// With a copy of the program that has the capability. `None` if the tests do not run as root.
    fn new() -> Result<Option<Self>> {
        if !all_users_exist() {
            return Ok(None);
        }
        let user = Self { place: Scripts::new()? };
        // By another process: a file that this one had open for writing, a child of another test would have open still.
        output(
            Command::new("install").args(["-m", "0755", env!("CARGO_BIN_EXE_mqtap")]).arg(user.program()),
        )?;
        output(Command::new("setcap").arg("cap_net_admin+ep").arg(user.program()))?;
        // As udev has it, where this machine may have it otherwise.
        own_directory("/dev/net")?;
        let everybody = Mode::from_bits_truncate(0o666);
        mknod(Path::new("/dev/net/tun"), SFlag::S_IFCHR, everybody, makedev(10, 200))?;
        fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(0o666))?;
        Ok(Some(user))
    }

    fn program(&self) -> PathBuf {
        self.place.file("mqtap")
    }

    /// A program as this user, without any privilege.
    fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", UID, "--regid", UID, "--clear-groups", "--inh-caps=-all"]).arg(program);
        command.current_dir(self.place.path());
        command
    }

    fn mqtap(&self) -> Command {
        self.run(self.program())
    }
}

macro_rules! user {
    () => {
        match User::new()? {
            Some(user) => user,
            None => return cannot_run("users can be told apart by root only"),
        }
    };
}

fn a_user_gets_queues_by_the_capability_of_the_file() -> TestResult {
    prepare("allow br0\n")?;
    let user = user!();
    let script = "grep -l ^iff: /proc/$$/fdinfo/* | wc -l; grep ^Cap /proc/$$/status; ip -d link show tap0";
    let out = output(&mut exec(user.mqtap(), "tap,id=a,helper=mqtap,queues=4", script))?;
    assert_eq!(out.lines().next(), Some("4"), "{out}");
    assert!(out.contains("master br0") && out.contains("numqueues 4"), "{out}");
    assert!(out.contains("user nobody") || out.contains(&format!("user {UID}")), "{out}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(out.contains(&format!("{set}:\t0000000000000000")), "{out}");
    }
    nothing_is_left()?;
    // The same program without it.
    output(Command::new("setcap").arg("-r").arg(user.program()))?;
    let error = failure(&mut exec(user.mqtap(), "tap,id=a,helper=mqtap,queues=4", "true"));
    assert!(error.contains("setcap cap_net_admin+ep"), "{error}");
    nothing_is_left()
}

fn the_capability_of_the_file_is_for_the_helper_only() -> TestResult {
    prepare("allow all\n")?;
    let user = user!();
    ip("tuntap add dev tap5 mode tap")?;
    for arguments in [
        &["create", "tap6"][..],
        &["delete", "tap5"],
        &["exec", "--netdev", "tap,id=a,ifname=tap6", "--", "true"],
        &["exec", "--netdev", "tap,id=a,ifname=tap5,br=br0", "--", "true"],
        &["serve", "--netdev", "tap,id=a,ifname=tap6", "--socket", "socket"],
    ] {
        let error = failure(user.mqtap().args(arguments));
        assert!(error.contains("EPERM") || error.contains("EACCES"), "{arguments:?}: {error}");
    }
    let links = ip("-oneline link show")?;
    assert!(links.contains("tap5") && !links.contains("tap6") && !links.contains("master"), "{links}");
    Ok(())
}

/// As of a service with `AmbientCapabilities=` and `NoNewPrivileges=`: the file gives nothing that was not there.
fn the_capability_of_a_service_is_its_own() -> TestResult {
    prepare("allow all\n")?;
    let user = user!();
    let mut service = Command::new("setpriv");
    service.args(["--reuid", UID, "--regid", UID, "--clear-groups", "--no-new-privs"]);
    service.args(["--inh-caps=+net_admin", "--ambient-caps=+net_admin"]).arg(user.program());
    output(service.args(["create", "tap6"]))?;
    assert!(ip("link show tap6").is_ok());
    ip("link del tap6")?;
    // By way of a shell: `setpriv` itself has all capabilities to the end.
    let mut without = Command::new("setpriv");
    without.args(["--reuid", UID, "--regid", UID, "--clear-groups", "--inh-caps=-all", "--no-new-privs"]);
    without.args(["sh", "-c", "exec \"$0\" \"$@\""]).arg(user.program());
    let error = failure(&mut exec(without, "tap,id=a,helper=mqtap,queues=2", "true"));
    assert!(error.contains("no_new_privs"), "{error}");
    nothing_is_left()
}

fn a_user_does_not_choose_the_access_list() -> TestResult {
    prepare("allow br5\n")?;
    let user = user!();
    let list = user.place.file("list");
    fs::write(&list, "allow all\n")?;
    let mut command = user.run("sh");
    let script = format!("./mqtap helper --br=br0 --fd=3 --config={} 3<>/dev/null", list.display());
    let error = failure(command.args(["-c", &script]));
    assert!(error.contains("--config cannot be given"), "{error}");
    nothing_is_left()
}

fn a_user_is_not_told_what_he_may_not_read() -> TestResult {
    prepare("include /etc/mqtap/others.conf\nallow br1\n")?;
    let user = user!();
    fs::write("/etc/mqtap/others.conf", "allow br0\n")?;
    output(&mut exec(user.mqtap(), "tap,id=a,helper=mqtap,queues=2", "true"))?;
    fs::set_permissions("/etc/mqtap/others.conf", fs::Permissions::from_mode(0o640))?;
    let error = failure(&mut exec(user.mqtap(), "tap,id=a,helper=mqtap,queues=2", "true"));
    assert!(error.contains("does not allow bridge br0"), "{error}");
    fs::set_permissions("/etc/mqtap/bridge.conf", fs::Permissions::from_mode(0o640))?;
    let error = failure(&mut exec(user.mqtap(), "tap,id=a,helper=mqtap,queues=2,br=br1", "true"));
    assert!(error.contains("cannot read the access list /etc/mqtap/bridge.conf"), "{error}");
    nothing_is_left()
}

fn must_not_be_set_user_id() -> TestResult {
    prepare("allow all\n")?;
    let user = user!();
    fs::set_permissions(user.program(), fs::Permissions::from_mode(0o4755))?;
    for arguments in [&["helper", "--br=br0", "--fd=3"][..], &["create", "tap6"]] {
        let error = failure(user.mqtap().args(arguments));
        assert!(error.contains("must not be set-user-ID"), "{arguments:?}: {error}");
    }
    nothing_is_left()
}
