//! What this kernel and this host can do for taps: more than [`Capabilities`] asks, without a trace.
//!
//! What the kernel has no list of is tried on a tap made for this, in a network namespace of its own: one of root's, or one
//! of a child process in a new user namespace, which needs no privilege. Where neither is allowed, nothing is tried, and
//! [`Features::device`] says so; a live namespace never sees a thing. No kernel module is loaded by looking.

mod device;
mod host;

pub use device::DeviceFeatures;
pub use host::{Access, IoUring};
use rustix::io::Errno;

use crate::capabilities::Capabilities;
use crate::device::Error;
use crate::sys;

/// What there is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Features {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// `/dev/net/tun`.
    pub tun: Access,
    /// What its driver says of itself. `None` if it could not be asked.
    pub capabilities: Option<Capabilities>,
    /// What a tap can do, tried on one; or why none could be made anywhere but here: EPERM where user namespaces are
    /// forbidden, and what opening `/dev/net/tun` says.
    pub device: Result<DeviceFeatures, Errno>,
    /// Whether this process may make taps here. Not tried: `CAP_NET_ADMIN` is looked at.
    pub may_create: bool,
    /// `/dev/vhost-net`.
    pub vhost_net: Access,
    /// The driver of macvtaps is there. If not, the kernel may load it when one is made.
    pub macvtap: bool,
    /// The driver of ipvtaps is there.
    pub ipvtap: bool,
    /// io_uring.
    pub io_uring: IoUring,
}

impl Features {
    /// Looks, and tries.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn probe() -> Result<Self, Error> {
        if !sys::SUPPORTED {
            return Err(Error::Unsupported);
        }
        Ok(Self {
            kernel: host::kernel_release(),
            tun: Access::of("/dev/net/tun"),
            capabilities: Capabilities::probe().ok(),
            device: device::probe(),
            may_create: host::may_administer_network(),
            vhost_net: Access::of("/dev/vhost-net"),
            macvtap: host::has_character_device("macvtap"),
            ipvtap: host::has_character_device("ipvtap"),
            io_uring: IoUring::probe(),
        })
    }
}
