//! The names of the options, in one table: the parser, the printer, the error texts and a test of the manual all read it.

use std::fmt;

use super::suggest;

/// The name of an option of `-netdev tap,…`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionName {
    /// `type`, which may be written without its name when it comes first.
    Type,
    /// `id`
    Id,
    /// `ifname`
    Ifname,
    /// `fd`
    Fd,
    /// `fds`
    Fds,
    /// `queues`
    Queues,
    /// `script`
    Script,
    /// `downscript`
    Downscript,
    /// `br`
    Br,
    /// `helper`
    Helper,
    /// `sndbuf`
    Sndbuf,
    /// `vnet_hdr`
    VnetHdr,
    /// `vhost`
    Vhost,
    /// `vhostfd`
    Vhostfd,
    /// `vhostfds`
    Vhostfds,
    /// `vhostforce`
    Vhostforce,
    /// `poll-us`
    PollUs,
    /// `carrier`, which QEMU does not have.
    Carrier,
    /// `exclusive`, which QEMU does not have.
    Exclusive,
    /// `qdisc`, which QEMU does not have.
    Qdisc,
    /// `netns`, which QEMU does not have.
    Netns,
    /// `persist`, which QEMU does not have.
    Persist,
    /// `user`, which QEMU does not have.
    User,
    /// `group`, which QEMU does not have.
    Group,
    /// `mac`, which QEMU does not have.
    Mac,
    /// `mtu`, which QEMU does not have.
    Mtu,
    /// `engine`, which QEMU does not have.
    Engine,
    /// `segment`, which QEMU does not have.
    Segment,
    /// `coalesce`, which QEMU does not have.
    Coalesce,
}

impl OptionName {
    /// Every option, in the order in which options are printed.
    pub const ALL: &'static [Self] = &[
        Self::Type,
        Self::Id,
        Self::Ifname,
        Self::Fd,
        Self::Fds,
        Self::Queues,
        Self::Script,
        Self::Downscript,
        Self::Br,
        Self::Helper,
        Self::Sndbuf,
        Self::VnetHdr,
        Self::Vhost,
        Self::Vhostfd,
        Self::Vhostfds,
        Self::Vhostforce,
        Self::PollUs,
        Self::Carrier,
        Self::Exclusive,
        Self::Qdisc,
        Self::Netns,
        Self::Persist,
        Self::User,
        Self::Group,
        Self::Mac,
        Self::Mtu,
        Self::Engine,
        Self::Segment,
        Self::Coalesce,
    ];

    /// The name as written in the option string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Id => "id",
            Self::Ifname => "ifname",
            Self::Fd => "fd",
            Self::Fds => "fds",
            Self::Queues => "queues",
            Self::Script => "script",
            Self::Downscript => "downscript",
            Self::Br => "br",
            Self::Helper => "helper",
            Self::Sndbuf => "sndbuf",
            Self::VnetHdr => "vnet_hdr",
            Self::Vhost => "vhost",
            Self::Vhostfd => "vhostfd",
            Self::Vhostfds => "vhostfds",
            Self::Vhostforce => "vhostforce",
            Self::PollUs => "poll-us",
            Self::Carrier => "carrier",
            Self::Exclusive => "exclusive",
            Self::Qdisc => "qdisc",
            Self::Netns => "netns",
            Self::Persist => "persist",
            Self::User => "user",
            Self::Group => "group",
            Self::Mac => "mac",
            Self::Mtu => "mtu",
            Self::Engine => "engine",
            Self::Segment => "segment",
            Self::Coalesce => "coalesce",
        }
    }

    /// The option of this exact name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|option| option.as_str() == name)
    }

    /// The option somebody who typed `name` probably meant.
    pub(super) fn closest(name: &str) -> Option<Self> {
        let names = Self::ALL.iter().map(|option| option.as_str());
        suggest::closest(name, names).and_then(Self::find)
    }

    /// Whether the value is on or off, so that the bare name may stand for `on`.
    pub(super) const fn is_switch(self) -> bool {
        matches!(
            self,
            Self::VnetHdr
                | Self::Vhost
                | Self::Vhostforce
                | Self::Exclusive
                | Self::Persist
                | Self::Segment
                | Self::Coalesce
        )
    }

    /// Whether a comma can be part of a sensible value (written `,,`).
    pub(super) const fn may_contain_comma(self) -> bool {
        matches!(self, Self::Ifname | Self::Br | Self::Script | Self::Downscript | Self::Helper | Self::Netns)
    }

    /// Whether the value is a list of file descriptors.
    pub(super) const fn is_list(self) -> bool {
        matches!(self, Self::Fds | Self::Vhostfds)
    }

    /// A whole option a person can copy.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Type => "type=tap",
            Self::Id => "id=hn0",
            Self::Ifname => "ifname=tap0",
            Self::Fd => "fd=3",
            Self::Fds => "fds=3:4",
            Self::Queues => "queues=4",
            Self::Script => "script=/etc/qemu-ifup",
            Self::Downscript => "downscript=/etc/qemu-ifdown",
            Self::Br => "br=br0",
            Self::Helper => "helper=/usr/lib/qemu/qemu-bridge-helper",
            Self::Sndbuf => "sndbuf=1M",
            Self::VnetHdr => "vnet_hdr=on",
            Self::Vhost => "vhost=on",
            Self::Vhostfd => "vhostfd=5",
            Self::Vhostfds => "vhostfds=5:6",
            Self::Vhostforce => "vhostforce=on",
            Self::PollUs => "poll-us=50",
            Self::Carrier => "carrier=guest",
            Self::Exclusive => "exclusive=on",
            Self::Qdisc => "qdisc=noqueue",
            Self::Netns => "netns=blue",
            Self::Persist => "persist=on",
            Self::User => "user=alice",
            Self::Group => "group=kvm",
            Self::Mac => "mac=02:00:00:00:00:01",
            Self::Mtu => "mtu=9000",
            Self::Engine => "engine=auto",
            Self::Segment => "segment=off",
            Self::Coalesce => "coalesce=auto",
        }
    }
}

impl fmt::Display for OptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
