//! What passed each queue pair and what did not, by reason.
//!
//! Only the worker that owns a pair writes its counters, so an increment is a plain load and store: no locked
//! instruction, no cache line shared between workers. Anybody may read them at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner of the counter may call this: two writers would lose counts.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $live:ident, $(#[$snapdoc:meta])* $snapshot:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct $live { $($(#[$field_doc])* pub $field: Counter,)* }

        $(#[$snapdoc])*
        ///
        /// Read from what another version wrote, a counter that is missing there is 0.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default)]
        pub struct $snapshot { $($(#[$field_doc])* pub $field: u64,)* }

        impl $live {
            /// The values now. Each is exact; together they may be a few frames apart.
            pub fn snapshot(&self) -> $snapshot {
                $snapshot { $($field: self.$field.get(),)* }
            }
        }
    };
}

counters! {
    /// Live counters of one transmit ring (guest to tap).
    TransmitCounters,
    /// Values of [`TransmitCounters`].
    TransmitSnapshot {
        /// Frames written to the tap.
        frames,
        /// Bytes of those frames, without the virtio-net header.
        bytes,
        /// Kicks of the driver that woke the worker.
        kicks,
        /// Notifications sent to the driver.
        calls,
        /// Of the frames, those that were written together with others of their flow.
        coalesced_frames,
        /// Writes by which that was done: each gave the kernel several frames as one.
        super_frames,
        /// Times that the tap would have blocked; nothing is lost, the ring waits.
        blocked,
        /// Frames dropped because the ring is not enabled.
        dropped_disabled,
        /// Frames dropped because they are shorter than an Ethernet header or longer than a tap can take, or in more pieces
        /// than the kernel takes in one call.
        dropped_size,
        /// Frames that the kernel refused (EINVAL: a virtio-net header that makes no sense).
        dropped_rejected,
        /// Frames dropped because the interface is down (EIO).
        dropped_link_down,
        /// Frames dropped for any other error of the tap, such as ENOMEM or EFAULT.
        dropped_error,
    }
}

counters! {
    /// Live counters of one receive ring (tap to guest).
    ReceiveCounters,
    /// Values of [`ReceiveCounters`].
    ReceiveSnapshot {
        /// Frames delivered to the guest.
        frames,
        /// Bytes of those frames, without the virtio-net header.
        bytes,
        /// Kicks of the driver that woke the worker.
        kicks,
        /// Notifications sent to the driver.
        calls,
        /// Times that frames may wait in the tap because the driver had posted no buffer.
        starved,
        /// Frames that were waiting in the tap queue when the ring was disabled or stopped.
        dropped_disabled,
        /// Frames too large for the buffers that the driver posts.
        dropped_size,
        /// Frames with an offload that the driver does not take and that could not be done for it: of an unknown kind, or
        /// with headers that make no sense.
        dropped_offload,
        /// Frames that could not be read for another error of the tap.
        dropped_error,
        /// Super-frames that were segmented, since the driver does not take them.
        segmented,
        /// Frames that came of them.
        segments,
    }
}

impl TransmitSnapshot {
    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.dropped_disabled
            + self.dropped_size
            + self.dropped_rejected
            + self.dropped_link_down
            + self.dropped_error
    }
}

impl ReceiveSnapshot {
    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.dropped_disabled + self.dropped_size + self.dropped_offload + self.dropped_error
    }
}

/// Live counters of a queue pair.
#[derive(Debug, Default)]
pub struct PairCounters {
    /// Guest to tap.
    pub transmit: TransmitCounters,
    /// Tap to guest.
    pub receive: ReceiveCounters,
    /// Rings of this pair stopped because the driver broke their rules.
    pub broken: Counter,
}

/// Values of [`PairCounters`] and the state of the pair's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct PairSnapshot {
    /// Guest to tap.
    pub transmit: TransmitSnapshot,
    /// Tap to guest.
    pub receive: ReceiveSnapshot,
    /// Rings of this pair stopped because the driver broke their rules.
    pub broken: u64,
    /// Whether the tap queue takes part in the device: the kernel may put frames on it.
    pub attached: bool,
}

impl PairCounters {
    /// The values now.
    pub fn snapshot(&self, attached: bool) -> PairSnapshot {
        PairSnapshot {
            transmit: self.transmit.snapshot(),
            receive: self.receive.snapshot(),
            broken: self.broken.get(),
            attached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_counters_share_no_cache_line() {
        assert_eq!(align_of::<PairCounters>(), 128);
        assert_eq!(size_of::<PairCounters>() % 128, 0);
    }

    #[test]
    fn every_drop_is_in_the_total() {
        let counters = PairCounters::default();
        counters.transmit.dropped_disabled.add(1);
        counters.transmit.dropped_size.add(2);
        counters.transmit.dropped_rejected.add(4);
        counters.transmit.dropped_link_down.add(8);
        counters.transmit.dropped_error.add(16);
        counters.receive.dropped_disabled.add(1);
        counters.receive.dropped_size.add(2);
        counters.receive.dropped_error.add(4);
        counters.receive.dropped_offload.add(8);
        let snapshot = counters.snapshot(false);
        assert_eq!((snapshot.transmit.dropped(), snapshot.receive.dropped()), (31, 15));
    }
}
