//! Pieces of the error texts: how outside text is shown, and the advice that depends on which option is at fault.

use std::fmt;

use super::name::OptionName;
use super::options::MAX_QUEUES;
use crate::link::{MAX_MTU, MIN_MTU};

/// Text from outside inside a message: cut to a readable length, control characters escaped.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Shown<'_> {
    const LONGEST: usize = 80;
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for (count, c) in self.0.chars().enumerate() {
            if count == Self::LONGEST {
                return f.write_char('…');
            }
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// `a`, `b` and `c`.
pub(super) struct Words<'a>(pub(super) &'a [&'a str]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.0.iter().enumerate() {
            let before = match i {
                0 => "",
                _ if i + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}`{word}`")?;
        }
        Ok(())
    }
}

pub(super) struct DidYouMean<'a>(pub(super) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(word) => write!(f, "; did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

/// "1 queue", "2 queues".
pub(super) struct Count(pub(super) usize, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        write!(f, "{count} {what}{}", if *count == 1 { "" } else { "s" })
    }
}

/// "element 3", counted as people do.
pub(super) struct Nth(pub(super) usize);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "element {}", self.0 + 1)
    }
}

/// "in fd= and fds=", or once if it is the same.
pub(super) struct Twice(pub(super) OptionName, pub(super) OptionName);

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, second) = self;
        if first == second { write!(f, "in {first}=") } else { write!(f, "in {first}= and {second}=") }
    }
}

/// What a numeric option takes.
pub(super) fn range_of(option: OptionName) -> String {
    match option {
        OptionName::Queues => format!("1 to {MAX_QUEUES}"),
        OptionName::Mtu => format!("{MIN_MTU} to {MAX_MTU}"),
        _ => format!("0 to {}", u32::MAX),
    }
}

pub(super) fn type_advice(found: &str) -> &'static str {
    match found {
        "bridge" => "; for a tap on a bridge, write `tap` and put the interface on the bridge",
        "vhost-user" => {
            "; `vhost-user` is what QEMU is given to talk to mqtap: `mqtap serve` takes the tap, QEMU the socket"
        }
        "user" | "l2tpv3" | "socket" | "stream" | "dgram" | "vde" | "netmap" | "vhost-vdpa" | "hubport"
        | "none" | "af-xdp" | "passt" | "vmnet-host" | "vmnet-shared" | "vmnet-bridged" => {
            "; that type is QEMU's own"
        }
        _ => "; begin with `tap,`",
    }
}

pub(super) fn option_advice(option: &str, suggestion: Option<OptionName>) -> String {
    match (option, suggestion) {
        ("macaddr", _) => {
            "; the guest's MAC address belongs to the NIC, and that of the host's end of the tap is mac="
                .to_owned()
        }
        ("vlan" | "name" | "netdev", _) | (_, None) => {
            let names: Vec<&str> = OptionName::ALL.iter().map(|name| name.as_str()).collect();
            format!("; the options are {}", Words(&names))
        }
        (_, Some(suggestion)) => DidYouMean(Some(suggestion.as_str())).to_string(),
    }
}

pub(super) fn script_advice(option: OptionName) -> String {
    match option {
        OptionName::Script | OptionName::Downscript => format!(", or `{option}=no` for none"),
        _ => String::new(),
    }
}

pub(super) fn empty_advice(option: OptionName) -> String {
    match option {
        OptionName::Ifname => {
            "leave it out to let the kernel choose a name, or write for example `ifname=tap0`".to_owned()
        }
        OptionName::Fds => {
            "a netdev has at least one queue; list its file descriptors, as in `fds=3:4`".to_owned()
        }
        OptionName::Id => "every netdev needs an id, for example `id=hn0`".to_owned(),
        _ => format!("leave it out, or write for example `{}`", option.example()),
    }
}

pub(super) fn source_advice(first: OptionName, second: OptionName) -> &'static str {
    use OptionName::{Fd, Fds, Queues};
    match (first, second) {
        (Fd, Fds) => "list all file descriptors in fds=",
        (Fd | Fds, Queues) => "leave out queues=, which is the number of file descriptors given",
        (Queues, _) => "leave out queues=, such a helper always opens one (`helper=mqtap` opens more)",
        _ => "leave out one of the two",
    }
}

pub(super) fn opened_elsewhere_advice(option: OptionName, source: OptionName) -> String {
    let opener = match source {
        OptionName::Helper => "the helper",
        _ => "the program that passes the file descriptor",
    };
    match option {
        OptionName::Ifname => {
            format!("the interface is the one {opener} has opened; leave out ifname=, the name is found out")
        }
        OptionName::VnetHdr => {
            format!("{opener} has decided on the header; leave out vnet_hdr=, it is found out")
        }
        OptionName::Netns => {
            format!("{opener} has opened it where it is, which is found out; leave out netns=")
        }
        OptionName::Script | OptionName::Downscript => {
            format!("{opener} sets the interface up and takes it down; leave out {option}=")
        }
        _ => format!("{opener} has opened the interface; leave out {option}="),
    }
}

pub(super) fn standard_stream(fd: i32) -> &'static str {
    match fd {
        0 => "standard input",
        1 => "standard output",
        _ => "standard error",
    }
}

pub(super) fn expected_fd(option: OptionName) -> &'static str {
    match option {
        OptionName::Vhostfd | OptionName::Vhostfds => "a vhost-net handle",
        _ => "a tap queue",
    }
}
