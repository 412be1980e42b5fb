//! What error messages about taps mean: those of VMMs, of libvirt, of iproute2, of the kernel, and bare errnos.

mod messages;
mod numbers;

/// A kind of error, and what can be behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// A name that stays the same from version to version.
    pub id: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What can be behind it, the likeliest first.
    pub causes: &'static [Cause],
    /// Any of these, in small letters, tells it.
    patterns: &'static [&'static str],
}

/// One thing that can be behind an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is the case.
    pub cause: &'static str,
    /// What to do; what to type stands in backticks.
    pub remedy: &'static str,
}

/// Shorter to write in tables.
const fn cause(cause: &'static str, remedy: &'static str) -> Cause {
    Cause { cause, remedy }
}

/// All errors that are known.
pub fn explanations() -> impl Iterator<Item = &'static Explanation> {
    messages::ALL.iter().chain(numbers::ALL)
}

/// What an error message means, as it was printed or in part: what is said of the whole message first, then what is said of
/// an errno in it. Empty if nothing in it is known.
#[must_use]
pub fn explain(text: &str) -> Vec<&'static Explanation> {
    let text = normalize(text);
    explanations().filter(|one| one.patterns.iter().any(|pattern| holds(&text, pattern))).collect()
}

/// Small letters, and one kind of quotation marks and spaces.
fn normalize(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '‘' | '’' | '`' | '"' | '“' | '”' => '\'',
        c => c,
    });
    let plain: String = plain.collect::<String>().to_lowercase();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the pattern is in the text, and is no part of a longer word there.
fn holds(text: &str, pattern: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(pattern).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !(is_word(before) && is_word(found.chars().next())
            || is_word(after) && is_word(found.chars().next_back()))
    })
}

#[cfg(test)]
mod tests {
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
            (
                "Unable to open /dev/net/tun, is tun module loaded?: No such device",
                &["dev-net-tun", "enoent"],
            ),
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
            ("Device 'tap' could not be initialized", &[]),
            ("everything is fine", &[]),
        ] {
            assert_eq!(ids(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_of_our_own_are_explained() {
        use crate::device::Error;
        use rustix::io::Errno;
        let errors = [
            (Error::TunMissing, "dev-net-tun"),
            (Error::TunPermission { errno: Errno::ACCESS }, "dev-net-tun"),
            (Error::CreatePermission("tap0".parse().unwrap()), "eperm"),
            (Error::Busy { interface: "tap0".parse().unwrap(), holders: Vec::new() }, "ebusy"),
            (
                Error::TooManyQueues { interface: "tap0".parse().unwrap(), queue: 256, holders: Vec::new() },
                "e2big",
            ),
            (Error::TooManyFiles { errno: Errno::MFILE }, "emfile"),
            (
                Error::DeviceGone { what: "x", interface: "tap0".parse().unwrap(), errno: Errno::BADFD },
                "ebadfd",
            ),
        ];
        for (error, id) in errors {
            assert!(ids(&error.to_string()).contains(&id), "{error}");
        }
    }

    #[test]
    fn parts_of_words_are_no_match() {
        assert!(
            holds("an einval here", "einval") && holds("einval", "einval") && holds("(einval)", "einval")
        );
        assert!(!holds("einvalid", "einval") && !holds("os error 227", "os error 22"));
        assert!(holds("x: 'tun'", ": 'tun'"));
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
                assert!(ids(pattern).contains(&one.id), "{}", one.id);
            }
        }
    }
}
