//! Sockets of the host.

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;

use mqtap_driver::frames::{self, Addresses, Path, Payload, Tcp, partial};
use mqtap_driver::{Driver, DriverOptions};
use mqtap_test_support::{PatientSocket, TestResult, eventually, patience};
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags, SockaddrStorage, sockopt};

use super::super::daemon::{Daemon, GUEST_MAC, Result, address, host_mac};
use super::super::datapath;
use super::stream::{Destination, Packet, Stream, identify};
use super::{COALESCED, SUPER_FRAMES, address_v6};

/// Datagrams by the address of their sender.
type Datagrams = BTreeMap<String, Vec<Vec<u8>>>;

/// The datagrams that a socket gets of a stream. With `gro`, it takes several at once, and we part them again.
fn datagrams(coalesce: &str, seed: u64, gro: bool) -> Result<(Datagrams, u64)> {
    let daemon = Daemon::start(&format!("tap,id=hn0,ifname=tap0,coalesce={coalesce}"), &[])?;
    address("tap0", 1)?;
    address_v6("tap0", 1)?;
    let socket = datapath::bound((Ipv6Addr::UNSPECIFIED, 9000))?;
    socket.set_nonblocking(true)?;
    // Far more than a burst takes.
    socket::setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20))?;
    socket::setsockopt(&socket, sockopt::UdpGroSegment, &gro)?;
    let to = Destination {
        mac: host_mac("tap0")?,
        v4: Ipv4Addr::new(10, 9, 1, 1),
        v6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
        vlans: false,
    };
    let mut driver = daemon.connect(DriverOptions { ring_size: 1024, ..DriverOptions::default() })?;
    let mut stream = Stream::new(seed, to);
    let mut datagrams = Datagrams::new();
    for _ in 0..10 {
        let burst = stream.burst(150);
        assert_eq!(driver.pair(0).transmit_batch_with_headers(&burst)?, burst.len());
        // The kernel has put a frame into its socket before the write of it ends.
        assert!(driver.pair(0).drain(patience())?);
        receive(&socket, &mut datagrams)?;
    }
    Ok((datagrams, daemon.count_of("hn0", COALESCED)?))
}

fn receive(socket: &UdpSocket, datagrams: &mut Datagrams) -> TestResult {
    let mut buffer = vec![0; 70_000];
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut control = nix::cmsg_space!(i32);
        let message = socket::recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let message = match message {
            Err(nix::errno::Errno::EAGAIN) => return Ok(()),
            message => message?,
        };
        let size = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
            _ => None,
        });
        let from = message.address.ok_or("a datagram without sender")?.to_string();
        let length = message.bytes;
        let received = datagrams.entry(from).or_default();
        match size {
            Some(size) if length > 0 => received.extend(buffer[..length].chunks(size).map(<[u8]>::to_vec)),
            _ => received.push(buffer[..length].to_vec()),
        }
    }
}

pub(crate) fn sockets_get_the_same_datagrams_with_and_without_coalescing() -> TestResult {
    let mut coalesced = 0;
    for seed in 40..44 {
        let (without, none) = datagrams("off", seed, false)?;
        assert_eq!(none, 0);
        for gro in [false, true] {
            let (with, some) = datagrams("on", seed, gro)?;
            coalesced += some;
            for (from, without) in &without {
                let with = with.get(from).map(Vec::as_slice).unwrap_or_default();
                let differs = without.iter().zip(with).position(|(a, b)| a != b);
                let (count, other) = (without.len(), with.len());
                assert!(
                    without == with,
                    "seed {seed}, gro {gro}, from {from}: {count} without, {other} with, differs at {differs:?}"
                );
            }
            assert_eq!(with.len(), without.len());
        }
    }
    assert!(coalesced > 1000, "only {coalesced} frames were coalesced");
    Ok(())
}

/// One end of a connection, made by hand.
struct Connection {
    driver: Driver,
    path: Path,
    id: u16,
    sequence: u32,
    acknowledgement: u32,
}

impl Connection {
    /// A segment; its checksum is left to the host.
    fn segment(&mut self, flags: u8, payload: &[u8]) -> Packet {
        let segment = Tcp {
            source_port: 5000,
            destination_port: 9100,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags,
            payload: payload.to_vec(),
        };
        let mut frame = frames::tcp(self.path, &segment);
        self.id += 1;
        identify(&mut frame, self.id);
        let header = partial(&mut frame, None).unwrap();
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        (header, frame)
    }

    fn send(&mut self, segments: &[Packet]) -> TestResult {
        assert_eq!(self.driver.pair(0).transmit_batch_with_headers(segments)?, segments.len());
        Ok(())
    }

    /// Three segments, two of ours.
    fn open(mut driver: Driver, path: Path) -> Result<Self> {
        let syn =
            Tcp { source_port: 5000, destination_port: 9100, sequence: 999, flags: 2, ..Tcp::default() };
        driver.transmit(0, &frames::tcp(path, &syn))?;
        let mut answer = None;
        eventually("the connection is accepted", || {
            while let Ok(Some(frame)) = driver.receive(0) {
                if let Some(Payload::Tcp(tcp)) = frames::parse(&frame).map(|frame| frame.payload) {
                    answer = Some(tcp);
                }
            }
            answer.is_some()
        })?;
        let answer = answer.ok_or("no answer")?;
        assert_eq!((answer.flags, answer.acknowledgement), (0x12, 1000));
        let acknowledgement = answer.sequence.wrapping_add(1);
        let mut connection = Self { driver, path, id: 0, sequence: 1000, acknowledgement };
        let ack = connection.segment(0x10, &[]);
        connection.send(&[ack])?;
        Ok(connection)
    }
}

pub(crate) fn a_connection_gets_every_byte_of_coalesced_segments() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,coalesce=on", &[])?;
    address("tap0", 1)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9100))?;
    let driver = daemon.connect(DriverOptions { ring_size: 1024, ..DriverOptions::default() })?;
    let mut connection = Connection::open(driver, datapath::path("tap0", 1)?)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(patience()))?;
    // Less than the window that a socket offers in the beginning.
    let data: Vec<u8> = (0..48_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
    for part in data.chunks(12_000) {
        let pieces: Vec<_> = part.chunks(700).collect();
        let last = pieces.len() - 1;
        let segments: Vec<_> = pieces
            .iter()
            .enumerate()
            .map(|(number, piece)| connection.segment(if number == last { 0x18 } else { 0x10 }, piece))
            .collect();
        connection.send(&segments)?;
    }
    let fin = connection.segment(0x11, &[]);
    connection.send(&[fin])?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    assert!(received == data, "{} bytes instead of {}", received.len(), data.len());
    // 18 segments a part; a worker may see a part in two halves.
    let (coalesced, super_frames) =
        (daemon.count_of("hn0", COALESCED)?, daemon.count_of("hn0", SUPER_FRAMES)?);
    assert!(coalesced >= 60 && super_frames <= 8, "{coalesced} as {super_frames}");
    Ok(())
}

/// Where a write could have to wait, what is written must be what comes first in the ring: the driver could stop it while the
/// rest waits.
pub(crate) fn a_limited_send_buffer_keeps_flows_in_the_order_of_the_ring() -> TestResult {
    for (more, interleaved) in [("", true), ("", false), (",sndbuf=1M", true), (",sndbuf=1M", false)] {
        let daemon = Daemon::start(&format!("tap,id=hn0,ifname=tap0,coalesce=on{more}"), &[])?;
        address_v6("tap0", 1)?;
        let socket = PatientSocket::new(datapath::bound((Ipv6Addr::UNSPECIFIED, 9000))?)?;
        let guest = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
        let host = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
        let path = Path {
            source_mac: GUEST_MAC,
            destination_mac: host_mac("tap0")?,
            addresses: Addresses::V6(guest, host),
        };
        let mut driver = daemon.connect(DriverOptions::default())?;
        let order: Vec<u8> = (0..40).collect();
        let port =
            |number: u8| 5000 + if interleaved { u16::from(number % 2) } else { u16::from(number / 20) };
        let burst: Vec<_> =
            order.iter().map(|&number| frames::udp(path, (port(number), 9000), &[number; 100])).collect();
        assert_eq!(driver.transmit_batch(0, &burst)?, burst.len());
        let mut buffer = [0; 200];
        let mut received = Vec::new();
        for _ in &order {
            assert_eq!(socket.recv(&mut buffer)?, 100);
            received.push(buffer[0]);
        }
        let free = more.is_empty();
        assert_eq!(received == order, !free || !interleaved, "{more} {received:?}");
        let coalesced = daemon.count_of("hn0", COALESCED)?;
        assert_eq!(coalesced > 0, free || !interleaved, "{more}: {coalesced}");
    }
    Ok(())
}
