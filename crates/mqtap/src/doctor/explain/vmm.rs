//! Messages of QEMU, and of mqtap, about options, descriptors and features: not about the tap itself, and pasted as often.

use super::{Explanation, cause};

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        id: "queue-count",
        meaning: "The number of queues is one that the VMM, or the kind of netdev, does not take.",
        causes: &[
            cause(
                "More than the kernel allows on a tap (256), QEMU on a card (511 pairs), or the vhost-user protocol can tell apart (128 pairs).",
                "ask for as many as the guest has CPUs, at most",
            ),
            cause(
                "-net tap, which goes through a hub, has one queue.",
                "-netdev tap,id=…,queues=N with -device virtio-net-pci,netdev=…,mq=on,vectors=2N+2",
            ),
            cause("queues=0.", "leave it out for one"),
        ],
        patterns: &[
            "queues exceeds maximum",
            "queues must be greater than zero",
            "multiqueue tap cannot be used with hubs",
            "exceeds qemu limitation",
            "invalid number of queue pairs",
            "vhost-user number of queues must be in range",
            "a tap has 1 to 256 queues",
            "a netdev has at least one queue",
            "a tap device has at most 256 queues",
            "128 queue pairs at most",
        ],
    },
    Explanation {
        id: "fd-list",
        meaning: "fd=, fds= or vhostfds= is no list of open descriptors, as many as there are queues.",
        causes: &[
            cause(
                "A number is not open in the VMM: its parent did not open it, or closed it on exec (sudo and many wrappers do).",
                "`mqtap exec` opens them and passes them on; `ls -l /proc/PID/fd` shows what a process has",
            ),
            cause(
                "The counts of fds= and vhostfds= differ, or the list is empty.",
                "one of each for each queue, with colons: fds=3:4:5:6",
            ),
        ],
        patterns: &[
            "fds parameter exceeds maximum",
            "expected * socket fds, got",
            "no fds passed",
            "invalid file descriptor number",
            "file descriptor named '*' has not been found",
            "can't set file descriptor",
            "can't use file descriptor",
            "failed to set fd nonblocking",
            "is standard input, output or error",
            "is no file descriptor",
            "was not inherited",
            "was taken already",
            "is given twice; each queue",
            "are the same queue",
        ],
    },
    Explanation {
        id: "tap-ioctl",
        meaning: "A setting of the tap was refused, or the tap could not be asked.",
        causes: &[
            cause("The descriptor is no tap queue, or its interface was deleted.", "`mqtap doctor NAME`"),
            cause("The kernel is too old for it.", "`mqtap features` tells what there is"),
        ],
        patterns: &[
            "fail to get ifname",
            "tungetfeatures failed",
            "tungetiff ioctl() failed",
            "tunsetsndbuf ioctl failed",
            "tunsetvnethdrsz ioctl() failed",
            "tunsetvnetle ioctl() failed",
            "tunsetvnetbe ioctl() failed",
        ],
    },
    Explanation {
        id: "steering",
        meaning: "The eBPF program that chooses queues (RSS) could not be loaded, or not be put on the tap.",
        causes: &[
            cause(
                "Loading a program takes privileges (CAP_BPF, CAP_NET_ADMIN) that the VMM does not have.",
                "have whoever starts it load the program (ebpf-rss-fds=, four descriptors), or leave rss=on out: the kernel then chooses queues by flow",
            ),
            cause("The kernel is older than 5.8, or was made without it.", "leave rss=on out"),
        ],
        patterns: &["tunsetsteeringebpf", "can't load ebpf rss", "expected * file descriptors but got"],
    },
    Explanation {
        id: "vhost-lacks",
        meaning: "vhost-net lacks a feature that the card has been given.",
        causes: &[cause(
            "The kernel's vhost-net does not know it (packed rings, some offloads).",
            "leave the feature out on -device, or vhost=off",
        )],
        patterns: &["vhost lacks vhost_net_f_virtio_net_hdr", "vhost lacks feature mask"],
    },
    Explanation {
        id: "duplicate-id",
        meaning: "A netdev of that id is there.",
        causes: &[
            cause("Two netdevs have one id.", "give each its own"),
            cause(
                "netdev_add failed halfway before: QEMU keeps the queues that it had opened.",
                "netdev_del it, or restart QEMU",
            ),
        ],
        patterns: &["duplicate id"],
    },
    Explanation {
        id: "not-built",
        meaning: "This VMM was built without taps.",
        causes: &[cause(
            "A build with few features, or for another system.",
            "install the full package; on Debian qemu-system-x86",
        )],
        patterns: &["is not compiled into this binary", "tap is not supported in this build"],
    },
    Explanation {
        id: "device-init",
        meaning: "QEMU could not make the netdev. The line before says why.",
        causes: &[cause(
            "Anything that is wrong with the tap or its options.",
            "`mqtap doctor --explain` the line before; `mqtap doctor NAME`",
        )],
        patterns: &["device '*' could not be initialized"],
    },
    Explanation {
        id: "no-peer",
        meaning: "A netdev has no network card, or a card no netdev.",
        causes: &[cause(
            "-device lacks netdev=, or names another id.",
            "-netdev tap,id=hn0,… with -device virtio-net-pci,netdev=hn0,…",
        )],
        patterns: &["has no peer"],
    },
    Explanation {
        id: "byte-order",
        meaning: "The kernel cannot have the virtio-net header in the guest's byte order, so QEMU does without vhost.",
        causes: &[cause(
            "A kernel without CONFIG_TUN_VNET_CROSS_LE, and a guest of the other order with a legacy card.",
            "disable-legacy=on on the device: the header of virtio 1 is little-endian everywhere",
        )],
        patterns: &["backend does not support * vnet headers"],
    },
    Explanation {
        id: "mtu",
        meaning: "The backend does not take the MTU that the card was given.",
        causes: &[cause(
            "host_mtu= is larger than what the tap, or the vhost-user backend, allows.",
            "`ip link set dev NAME mtu N` (68 to 65521), and on its bridge; `mqtap serve --mtu N`",
        )],
        patterns: &["mtu not supported by the backend"],
    },
    Explanation {
        id: "vhost-user-chardev",
        meaning: "-netdev vhost-user needs a Unix socket, by which descriptors can be passed, and a virtio-net card.",
        causes: &[cause(
            "chardev= names none, or one that is no Unix socket; or the card is not virtio.",
            "-chardev socket,id=c0,path=PATH -netdev vhost-user,id=n0,chardev=c0,queues=N -device virtio-net-pci,netdev=n0,mq=on",
        )],
        patterns: &[
            "chardev '*' not found",
            "is not reconnectable",
            "does not support fd passing",
            "requires frontend driver virtio-net",
        ],
    },
    Explanation {
        id: "option-value",
        meaning: "An option of the netdev does not exist, or has a value of another kind.",
        causes: &[cause(
            "A slip of the pen: a missing id=, queue= for queues=, yes for on.",
            "mqtap-netdev(7) has all of them; `mqtap serve` and `mqtap exec` say what was meant",
        )],
        patterns: &[
            "expects a uint64 value",
            "expects uint32_t",
            "expects a size value",
            "expects 'on' or 'off'",
            "parameter 'id' is missing",
            "invalid parameter",
            "is not an option of netdev tap",
            "is not a netdev type of mqtap",
            "the netdev has no id",
            "an id starts with a letter",
            "write '*=on' or",
            "the values of * are '",
            "it is not a whole number",
            "it is not a size",
            "it is negative",
            "wants a value, for example",
            "is given twice, as",
        ],
    },
];
