//! Where frames are read to: one at a time, to be looked at and brought into a form that the driver takes.

use std::ops::Range;
use std::os::fd::AsFd;

use mqtap::vnet_header::Gso;
use mqtap::{Offloads, TapQueue, VnetHeader, VnetHeaderSize};
use rustix::io::Errno;

use super::super::MAX_FRAME;
use crate::memory::Scratch;
use crate::offload::checksum;
use crate::offload::need::offloads_needed;
use crate::offload::segment::{Checksums, MAX_HEAD, Segments};

/// Bytes of the longest virtio-net header of a driver.
pub(super) const LONGEST_HEADER: usize = VnetHeaderSize::Modern12.len();
/// Where `num_buffers` is in it (virtio 1.3, 5.1.6); shorter headers have none.
pub(super) const NUM_BUFFERS: usize = 10;

/// What is expected of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The virtio-net header in front of each.
    pub(super) header: VnetHeaderSize,
    /// Whether the tap gives that header; else it is all zeros.
    pub(super) tap_has_header: bool,
    /// What the driver takes as it is.
    pub(super) accepted: Offloads,
}

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A frame that the driver takes, from the beginning of the buffer on.
    Frame,
    /// A super-frame: [`Inbox::next_segment`] has the frames that the driver takes.
    SuperFrame,
    /// More bytes than a frame may have, perhaps not all of them.
    TooLong,
    /// Nothing that could be brought into a form that the driver takes: an unknown kind of offload, or headers that make no
    /// sense.
    Unusable,
}

/// The buffer, the frame in it, and how far it is segmented.
#[derive(Debug)]
pub(super) struct Inbox {
    form: Form,
    /// One byte more than the longest frame has with its header: a tap cuts off silently what a read has no room for.
    buffer: Scratch<u8>,
    segments: Option<Segments>,
    /// The headers that segments begin with, the virtio-net header included.
    head: Vec<u8>,
}

impl Inbox {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            buffer: Scratch::new(LONGEST_HEADER + MAX_FRAME + 1),
            segments: None,
            head: Vec::with_capacity(LONGEST_HEADER + MAX_HEAD),
        }
    }

    /// Bytes of the virtio-net header.
    #[inline]
    pub(super) fn header(&self) -> usize {
        self.form.header.len()
    }

    /// The most bytes of a frame, header included.
    #[inline]
    pub(super) fn longest(&self) -> usize {
        self.header() + MAX_FRAME
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Everything from `from` on; nothing beyond the end.
    pub(super) fn from(&mut self, from: usize) -> &mut [u8] {
        self.buffer.get_mut(from..).unwrap_or_default()
    }

    /// The first `length` bytes, or as many as there are.
    pub(super) fn up_to(&mut self, length: usize) -> &mut [u8] {
        let length = length.min(self.buffer.len());
        &mut self.buffer[..length]
    }

    /// Notes over how many chains a frame is spread, where its header has a place for it.
    #[inline]
    pub(super) fn set_chains(&mut self, frame: &Range<usize>, chains: u16) {
        if self.header() > NUM_BUFFERS {
            let at = frame.start + NUM_BUFFERS;
            self.buffer[at..at + 2].copy_from_slice(&chains.to_le_bytes());
        }
    }

    /// Reads one frame. Returns its length, header included.
    #[inline]
    pub(super) fn read(&mut self, tap: &TapQueue) -> Result<usize, Errno> {
        if self.form.tap_has_header {
            return rustix::io::read(tap.as_fd(), &mut self.buffer[..]);
        }
        let (header, frame) = self.buffer.split_at_mut(self.form.header.len());
        header.fill(0);
        Ok(header.len() + rustix::io::read(tap.as_fd(), frame)?)
    }

    /// Whether the driver takes frames with this header as they are, whatever is in them.
    pub(super) fn takes(&self, header: &[u8]) -> bool {
        VnetHeader::from_bytes(header, self.form.header)
            .and_then(|header| offloads_needed(&header, &[]))
            .is_some_and(|needed| self.form.accepted.contains(needed))
    }

    /// Looks at the frame of `length` bytes, header included, that was read.
    #[inline]
    pub(super) fn open(&mut self, length: usize) -> Arrival {
        if length > self.longest() {
            return Arrival::TooLong;
        }
        // Most frames have no offload.
        if self.buffer[..2] == [0, 0] {
            return Arrival::Frame;
        }
        self.open_offloaded(length).unwrap_or(Arrival::Unusable)
    }

    fn open_offloaded(&mut self, length: usize) -> Option<Arrival> {
        let Form { header: size, accepted, .. } = self.form;
        let (header_bytes, frame) = self.buffer.get_mut(..length)?.split_at_mut_checked(size.len())?;
        let header = VnetHeader::from_bytes(header_bytes, size)?;
        if accepted.contains(offloads_needed(&header, frame)?) {
            return Some(Arrival::Frame);
        }
        if header.gso() == Ok(Gso::None) {
            if header.flags & VnetHeader::NEEDS_CSUM != 0 {
                checksum::complete(frame, header.csum_start.into(), header.csum_offset.into())?;
            }
            // A driver that does not take partial checksums is told nothing of checksums (virtio 1.3, 5.1.6.4.1).
            header_bytes.fill(0);
            return Some(Arrival::Frame);
        }
        let checksums =
            if accepted.contains(Offloads::CSUM) { Checksums::Partial } else { Checksums::Complete };
        let segments = Segments::new(frame, &header, checksums)?;
        self.head.resize(size.len(), 0);
        VnetHeader { num_buffers: 1, ..segments.vnet_header() }.write_to(&mut self.head, size);
        self.head.extend_from_slice(segments.head());
        self.segments = Some(segments);
        Some(Arrival::SuperFrame)
    }

    /// Whether segments are to come.
    #[inline]
    pub(super) fn has_segments(&self) -> bool {
        self.segments.as_ref().is_some_and(|segments| !segments.is_done())
    }

    /// Segments that are to come.
    pub(super) fn segments_left(&self) -> usize {
        self.segments.as_ref().map_or(0, Segments::remaining)
    }

    /// Bytes of the next segment, headers included.
    #[inline]
    pub(super) fn next_len(&self) -> usize {
        self.header() + self.segments.as_ref().map_or(0, Segments::next_len)
    }

    /// Goes on to the next segment. Returns where its payload is, for [`parts`](Self::parts).
    #[inline]
    pub(super) fn next_segment(&mut self) -> Option<Range<usize>> {
        let header = self.header();
        let payload = self.segments.as_mut()?.next(&self.buffer[header..])?;
        Some(header + payload.start..header + payload.end)
    }

    /// What the segment is made of to which [`next_segment`](Self::next_segment) went: headers, its payload, and what is
    /// different in its headers, with where that is.
    #[inline]
    pub(super) fn parts(
        &self,
        payload: Range<usize>,
    ) -> (&[u8], &[u8], impl Iterator<Item = (usize, [u8; 4])>) {
        let header = self.header();
        let changes = self.segments.iter().flat_map(Segments::changes);
        (&self.head, &self.buffer[payload], changes.map(move |(at, piece)| (header + at, piece)))
    }

    /// Goes on to the next segment, and makes it a frame that lies in the buffer. What came before it does not any more.
    pub(super) fn next_segment_in_place(&mut self) -> Option<Range<usize>> {
        let header = self.header();
        let segments = self.segments.as_mut()?;
        let frame = segments.next_in_place(&mut self.buffer[header..])?;
        // The frame begins `header` bytes further in the buffer: just behind the header in front of it.
        segments.vnet_header().write_to(&mut self.buffer[frame.start..], self.form.header);
        Some(frame.start..header + frame.end)
    }

    /// Forgets the segments that are to come.
    pub(super) fn clear_segments(&mut self) {
        self.segments = None;
    }
}
