//! Linux: drivers/vhost/net.c and drivers/vhost/vhost.c (include/uapi/linux/vhost.h).

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Getter, Opcode};

const VHOST_VIRTIO: u8 = 0xaf;

const VHOST_GET_FEATURES: Opcode = ioctl::opcode::read::<u64>(VHOST_VIRTIO, 0x00);

/// Opens `/dev/vhost-net`, which loads the module where that is allowed.
pub(crate) fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/vhost-net", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Device number of `/dev/vhost-net`: misc device (major 10), minor 238 (include/linux/miscdevice.h: `VHOST_NET_MINOR`).
pub(crate) fn is_vhost_net(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    super::is_misc_device(fd, 238)
}

/// `VHOST_GET_FEATURES`
pub(crate) fn features(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: VHOST_GET_FEATURES writes one `__u64`.
    unsafe { ioctl::ioctl(fd, Getter::<VHOST_GET_FEATURES, u64>::new()) }
}
