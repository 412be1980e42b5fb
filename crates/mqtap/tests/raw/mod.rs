//! The kernel's interface without the crate in between: what other programs do to a tap.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};

pub(crate) const TUN: u16 = 0x0001;
pub(crate) const TAP: u16 = 0x0002;
pub(crate) const MULTI_QUEUE: u16 = 0x0100;
pub(crate) const NO_PI: u16 = 0x1000;
pub(crate) const VNET_HDR: u16 = 0x4000;

#[repr(C)]
struct IfReq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Opens a queue with `TUNSETIFF`.
pub(crate) fn open(name: &[u8], flags: u16) -> Result<OwnedFd, Errno> {
    const TUNSETIFF: u32 = opcode::write::<c_int>(b'T', 202);
    let fd =
        rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let mut request = IfReq { name: [0; 16], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: TUNSETIFF takes a `struct ifreq`, which it may write to as well; the setter owns it.
    unsafe { ioctl(&fd, Setter::<TUNSETIFF, IfReq>::new(request)) }?;
    Ok(fd)
}

/// `TUNGETSNDBUF`.
pub(crate) fn send_buffer(fd: impl AsFd) -> i32 {
    const TUNGETSNDBUF: u32 = opcode::read::<c_int>(b'T', 211);
    // SAFETY: TUNGETSNDBUF writes one `int`.
    unsafe { ioctl(fd, Getter::<TUNGETSNDBUF, c_int>::new()) }.unwrap()
}

/// `TUNATTACHFILTER` with a filter that lets everything through.
pub(crate) fn attach_classic_filter(fd: impl AsFd) {
    const TUNATTACHFILTER: u32 = opcode::write::<libc::sock_fprog>(b'T', 213);
    let mut accept = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: u32::MAX };
    let program = libc::sock_fprog { len: 1, filter: &raw mut accept };
    // SAFETY: TUNATTACHFILTER reads a `struct sock_fprog` and the instruction it points to, which live through the call.
    unsafe { ioctl(fd, Setter::<TUNATTACHFILTER, libc::sock_fprog>::new(program)) }.unwrap();
}
