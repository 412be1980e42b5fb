//! Noticing the end of a device whose queues do not tell.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::namespace::visit_if;
use super::{Error, TapDevice};
use crate::link::Changes;
use crate::queue::{self, TapQueue};

/// A descriptor that is readable when a device may have been deleted.
#[derive(Debug)]
pub struct EndWatch {
    changes: Changes,
    queue: Arc<TapQueue>,
}

impl EndWatch {
    pub(super) fn new(device: &TapDevice) -> Result<Self, Error> {
        let namespace = device.namespace_elsewhere();
        let changes = visit_if(namespace.as_ref().map(AsFd::as_fd), || Ok(Changes::watch()?))?;
        Ok(Self { changes, queue: Arc::clone(&device.queues[0]) })
    }

    /// Whether the device was deleted. Until something changes again, the descriptor is not readable then.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.changes.drain();
        matches!(self.queue.interface_name(), Err(queue::Error::DeviceGone { .. }))
    }
}

impl AsFd for EndWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}
