//! What comes out behind the tap: a second tap, whose reader takes no offloads, and a capture on its interface.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use mqtap::device::VnetHeaderMode;
use mqtap::{OpenOptions, TapDevice};
use mqtap_driver::frames::{self, Addresses, Mac, Path, Payload};
use mqtap_test_support::{eventually, ip};
use mqtap_virtio::offload::headers::{Headers, Network, Transport, get_u16, put_u16, tcp};
use nix::sys::socket::{self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};

use super::super::daemon::{GUEST_MAC, Result};

/// `PACKET_OUTGOING` (include/uapi/linux/if_packet.h).
const OUTGOING: u8 = 4;
/// Identifies the pings that end bursts.
const END: u16 = 0xe4d;

/// A tap without offloads, and a socket that sees what goes out through it.
pub(super) struct Behind {
    tap: TapDevice,
    capture: OwnedFd,
    index: usize,
}

impl Behind {
    /// Makes the tap `out0`.
    pub(super) fn new() -> Result<Self> {
        let options = OpenOptions {
            name: "out0".parse()?,
            vnet_header: VnetHeaderMode::Off,
            create_new: true,
            ..OpenOptions::default()
        };
        let tap = TapDevice::open(&options)?;
        ip("link set out0 up")?;
        let capture = socket::socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        // Far more than a burst takes.
        socket::setsockopt(&capture, sockopt::RcvBufForce, &(64 << 20))?;
        let index = nix::net::if_::if_nametoindex("out0")? as usize;
        Ok(Self { tap, capture, index })
    }

    /// What the guest sent, up to the end of this burst: as read from the tap, and as captured.
    pub(super) fn collect(&self, number: u16) -> Result<[Vec<Vec<u8>>; 2]> {
        let mut buffer = vec![0; 70_000];
        let mut read: Vec<Vec<u8>> = Vec::new();
        eventually("the end of the burst comes", || {
            while let Ok(length) = self.tap.queues()[0].read(&mut buffer) {
                if is_the_guests(&buffer[..length]) {
                    read.push(buffer[..length].to_vec());
                }
            }
            read.last().is_some_and(|frame| ends(frame, number))
        })?;
        let mut captured: Vec<Vec<u8>> = Vec::new();
        while !captured.last().is_some_and(|frame| ends(frame, number)) {
            let (length, from) = socket::recvfrom::<LinkAddr>(self.capture.as_raw_fd(), &mut buffer)?;
            let outgoing =
                from.is_some_and(|from| from.ifindex() == self.index && from.pkttype() == OUTGOING);
            if outgoing && is_the_guests(&buffer[..length]) {
                captured.push(buffer[..length].to_vec());
            }
        }
        Ok([read, captured])
    }

    /// Forgets what has come so far.
    pub(super) fn clear(&self) {
        let mut buffer = [0; 2048];
        while self.tap.queues()[0].read(&mut buffer).is_ok() {}
        while socket::recv(self.capture.as_raw_fd(), &mut buffer, MsgFlags::empty()).is_ok() {}
    }
}

/// A frame that ends a burst, a ping. It is of no flow, so nothing passes it.
pub(super) fn end(destination_mac: Mac, number: u16) -> Vec<u8> {
    let addresses = Addresses::V4(Ipv4Addr::new(10, 9, 1, 10), Ipv4Addr::new(10, 9, 2, 2));
    let path = Path { source_mac: GUEST_MAC, destination_mac, addresses };
    frames::icmp_echo(path, true, END, number, &[])
}

fn ends(frame: &[u8], number: u16) -> bool {
    let echo = frames::parse(frame).map(|frame| frame.payload);
    matches!(echo, Some(Payload::Echo(echo)) if (echo.identifier, echo.sequence) == (END, number))
}

/// A router puts its own address in place of the guest's. What it sends by itself is for others.
fn is_the_guests(frame: &[u8]) -> bool {
    let to_v4 = frame.get(30..33) == Some(&[10, 9, 2]);
    let to_v6 = frame.get(38..42) == Some(&[0xfd, 0, 0, 2]);
    frame.get(6..12) == Some(&GUEST_MAC) || to_v4 || to_v6
}

/// What must stay in order: `None` for all that is of no flow.
fn flow(frame: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame)?;
    let addresses = match headers.network() {
        Network::V4 => 12..20,
        Network::V6 => 8..40,
    };
    let mut flow = frame[headers.network_at()..][addresses].to_vec();
    flow.extend(&frame[headers.transport_at()..][..4]);
    flow.push(headers.transport().protocol());
    Some(flow)
}

/// The kernel writes a TCP checksum of zero as 0xffff when it completes a frame, and as 0 when it segments one.
fn with_one_zero(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(headers) = Headers::parse(&frame).filter(|headers| headers.transport() == Transport::Tcp) {
        let at = headers.transport_at() + tcp::CHECKSUM;
        if get_u16(&frame, at) == Some(0xffff) {
            put_u16(&mut frame, at, 0).unwrap();
        }
    }
    frame
}

/// In each flow the same frames have come in the same order, also as seen from what is of no flow.
pub(super) fn assert_the_same(without: Vec<Vec<u8>>, with: Vec<Vec<u8>>, what: &str) {
    let [without, with] = [without, with].map(|frames| {
        frames.into_iter().map(|frame| (flow(&frame), with_one_zero(frame))).collect::<Vec<_>>()
    });
    let flows: BTreeSet<_> = without.iter().chain(&with).map(|(flow, _)| flow.clone()).collect();
    for flow in flows {
        let of = |frames: &[(Option<Vec<u8>>, Vec<u8>)]| {
            let of = frames.iter().filter(|(found, _)| *found == flow || found.is_none());
            of.map(|(_, frame)| frame.clone()).collect::<Vec<_>>()
        };
        let (without, with) = (of(&without), of(&with));
        if without == with {
            continue;
        }
        let at = without.iter().zip(&with).position(|(a, b)| a != b);
        let at = at.unwrap_or(without.len().min(with.len()));
        panic!(
            "{what}: of {} frames without and {} with, number {at} differs:\n{:02x?}\n{:02x?}",
            without.len(),
            with.len(),
            without.get(at),
            with.get(at)
        );
    }
}
