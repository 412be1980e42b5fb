//! The arguments of `mqtap create`.

pub(crate) mod words;

use clap::{Args, ValueEnum, ValueHint};
use mqtap::create::CreateOptions;
use mqtap::netdev::Qdisc;
use mqtap::{Account, InterfaceName, MacAddress, Namespace, link};
use words::Words;

use crate::mac;

/// Make a persistent tap, for a VMM to open later.
///
/// The tap belongs to whoever makes it (with sudo, to the user who ran sudo), unless --owner or --group says otherwise: a tap that
/// belongs to nobody can be taken by any user of the host. Its queueing discipline is noqueue, which suits a tap and spares 6 MiB
/// for one with multi-queue.
///
/// Prints the name of the tap. If anything fails, there is no tap.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "mqtap create [OPTIONS] NAME\n       mqtap create [OPTIONS] dev NAME [mode tap] [user USER] [group GROUP] [multi_queue] [vnet_hdr]",
    after_long_help = NOTES
)]
pub(crate) struct Arguments {
    /// The tap: a name of 1 to 15 bytes, or a pattern such as vm%d, for which the kernel puts in the lowest free number. Or what
    /// follows `ip tuntap add`, word for word.
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    words: Vec<String>,

    /// The user who may open it, by name or number.
    #[arg(long, visible_alias = "user", value_name = "USER", value_hint = ValueHint::Username)]
    owner: Option<Account>,

    /// The group whose members may open it, by name or number. With --owner, only the owner, and only as a member of this group.
    #[arg(long, value_name = "GROUP")]
    group: Option<Account>,

    /// Frames with a virtio-net header, which offloads need. Who opens the tap decides anew.
    #[arg(long)]
    vnet_hdr: bool,

    /// Room for several queues. A VMM must ask for several queues exactly if the tap has this (mqtap need not).
    #[arg(long)]
    multi_queue: bool,

    /// MAC address of the host's end, not the guest's.
    #[arg(long, value_name = "MAC", value_parser = mac::station)]
    mac: Option<MacAddress>,

    /// MTU, in bytes [default: the bridge's, or 1500].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(i64::from(link::MIN_MTU)..=i64::from(link::MAX_MTU)))]
    mtu: Option<u32>,

    /// Bring it up.
    #[arg(long)]
    up: bool,

    /// Make it a port of this bridge.
    #[arg(long, value_name = "BRIDGE")]
    bridge: Option<InterfaceName>,

    /// Make it in this network namespace: a name (see `ip netns`), a path, or the number of a process.
    #[arg(long, value_name = "NAME|PATH|PID")]
    netns: Option<Namespace>,

    /// Queueing discipline: noqueue, or mq, which costs 6 MiB once the tap is up and counts for each queue [default: noqueue].
    #[arg(long, value_enum)]
    qdisc: Option<QdiscName>,

    /// Be content with a tap that is there and is as asked for; say what differs if it is not. For a name, not a pattern.
    #[arg(long)]
    if_not_exists: bool,

    /// Print the tap as JSON, with the keys of `ip -json -details link`, and `created`.
    #[arg(long)]
    pub(super) json: bool,
}

const NOTES: &str = "\
Examples:
  mqtap create tap0 --multi-queue --vnet-hdr --owner alice --bridge br0
  mqtap create vm%d --multi-queue --vnet-hdr --group kvm
  mqtap create dev tap0 mode tap multi_queue vnet_hdr user alice
  mqtap create tap0 --multi-queue --if-not-exists --json

  mqtap delete tap0";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QdiscName {
    Noqueue,
    Mq,
}

/// What is asked for, before accounts are looked up.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) owner: Option<Account>,
    pub(super) group: Option<Account>,
    pub(super) options: CreateOptions,
}

impl Arguments {
    /// Puts options and words together.
    pub(super) fn request(&self) -> Result<Request, String> {
        let words = Words::read(&self.words, "create")?;
        let name = words.name.parse().map_err(|error: mqtap::name::InvalidName| error.to_string())?;
        let options = CreateOptions {
            vnet_header: self.vnet_hdr || words.vnet_hdr,
            multi_queue: self.multi_queue || words.multi_queue,
            mac: self.mac,
            mtu: self.mtu,
            up: self.up,
            bridge: self.bridge,
            qdisc: self.qdisc.map(|qdisc| match qdisc {
                QdiscName::Noqueue => Qdisc::Noqueue,
                QdiscName::Mq => Qdisc::Mq,
            }),
            namespace: self.netns.clone(),
            if_not_exists: self.if_not_exists,
            ..CreateOptions::new(name)
        };
        options.validate().map_err(|error| error.to_string())?;
        Ok(Request {
            owner: once("--owner", self.owner.as_ref(), "user", words.user)?,
            group: once("--group", self.group.as_ref(), "group", words.group)?,
            options,
        })
    }
}

/// The account that an option or a word gives.
fn once(
    option: &str,
    given: Option<&Account>,
    word: &str,
    text: Option<&str>,
) -> Result<Option<Account>, String> {
    match (given, text) {
        (Some(_), Some(_)) => Err(format!("{option} and `{word}` say the same; leave out one of the two")),
        (given, None) => Ok(given.cloned()),
        (None, Some(text)) => text.parse().map(Some).map_err(|error| format!("{word} {text}: {error}")),
    }
}
