//! Giving an existing device back what it had.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::Error;
use crate::link::{Link, Links, TunLink};
use crate::sys::{self, Interface, flag};

/// Dropped when no queue of ours is left, this gives an idle device the flags that it had.
///
/// The first to attach to an idle device decides its flags (drivers/net/tun.c: `tun_set_iff`).
#[derive(Debug)]
pub(super) struct Restore {
    before: Link,
    tun: TunLink,
    links: Arc<Links>,
    /// `/dev/net/tun`, opened in the namespace of the device; whoever drops this may be in another.
    fd: Option<OwnedFd>,
}

impl Restore {
    /// To be had before anything is changed. `None` if there will be nothing to give back.
    pub(super) fn prepare(before: &Link, tun: TunLink, links: &Arc<Links>) -> Result<Option<Self>, Error> {
        if !tun.persistent || tun.queues() > 0 {
            return Ok(None);
        }
        let fd = sys::open().map_err(Error::from_open)?;
        Ok(Some(Self { before: before.clone(), tun, links: Arc::clone(links), fd: Some(fd) }))
    }

    /// The device is ours now and keeps what it has.
    pub(super) fn forget(mut self) {
        self.fd = None;
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        for _ in 0..ATTEMPTS {
            if self.try_with(fd.as_fd()).is_some() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        tracing::debug!("{} is in use, and keeps the flags that it has", self.before.name);
    }
}

/// A queue that was closed may be open still in a child of this process that has not come to its exec yet.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

impl Restore {
    /// `None` if somebody has a queue. Nothing can be done about any other failure.
    fn try_with(&self, fd: BorrowedFd<'_>) -> Option<()> {
        // Only if it is there and differs: a device is not to be made here.
        let now = self.links.find(self.before.name).ok().flatten();
        let Some(now) = now.filter(|link| link.index == self.before.index).and_then(|link| link.tun) else {
            return Some(());
        };
        let kept = |tun: TunLink| (tun.packet_information, tun.vnet_header);
        if kept(now) == kept(self.tun) {
            return Some(());
        }
        if now.queues() > 0 {
            return None;
        }
        let mut flags = flag::TAP;
        for (bit, on) in [
            (flag::NO_PI, !self.tun.packet_information),
            (flag::VNET_HDR, self.tun.vnet_header),
            (flag::MULTI_QUEUE, self.tun.multi_queue),
        ] {
            flags |= if on { bit } else { 0 };
        }
        let request = Interface { name: self.before.name.to_kernel(), flags };
        // Queues of a device that can have one are told by this only.
        (sys::set_interface(fd, request).err() != Some(Errno::BUSY)).then_some(())
    }
}
