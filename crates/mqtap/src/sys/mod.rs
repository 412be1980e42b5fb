//! The contract of the parts that differ by operating system: one function for each thing a kernel does with a tap.
//!
//! All of it is about one file descriptor, knows no policy and keeps no state. An operating system is one file here.

#[cfg(all(target_os = "linux", not(mqtap_other_os)))]
mod linux;
#[cfg(all(target_os = "linux", not(mqtap_other_os)))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", not(mqtap_other_os))))]
mod unsupported;
#[cfg(not(all(target_os = "linux", not(mqtap_other_os))))]
pub(crate) use unsupported::*;

// Only a kernel reads addresses.
#[cfg_attr(not(all(target_os = "linux", not(mqtap_other_os))), expect(dead_code))]
pub(crate) mod guest;

use crate::name::IFNAMSIZ;

/// `TUNSETIFF` flags (`IFF_*`, include/uapi/linux/if_tun.h), as far as they are used.
pub(crate) mod flag {
    pub(crate) const TUN: u16 = 0x0001;
    pub(crate) const TAP: u16 = 0x0002;
    pub(crate) const NAPI: u16 = 0x0010;
    pub(crate) const NO_CARRIER: u16 = 0x0040;
    pub(crate) const BACKPRESSURE: u16 = 0x0080;
    pub(crate) const MULTI_QUEUE: u16 = 0x0100;
    pub(crate) const ATTACH_QUEUE: u16 = 0x0200;
    pub(crate) const DETACH_QUEUE: u16 = 0x0400;
    pub(crate) const PERSIST: u16 = 0x0800;
    pub(crate) const NO_PI: u16 = 0x1000;
    pub(crate) const VNET_HDR: u16 = 0x4000;
    pub(crate) const TUN_EXCL: u16 = 0x8000;
}

/// Number of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Name and flags of an interface, as `TUNSETIFF`, `TUNGETIFF` and `TUNSETQUEUE` take or give them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) name: [u8; IFNAMSIZ],
    pub(crate) flags: u16,
}

/// What becomes of CAP_NET_ADMIN when everything else is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetAdmin {
    /// It counts.
    InForce,
    /// It does not count, and can be made to.
    PutAside,
    /// It is given up as well.
    Gone,
}
