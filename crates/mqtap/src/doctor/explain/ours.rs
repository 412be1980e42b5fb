//! Messages of mqtap's own that no errno explains. The messages say what to do; here stands what else can be behind them.

use super::{Explanation, cause};

pub(super) const ALL: &[Explanation] = &[
    Explanation {
        id: "made-with-one-queue",
        meaning: "Several queues are wanted, and the tap was made for one: `multi_queue` is said when a tap is made, and not changed later.",
        causes: &[cause(
            "It was made without `multi_queue`, by `ip tuntap add` perhaps, or by a VMM with one queue.",
            "`mqtap doctor NAME --queues N` prints the commands that make it again as it is now, with `multi_queue`; or use queues=1",
        )],
        patterns: &["was made without multi_queue"],
    },
    Explanation {
        id: "no-tap",
        meaning: "The interface of that name is there, and no tap: nothing was changed.",
        causes: &[
            cause(
                "The name is that of a bridge, a network card, or a tun, which carries IP packets.",
                "`mqtap list` has the taps; `ip -d link show NAME` tells what this is",
            ),
            cause("The bridge was given as the tap.", "ifname= is the tap, br= the bridge that it joins"),
        ],
        patterns: &[
            "exists and is not a tap",
            "is not a tap;",
            "is not a tap but",
            "is no tap but",
            "is a tun, which carries ip packets",
        ],
    },
    Explanation {
        id: "in-use",
        meaning: "Somebody has queues of the tap open, and it was wanted alone (exclusive=on).",
        causes: &[
            cause(
                "Another VMM or daemon uses it, or one was left behind.",
                "`mqtap show NAME` tells who; stop that, or use another tap",
            ),
            cause(
                "It is meant to be shared.",
                "exclusive=off; each reader then sees some of the flows and misses the others",
            ),
        ],
        patterns: &["it was to be used exclusively"],
    },
    Explanation {
        id: "exists",
        meaning: "An interface of that name is there already, or is otherwise than it was to be made.",
        causes: &[
            cause(
                "It was made before, by somebody else or with other options.",
                "`mqtap show NAME` tells what it is; `mqtap create --if-not-exists` is content with one that is as asked for",
            ),
            cause(
                "A pattern such as tap%d makes a new one each time.",
                "give a name, if one that exists is to be used",
            ),
        ],
        patterns: &[
            "cannot make *: it exists",
            "exists and is not as asked for",
            "so there is nothing to be content with if it exists",
        ],
    },
    Explanation {
        id: "no-such-interface",
        meaning: "There is no interface of that name in the network namespace that was looked at.",
        causes: &[
            cause("A slip of the pen, or it was deleted.", "`mqtap list`, `ip -brief link`"),
            cause(
                "It is in another network namespace.",
                "`mqtap doctor NAME` looks in those with a name; --netns, netns=",
            ),
            cause(
                "It goes with its last queue, and whoever had it is gone.",
                "`mqtap create NAME` makes one that stays; persist=on",
            ),
        ],
        patterns: &["there is no interface * in this network namespace"],
    },
    Explanation {
        id: "bridge-port",
        meaning: "The tap could not be made a port of the bridge.",
        causes: &[
            cause(
                "The bridge is not there.",
                "`ip link add br0 type bridge`, `ip link set br0 up`; `ip link show type bridge` lists those there are",
            ),
            cause("It is in another network namespace than the tap.", "netns=, --netns: both must be in one"),
            cause("What has that name is no bridge.", "`ip -d link show br0`; for Open vSwitch a script="),
            cause("The tap is on another bridge.", "`ip link set NAME nomaster`"),
            cause(
                "It takes CAP_NET_ADMIN, also for the owner of the tap.",
                "helper=mqtap; or have it made on its bridge: `mqtap create NAME --bridge br0 --up --owner USER`",
            ),
        ],
        patterns: &["cannot put * on bridge", "there is no * in the network namespace of"],
    },
    Explanation {
        id: "network-namespace",
        meaning: "The network namespace is not there, may not be entered, or is not the one in which the interface is.",
        causes: &[
            cause("There is none of that name.", "`ip netns` lists those with a name"),
            cause(
                "To enter one takes CAP_SYS_ADMIN in it and here.",
                "start mqtap in it: `ip netns exec NAME`, nsenter --net",
            ),
            cause(
                "A queue that was passed on is of an interface of another namespace.",
                "start mqtap in that: `mqtap show NAME` there tells who holds it",
            ),
        ],
        patterns: &[
            "in the network namespace *:",
            "cannot look into the network namespace",
            "cannot enter the network namespace",
            "is in another network namespace, which cannot be entered",
            "which is not in this network namespace",
        ],
    },
    Explanation {
        id: "helper-privilege",
        meaning: "`mqtap helper` makes taps for users without privilege, and has not what it needs for that, or more.",
        causes: &[
            cause(
                "Its file has no capability; a package that is upgraded, or a copy, loses it.",
                "`setcap cap_net_admin+ep /usr/bin/mqtap`, as root",
            ),
            cause(
                "Whoever starts it may gain no privileges (NoNewPrivileges=, a sandbox), or the file system is mounted with nosuid.",
                "leave that out, or have the taps made before: `mqtap create NAME --owner USER --bridge br0 --up`",
            ),
            cause("It is set-user-ID, which gives it too much.", "`chmod u-s`, and the capability instead"),
        ],
        patterns: &["helper has no cap_net_admin", "must not be set-user-id"],
    },
    Explanation {
        id: "helper-access-list",
        meaning: "`mqtap helper` puts taps only on bridges that its access list allows.",
        causes: &[
            cause(
                "There is no list, or it does not have this bridge.",
                "a line `allow br0` in /etc/mqtap/bridge.conf, or in /etc/qemu/bridge.conf where that is missing",
            ),
            cause(
                "A list that others than root may write, or with a line that means nothing, allows nothing.",
                "mend the line that is named; `chmod go-w` the file",
            ),
            cause("--config was given to a helper with capabilities.", "leave it out"),
        ],
        patterns: &[
            "there is no access list",
            "does not allow bridge",
            "denies bridge",
            "the access list",
            "--config cannot be given to a helper",
        ],
    },
    Explanation {
        id: "helper-passed",
        meaning: "helper= names a program that makes a tap and passes its queues over a socket, and they did not come as they should.",
        causes: &[
            cause(
                "The program is no bridge helper, or ended before it passed anything.",
                "helper=mqtap, or /usr/lib/qemu/qemu-bridge-helper; run it by hand to see what it says",
            ),
            cause(
                "Its own message, the last it printed, says why it failed.",
                "`mqtap doctor --explain` that",
            ),
            cause(
                "It passes one queue, and more are wanted.",
                "helper=mqtap passes as many as are asked for",
            ),
        ],
        patterns: &[
            "the program mqtap is not installed",
            "cannot make a pair of sockets",
            "it ended well, but passed no queue",
            "it was to pass * queues, and passed",
            "cannot take what it passed",
            "what it passed is of no use",
            "cannot pass the queues over",
        ],
    },
    Explanation {
        id: "program",
        meaning: "A script or helper of a netdev could not be run, or failed.",
        causes: &[
            cause(
                "The file is not there, is not executable, or does not begin with a line such as #!/bin/sh.",
                "`ls -l FILE`, `head -1 FILE`, `chmod +x FILE`",
            ),
            cause(
                "It failed itself: it needs privilege that mqtap was not given, or something that is not there.",
                "run it by hand with the name of the tap; what it printed last stands in the message",
            ),
            cause(
                "It waits for something.",
                "a script that is to go on starts what goes on in the background",
            ),
        ],
        patterns: &[
            "it cannot be executed",
            "it exists, but what is to run it does not",
            "the kernel does not know how to run it",
            "it could not be started",
            "it failed (",
            "it did not end within",
            "how it ended is not known",
        ],
    },
    Explanation {
        id: "socket-in-use",
        meaning: "The vhost-user socket cannot be made at that path.",
        causes: &[
            cause(
                "Another mqtap serve, or another backend, listens there.",
                "`ss -xlp` tells who; stop that, or give another --socket",
            ),
            cause("There is a file of another kind.", "move it away, or give another --socket"),
            cause("A path has 1 to 107 bytes.", "give a shorter one"),
        ],
        patterns: &[
            "another process is listening there",
            "there is something that is not a socket",
            "cannot be the path of a socket",
        ],
    },
    Explanation {
        id: "not-linux",
        meaning: "Taps and vhost-net are the Linux kernel's; mqtap can do nothing with them on another system.",
        causes: &[cause("This is not Linux.", "run it on Linux")],
        patterns: &["supported on linux only"],
    },
    Explanation {
        id: "flag-kept",
        meaning: "Who opens a tap first says what its frames look like. The kernel tells later ones that all is well, and keeps it as it is.",
        causes: &[cause(
            "Somebody has it open without a virtio-net header, or with packet information.",
            "`mqtap show NAME` tells who; stop that, or ask for the same (vnet_hdr=off)",
        )],
        patterns: &["but the kernel kept its"],
    },
    Explanation {
        id: "changed-meanwhile",
        meaning: "The interface became another, or somebody else's, in the moment in which it was opened.",
        causes: &[
            cause(
                "A program deletes, renames or makes taps at the same time.",
                "try again; find out which: `ip monitor link`",
            ),
            cause("Two VMMs were given one name.", "give each its own"),
        ],
        patterns: &[
            "was deleted or renamed while its queues were opened",
            "another user took * while it was made",
        ],
    },
    Explanation {
        id: "device-node",
        meaning: "The queues of a macvtap or ipvtap are opened by a device node of its own, /dev/tapN, which is missing or not right.",
        causes: &[
            cause(
                "A container, or a network namespace without a /dev of its own: udev makes it on the host only.",
                "`--device /dev/tapN`; or the mknod command of the message",
            ),
            cause(
                "An interface of another namespace has the same number N.",
                "make a node that is called like the interface, which mqtap uses as well",
            ),
            cause("It is for root.", "a udev rule for SUBSYSTEM==\"macvtap\" with an owner or a group"),
        ],
        patterns: &["by which its queues are opened", "is not its device node", "the device node of"],
    },
    Explanation {
        id: "macvtap-option",
        meaning: "A macvtap or ipvtap is made with `ip link` on a card, and lacks some of what a tap has.",
        causes: &[cause(
            "An option that only a tap has.",
            "leave it out, or use a tap: docs/options.md tells which",
        )],
        patterns: &["makes no sense for *, which is a macvtap", "makes no sense for *, which is an ipvtap"],
    },
    Explanation {
        id: "offloads-need-header",
        meaning: "Offloads leave work to the reader of a frame, and the virtio-net header in front of it says which: none go without it.",
        causes: &[cause("The tap was opened with vnet_hdr=off.", "vnet_hdr=on, or ask for no offloads")],
        patterns: &["has no virtio-net header, so it cannot have the offloads"],
    },
    Explanation {
        id: "vhost-net-handle",
        meaning: "vhostfds= wants descriptors of /dev/vhost-net: one for each queue, opened for it, and used by nobody before.",
        causes: &[
            cause(
                "A number is that of something else, of a tap queue perhaps.",
                "`ls -l /proc/PID/fd` shows what a process has",
            ),
            cause(
                "One was made from another by dup, or had another owner.",
                "open /dev/vhost-net anew for each: `mqtap exec` with vhost=on",
            ),
        ],
        patterns: &[
            "is not a vhost-net handle",
            "are the same vhost-net handle",
            "the vhost-net handle has an owner already",
        ],
    },
    Explanation {
        id: "vhost-net-use",
        meaning: "What a frontend asked of its rings or its memory is not what vhost-net of this kernel takes.",
        causes: &[
            cause(
                "The guest has more pieces of memory than vhost takes.",
                "raise max_mem_regions of the module vhost",
            ),
            cause(
                "The kernel is too old for a feature or a setting.",
                "`vhost=off`, so that mqtap moves the frames",
            ),
            cause(
                "A frontend sets up rings in an order, a size or a place that the specification forbids.",
                "report it to those who make the VMM; with `vhost=off` mqtap says more of it",
            ),
        ],
        patterns: &[
            "vhost-net of this kernel does not have the features",
            "the * ring is started",
            "the * ring is not started",
            "the * ring cannot have * descriptors",
            "is not in guest memory",
            "the * ring is misaligned",
            "does not cover the guest's memory and rings",
            "vhost-net does not take * memory regions",
            "vhost-net was asked to poll for",
            "vhost-net: cannot",
        ],
    },
    Explanation {
        id: "account",
        meaning: "A user or a group is not known by that name or number.",
        causes: &[
            cause("A slip of the pen.", "`getent passwd`, `getent group`"),
            cause("A container, or a unit of systemd, has a list of users of its own.", "give the number"),
        ],
        patterns: &[
            "there is no user",
            "there is no group",
            "a user or group has a name",
            "is no name of a user or group",
            "too large for the number of a user or group",
            "cannot look up the user",
            "cannot look up the group",
        ],
    },
    Explanation {
        id: "qdisc-mq",
        meaning: "The qdisc mq has a queue for each transmit queue of the kernel, of which a tap without `multi_queue` has one.",
        causes: &[cause(
            "--qdisc mq, or qdisc=mq, for a tap with one queue.",
            "add --multi-queue, or leave it out",
        )],
        patterns: &["the qdisc mq is for taps with several queues"],
    },
    Explanation {
        id: "rtnetlink",
        meaning: "The kernel could not be asked about its interfaces.",
        causes: &[
            cause(
                "A sandbox forbids sockets of the family AF_NETLINK.",
                "RestrictAddressFamilies=AF_NETLINK AF_UNIX in a unit; allow it in a seccomp profile",
            ),
            cause(
                "A kernel, or something that plays one (gVisor), with another rtnetlink.",
                "report it, with `uname -r`",
            ),
        ],
        patterns: &["cannot talk to the kernel's network configuration", "the kernel's answer about"],
    },
];
