//! No rtnetlink here.

use super::{Error, Link, QueueCounters};
use crate::mac::MacAddress;

#[derive(Debug)]
pub(super) struct Socket(std::convert::Infallible);

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        Err(Error::Unsupported)
    }

    pub(super) fn get_by_name(&self, _: &str) -> Result<Link, Error> {
        match self.0 {}
    }

    pub(super) fn get_by_index(&self, _: u32) -> Result<Link, Error> {
        match self.0 {}
    }

    pub(super) fn list(&self) -> Result<Vec<Link>, Error> {
        match self.0 {}
    }

    pub(super) fn queue_counters(&self, _: u32) -> Result<Vec<QueueCounters>, Error> {
        match self.0 {}
    }

    pub(super) fn set_up(&self, _: u32, _: bool) -> Result<(), Error> {
        match self.0 {}
    }

    pub(super) fn set_mtu(&self, _: u32, _: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub(super) fn set_mac(&self, _: u32, _: MacAddress) -> Result<(), Error> {
        match self.0 {}
    }

    pub(super) fn set_master(&self, _: u32, _: Option<u32>) -> Result<(), Error> {
        match self.0 {}
    }

    pub(super) fn delete(&self, _: u32) -> Result<(), Error> {
        match self.0 {}
    }

    pub(super) fn set_noqueue(&self, _: u32) -> Result<(), Error> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(super) struct Watch(std::convert::Infallible);

impl Watch {
    pub(super) fn open() -> Result<Self, Error> {
        Err(Error::Unsupported)
    }

    pub(super) fn drain(&self) {
        match self.0 {}
    }
}

impl std::os::fd::AsFd for Watch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self.0 {}
    }
}
