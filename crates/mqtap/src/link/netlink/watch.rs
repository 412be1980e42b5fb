//! Being told that something changed.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use super::super::Error;

/// Tells that something about some interface of the namespace in which it was opened has changed.
#[derive(Debug)]
pub(in super::super) struct Watch {
    socket: netlink_sys::Socket,
}

impl Watch {
    pub(in super::super) fn open() -> Result<Self, Error> {
        /// include/uapi/linux/rtnetlink.h.
        const RTNLGRP_LINK: u32 = 1;
        let open = || {
            let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(RTNLGRP_LINK)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        open().map(|socket| Self { socket }).map_err(Error::Socket)
    }

    /// Forgets what has changed up to now.
    pub(in super::super) fn drain(&self) {
        // What was told does not matter; the kernel cuts it off.
        let mut buffer = [0; 16];
        while matches!(
            rustix::io::read(&self.socket, &mut buffer),
            // There was no room to tell all of it.
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS)
        ) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
