//! `mqtap helper`: the queues of a tap on a bridge, for users who may not make one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use mqtap::InterfaceName;
use mqtap::helper::{Privilege, Request};

use crate::exit;

/// Make a tap on a bridge for a user who may not, and hand over its queues.
///
/// Run by `helper=mqtap` in a netdev, and by QEMU with `helper=/usr/bin/mqtap helper`. Needs CAP_NET_ADMIN, which an
/// administrator gives to the file of the program (see the examples), and uses no other privilege. All other commands of such a
/// program give it up before anything else.
///
/// Which bridges may be used is said by /etc/mqtap/bridge.conf, or /etc/qemu/bridge.conf if there is no such file, in lines
/// such as `allow br0`, `deny br1`, `allow all` and `include /etc/mqtap/alice.conf`; what is denied or not allowed is refused, and
/// files that the user may not read are not included. They must belong to root, and be writable for nobody else.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The bridge.
    #[arg(long, value_name = "BRIDGE")]
    br: InterfaceName,

    /// The inherited Unix socket over which the queues are sent.
    #[arg(long, value_name = "N")]
    fd: i32,

    /// Have a virtio-net header before each frame, if the kernel can.
    #[arg(long)]
    use_vnet: bool,

    /// How many queues to send.
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = RangedU64ValueParser::<u16>::new().range(1..=u64::from(mqtap::device::MAX_QUEUES)))]
    queues: u16,

    /// Another access list; refused if the program's file has capabilities.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  As root:
    setcap cap_net_admin+ep /usr/bin/mqtap
    install -d /etc/mqtap && echo 'allow br0' >/etc/mqtap/bridge.conf

  As anybody, on a socket of his own:
    mqtap serve --socket vm0.sock \\
      --netdev tap,id=hn0,queues=4,br=br0,helper=mqtap";

/// Whether these are arguments for this command. Asked before they are parsed, so that privileges are put aside before that.
pub(crate) fn is_meant(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.next().is_some_and(|first| first == "helper")
}

pub(crate) fn main(arguments: Arguments, privilege: Privilege) -> ExitCode {
    let request = Request {
        bridge: arguments.br,
        socket: arguments.fd,
        queues: arguments.queues,
        vnet_header: arguments.use_vnet,
        access_list: arguments.config,
    };
    match mqtap::helper::serve(&request, privilege) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failure(&error),
    }
}
