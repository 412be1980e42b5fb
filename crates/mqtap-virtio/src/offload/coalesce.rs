//! Several frames of one flow in a burst become one super-frame.
//!
//! A write to a tap costs about the same for 60 bytes as for 1514, and a super-frame passes the kernel's stack as one
//! frame. So consecutive segments of a TCP connection, and datagrams of a UDP flow, are handed over as one
//! super-frame: the headers once, out of a buffer of ours, and behind them the payloads where they are.
//!
//! **Exact.** Whoever reads behind the tap gets, once the kernel has segmented the super-frame, the bytes that it would
//! have got without. The rules are those of the kernel's own GRO (net/ipv4/tcp_offload.c, udp_offload.c), and stricter
//! where GRO is not exact. One bit pattern is the kernel's choice: a TCP checksum that the driver left to the kernel
//! and that comes out as zero is 0xffff in a frame that the kernel completes (`skb_checksum_help`) and 0 in one that
//! it segments (`tcp_gso_segment`). Both say the same.
//!
//! **In order.** A frame never overtakes another of its flow (addresses, ports, protocol), whether that can be merged
//! or not. What is neither TCP nor UDP, and so fragments too, is overtaken by nothing.
//!
//! **At once.** Nothing waits for a frame that may come: what is in the burst is all there is. The work for each frame
//! is bounded, and nothing is allocated once the buffers have grown to the size of a burst.
//!
//! # Rules
//! * TCP or UDP, directly behind IPv4 without options or IPv6 without extension headers; no fragment; the same Ethernet
//!   header and VLAN tags, and not to a group address.
//! * The same TOS or traffic class, TTL or hop limit, "do not fragment" and flow label. IPv4 identifications that count
//!   up by one, as the kernel makes them when it segments.
//! * TCP: sequence numbers that follow each other; the same acknowledgement number, window, urgent pointer and options
//!   (timestamps included); the same flags, with ACK, without SYN, RST, URG and CWR; PSH and FIN on the last only.
//! * UDP: with a checksum.
//! * Payloads of one size, and not empty; the last may be shorter.
//! * Lengths that agree, without padding; at most 64 segments and 65535 bytes of IP packet.
//! * A virtio-net header that asks for nothing, or for this very checksum. A partial checksum holds the sum of the
//!   pseudo header; a complete one is right, and so is that of the IPv4 header.

mod merge;
mod rules;
#[cfg(test)]
mod tests;

use mqtap::VnetHeaderSize;

use super::checksum::Sum;
use super::headers::{Headers, tcp};
use rules::{Masks, View};

/// Bytes at the beginning of a frame, virtio-net header included, that are looked at. What has longer headers (two VLAN
/// tags and many options) is not merged.
pub const HEAD: usize = 128;

/// Segments of a super-frame: `UDP_MAX_SEGMENTS` of Linux before 6.9 (include/linux/udp.h). Later kernels take 128.
pub const MAX_SEGMENTS: u16 = 64;

/// Bytes of a super-frame's IP packet.
const MAX_PACKET: usize = 65_535;

/// Flows that can be open at once. Of two with the same number the later closes the earlier.
const FLOWS: usize = 256;

/// What a [`Coalescer`] has to know of the tap.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The virtio-net header in front of each frame, here and towards the tap.
    pub header: VnetHeaderSize,
    /// Whether the kernel takes UDP super-frames. Those of TCP it always does.
    pub udp: bool,
    /// Pieces of memory that a super-frame may consist of.
    pub pieces: usize,
}

/// A frame of the burst, whose first bytes were put into [`Coalescer::head`].
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The caller's number for it.
    pub position: u16,
    /// How many bytes were put into `head`: [`HEAD`], or all that there are.
    pub head: usize,
    /// Bytes of the frame, virtio-net header included.
    pub length: usize,
    /// Pieces of memory that it consists of.
    pub pieces: usize,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub enum Outgoing<'a> {
    /// A frame as it is.
    Frame(u16),
    /// A super-frame.
    SuperFrame(SuperFrame<'a>),
}

/// A super-frame: a head, and behind it the payloads of its members.
#[derive(Clone, Debug)]
pub struct SuperFrame<'a> {
    /// The virtio-net header and the protocol headers.
    pub head: &'a [u8],
    /// Where the payload begins in each member, in bytes from the beginning of the virtio-net header.
    pub payload_at: usize,
    /// The positions of the members.
    pub members: Members<'a>,
}

/// The positions of the members of a super-frame, in order.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    links: &'a [Link],
    next: u16,
    left: u16,
}

impl Iterator for Members<'_> {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        let link = self.links.get(usize::from(self.next))?;
        self.next = link.next;
        Some(link.position)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Members<'_> {}

/// A frame of the burst, and which one comes after it in its group.
#[derive(Clone, Copy, Debug)]
struct Link {
    position: u16,
    next: u16,
}

/// Frames that go out together: one, or the members of a super-frame.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Those of the first member; those of the others are at the same places. `None` for what is not understood.
    headers: Option<Headers>,
    /// The first and the last member, in `links`.
    first: u16,
    last: u16,
    members: u16,
    /// Whether the first member was found sound.
    sound: bool,
    /// TCP: the flags of the last member.
    last_flags: u8,
    /// Bytes of the first member.
    length: u32,
    /// Bytes of payload of all members.
    payload: u32,
    /// Pieces of memory of all members.
    pieces: u32,
}

/// The number of a group, and when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Open(u64);

impl Open {
    #[inline]
    fn new(epoch: u64, group: u16) -> Self {
        Self(epoch << 16 | u64::from(group))
    }

    #[inline]
    fn group(self, epoch: u64) -> Option<usize> {
        (self.0 >> 16 == epoch).then_some((self.0 & 0xffff) as usize)
    }
}

/// Whether a frame became a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// It is, and others may follow.
    Open,
    /// It is the last.
    Closed,
    /// It is not.
    Refused,
}

/// The first bytes of a frame.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Head([u8; HEAD]);

impl Default for Head {
    fn default() -> Self {
        Self([0; HEAD])
    }
}

/// Finds out which frames of a burst go together.
///
/// For each burst [`begin`](Self::begin); for each frame of it, in order, [`head`](Self::head) and [`push`](Self::push);
/// then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Coalescer {
    options: Options,
    masks: Box<Masks>,
    /// The heads of the groups' first members, and behind them the head of the frame to come.
    heads: Vec<Head>,
    groups: Vec<Group>,
    links: Vec<Link>,
    /// For each flow the group that is open, if it was opened in this epoch.
    flows: Box<[Open; FLOWS]>,
    /// Counts the times that all flows were closed.
    epoch: u64,
    reorders: bool,
}

impl Coalescer {
    /// Buffers for bursts of `frames`; they grow if a burst has more.
    #[must_use]
    pub fn new(options: Options, frames: usize) -> Self {
        Self {
            masks: Box::new(Masks::new(options.header.len())),
            options,
            heads: Vec::with_capacity(frames + 1),
            groups: Vec::with_capacity(frames),
            links: Vec::with_capacity(frames),
            flows: Box::new([Open::default(); FLOWS]),
            epoch: 0,
            reorders: false,
        }
    }

    /// Starts a burst.
    #[inline]
    pub fn begin(&mut self) {
        self.groups.clear();
        self.links.clear();
        self.epoch += 1;
        self.reorders = false;
    }

    /// Where the first bytes of the next frame are to be put.
    #[inline]
    pub fn head(&mut self) -> &mut [u8; HEAD] {
        let next = self.groups.len();
        if next == self.heads.len() {
            self.heads.push(Head::default());
        }
        &mut self.heads[next].0
    }

    /// Adds the frame whose first bytes are in [`head`](Self::head). `sum` sums the bytes of the frame at a position,
    /// this or one that was pushed before it, from a byte on to its end. It is called at most twice.
    ///
    /// A burst has 65535 frames at most. What comes behind them is left out, and `false` returned.
    #[inline]
    pub fn push(&mut self, frame: Frame, sum: impl FnMut(u16, usize) -> Sum) -> bool {
        let Ok(link) = u16::try_from(self.links.len()) else { return false };
        let Some(head) = self.heads.get(self.groups.len()) else { return false };
        self.links.push(Link { position: frame.position, next: 0 });
        let Some(view) = View::new(&head.0, self.options.header.len(), frame.head) else {
            // Nothing behind this frame joins what is in front of it.
            self.epoch += 1;
            self.groups.push(Group::new(&frame, link, None));
            return true;
        };
        let flow = view.flow_hash() as usize % FLOWS;
        let headers = view.headers;
        let leads = view.may_lead(self.options.udp);
        match self.flows[flow].group(self.epoch).map(|group| self.join(group, &frame, link, headers, sum)) {
            Some(Join::Open) => return true,
            Some(Join::Closed) => {
                self.flows[flow] = Open::default();
                return true;
            }
            // A frame of the same flow or of another with this number: either way it closes the group.
            Some(Join::Refused) | None => {}
        }
        // At most as many groups as links.
        let group = self.groups.len() as u16;
        self.flows[flow] = if leads { Open::new(self.epoch, group) } else { Open::default() };
        self.groups.push(Group::new(&frame, link, Some(headers)));
        true
    }

    /// Makes the frame that is about to be pushed a member of a group, if it may be.
    #[inline]
    fn join(
        &mut self,
        number: usize,
        frame: &Frame,
        link: u16,
        headers: Headers,
        mut sum: impl FnMut(u16, usize) -> Sum,
    ) -> Join {
        let header = self.options.header.len();
        let groups = self.groups.len();
        let Some(head) = self.heads.get(groups) else { return Join::Refused };
        let Some(group) = self.groups.get_mut(number) else { return Join::Refused };
        let (Some(first_headers), Some(first_head)) = (group.headers, self.heads.get(number)) else {
            return Join::Refused;
        };
        let first = View { head: &first_head.0, header, headers: first_headers };
        let view = View { head: &head.0, header, headers };
        let segment = first_headers.payload_len();
        let payload = headers.payload_len();
        let packet = group.payload as usize + headers.end() - headers.network_at();
        let pieces = group.pieces as usize + frame.pieces;
        if payload == 0
            || payload > segment
            || packet > MAX_PACKET
            || pieces >= self.options.pieces
            || group.members >= MAX_SEGMENTS
            || !view.follows(&first, &self.masks, group.members, group.payload)
        {
            return Join::Refused;
        }
        if !group.sound {
            let Some(&Link { position, .. }) = self.links.get(usize::from(group.first)) else {
                return Join::Refused;
            };
            // What is in `head` of it is not more than the first frame's length.
            let length = group.length as usize;
            if !first.is_sound(length, length.min(HEAD), |from| sum(position, from)) {
                return Join::Refused;
            }
            group.sound = true;
        }
        if !view.is_sound(frame.length, frame.head, |from| sum(frame.position, from)) {
            return Join::Refused;
        }
        self.reorders |= number + 1 != groups;
        if let Some(last) = self.links.get_mut(usize::from(group.last)) {
            last.next = link;
        }
        group.last = link;
        group.members += 1;
        // Below the limits that were checked above.
        group.payload += payload as u32;
        group.pieces = pieces as u32;
        group.last_flags = view.tcp_flags();
        if payload < segment || group.last_flags & (tcp::PSH | tcp::FIN) != 0 {
            Join::Closed
        } else {
            Join::Open
        }
    }

    /// How many frames less are to be written than were pushed.
    #[must_use]
    pub fn saved(&self) -> usize {
        self.links.len() - self.groups.len()
    }

    /// Whether frames are to be written in another order than they were pushed: frames of one flow together, before
    /// those of another that stood between them.
    #[must_use]
    pub fn reorders(&self) -> bool {
        self.reorders
    }

    /// The positions of all frames, as they were pushed.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = u16> {
        self.links.iter().map(|link| link.position)
    }

    /// What is to be written, in order, for the burst so far.
    pub fn finish(&mut self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        for (group, head) in self.groups.iter().zip(&mut self.heads) {
            if group.members > 1 {
                merge::write_head(&mut head.0, self.options.header, group);
            }
        }
        let header = self.options.header.len();
        let links = &self.links[..];
        self.groups.iter().zip(&self.heads).map(move |(group, head)| match group.headers {
            Some(headers) if group.members > 1 => {
                let payload_at = header + headers.payload_at();
                let members = Members { links, next: group.first, left: group.members };
                Outgoing::SuperFrame(SuperFrame { head: &head.0[..payload_at], payload_at, members })
            }
            _ => Outgoing::Frame(links[usize::from(group.first)].position),
        })
    }
}

impl Group {
    #[inline]
    fn new(frame: &Frame, link: u16, headers: Option<Headers>) -> Self {
        Self {
            headers,
            first: link,
            last: link,
            members: 1,
            sound: false,
            last_flags: 0,
            // A chain has less than 4 GiB, and at most 1024 pieces.
            length: frame.length as u32,
            payload: headers.map_or(0, |headers| headers.payload_len() as u32),
            pieces: frame.pieces as u32,
        }
    }
}
