//! A bridge helper for several queues: what `mqtap helper` does.
//!
//! Users who may not make interfaces run it, with the capability to do so in its file (`setcap cap_net_admin+ep`). It makes a
//! tap, puts it on a bridge, and hands over the queues; that is all that it can be made to do. In the order in which it
//! happens:
//!
//! 1. [`Privilege::restrain`]: everything but CAP_NET_ADMIN is given up, and that is put aside.
//! 2. The arguments are read: numbers, and the name of a bridge. The environment is not read, and no program is run.
//! 3. The [access list](acl) is asked whether the bridge may be used. It is a file of root's, at a fixed place.
//! 4. With CAP_NET_ADMIN: a new tap whose name the kernel chooses, which belongs to the user at once, so that no other user can
//!    open it; and [`Port::join`] on exactly that bridge.
//! 5. CAP_NET_ADMIN is given up. The queues are sent, and are all that is left of the tap: it goes away with them, unless the user
//!    makes it stay. What the kernel lets the holder of a queue do without a capability, no helper can prevent: keep the tap
//!    (`TUNSETPERSIST`), give it to another user (`TUNSETOWNER`), change its address (`SIOCSIFHWADDR`); drivers/net/tun.c,
//!    `__tun_chr_ioctl`. An access list allows a user that as well.
//!
//! The protocol is that of QEMU's helper, so that QEMU can use it as well; `queues` is ours.

pub mod acl;
mod error;
mod privilege;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

pub use error::Error;
pub use privilege::{Privilege, is_elevated, renounce};

use acl::Acl;

use crate::bridge::{JoinOptions, Port};
use crate::device::{OpenOptions, TapDevice, VnetHeaderMode};
use crate::name::InterfaceName;
use crate::{fd, sys};

/// Where the access list is: the first of these that exists. The second is that of QEMU's helper.
pub const ACCESS_LISTS: [&str; 2] = ["/etc/mqtap/bridge.conf", "/etc/qemu/bridge.conf"];

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bridge.
    pub bridge: InterfaceName,
    /// Number of the inherited Unix socket to send the queues over.
    pub socket: RawFd,
    /// Queues: 1 to 256.
    pub queues: u16,
    /// Whether frames shall have a virtio-net header, if the kernel can.
    pub vnet_header: bool,
    /// Another access list than those of [`ACCESS_LISTS`]. Refused to whoever has privileges from the program's file.
    pub access_list: Option<PathBuf>,
}

/// Makes a tap on a bridge and sends its queues.
///
/// # Errors
/// See [`Error`]. Nothing is left behind.
pub fn serve(request: &Request, privilege: Privilege) -> Result<(), Error> {
    let socket = fd::inherit(request.socket)?;
    check_access(request)?;
    let options = OpenOptions {
        queues: request.queues,
        create_new: true,
        owner: Some(rustix::process::getuid().as_raw()),
        vnet_header: if request.vnet_header { VnetHeaderMode::IfAvailable } else { VnetHeaderMode::Off },
        ..OpenOptions::default()
    };
    let (device, port) = privilege.with(|| {
        let device = TapDevice::open(&options)?;
        let port = Port::join(&device, request.bridge, JoinOptions::default())?;
        Ok::<_, Error>((device, port))
    })?;
    let queues: Vec<BorrowedFd<'_>> = device.queues().iter().map(|queue| queue.as_fd()).collect();
    for some in queues.chunks(sys::MAX_PASSED) {
        sys::send_descriptors(socket.as_fd(), some)
            .map_err(|errno| Error::Send { fd: request.socket, errno })?;
    }
    port.keep();
    Ok(())
}

fn check_access(request: &Request) -> Result<(), Error> {
    let default;
    let path = match &request.access_list {
        Some(_) if is_elevated() => return Err(Error::OtherAccessList),
        Some(path) => path,
        None => {
            default = default_access_list()?;
            default
        }
    };
    let acl = Acl::read(path)?;
    if acl.allows(request.bridge) {
        return Ok(());
    }
    Err(Error::Denied { bridge: request.bridge, path: path.to_owned(), named: acl.denies(request.bridge) })
}

fn default_access_list() -> Result<&'static Path, Error> {
    // One that cannot be looked at is there, and no reason to go on to another.
    let exists = |path: &&Path| !matches!(fs::metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    ACCESS_LISTS.iter().map(Path::new).find(exists).ok_or(Error::NoAccessList)
}
