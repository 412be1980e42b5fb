//! Whether a device is what it was opened as, and ours: the kernel keeps what others have set without a word, and others may come
//! at any time.

use std::os::fd::{AsFd, BorrowedFd};

use super::error::held_by;
use super::{Error, TapDevice, setting};
use crate::inspect::NamespaceId;
use crate::link::{self, Holder, Link};
use crate::name::InterfaceName;
use crate::sys::{self, flag};

/// What the kernel made of our flags: it keeps those of a device in use without a word.
pub(super) fn verify(fd: BorrowedFd<'_>, interface: InterfaceName, wanted: u16) -> Result<(), Error> {
    /// What must be equal on all queues. `TUNGETIFF` does not tell of packet information: it shows the bit of `IFF_NO_PI`,
    /// which is also that of `IFF_NOFILTER`, for each queue without a classic filter.
    const SHARED: [(u16, &str); 2] =
        [(flag::VNET_HDR, "virtio-net header (IFF_VNET_HDR)"), (flag::MULTI_QUEUE, "IFF_MULTI_QUEUE")];
    let now =
        sys::interface(fd).map_err(|errno| setting(interface, "read back the flags (TUNGETIFF)", errno))?;
    let differs = |&&(bit, _): &&(u16, &str)| (now.flags ^ wanted) & bit != 0;
    match SHARED.iter().find(differs) {
        Some(&(bit, flag)) => Err(Error::FlagKept {
            interface,
            flag,
            state: if now.flags & bit != 0 { "on" } else { "off" },
            holders: other_holders(interface, NamespaceId::of_device(fd)),
        }),
        None if now.name != interface.to_kernel() => Err(Error::Changed(interface)),
        None => Ok(()),
    }
}

/// What only netlink tells of our flags.
pub(super) fn verify_link(link: &Link) -> Result<(), Error> {
    let interface = link.name;
    let tun = link.tun.filter(|tun| tun.tap).ok_or(Error::Changed(interface))?;
    if tun.packet_information {
        let flag = "packet information (no IFF_NO_PI)";
        return Err(Error::FlagKept {
            interface,
            flag,
            state: "on",
            holders: other_holders(interface, None),
        });
    }
    Ok(())
}

/// Whether all queues are of the device that we began with. Somebody may have deleted it between two queues, and the next
/// one made it anew.
pub(super) fn verify_joined(device: &TapDevice, exclusive: bool) -> Result<(), Error> {
    let interface = device.name;
    let changed = |_| Error::Changed(interface);
    device.queues[0].is_attached().map_err(changed)?;
    let link = device.link().map_err(|error| match error {
        link::Error::NotFound(_) => Error::Changed(interface),
        error => Error::Link(error),
    })?;
    let ours = u32::from(device.queue_count());
    let all = link.tun.map_or(0, |tun| tun.queues());
    if link.name != interface || device.multi_queue && all < ours {
        return Err(Error::Changed(interface));
    }
    // Looked at before, and again now that nobody can come without seeing us.
    let strangers = all.saturating_sub(ours);
    let others = || other_holders(interface, NamespaceId::of_device(device.queues[0].as_fd()));
    if exclusive && strangers > 0 {
        return Err(Error::InUse { interface, queues: strangers, holders: others() });
    }
    if strangers > 0 {
        let holders = others();
        tracing::warn!(
            "{interface} is shared: {strangers} more of its queues are open{}; the kernel spreads the frames over all that \
             are attached",
            held_by(&holders)
        );
    }
    Ok(())
}

/// Whether others than we have queues attached, and so a say in the settings. Who keeps a detached queue only keeps the
/// device.
pub(super) fn used_by_others(link: &Link, our_attached: u32) -> bool {
    link.tun.map_or(0, |tun| tun.attached_queues) > our_attached
}

/// In the calling thread's namespace if none is given.
pub(super) fn other_holders(interface: InterfaceName, namespace: Option<NamespaceId>) -> Vec<Holder> {
    let mut holders = link::holders_in(interface, namespace);
    holders.retain(|holder| holder.pid != std::process::id());
    holders
}
