//! Messages of programs and of the kernel. The patterns are the parts of them that people search for.

use super::{Explanation, cause};

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        id: "tunsetiff",
        meaning: "The kernel refused to make the tap or to open a queue of it (TUNSETIFF). The errno at the end says why: EINVAL, EBUSY, EPERM or E2BIG.",
        causes: &[cause(
            "QEMU has one message for all of them, and others have theirs.",
            "`mqtap doctor NAME --queues N` looks at the tap and tells which it is",
        )],
        patterns: &[
            "could not configure /dev/net/tun",
            "tunsetiff",
            "unable to create tap device",
            "unable to associate tap device",
            "error while creating ifreq structure",
            "invalid tun/tap backend provided by",
            "unable to configure tap interface",
        ],
    },
    Explanation {
        id: "dev-net-tun",
        meaning: "/dev/net/tun, through which every tap is made and opened, cannot be opened.",
        causes: &[
            cause(
                "It is not there: the module is not loaded, or this is a container without the device.",
                "`modprobe tun`; `--device /dev/net/tun`",
            ),
            cause(
                "It is there and not for this user.",
                "`chmod 0666 /dev/net/tun`; or have somebody else open the queues, and pass them with fds= (`mqtap exec`)",
            ),
        ],
        patterns: &[
            "could not open '/dev/net/tun'",
            "couldn't open /dev/net/tun",
            "unable to open /dev/net/tun",
            "cannot open /dev/net/tun",
            "/dev/net/tun does not exist",
            "is tun module loaded",
        ],
    },
    Explanation {
        id: "dev-vhost-net",
        meaning: "/dev/vhost-net, through which the kernel moves the frames, cannot be used.",
        causes: &[
            cause(
                "It is not there: the module is not loaded, or the kernel has none.",
                "`modprobe vhost_net`; or vhost=off",
            ),
            cause("It is there and not for this user.", "`adduser $USER kvm` on Debian, or vhostfds="),
            cause(
                "vhost-net got something that is no tap queue, or a tap without what it needs (vhost-net requires tap backend).",
                "`mqtap doctor NAME`",
            ),
        ],
        patterns: &[
            "could not open '/dev/vhost-net'",
            "cannot open /dev/vhost-net",
            "/dev/vhost-net does not exist",
            "open vhost char device failed",
            "vhost-net requested but could not be initialized",
            "vhost-net requires tap backend",
            "unable to start vhost net",
        ],
    },
    Explanation {
        id: "no-multiqueue",
        meaning: "The kernel, or the emulator, knows no taps with several queues.",
        causes: &[cause(
            "Linux before 3.8, or a system that is not Linux.",
            "use queues=1, or a newer kernel; `mqtap features` tells what there is",
        )],
        patterns: &[
            "multiqueue required, but no kernel support",
            "missing multiqueue support in the kernel",
            "multiqueue devices are not supported on this system",
            "no iff_multi_queue",
        ],
    },
    Explanation {
        id: "no-vnet-header",
        meaning: "A virtio-net header is required, and the kernel has none.",
        causes: &[cause(
            "vnet_hdr=on on a kernel without IFF_VNET_HDR.",
            "leave vnet_hdr= out; `mqtap features` tells what there is",
        )],
        patterns: &["vnet_hdr=1 requested, but no kernel support", "no iff_vnet_hdr"],
    },
    Explanation {
        id: "inconsistent-fds",
        meaning: "The descriptors in fds= are not queues of one tap with the same flags.",
        causes: &[
            cause(
                "They were opened with different flags, or are of different interfaces, of the same name in two namespaces perhaps.",
                "have one program open all of them: `mqtap exec`",
            ),
            cause(
                "One of them is no tap queue at all.",
                "`cat /proc/PID/fdinfo/N` has a line `iff:` if it is",
            ),
        ],
        patterns: &[
            "vnet_hdr not consistent across given tap fds",
            "unable to query tungetiff on fd",
            "belong to different devices",
            "is not a tap queue",
            "is a queue without a device",
            "so it is the only queue of its device",
            "has another iff_vnet_hdr than",
            "puts packet information in front of each frame",
        ],
    },
    Explanation {
        id: "exclusive-options",
        meaning: "Options of -netdev tap that exclude each other were given.",
        causes: &[
            cause(
                "queues=, fd=, fds= and helper= each say where queues come from.",
                "give one of them; that the value is 1 does not matter",
            ),
            cause(
                "ifname=, script=, downscript= and vnet_hdr= are for queues that the VMM opens itself.",
                "leave them out with fd=, fds= and helper=",
            ),
            cause("vhostfds= needs as many handles as there are queues.", "count them"),
        ],
        patterns: &[
            "are mutual exclusive",
            "are invalid with fd=",
            "are invalid with fds=",
            "are invalid with helper=",
            "vhostfds= is invalid if fds= wasn't specified",
            "does not match the number of vhostfds",
            "is not valid without vhost",
            "cannot be given together",
            "*= cannot be given with *=",
            "contradicts *=",
            "each queue needs a /dev/vhost-net file descriptor of its own",
        ],
    },
    Explanation {
        id: "network-script",
        meaning: "The script that is run when the tap is opened failed. QEMU prints a wait status: 256 times the exit status.",
        causes: &[
            cause(
                "QEMU runs /etc/qemu-ifup unless told otherwise, and there is none, or it wants a bridge that is not there.",
                "script=no,downscript=no, and put the tap on its bridge when it is made: `mqtap create NAME --bridge br0 --up`",
            ),
            cause("The script needs root, and the VMM has none.", "the same"),
        ],
        patterns: &["network script", "could not launch network script", "netdev *: script="],
    },
    Explanation {
        id: "bridge-helper",
        meaning: "qemu-bridge-helper did not give a tap.",
        causes: &[
            cause(
                "Its list of bridges does not allow this one.",
                "a line `allow br0` in /etc/qemu/bridge.conf, readable for this user",
            ),
            cause(
                "It has lost its privilege.",
                "`chmod u+s /usr/lib/qemu/qemu-bridge-helper`, or `setcap cap_net_admin+ep` on it",
            ),
            cause("The bridge is not there.", "`ip link show type bridge`"),
        ],
        patterns: &[
            "bridge helper failed",
            "failed to launch bridge helper",
            "can't fork bridge helper",
            "failed to recv file descriptor",
            "failed to parse default acl file",
            "access denied by acl file",
        ],
    },
    Explanation {
        id: "set-queue",
        meaning: "A queue could not be attached or detached (TUNSETQUEUE) when the guest changed the number of its queues.",
        causes: &[
            cause(
                "The tap was deleted on the host. QEMU aborts then.",
                "find out who deleted it; make it again, and start the guest",
            ),
            cause(
                "A classic packet filter is on the tap: the kernel says yes and leaves the queue detached.",
                "`mqtap doctor NAME` looks for one",
            ),
            cause("SELinux: attach_queue is forbidden.", "`ausearch -m avc -ts recent`"),
        ],
        patterns: &[
            "could not enable queue",
            "could not disable queue",
            "cannot attach queue",
            "cannot detach queue",
            "and did not attach it",
        ],
    },
    Explanation {
        id: "set-offload",
        meaning: "The kernel does not know a set of offloads (TUNSETOFFLOAD).",
        causes: &[cause(
            "A program asks for what this kernel lacks (USO before 6.2, tunnels before 6.17), or for a set that makes no sense: everything needs checksums.",
            "`mqtap features` tells what there is",
        )],
        patterns: &["tunsetoffload ioctl() failed", "tunsetoffload", "error while setting the offload flags"],
    },
    Explanation {
        id: "vhost-user-queues",
        meaning: "The VMM asks for more queue pairs than the vhost-user backend has.",
        causes: &[cause(
            "queues= of -netdev vhost-user and of the backend differ. Some count pairs, some virtqueues (twice as many).",
            "give both the same number of pairs: mqtap serve --netdev tap,…,queues=4, and queues=4 in QEMU, num_queues=8 in Cloud Hypervisor",
        )],
        patterns: &["you are asking more queues than supported", "failed to init vhost_net for queue"],
    },
    Explanation {
        id: "vhost-user-memory",
        meaning: "The guest's memory is not shared, so that no vhost-user backend can reach it.",
        causes: &[cause(
            "The memory backend lacks share=on.",
            "QEMU: -object memory-backend-memfd,id=mem,size=…,share=on -numa node,memdev=mem; libvirt: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        )],
        patterns: &["failed to set msg fds", "vhost_set_mem_table failed"],
    },
    Explanation {
        id: "managed-no",
        meaning: "libvirt was told to use a tap that somebody else made (managed='no'), and there is none.",
        causes: &[cause(
            "The tap must be there before the domain starts, with `multi_queue` if the domain has several queues, and belong to the user that runs QEMU.",
            "`mqtap create NAME --multi-queue --vnet-hdr --owner libvirt-qemu --up`",
        )],
        patterns: &[
            "target managed='no' but specified dev doesn't exist",
            "target dev must be supplied when managed='no'",
        ],
    },
    Explanation {
        id: "stale-flow",
        meaning: "The kernel had learned a flow on a queue that is detached now, and sends it to queue 0 until it has forgotten (3 seconds).",
        causes: &[cause(
            "Queues were detached or closed while traffic flowed: each time the guest lowers its number of queues.",
            "nothing is lost but order; if it goes on, something attaches and detaches all the time: `mqtap queues NAME --watch`",
        )],
        patterns: &["selects tx queue"],
    },
    Explanation {
        id: "gso-type",
        meaning: "A frame came out of the tap that its reader should not have got, or its header could not be made.",
        causes: &[cause(
            "Offloads and the header do not go together, such as tunnel offloads with a header shorter than 24 bytes.",
            "`mqtap doctor NAME`",
        )],
        patterns: &["unexpected gso type"],
    },
    Explanation {
        id: "unknown-kind",
        meaning: "The kernel knows no interfaces of the kind that is to be made.",
        causes: &[
            cause(
                "Its module is not loaded, or the kernel was made without it.",
                "`modprobe macvtap`, `modprobe ipvtap`, `modprobe bridge`",
            ),
            cause("The kernel was upgraded, and its old modules are gone from disk.", "reboot"),
            cause(
                "A slip of the pen, as in `type tap`.",
                "taps are made otherwise: `mqtap create NAME`, `ip tuntap add`",
            ),
        ],
        patterns: &["unknown device type"],
    },
    Explanation {
        id: "truncated-name",
        meaning: "An interface name has 15 bytes at most.",
        causes: &[cause(
            "QEMU cuts longer names off without a word, and opens another interface.",
            "use a shorter name",
        )],
        patterns: &["network interface name", "takes at most 15", "not a valid ifname"],
    },
];
