//! Super-frames for drivers that do not take them: what the driver gets is what the kernel makes of the same super-frame
//! for a tap without offloads, byte for byte.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use mqtap::{NameRequest, Offloads, OpenOptions, TapDevice, VnetHeaderMode};
use mqtap_driver::frames::{self, Addresses, Mac, Path, Payload, Tcp};
use mqtap_driver::protocol::feature;
use mqtap_driver::{Driver, DriverOptions, VirtioNetHeader};
use mqtap_test_support::{TestResult, eventually, ip};

use super::daemon::{Daemon, GUEST_MAC, Result, forwards, host_mac};

/// Bytes of the header of a raw tap here.
const RAW_HEADER: usize = VirtioNetHeader::LEGACY_SIZE;
const SOURCE_MAC: Mac = [0x02, 0, 0, 0, 0, 0x55];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
const GSO_ECN: u8 = 0x80;
const CWR: u8 = 0x80;
const ECE: u8 = 0x40;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;

/// `tap0` of the daemon and `ref0`, a tap without offloads, are ports of one bridge that knows nobody, so that everything sent to the guest
/// goes to both; `src0` is a port too, or a neighbour from which is routed.
struct Lab {
    daemon: Daemon,
    reference: TapDevice,
    source: TapDevice,
}

fn raw_tap(name: &str) -> Result<TapDevice> {
    let device = TapDevice::open(&OpenOptions {
        name: NameRequest::Exact(name.parse()?),
        vnet_header: VnetHeaderMode::Require,
        ..OpenOptions::default()
    })?;
    ip(&format!("link set {name} addrgenmode none txqueuelen 4000 up"))?;
    Ok(device)
}

impl Lab {
    fn new(netdev: &str) -> Result<Self> {
        // With an address of its own: a bridge that takes another one when a port leaves forgets its neighbours, too.
        ip("link add br0 address 02:00:00:00:00:77 type bridge mcast_snooping 0")?;
        ip("link set br0 addrgenmode none")?;
        ip(&format!("address add {HOST}/24 dev br0"))?;
        let daemon = Daemon::start(&format!("tap,id=hn0,ifname=tap0{netdev}"), &[])?;
        let reference = raw_tap("ref0")?;
        let source = raw_tap("src0")?;
        ip("link set tap0 addrgenmode none txqueuelen 4000 up")?;
        for port in ["tap0", "ref0", "src0"] {
            ip(&format!("link set {port} master br0"))?;
            // It shall not learn that the guest is behind one of them only.
            ip(&format!("link set {port} type bridge_slave learning off"))?;
        }
        ip("link set br0 up")?;
        let mac = GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":");
        ip(&format!("neighbour replace {GUEST} lladdr {mac} dev br0 nud permanent"))?;
        Ok(Self { daemon, reference, source })
    }

    fn connect(&self, options: DriverOptions) -> Result<Driver> {
        let driver = self.daemon.connect(options)?;
        forwards("tap0")?;
        Ok(driver)
    }

    fn inject(&self, header: &VirtioNetHeader, frame: &[u8]) -> Result<()> {
        let mut bytes = header.to_bytes()[..RAW_HEADER].to_vec();
        bytes.extend_from_slice(frame);
        self.source.queues()[0].write(&bytes)?;
        Ok(())
    }

    /// Adds the frames to the guest that have come to the tap without offloads.
    fn read_reference(&self, frames: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut buffer = vec![0; 70_000];
        loop {
            match self.reference.queues()[0].read(&mut buffer) {
                Ok(length) if buffer[RAW_HEADER..].starts_with(&GUEST_MAC) => {
                    assert_eq!(buffer[..2], [0, 0], "the kernel leaves nothing undone");
                    frames.push(buffer[RAW_HEADER..length].to_vec());
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the guest and the tap without offloads get until each has `count` frames.
    fn collect(&self, driver: &mut Driver, count: usize) -> Result<(Frames, Frames)> {
        let (mut ours, mut kernels) = (Vec::new(), Vec::new());
        eventually("all segments arrive", || {
            self.read_reference(&mut kernels).unwrap();
            read_guest(driver, &mut ours).unwrap();
            ours.len() >= count && kernels.len() >= count
        })
        .map_err(|error| format!("{error}: {} and {} of {count}", ours.len(), kernels.len()))?;
        Ok((ours, kernels))
    }
}

/// Adds the frames to the guest that have come to the driver, complete.
fn read_guest(driver: &mut Driver, frames: &mut Vec<Vec<u8>>) -> Result<()> {
    let takes_partial = driver.features() & feature::GUEST_CSUM != 0;
    while let Some(mut got) = driver.receive_with_header(0)? {
        if !got.frame.starts_with(&GUEST_MAC) {
            continue;
        }
        assert_eq!(got.header.gso_type, 0, "no super-frame");
        assert!(takes_partial || got.header.flags == 0, "{:?}", got.header);
        if got.header.flags & 1 != 0 {
            assert!(frames::complete(&mut got.frame, got.header.csum_start, got.header.csum_offset));
        }
        frames.push(got.frame);
    }
    Ok(())
}

type Frames = Vec<Vec<u8>>;

/// What a super-frame is made of.
#[derive(Clone, Copy, Debug)]
struct Case {
    v6: bool,
    tcp: bool,
    vlan: bool,
    /// Bytes of TCP or IPv4 options, a multiple of four.
    options: usize,
    /// Bytes of an extension header behind IPv6.
    extension: usize,
    flags: u8,
    id: u16,
    payload: usize,
    size: u16,
}

const PLAIN: Case = Case {
    v6: false,
    tcp: true,
    vlan: false,
    options: 0,
    extension: 0,
    flags: ACK,
    id: 0x1234,
    payload: 10_000,
    size: 1448,
};

const CASES: [Case; 16] = [
    PLAIN,
    Case { flags: ACK | PSH | FIN, payload: 7 * 1448, ..PLAIN },
    Case { flags: ACK | PSH | CWR | ECE, id: 0xfffe, ..PLAIN },
    Case { options: 12, payload: 64_000, size: 1436, ..PLAIN },
    Case { vlan: true, ..PLAIN },
    Case { size: 1, payload: 300, ..PLAIN },
    Case { size: 9, payload: 1000, options: 40, ..PLAIN },
    Case { v6: true, flags: ACK | PSH | FIN, size: 1428, ..PLAIN },
    Case { v6: true, flags: ACK | CWR, options: 12, payload: 60_000, size: 1416, ..PLAIN },
    Case { v6: true, vlan: true, ..PLAIN },
    Case { v6: true, extension: 16, size: 1400, ..PLAIN },
    Case { tcp: false, payload: 64_000, size: 1472, ..PLAIN },
    Case { tcp: false, payload: 100 * 120, size: 120, id: 0xfff0, ..PLAIN },
    Case { tcp: false, options: 8, vlan: true, payload: 5001, size: 1001, ..PLAIN },
    Case { tcp: false, v6: true, payload: 30_000, size: 1452, ..PLAIN },
    Case { tcp: false, v6: true, extension: 8, payload: 3000, size: 700, ..PLAIN },
];

impl Case {
    fn path(self, source_mac: Mac, destination_mac: Mac) -> Path {
        let addresses = if self.v6 {
            Addresses::V6("fd00::7".parse().unwrap(), "fd00::2".parse().unwrap())
        } else {
            Addresses::V4(Ipv4Addr::new(10, 8, 1, 7), GUEST)
        };
        Path { source_mac, destination_mac, addresses }
    }

    fn segments(self) -> usize {
        self.payload.div_ceil(self.size.into())
    }

    /// The super-frame with its header.
    fn build(self, path: Path) -> (VirtioNetHeader, Vec<u8>) {
        let payload: Vec<u8> = (0..self.payload).map(|i| (i * 13 + i / 256) as u8).collect();
        let mut frame = if self.tcp {
            let tcp = Tcp {
                source_port: 5000,
                destination_port: 7000,
                sequence: 0xffff_f000,
                acknowledgement: 99,
                flags: self.flags,
                payload,
            };
            frames::tcp(path, &tcp)
        } else {
            frames::udp(path, (5000, 7000), &payload)
        };
        let mut header = frames::partial(&mut frame, Some(self.size)).unwrap();
        if self.flags & CWR != 0 && self.tcp {
            header.gso_type |= GSO_ECN;
        }
        let mut transport = usize::from(header.csum_start);
        // No operation, to the end.
        let options = vec![1; self.options];
        if self.tcp {
            frame[transport + 12] += (self.options as u8 / 4) << 4;
            frame.splice(transport + 20..transport + 20, options);
        } else if !self.v6 {
            frame[14] += self.options as u8 / 4;
            frame.splice(34..34, options);
            transport += self.options;
        }
        if self.extension > 0 {
            // Destination options, one that pads.
            let mut extension = vec![0; self.extension];
            extension[..4].copy_from_slice(&[
                frame[20],
                (self.extension / 8 - 1) as u8,
                1,
                self.extension as u8 - 4,
            ]);
            frame[20] = 60;
            frame.splice(54..54, extension);
            transport += self.extension;
        }
        let length = frame.len() - 14;
        if self.v6 {
            frame[18..20].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        } else {
            frame[16..18].copy_from_slice(&(length as u16).to_be_bytes());
            frame[18..20].copy_from_slice(&self.id.to_be_bytes());
            frame[24..26].fill(0);
            let end = 14 + usize::from(frame[14] & 0xf) * 4;
            let sum = frames::checksum(0, &frame[14..end]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let (protocol, check) = if self.tcp { (6, 16) } else { (17, 6) };
        let sum = frames::pseudo_header(path.addresses, protocol, frame.len() - transport);
        frame[transport + check..transport + check + 2].copy_from_slice(&sum.to_be_bytes());
        if self.vlan {
            frame.splice(12..12, [0x81, 0, 0, 42]);
            transport += 4;
        }
        header.csum_start = transport as u16;
        header.hdr_len = (transport + if self.tcp { 20 + self.options } else { 8 }) as u16;
        (header, frame)
    }
}

const TSO: u64 = feature::CSUM | feature::GUEST_CSUM | feature::GUEST_TSO4;

/// Drivers that lack some of what they would need to take super-frames.
fn drivers() -> Vec<DriverOptions> {
    let plain = DriverOptions::default();
    vec![
        plain.clone(),
        DriverOptions { offloads: feature::CSUM | feature::GUEST_CSUM, ..plain.clone() },
        DriverOptions { packed: true, ring_size: 64, ..plain.clone() },
        DriverOptions { mergeable: false, packed: true, offloads: feature::GUEST_CSUM, ..plain.clone() },
        DriverOptions { mergeable: false, split_header: true, ..plain.clone() },
        DriverOptions { mergeable: false, virtio_1: false, ..plain.clone() },
        // Segments over several chains, and never enough of them for a super-frame.
        DriverOptions { buffer_size: 200, offloads: feature::GUEST_CSUM, ..plain.clone() },
        DriverOptions { ring_size: 8, event_index: false, ..plain },
    ]
}

/// Sends each super-frame to the driver and compares what comes.
fn compare(lab: &Lab, options: &DriverOptions, cases: &[Case], path: impl Fn(Case) -> Path) -> TestResult {
    let mut driver = lab.connect(options.clone())?;
    for &case in cases {
        let (header, frame) = case.build(path(case));
        lab.inject(&header, &frame)?;
        let (ours, kernels) = lab
            .collect(&mut driver, case.segments())
            .map_err(|error| format!("{options:?}, {case:?}: {error}"))?;
        assert_eq!(kernels.len(), case.segments(), "{case:?}");
        assert_eq!(ours.len(), case.segments(), "{case:?}");
        for (i, (ours, kernels)) in ours.iter().zip(&kernels).enumerate() {
            let differ = ours.iter().zip(kernels).position(|(a, b)| a != b);
            assert!(ours == kernels, "segment {i} of {case:?} for {options:?} differs at {differ:?}");
        }
    }
    Ok(())
}

pub(crate) fn segments_are_those_of_the_kernel_for_every_driver() -> TestResult {
    let lab = Lab::new("")?;
    let before = lab.daemon.counters("hn0")?[0];
    let mut frames = 0;
    for options in drivers() {
        compare(&lab, &options, &CASES, |case| case.path(SOURCE_MAC, GUEST_MAC))?;
        frames += CASES.iter().map(|case| case.segments() as u64).sum::<u64>();
    }
    let after = lab.daemon.counters("hn0")?[0];
    assert_eq!((after.received - before.received, after.receive_dropped), (frames, 0));
    let log = lab.daemon.log();
    let count = drivers().len() * CASES.len();
    assert!(log.contains(&format!("{count} super-frames segmented")), "{log}");
    assert!(log.contains(&format!("{frames} frames to the guest made of them")), "{log}");
    Ok(())
}

pub(crate) fn a_driver_gets_whole_what_it_takes_and_segments_of_the_rest() -> TestResult {
    let lab = Lab::new("")?;
    let mut driver = lab.connect(DriverOptions { offloads: TSO, ..DriverOptions::default() })?;
    // It lacks ECN, TCP over IPv6, and UDP. Large frames that it takes come in between, and are read in another way.
    let refused = [2, 3, 7, 8, 11, 3, 14];
    for index in refused {
        let case = CASES[index];
        for whole in [Case { payload: 60_000, ..PLAIN }, Case { payload: 14_480, ..PLAIN }] {
            let (header, frame) = whole.build(whole.path(SOURCE_MAC, GUEST_MAC));
            lab.inject(&header, &frame)?;
            let mut got = None;
            eventually("a super-frame arrives", || {
                got = driver.receive_with_header(0).unwrap();
                got.is_some()
            })?;
            let got = got.ok_or("nothing")?;
            assert_eq!((got.header.gso_type, got.header.gso_size), (1, whole.size));
            assert!(got.frame == frame, "{case:?}");
            lab.read_reference(&mut Vec::new())?;
        }
        let takes_it = case.tcp && !case.v6 && case.flags & CWR == 0;
        if takes_it {
            continue;
        }
        let (header, frame) = case.build(case.path(SOURCE_MAC, GUEST_MAC));
        let mut kernels = Vec::new();
        eventually("the kernel's segments of the others are gone", || {
            kernels.clear();
            lab.read_reference(&mut kernels).unwrap();
            kernels.is_empty()
        })?;
        lab.inject(&header, &frame)?;
        let (ours, kernels) = lab.collect(&mut driver, case.segments())?;
        assert!(ours == kernels, "{case:?}");
    }
    Ok(())
}

pub(crate) fn routed_super_frames_are_segmented() -> TestResult {
    let lab = Lab::new("")?;
    ip("link set src0 nomaster")?;
    ip("address add 10.8.1.1/24 dev src0")?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let router = host_mac("src0")?;
    let cases: Vec<Case> = CASES.into_iter().filter(|case| !case.v6 && !case.vlan).collect();
    for options in [
        DriverOptions::default(),
        DriverOptions { offloads: feature::GUEST_CSUM, mergeable: false, ..DriverOptions::default() },
    ] {
        compare(&lab, &options, &cases, |case| case.path(SOURCE_MAC, router))?;
    }
    Ok(())
}

pub(crate) fn datagrams_of_a_socket_are_segmented() -> TestResult {
    let lab = Lab::new("")?;
    let mut driver = lab.connect(DriverOptions::default())?;
    let socket = UdpSocket::bind((HOST, 5000))?;
    socket.connect((GUEST, 7000))?;
    for (size, count) in [(1472, 40), (100, 64), (1000, 3)] {
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &size)?;
        let payload: Vec<u8> = (0..usize::try_from(size)? * count - 7).map(|i| (i * 7) as u8).collect();
        socket.send(&payload)?;
        let (ours, kernels) = lab.collect(&mut driver, count)?;
        assert!(ours == kernels, "{count} datagrams of {size} bytes");
        let got: Vec<u8> = ours
            .iter()
            .filter_map(|frame| match frames::parse(frame)?.payload {
                Payload::Udp(udp) => Some(udp.payload),
                _ => None,
            })
            .flatten()
            .collect();
        assert!(got == payload);
    }
    Ok(())
}

/// A TCP connection of the host's, of which the guest is the other end.
pub(crate) fn a_stream_of_a_socket_is_segmented() -> TestResult {
    const TOTAL: usize = 200_000;
    let lab = Lab::new("")?;
    let mut driver = lab.connect(DriverOptions::default())?;
    let writer = std::thread::spawn(move || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect((GUEST, 7000))?;
        let payload: Vec<u8> = (0..TOTAL).map(|i| (i * 31 + i / 1000) as u8).collect();
        stream.write_all(&payload)?;
        Ok(stream)
    });
    let (mut ours, mut kernels) = (Vec::new(), Vec::new());
    let mut stream = vec![None; TOTAL];
    let mut first = None;
    let mut largest = 0;
    eventually("the stream has arrived", || {
        let seen = ours.len();
        read_guest(&mut driver, &mut ours).unwrap();
        lab.read_reference(&mut kernels).unwrap();
        for frame in &ours[seen..] {
            let parsed = frames::parse(frame).unwrap();
            assert!(parsed.checksums_good);
            let Payload::Tcp(tcp) = &parsed.payload else { continue };
            let begin = *first.get_or_insert(tcp.sequence.wrapping_add(1));
            let at = tcp.sequence.wrapping_sub(begin) as usize;
            for (i, byte) in tcp.payload.iter().enumerate() {
                stream[at + i] = Some(*byte);
            }
            largest = largest.max(tcp.payload.len());
            let got = stream.iter().take_while(|byte| byte.is_some()).count();
            let answer = Tcp {
                source_port: 7000,
                destination_port: tcp.source_port,
                sequence: if tcp.flags & SYN != 0 { 1000 } else { 1001 },
                acknowledgement: begin.wrapping_add(got as u32),
                flags: if tcp.flags & SYN != 0 { SYN | ACK } else { ACK },
                payload: Vec::new(),
            };
            driver.transmit(0, &frames::tcp(parsed.path().unwrap().reversed(), &answer)).unwrap();
        }
        stream.iter().all(Option::is_some)
    })?;
    drop(writer.join().map_err(|_| "the writer panicked")??);
    for (i, byte) in stream.iter().enumerate() {
        assert_eq!(*byte, Some((i * 31 + i / 1000) as u8), "byte {i}");
    }
    assert!(largest < 1500, "{largest}");
    // Both taps got the same, in the same order, up to where we looked at either.
    eventually("the tap without offloads has what the guest has", || {
        lab.read_reference(&mut kernels).unwrap();
        kernels.len() >= ours.len()
    })?;
    assert!(ours[..] == kernels[..ours.len()]);
    let rows = lab.daemon.counters("hn0")?;
    assert_eq!(rows[0].receive_dropped, 0);
    assert!(lab.daemon.log().contains("super-frames segmented"), "it did come in super-frames");
    Ok(())
}

pub(crate) fn segments_wait_for_buffers_and_are_counted_when_they_cannot() -> TestResult {
    let lab = Lab::new("")?;
    let options = DriverOptions { fill_receive: false, ..DriverOptions::default() };
    let mut driver = lab.connect(options)?;
    let case = CASES[0];
    let (header, frame) = case.build(case.path(SOURCE_MAC, GUEST_MAC));
    let total = case.segments();
    let (mut ours, mut kernels) = (Vec::new(), Vec::new());
    driver.pair(0).receiver.post(1)?;
    lab.inject(&header, &frame)?;
    lab.inject(&header, &frame)?;
    let take = |driver: &mut Driver, ours: &mut Vec<Vec<u8>>| {
        while let Some(got) = driver.pair(0).receiver.take().unwrap() {
            ours.push(got.frame);
        }
    };
    // One buffer at a time, through the first and into the second super-frame.
    for count in 1..=total + 3 {
        eventually("a segment comes for each buffer", || {
            take(&mut driver, &mut ours);
            ours.len() == count
        })?;
        if count < total + 3 {
            driver.pair(0).receiver.post(1)?;
        }
    }
    eventually("the kernel's segments are there", || {
        lab.read_reference(&mut kernels).unwrap();
        kernels.len() == 2 * total
    })?;
    assert!(ours[..] == kernels[..total + 3]);
    // What waits when the ring is stopped is counted: of the super-frame at hand, and of one in the tap's queue.
    lab.inject(&header, &frame)?;
    lab.inject(&VirtioNetHeader::default(), &frames::udp(case.path(SOURCE_MAC, GUEST_MAC), (1, 2), b"one"))?;
    eventually("the kernel has passed them on", || {
        lab.read_reference(&mut kernels).unwrap();
        kernels.len() == 3 * total + 1
    })?;
    driver.stop()?;
    let row = lab.daemon.counters("hn0")?[0];
    assert_eq!(row.received, total as u64 + 3);
    assert_eq!(row.receive_dropped, (total - 3) as u64 + total as u64 + 1, "{}", lab.daemon.log());
    Ok(())
}

pub(crate) fn segments_leave_their_marks_in_the_dirty_log() -> TestResult {
    const PAGE: u64 = 4096;
    let lab = Lab::new("")?;
    for options in [
        DriverOptions::default(),
        DriverOptions { packed: true, buffer_size: 512, ..DriverOptions::default() },
    ] {
        let mut driver = lab.connect(options.clone())?;
        driver.start_dirty_log()?;
        driver.dirty_pages().ok_or("no log")?.clear()?;
        let case = CASES[11];
        let (header, frame) = case.build(case.path(SOURCE_MAC, GUEST_MAC));
        lab.inject(&header, &frame)?;
        let receiver = &driver.pair(0).receiver;
        let chains: Vec<_> = (0..).map_while(|number| receiver.first_buffer(number)).collect();
        let mut lengths = Vec::new();
        eventually("all segments arrive", || {
            while let Some(got) = driver.pair(0).receiver.take().unwrap() {
                lengths.push((got.frame.len() + VirtioNetHeader::SIZE, usize::from(got.chains)));
            }
            lengths.len() == case.segments()
        })?;
        let logged = driver.stop_dirty_log()?.ok_or("no log")?.pages()?;
        // Chains are posted, and so used, in the order of their numbers.
        let mut expected = std::collections::BTreeSet::new();
        let mut next = chains.iter();
        for (length, used) in lengths {
            let mut rest = length as u64;
            for buffer in next.by_ref().take(used) {
                let written = rest.min(buffer.len.into());
                rest -= written;
                expected.extend(buffer.at.0 / PAGE..=(buffer.at.0 + written - 1) / PAGE);
            }
        }
        let first_buffer = chains.iter().map(|buffer| buffer.at.0).min().ok_or("no buffer")? / PAGE;
        let logged: std::collections::BTreeSet<u64> =
            logged.into_iter().filter(|page| *page >= first_buffer).collect();
        assert_eq!(logged, expected, "{options:?}");
    }
    Ok(())
}

pub(crate) fn the_kernel_segments_where_it_is_to() -> TestResult {
    let lab = Lab::new(",segment=off")?;
    compare(&lab, &DriverOptions::default(), &CASES[..4], |case| case.path(SOURCE_MAC, GUEST_MAC))?;
    lab.daemon.counters("hn0")?;
    assert!(!lab.daemon.log().contains("super-frames segmented"));
    Ok(())
}

/// What the tap asks of the kernel is what we can do without the driver, whatever driver comes and goes, and nothing once
/// nobody is left who would.
pub(crate) fn offloads_stay_while_drivers_come_and_go_and_go_with_the_daemon() -> TestResult {
    ip("tuntap add dev tap0 mode tap multi_queue vnet_hdr")?;
    let offloads = || -> Result<Offloads> {
        mqtap::inspect::find("tap0".parse()?, None)?.offloads.ok_or("no offloads".into())
    };
    let all = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::TSO_ECN;
    let uso = Offloads::USO4 | Offloads::USO6;
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    let alone = offloads()?;
    assert!(alone == all || alone == all | uso, "{alone}");
    for (drivers, taken) in [(1, 0), (2, TSO), (3, feature::OFFLOADS)] {
        let driver = daemon.connect(DriverOptions { offloads: taken, ..DriverOptions::default() })?;
        assert_eq!(offloads()?, alone);
        drop(driver);
        eventually("the driver is gone", || {
            daemon.log().matches("frontend disconnected").count() == drivers
        })?;
        assert_eq!(offloads()?, alone);
    }
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    daemon.wait()?;
    assert_eq!(offloads()?, Offloads::NONE);
    Ok(())
}
