//! The arguments of `mqtap exec`.

use std::ffi::OsString;

use clap::{Args, ValueHint};
use mqtap::MacAddress;
use mqtap::account::Account;
use mqtap::netdev::Options;

use crate::mac;
use crate::per_nic::PerNic;

/// Open netdevs and run a command that inherits them.
///
/// Opens and configures TAP devices, then becomes a VMM that moves the frames itself, or has the kernel's vhost-net do it. The
/// VMM needs neither privilege nor /dev/net/tun: it finds the queues open, as file descriptors from 3 on. It inherits these, its
/// standard streams, and no other descriptor.
///
/// The command is told its descriptors by the names of netdevs in its arguments, which are replaced, and as systemd tells them,
/// by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES: there a queue has the netdev's id for a name, a vhost-net handle the id and
/// .vhost.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct Arguments {
    /// A netdev in QEMU's syntax, such as tap,id=hn0,ifname=tap0,queues=4 (see mqtap-netdev(7)).
    #[arg(long, value_name = "OPTIONS", required = true)]
    pub(crate) netdev: Vec<Options>,

    /// MAC address for {ID.mac} [default: one that belongs to this host and the name of the interface].
    #[arg(long, value_name = "[ID=]MAC", value_parser = mac::of_nic)]
    pub(crate) mac: Vec<PerNic<MacAddress>>,

    /// Run the command as this user, by name or number, with the groups that the user is in.
    #[arg(long, value_hint = ValueHint::Username)]
    pub(crate) user: Option<Account>,

    /// Run the command with this group, by name or number, as its main group.
    #[arg(long)]
    pub(crate) group: Option<Account>,

    /// Run the command without any capability, and without a way to get one back.
    #[arg(long)]
    pub(crate) drop_caps: bool,

    /// The command and its arguments.
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}

const NOTES: &str = "\
Names:
  In the arguments of the command these are replaced, here for a netdev hn0
  with four queues and vhost=on:

  {hn0}               tap,id=hn0,fds=3:4:5:6,vhostfds=7:8:9:10
  {hn0.fds}           3:4:5:6
  {hn0.fds.csv}       3,4,5,6
  {hn0.vhostfds}      7:8:9:10
  {hn0.vhostfds.csv}  7,8,9,10
  {hn0.ifname}        tap0
  {hn0.queues}        4, the queue pairs
  {hn0.virtqueues}    8, two for each pair
  {hn0.vectors}       10, two for each pair and two more
  {hn0.mac}           an address for the guest, see --mac

  Only {NAME} is replaced, with nothing else between the braces: JSON and {}
  stay as they are, and so does ${NAME}. {{NAME}} stands for {NAME} itself. A
  NAME that is not known is an error.

Examples:
  mqtap exec --user nobody --group kvm --drop-caps \\
    --netdev tap,id=hn0,ifname=tap0,queues=4 -- \\
    qemu-system-x86_64 -netdev {hn0} \\
    -device virtio-net-pci,netdev=hn0,mq=on,vectors={hn0.vectors} ...

  mqtap exec --netdev tap,id=hn0,queues=4 -- cloud-hypervisor \\
    --net fd=[{hn0.fds.csv}],num_queues={hn0.virtqueues} ...

Exit status:
  That of the command, and 128 and the number of the signal that killed it if
  mqtap waits for it (to run a downscript, for example). 127 if the command is
  not found, 126 if it cannot be run; 1 if a netdev cannot be opened, 2 for
  wrong usage.";
