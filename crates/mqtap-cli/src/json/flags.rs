//! The flags of an interface, in the words and the order of `ip -json link` (ip/ipaddress.c: `print_link_flags`).

use mqtap::Link;

const UP: u32 = 1;
const RUNNING: u32 = 1 << 6;

/// By their bits (include/uapi/linux/if.h).
const WORDS: [(u32, &str); 18] = [
    (1 << 3, "LOOPBACK"),
    (1 << 1, "BROADCAST"),
    (1 << 4, "POINTOPOINT"),
    (1 << 12, "MULTICAST"),
    (1 << 7, "NOARP"),
    (1 << 9, "ALLMULTI"),
    (1 << 8, "PROMISC"),
    (1 << 10, "MASTER"),
    (1 << 11, "SLAVE"),
    (1 << 2, "DEBUG"),
    (1 << 15, "DYNAMIC"),
    (1 << 14, "AUTOMEDIA"),
    (1 << 13, "PORTSEL"),
    (1 << 5, "NOTRAILERS"),
    (UP, "UP"),
    (1 << 16, "LOWER_UP"),
    (1 << 17, "DORMANT"),
    (1 << 18, "ECHO"),
];

/// Those of an interface, which stands on `parent`.
pub(super) fn names(link: &Link, parent: Option<&Link>) -> Vec<&'static str> {
    let mut names = Vec::new();
    if link.flags & UP != 0 && link.flags & RUNNING == 0 {
        names.push("NO-CARRIER");
    }
    names.extend(WORDS.iter().filter(|(bit, _)| link.flags & bit != 0).map(|&(_, word)| word));
    if parent.is_some_and(|parent| !parent.up) {
        names.push("M-DOWN");
    }
    names
}
