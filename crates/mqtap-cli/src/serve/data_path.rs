//! Who moves the frames of a NIC: our workers, or the kernel.

use std::sync::Arc;

use mqtap::netdev::{Netdev, VhostMode};
use mqtap_vhost_user::server::{self, Server};
use mqtap_virtio::nic::{self, KernelNic, Nic, NicCounters, NicOptions, OnFailure};

/// A NIC on either data path.
#[derive(Debug)]
pub(super) enum AnyNic {
    /// Our workers move the frames.
    Workers(Nic),
    /// vhost-net does.
    Kernel(KernelNic),
}

impl AnyNic {
    /// Puts a NIC on a netdev: the kernel's if the netdev has handles for it.
    pub(super) fn new(
        netdev: &mut Netdev,
        options: NicOptions,
        on_failure: impl Fn() -> OnFailure,
    ) -> Result<Self, nic::Error> {
        let handles = netdev.take_vhost();
        let device = netdev.device();
        if !handles.is_empty() {
            if options.workers != 0 || !options.cpus.is_empty() {
                tracing::warn!(
                    "--workers and --cpus have no effect: with vhost the threads are the kernel's"
                );
            }
            match KernelNic::new(Arc::clone(device), handles, options.clone(), on_failure()) {
                Err(error) if netdev.options().vhost_mode() == VhostMode::Try => {
                    tracing::warn!("mqtap moves the frames itself: {error}");
                }
                nic => return nic.map(Self::Kernel),
            }
        }
        Nic::new(Arc::clone(device), options, on_failure()).map(Self::Workers)
    }

    pub(super) fn ring_count(&self) -> u16 {
        match self {
            Self::Workers(nic) => nic.ring_count(),
            Self::Kernel(nic) => nic.ring_count(),
        }
    }

    pub(super) fn counters(&self) -> NicCounters {
        match self {
            Self::Workers(nic) => nic.counters(),
            Self::Kernel(nic) => nic.counters(),
        }
    }

    /// How it differs from others, for the log.
    pub(super) fn manner(&self) -> &'static str {
        match self {
            Self::Workers(_) => "",
            Self::Kernel(_) => ", frames moved by the kernel",
        }
    }

    /// Serves until the end.
    pub(super) fn serve(&mut self, server: &mut Server) -> Result<(), server::Error> {
        match self {
            Self::Workers(nic) => server.run(nic),
            Self::Kernel(nic) => server.run(nic),
        }
    }
}
