//! Errnos, by name and by what `strerror(3)` says: what they mean where a tap is concerned.

use super::{Explanation, cause};

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        id: "einval",
        meaning: "EINVAL (22, \"Invalid argument\"): the tap is there, and is not what it was opened as.",
        causes: &[
            cause(
                "The tap was made without `multi_queue`, and several queues are wanted (QEMU: queues=2 and more, Cloud Hypervisor: num_queues=4 and more, libvirt: <driver queues=>).",
                "`mqtap doctor NAME --queues N` prints the commands that make it again; or use one queue",
            ),
            cause(
                "The tap was made with `multi_queue`, and the VMM opens one queue without asking for it (QEMU with queues=1 or none, Firecracker).",
                "use queues=2 or more, or mqtap, which opens either kind; or make it again without `multi_queue`",
            ),
            cause(
                "The interface of that name is no tap: a tun, a bridge, a network card.",
                "`mqtap show NAME` tells what it is; choose another name",
            ),
            cause("`ip tuntap del` of a `multi_queue` tap without saying so.", "`mqtap delete NAME`"),
            cause(
                "A queue was attached or detached that is so already, or of a tap without `multi_queue` (TUNSETQUEUE).",
                "`mqtap queues NAME` tells the state of each",
            ),
            cause(
                "An owner or group that has no number in this user namespace, as in a container (TUNSETOWNER).",
                "use an id that /proc/self/uid_map covers",
            ),
            cause(
                "A frame was written whose virtio-net header makes no sense, or that is shorter than an Ethernet header.",
                "see that both sides agree on the header: `mqtap doctor NAME`",
            ),
        ],
        patterns: &["einval", "invalid argument", "os error 22"],
    },
    Explanation {
        id: "ebusy",
        meaning: "EBUSY (16, \"Device or resource busy\"): somebody has it.",
        causes: &[
            cause(
                "A tap without `multi_queue` has one queue, and it is open: another VMM runs, or one was left behind.",
                "`mqtap show NAME` tells who; stop that, or use another tap",
            ),
            cause(
                "`ip tuntap add` of a name that exists.",
                "`mqtap show NAME` tells what is there; `mqtap create --if-not-exists` is content with one that fits",
            ),
        ],
        patterns: &["ebusy", "resource busy", "os error 16"],
    },
    Explanation {
        id: "eperm",
        meaning: "EPERM (1, \"Operation not permitted\"): this user may open /dev/net/tun, and may not do this with it.",
        causes: &[
            cause(
                "There is no tap of that name, and to make one takes CAP_NET_ADMIN in this network namespace.",
                "`sudo mqtap create NAME --multi-queue --vnet-hdr --owner $USER`, once; or see that the name is right: `mqtap list`",
            ),
            cause(
                "The tap is there and belongs to another user. If it has an owner and a group, both must match.",
                "`mqtap show NAME` tells whose it is",
            ),
            cause(
                "Bringing the interface up, or setting its MTU or bridge, takes CAP_NET_ADMIN, also for the owner.",
                "have it set up when it is made: `mqtap create NAME --owner USER --up --bridge BRIDGE`",
            ),
            cause("Carrier is given while no queue is attached (TUNSETCARRIER).", "attach a queue first"),
            cause(
                "Root in a container is not root of the network namespace that the tap is in.",
                "give the container CAP_NET_ADMIN and a namespace of its own, or open queues are handed in with fds=",
            ),
        ],
        patterns: &["eperm", "operation not permitted", "os error 1"],
    },
    Explanation {
        id: "eacces",
        meaning: "EACCES (13, \"Permission denied\"): the file may not be opened.",
        causes: &[
            cause(
                "/dev/net/tun or /dev/vhost-net is for other users.",
                "`chmod 0666 /dev/net/tun` (what most distributions have; making taps takes a capability anyway); `adduser $USER kvm` for vhost-net on Debian",
            ),
            cause(
                "SELinux or AppArmor: a policy forbids tun_socket or the device.",
                "`ausearch -m avc -ts recent`, `dmesg | grep -i apparmor`",
            ),
            cause(
                "A device cgroup of the container or unit leaves the device out.",
                "`--device /dev/net/tun`, DeviceAllow=/dev/net/tun rw",
            ),
        ],
        patterns: &["eacces", "permission denied", "os error 13"],
    },
    Explanation {
        id: "enoent",
        meaning: "ENOENT or ENODEV (\"No such file or directory\", \"No such device\"): the device node, its driver, or the interface is not there.",
        causes: &[
            cause("The module is not loaded.", "`modprobe tun`, `modprobe vhost_net`"),
            cause("The kernel was upgraded, and its old modules are gone from disk.", "reboot"),
            cause("A container was not given the device.", "`--device /dev/net/tun`"),
            cause(
                "The interface was deleted, or is in another network namespace.",
                "`mqtap doctor NAME` looks for it",
            ),
        ],
        patterns: &[
            "enoent",
            "enodev",
            "no such file or directory",
            "no such device",
            "cannot find device",
            "os error 2",
            "os error 19",
        ],
    },
    Explanation {
        id: "ebadfd",
        meaning: "EBADFD (77, \"File descriptor in bad state\"): the queue has no interface.",
        causes: &[
            cause(
                "The interface was deleted while the queue was open. The descriptor stays useless.",
                "make the tap again and restart whoever holds the descriptor; find out who deleted it (a network manager, a script)",
            ),
            cause(
                "The descriptor was passed on before TUNSETIFF was done on it.",
                "whoever opens it must do that first",
            ),
        ],
        patterns: &["ebadfd", "file descriptor in bad state", "os error 77"],
    },
    Explanation {
        id: "ebadf",
        meaning: "EBADF (9, \"Bad file descriptor\"): no such descriptor is open.",
        causes: &[cause(
            "fds= or vhostfds= names numbers that the parent did not open, or closed on exec (QEMU is started through sudo, a wrapper, or a shell that closes them).",
            "`mqtap exec` opens them and passes them on; `ls -l /proc/PID/fd` shows what a process has",
        )],
        patterns: &["ebadf", "bad file descriptor", "os error 9"],
    },
    Explanation {
        id: "e2big",
        meaning: "E2BIG (7, \"Argument list too long\"): the kernel allows 256 queues on a tap.",
        causes: &[
            cause("More than 256 queues are asked for.", "ask for fewer"),
            cause("Others have queues of it, also detached ones.", "`mqtap show NAME` tells who"),
        ],
        patterns: &["e2big", "argument list too long", "os error 7"],
    },
    Explanation {
        id: "eexist",
        meaning: "EEXIST (17, \"File exists\"): it is there already.",
        causes: &[
            cause(
                "TUNSETIFF was done on a descriptor that has an interface, attached or not.",
                "open /dev/net/tun anew for each queue",
            ),
            cause("An interface of that name exists.", "`mqtap show NAME`"),
        ],
        patterns: &["eexist", "file exists", "os error 17"],
    },
    Explanation {
        id: "emfile",
        meaning: "EMFILE (24, \"Too many open files\"): each queue is a descriptor, with more for its notifications.",
        causes: &[cause(
            "The limit of the process is too low for so many queues.",
            "`ulimit -n 524288`, LimitNOFILE=524288 in a unit, or fewer queues",
        )],
        patterns: &["emfile", "enfile", "too many open files", "os error 24", "os error 23"],
    },
    Explanation {
        id: "eio",
        meaning: "EIO (5, \"Input/output error\"): the interface is down.",
        causes: &[cause("A frame was written to a tap that is down.", "`ip link set dev NAME up`")],
        patterns: &["eio", "input/output error", "os error 5"],
    },
    Explanation {
        id: "efault",
        meaning: "EFAULT (14, \"Bad address\"): from a read of a tap, it means that the interface was deleted while the read waited.",
        causes: &[cause("Somebody deleted the interface.", "make it again, and restart whoever reads it")],
        patterns: &["efault", "bad address", "os error 14"],
    },
    Explanation {
        id: "eopnotsupp",
        meaning: "EOPNOTSUPP (95, \"Operation not supported\"): the kernel does this in another way, or not at all.",
        causes: &[
            cause(
                "Taps cannot be made over rtnetlink (`ip link add type tun`, some libraries).",
                "`mqtap create NAME`, or `ip tuntap add`",
            ),
            cause(
                "`ethtool -L` on a tap: the number of queues is that of the open descriptors.",
                "change it in the guest (`ethtool -L eth0 combined N`)",
            ),
            cause("The interface that a tap is put on is no bridge.", "`ip -d link show BRIDGE`"),
        ],
        patterns: &["eopnotsupp", "enotsup", "operation not supported", "os error 95"],
    },
    Explanation {
        id: "eagain",
        meaning: "EAGAIN (11, \"Resource temporarily unavailable\"): not now. From a queue that does not block it is no error.",
        causes: &[
            cause("No frame waits in the queue that is read.", "wait until it is readable: poll(2)"),
            cause(
                "The send buffer is limited, and full (TUNSETSNDBUF, `sndbuf=`).",
                "leave sndbuf= out, or wait until the queue is writable",
            ),
            cause(
                "A process could not be started: the limit of the user or the cgroup.",
                "`ulimit -u`, TasksMax=",
            ),
        ],
        patterns: &["eagain", "ewouldblock", "resource temporarily unavailable", "os error 11"],
    },
    Explanation {
        id: "enolink",
        meaning: "ENOLINK (67, \"Link has been severed\"): the macvtap or ipvtap of the queue is gone.",
        causes: &[cause(
            "It was deleted while the queue was open, or the interface that it stood on was. The descriptor stays useless.",
            "make it again and restart whoever holds the descriptor; find out who deleted it (a network manager, a script)",
        )],
        patterns: &["enolink", "link has been severed", "os error 67"],
    },
    Explanation {
        id: "eaddrnotavail",
        meaning: "EADDRNOTAVAIL (99, \"Cannot assign requested address\"): the MAC address is none that an interface can have.",
        causes: &[cause(
            "It is that of a group (its first byte is odd), or all zero.",
            "one whose first byte is 02, such as 02:00:00:00:00:01, and another for the guest's card",
        )],
        patterns: &[
            "eaddrnotavail",
            "an interface has an address of its own, and this is",
            "cannot assign requested address",
            "os error 99",
        ],
    },
];
