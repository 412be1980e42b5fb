//! The vhost-net handles: opened here, or open already.

use super::super::options::{Options, VhostMode};
use super::Error;
use crate::vhost_net::{self, VhostNet};

/// One handle for each queue, if vhost-net is asked for. With `vhost=try` none if it cannot be had, which the log says.
pub(super) fn open(options: &Options) -> Result<Vec<VhostNet>, Error> {
    let mode = options.vhost_mode();
    if mode == VhostMode::Off {
        return Ok(Vec::new());
    }
    match handles(options) {
        Err(error) if mode == VhostMode::Try => {
            tracing::warn!("netdev {}: vhost-net is not used: {error}", options.id);
            Ok(Vec::new())
        }
        handles => handles.map_err(|source| Error::Vhost { id: options.id.clone(), source }),
    }
}

fn handles(options: &Options) -> Result<Vec<VhostNet>, vhost_net::Error> {
    match options.vhost_fds() {
        Some(fds) => VhostNet::adopt(fds),
        None => (0..options.queue_count()).map(|_| VhostNet::open()).collect(),
    }
}
