//! What kind of guest to play.

use crate::error::{Error, Result};
use crate::protocol::{feature, protocol_feature};

/// The longest frame that can come or go: a super-frame of 64 KiB behind an Ethernet header with two VLAN tags.
pub const LARGEST_FRAME: usize = 65535 + 14 + 8;

/// Choices of the frontend and of the driver. What the backend does not offer is not taken, except
/// [`DriverOptions::packed`], which then fails.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Queue pairs to set up; pair 0 starts enabled.
    pub queue_pairs: u16,
    /// Descriptors of each ring.
    pub ring_size: u16,
    /// Take `VIRTIO_F_VERSION_1`. Without it, and without mergeable buffers, headers have 10 bytes.
    pub virtio_1: bool,
    /// Packed rings.
    pub packed: bool,
    /// Take `VIRTIO_F_EVENT_IDX`.
    pub event_index: bool,
    /// Take `VIRTIO_F_INDIRECT_DESC`, and use it for every chain of two or more.
    pub indirect: bool,
    /// Take `VIRTIO_NET_F_MRG_RXBUF`.
    pub mergeable: bool,
    /// Take `VIRTIO_F_IN_ORDER`.
    pub in_order: bool,
    /// Which of [`feature::OFFLOADS`] to take.
    pub offloads: u64,
    /// Any other virtio features to take.
    pub other_features: u64,
    /// Protocol features to take.
    pub protocol_features: u64,
    /// Bytes of each receive buffer.
    pub buffer_size: u32,
    /// Receive buffers in a chain; 0 chooses one with mergeable buffers, else enough for the largest frame that
    /// [`DriverOptions::mtu`] and the taken offloads allow.
    pub buffers_per_chain: u16,
    /// Longest packet that comes unsegmented; only sizes receive chains.
    pub mtu: u16,
    /// Bytes of each transmit buffer: longer frames take several descriptors.
    pub transmit_buffer_size: u32,
    /// Give the virtio header a descriptor of its own, both ways.
    pub split_header: bool,
    /// Post receive buffers when the rings start. Without, receive rings stay empty, for tests to fill.
    pub fill_receive: bool,
    /// Take a `num_buffers` of 0 for 1 where buffers are not mergeable, as vhost-net leaves it before Linux 6.14.
    pub zero_num_buffers: bool,
    /// Pass no kick and no call eventfd: both sides poll.
    pub polling: bool,
    /// Send `SET_OWNER` before asking for protocol features, as the rust-vmm family and DPDK do.
    pub owner_first: bool,
    /// Repeat the handshake for every pair over the one socket, as QEMU does.
    pub handshake_per_pair: bool,
    /// Memory regions to cut the guest's memory into.
    pub memory_regions: u16,
    /// Describe them by `ADD_MEM_REG` instead of `SET_MEM_TABLE`, where the backend offers it.
    pub memory_slots: bool,
    /// Bytes of guest memory; `None` takes what rings and buffers need, and [`DriverOptions::spare_memory`].
    pub memory_size: Option<u64>,
    /// Bytes of guest memory beyond what rings and buffers need.
    pub spare_memory: u64,
}

impl Default for DriverOptions {
    fn default() -> Self {
        DriverOptions {
            queue_pairs: 1,
            ring_size: 256,
            virtio_1: true,
            packed: false,
            event_index: true,
            indirect: true,
            mergeable: true,
            in_order: false,
            offloads: 0,
            other_features: feature::MAC | feature::MTU | feature::STATUS | feature::GUEST_ANNOUNCE,
            protocol_features: protocol_feature::MQ
                | protocol_feature::LOG_SHMFD
                | protocol_feature::RARP
                | protocol_feature::REPLY_ACK
                | protocol_feature::MTU
                | protocol_feature::RESET_DEVICE
                | protocol_feature::CONFIGURE_MEM_SLOTS
                | protocol_feature::STATUS,
            buffer_size: 2048,
            buffers_per_chain: 0,
            mtu: 1500,
            transmit_buffer_size: 2048,
            split_header: false,
            fill_receive: true,
            zero_num_buffers: false,
            polling: false,
            owner_first: false,
            handshake_per_pair: false,
            memory_regions: 1,
            memory_slots: false,
            memory_size: None,
            spare_memory: 1 << 20,
        }
    }
}

impl DriverOptions {
    /// Virtio features to take where offered.
    #[must_use]
    pub fn wanted_features(&self) -> u64 {
        let mut wanted = feature::PROTOCOL_FEATURES;
        wanted |= self.offloads | self.other_features;
        let choices = [
            (self.queue_pairs > 1, feature::MQ),
            (self.virtio_1, feature::VERSION_1),
            (self.packed, feature::RING_PACKED),
            (self.event_index, feature::EVENT_IDX),
            (self.indirect, feature::INDIRECT_DESC),
            (self.mergeable, feature::MRG_RXBUF),
            (self.in_order, feature::IN_ORDER),
        ];
        for (chosen, bit) in choices {
            if chosen {
                wanted |= bit;
            }
        }
        wanted
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::Options(what.to_owned()));
        if self.queue_pairs == 0 {
            return bad("at least one queue pair is needed");
        }
        if self.ring_size == 0 || (!self.packed && !self.ring_size.is_power_of_two()) {
            return bad("a split ring's size is a power of two");
        }
        if self.ring_size > 32768 {
            return bad("a ring has at most 32768 descriptors");
        }
        if self.buffer_size < 64 || self.transmit_buffer_size < 64 {
            return bad("buffers have at least 64 bytes");
        }
        Ok(())
    }

    /// Buffers of one receive chain, given the features taken.
    pub(crate) fn receive_chain(&self, features: u64) -> u16 {
        if self.buffers_per_chain != 0 {
            return self.buffers_per_chain;
        }
        if features & feature::MRG_RXBUF != 0 {
            return 1;
        }
        let frame =
            if features & feature::GUEST_GSO != 0 { LARGEST_FRAME } else { usize::from(self.mtu) + 14 + 8 };
        (frame + 12).div_ceil(self.buffer_size as usize) as u16
    }

    /// Descriptors that the largest transmit frame takes.
    pub(crate) fn largest_transmit_chain(&self) -> u16 {
        1 + (LARGEST_FRAME + 12).div_ceil(self.transmit_buffer_size as usize) as u16
    }

    /// Transmit buffers of a ring.
    pub(crate) fn transmit_buffers(&self) -> u32 {
        // Direct descriptors are the limit themselves; indirect ones allow more buffers in flight than that.
        u32::from(self.ring_size).max(2 * u32::from(self.largest_transmit_chain()))
            * if self.indirect { 4 } else { 1 }
    }
}
