//! Messages as they are pasted.

use super::*;

fn ids(text: &str) -> Vec<&'static str> {
    explain(text).iter().map(|one| one.id).collect()
}

#[test]
fn messages_that_people_paste_are_explained() {
    for (text, expected) in [
        ("EINVAL", &["einval"][..]),
        (
            "qemu-system-x86_64: -netdev tap,id=n0,ifname=tap0,queues=4: could not configure /dev/net/tun (tap0): Invalid argument",
            &["tunsetiff", "einval"],
        ),
        ("could not configure /dev/net/tun: Operation not permitted", &["tunsetiff", "eperm"]),
        ("could not configure /dev/net/tun (tap0): Argument list too long", &["tunsetiff", "e2big"]),
        ("Could not open '/dev/net/tun': No such file or directory", &["dev-net-tun", "enoent"]),
        ("Could not open '/dev/vhost-net': Permission denied", &["dev-vhost-net", "eacces"]),
        ("Could not open ‘/dev/net/tun’: Permission denied", &["dev-net-tun", "eacces"]),
        ("ioctl(TUNSETIFF): Device or resource busy", &["tunsetiff", "ebusy"]),
        ("error: Unable to create tap device vnet0: Invalid argument", &["tunsetiff", "einval"]),
        ("Unable to open /dev/net/tun, is tun module loaded?: No such device", &["dev-net-tun", "enoent"]),
        (
            "Open tap device failed: Error while creating ifreq structure: Invalid argument (os error 22). Invalid TUN/TAP Backend provided by tap0.",
            &["tunsetiff", "einval"],
        ),
        (
            "Failed to open taps: Unable to configure tap interface: Resource busy (os error 16)",
            &["tunsetiff", "ebusy"],
        ),
        ("network script /etc/qemu-ifup failed with status 256", &["network-script"]),
        ("could not enable queue", &["set-queue"]),
        ("tap0 selects TX queue 3, but real number of TX queues is 3", &["stale-flow"]),
        ("File descriptor in bad state (os error 77)", &["ebadfd"]),
        ("write: Input/output error", &["eio"]),
        ("RTNETLINK answers: Operation not supported", &["eopnotsupp"]),
        ("everything is fine", &[]),
    ] {
        assert_eq!(ids(text), expected, "{text}");
    }
}

/// Every message about taps that QEMU has, from 7.2 on.
#[test]
fn messages_of_qemu_are_explained() {
    for (text, id) in [
        ("vhostfd(s)= is not valid without vhost", "exclusive-options"),
        ("queues=, helper=, fds= and fd= are mutual exclusive", "exclusive-options"),
        ("ifname=, script=, downscript=, vnet_hdr= are invalid with fd=/fds=/helper=", "exclusive-options"),
        ("vhostfds= is invalid if fds= wasn't specified", "exclusive-options"),
        ("The number of fds passed does not match the number of vhostfds passed", "exclusive-options"),
        ("queues exceeds maximum 2147483647", "queue-count"),
        ("queues must be greater than zero", "queue-count"),
        ("Multiqueue tap cannot be used with hubs", "queue-count"),
        ("queues of backend 'n0'(1025) exceeds QEMU limitation(1024)", "queue-count"),
        ("Invalid number of queue pairs (= 600), must be a positive integer less than 511.", "queue-count"),
        ("vhost-user number of queues must be in range [1, 1024]", "queue-count"),
        ("vnet_hdr not consistent across given tap fds", "inconsistent-fds"),
        ("Unable to query TUNGETIFF on FD 5: Bad file descriptor", "inconsistent-fds"),
        ("Fail to get ifname", "tap-ioctl"),
        ("TUNGETFEATURES failed: x", "tap-ioctl"),
        ("TUNGETIFF ioctl() failed: x", "tap-ioctl"),
        ("TUNSETSNDBUF ioctl failed: x", "tap-ioctl"),
        ("TUNSETVNETHDRSZ ioctl() failed: x.", "tap-ioctl"),
        ("TUNSETVNETLE ioctl() failed: x.", "tap-ioctl"),
        ("TUNSETOFFLOAD ioctl() failed: x", "set-offload"),
        ("Issue while setting TUNSETSTEERINGEBPF: x with fd: 5, prog_fd: 6", "steering"),
        ("Can't load eBPF RSS for vhost", "steering"),
        ("Can't load eBPF RSS - fallback to software RSS", "steering"),
        ("Expected 4 file descriptors but got 3", "steering"),
        ("Could not open '/dev/vhost-net': x", "dev-vhost-net"),
        ("vhost-net requested but could not be initialized", "dev-vhost-net"),
        ("tap: open vhost char device failed: x", "dev-vhost-net"),
        ("vhost-net requires tap backend", "dev-vhost-net"),
        ("unable to start vhost net: 22: falling back on userspace virtio", "dev-vhost-net"),
        ("vhost lacks VHOST_NET_F_VIRTIO_NET_HDR feature for backend", "vhost-lacks"),
        ("vhost lacks feature mask 0x8000 for backend", "vhost-lacks"),
        ("could not launch network script /x: No such file or directory", "network-script"),
        ("network script /etc/qemu-ifup failed with status 256", "network-script"),
        ("Can't fork bridge helper: x", "bridge-helper"),
        ("failed to recv file descriptor: x", "bridge-helper"),
        ("bridge helper failed", "bridge-helper"),
        ("fds parameter exceeds maximum of 1024", "fd-list"),
        ("expected 4 socket fds, got 2", "fd-list"),
        ("no fds passed", "fd-list"),
        ("Invalid file descriptor number 'x'", "fd-list"),
        ("File descriptor named 'x' has not been found", "fd-list"),
        ("Can't set file descriptor 5 non-blocking: x", "fd-list"),
        ("n0: Can't use file descriptor 5: x", "fd-list"),
        ("vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available", "no-vnet-header"),
        ("multiqueue required, but no kernel support for IFF_MULTI_QUEUE available", "no-multiqueue"),
        ("could not configure /dev/net/tun: x", "tunsetiff"),
        ("could not enable queue", "set-queue"),
        ("could not disable queue", "set-queue"),
        ("Duplicate ID 'n0' for netdev", "duplicate-id"),
        ("network backend 'tap' is not compiled into this binary", "not-built"),
        ("tap is not supported in this build", "not-built"),
        ("Device 'tap' could not be initialized", "device-init"),
        ("warning: netdev n0 has no peer", "no-peer"),
        ("backend does not support LE vnet headers; falling back on userspace virtio", "byte-order"),
        ("9000Bytes MTU not supported by the backend", "mtu"),
        ("chardev 'c0' not found", "vhost-user-chardev"),
        ("chardev 'c0' is not reconnectable", "vhost-user-chardev"),
        ("chardev 'c0' does not support FD passing", "vhost-user-chardev"),
        ("vhost-user requires frontend driver virtio-net-*", "vhost-user-chardev"),
        ("failed to init vhost_net for queue 0", "vhost-user-queues"),
        ("you are asking more queues than supported: 1", "vhost-user-queues"),
        ("Parameter 'queues' expects a uint64 value", "option-value"),
        ("Parameter 'sndbuf' expects a size value", "option-value"),
        ("Parameter 'vnet_hdr' expects 'on' or 'off'", "option-value"),
        ("Parameter 'id' is missing", "option-value"),
        ("Invalid parameter 'queue'", "option-value"),
    ] {
        assert!(ids(text).contains(&id), "{text}: {:?}", ids(text));
    }
}

#[test]
fn errors_of_our_own_are_explained() {
    use crate::device::Error;
    use rustix::io::Errno;
    let errors = [
        (Error::TunMissing, "dev-net-tun"),
        (Error::TunPermission { errno: Errno::ACCESS }, "dev-net-tun"),
        (
            Error::CreatePermission {
                name: "tap0".parse().unwrap(),
                multi_queue: true,
                vnet_header: true,
                namespace: None,
            },
            "eperm",
        ),
        (Error::Busy { interface: "tap0".parse().unwrap(), holders: Vec::new() }, "ebusy"),
        (
            Error::TooManyQueues { interface: "tap0".parse().unwrap(), queue: 256, holders: Vec::new() },
            "e2big",
        ),
        (Error::TooManyFiles { errno: Errno::MFILE }, "emfile"),
        (Error::DeviceGone { what: "x", interface: "tap0".parse().unwrap(), errno: Errno::BADFD }, "ebadfd"),
    ];
    for (error, id) in errors {
        assert!(ids(&error.to_string()).contains(&id), "{error}");
    }
}

#[test]
fn parts_of_words_are_no_match() {
    assert!(holds("an einval here", "einval") && holds("einval", "einval") && holds("(einval)", "einval"));
    assert!(!holds("einvalid", "einval") && !holds("os error 227", "os error 22"));
    assert!(holds("x: 'tun'", ": 'tun'"));
    assert!(holds("chardev 'c0' not found", "chardev '*' not found"));
    assert!(!holds("not found: chardev 'c0'", "chardev '*' not found"));
}

#[test]
fn each_says_something_and_is_reachable() {
    let mut seen = Vec::new();
    for one in explanations() {
        assert!(!seen.contains(&one.id), "{} is there twice", one.id);
        seen.push(one.id);
        assert!(!one.causes.is_empty() && !one.meaning.is_empty(), "{}", one.id);
        for pattern in one.patterns {
            assert_eq!(normalize(pattern), *pattern, "{}", one.id);
            assert!(ids(&pattern.replace('*', "x")).contains(&one.id), "{}", one.id);
        }
    }
}
