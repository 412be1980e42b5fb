//! Arguments, exit statuses, and what is printed.

use mqtap_test_support::{TestResult, all_users_exist, ip};
use serde_json::{Value, json};

use super::command::{Result, Said, command, essence, links, mqtap, script};

/// What `ip` says of a tap: its `linkinfo`.
fn tap(name: &str) -> Result<Value> {
    let link = links()?.into_iter().find(|link| link["ifname"] == name).ok_or("no such interface")?;
    Ok(link["linkinfo"]["info_data"].clone())
}

pub(crate) fn the_name_is_printed() -> TestResult {
    for (arguments, name) in [("create tap7", "tap7\n"), ("create vm%d", "vm0\n"), ("add dev vm%d", "vm1\n")]
    {
        let said = mqtap(arguments)?;
        assert_eq!(said, Said { status: 0, stdout: name.to_owned(), stderr: String::new() });
    }
    Ok(())
}

pub(crate) fn the_tap_belongs_to_whoever_runs_it() -> TestResult {
    mqtap("create tap0")?.success()?;
    assert_eq!((&tap("tap0")?["user"], &tap("tap0")?["group"]), (&json!("root"), &Value::Null));
    // With sudo, to the user who ran it, as long as there is one of that number.
    Said::of(command("create tap1").env("SUDO_UID", "4321").output()?)?.success()?;
    let expected = if all_users_exist() { json!(4321) } else { json!("root") };
    assert_eq!(tap("tap1")?["user"], expected);
    Said::of(command("create tap2 --owner root").env("SUDO_UID", "4321").output()?)?.success()?;
    assert_eq!(tap("tap2")?["user"], "root");
    Ok(())
}

pub(crate) fn a_group_alone_has_no_owner_beside_it() -> TestResult {
    mqtap("create tap0 --group root")?.success()?;
    assert_eq!((&tap("tap0")?["user"], &tap("tap0")?["group"]), (&Value::Null, &json!("root")));
    if all_users_exist() {
        // Both must match, so nobody can open this one.
        let said = mqtap("create tap1 --owner nobody --group root")?.success()?;
        assert!(said.stderr.contains("user nobody (65534) is not in group root (0)"), "{said:?}");
    }
    Ok(())
}

pub(crate) fn options_and_words_say_the_same() -> TestResult {
    mqtap("create tap0 --multi-queue --vnet-hdr --owner root --group root")?.success()?;
    mqtap("create dev tap1 mode tap multi_queue vnet_hdr user root group root")?.success()?;
    mqtap("add tap2 group root --vnet-hdr multi_queue --user root")?.success()?;
    assert_eq!(tap("tap0")?, tap("tap1")?);
    assert_eq!(tap("tap0")?, tap("tap2")?);
    let said = mqtap("create tap3 one_queue")?.success()?;
    assert!(said.stderr.contains("one_queue has no effect"), "{said:?}");
    Ok(())
}

pub(crate) fn wrong_usage_is_2_and_makes_nothing() -> TestResult {
    for (arguments, piece) in [
        ("create", "required arguments were not provided"),
        ("create dev", "after `dev` there is something missing"),
        ("create a-name-of-16-bytes", "the kernel takes at most 15"),
        ("create tap%s", "exactly one %d"),
        ("create tap0 tap1", "`tap1` is neither an option of mqtap create nor a word of `ip tuntap`"),
        ("create tap0 mode tun", "`mode tun` is for a tun"),
        ("create tap0 pi", "no virtual NIC expects"),
        ("create tap0 user root --owner root", "--owner and `user` say the same"),
        ("create tap0 group root --group root", "--group and `group` say the same"),
        ("create tap0 --owner 4294967295", "too large"),
        ("create tap0 --owner no-such-user", "there is no user no-such-user"),
        ("create tap0 --group no-such-group", "there is no group no-such-group"),
        ("create tap0 --mtu 67", "67 is not in 68..=65521"),
        ("create tap0 --mac 1:2", "is not a MAC address"),
        ("create tap0 --mac 01:00:00:00:00:01", "this is that of a group (its first byte is odd)"),
        ("create tap0 --mac 00:00:00:00:00:00", "this is that of nobody"),
        ("create tap0 --qdisc mq", "the qdisc mq is for taps with several queues"),
        ("create tap0 --netns ..", "neither a name of a network namespace nor a path"),
        ("delete", "required arguments were not provided"),
        ("create tap%d --if-not-exists", "what the pattern tap%d stands for is new each time"),
        ("delete tap%d", "\"tap%d\" is a pattern, which stands for the name of a tap that is to be made"),
        ("delete tap%s", "has '%' in it"),
        ("del dev tun0 mode tun", "`mode tun` is for a tun"),
    ] {
        assert!(!arguments.contains(piece), "{arguments}: `{piece}` is what was typed");
        let said = mqtap(arguments)?;
        assert_eq!((said.status, &*said.stdout), (2, ""), "{arguments}: {said:?}");
        assert!(said.stderr.contains(piece), "{arguments}: `{piece}` is missing in: {}", said.stderr);
        assert!(said.stderr.contains("--help"), "{arguments}: {}", said.stderr);
    }
    assert_eq!(links()?, Vec::<Value>::new());
    Ok(())
}

pub(crate) fn failures_are_1_and_say_why() -> TestResult {
    ip("tuntap add dev tun0 mode tun")?;
    ip("link add br0 type bridge")?;
    ip("link add v0 type veth peer name v1")?;
    ip("link add link v0 name mv0 type macvtap")?;
    mqtap("create tap0")?.success()?;
    let before = essence(&links()?);
    for (arguments, piece) in [
        ("create tap0", "it exists; choose another name, or delete it with `mqtap delete tap0`"),
        (
            "create tap0 --if-not-exists --multi-queue --mtu 1400",
            "multi_queue is off, not on, mtu is 1500, not 1400",
        ),
        ("create tun0 --if-not-exists", "tun0 is a tun"),
        ("create br0 --if-not-exists", "br0 is not a tap but a bridge; choose another name"),
        ("create all", "(TUNSETIFF): EINVAL: Invalid argument; the kernel keeps the names all and default"),
        (
            "create default",
            "(TUNSETIFF): EINVAL: Invalid argument; the kernel keeps the names all and default",
        ),
        ("create tap1 --bridge br1", "there is no br1"),
        ("create tap1 --bridge tun0", "not a bridge"),
        ("create tap1 --netns no-such-namespace", "/run/netns/no-such-namespace: ENOENT"),
        ("delete tap1", "there is no interface tap1"),
        ("delete tun0", "tun0 is a tun"),
        ("delete tun0 --if-exists", "tun0 is a tun"),
        ("delete br0", "br0 is not a tap but a bridge; `mqtap list` lists those there are"),
        ("delete mv0", "mv0 is not a tap but a macvtap; `ip link del mv0` deletes it"),
        (
            "delete tap0 --netns no-such-namespace",
            "cannot enter the network namespace /run/netns/no-such-namespace: ENOENT: No such file or directory; `ip netns` lists",
        ),
        ("create tap1 --netns 4194305", "there is no process 4194305"),
    ] {
        assert!(!arguments.contains(piece), "{arguments}: `{piece}` is what was typed");
        let said = mqtap(arguments)?;
        assert_eq!((said.status, &*said.stdout), (1, ""), "{arguments}: {said:?}");
        assert!(said.stderr.contains(piece), "{arguments}: `{piece}` is missing in: {}", said.stderr);
    }
    assert_eq!(essence(&links()?), before);
    Ok(())
}

/// Nobody can give `mqtap create` open queues, so it is not told to take some.
pub(crate) fn without_dev_net_tun_it_says_who_may() -> TestResult {
    // On such a mount no device can be opened, by root neither.
    let said = script(
        "mount --bind /dev/net/tun /dev/net/tun
        mount -o remount,bind,nodev /dev/net/tun
        mqtap create tap0 2>&1 && exit 7 || test $? = 1",
    )?;
    for piece in ["cannot open /dev/net/tun: EACCES", "run this as root", "CAP_NET_ADMIN"] {
        assert!(said.stdout.contains(piece), "`{piece}` is missing in: {said:?}");
    }
    assert!(!said.stdout.contains("fds="), "{said:?}");
    Ok(())
}

pub(crate) fn deleting_says_who_had_it_open() -> TestResult {
    let options = mqtap::OpenOptions { name: "tap0".parse()?, queues: 2, ..mqtap::OpenOptions::default() };
    let _held = mqtap::TapDevice::open(&options)?;
    let said = mqtap("delete tap0")?.success()?;
    let holder = format!("(pid {}) had tap0 open", std::process::id());
    assert_eq!((said.stderr.matches(&holder).count(), &*said.stdout), (1, ""), "{said:?}");
    Ok(())
}

/// What was done is done, whoever may have wanted to know.
pub(crate) fn what_cannot_be_printed_is_done_all_the_same() -> TestResult {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full");
    for (create, delete, name) in
        [("create tap0", "delete tap0 --json", "tap0"), ("create tap1 --json", "delete tap1 --json", "tap1")]
    {
        for (arguments, done, is_there) in [(create, "was made", true), (delete, "was deleted", false)] {
            let said = Said::of(command(arguments).stdout(full()?).output()?)?;
            let expected =
                format!("error: {name} {done}, but cannot print that: ENOSPC: No space left on device\n");
            assert_eq!((said.status, said.stderr), (1, expected), "{arguments}");
            assert_eq!(tap(name).is_ok(), is_there, "{arguments}");
        }
        // Who closes its end has seen enough.
        for (arguments, is_there) in [(create, true), (delete, false)] {
            let (reader, writer) = std::io::pipe()?;
            drop(reader);
            let said = Said::of(command(arguments).stdout(writer).output()?)?;
            assert_eq!((said.status, &*said.stderr), (0, ""), "{arguments}");
            assert_eq!(tap(name).is_ok(), is_there, "{arguments}");
        }
    }
    let said = Said::of(command("create tap2 --if-not-exists").output()?)?.success()?;
    assert_eq!(said.stdout, "tap2\n");
    let said = Said::of(command("create tap2 --if-not-exists").stdout(full()?).output()?)?;
    assert!(said.status == 1 && said.stderr.contains("tap2 was there"), "{said:?}");
    let said = Said::of(command("delete tap3 --if-exists --json").stdout(full()?).output()?)?;
    assert!(said.status == 1 && said.stderr.contains("there was no tap3"), "{said:?}");
    Ok(())
}

pub(crate) fn deletions_are_told_as_json() -> TestResult {
    mqtap("create tap0")?.success()?;
    let index = links()?[0]["ifindex"].clone();
    let told = |arguments: &str| -> Result<Value> {
        Ok(serde_json::from_str(&mqtap(arguments)?.success()?.stdout)?)
    };
    assert_eq!(told("del tap0 --json")?, json!({ "ifname": "tap0", "ifindex": index, "deleted": true }));
    assert_eq!(told("del tap0 --json --if-exists")?, json!({ "ifname": "tap0", "deleted": false }));
    Ok(())
}
