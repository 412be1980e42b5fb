//! The real backend on a real tap, in the network namespace of the test that starts it, and the host behind the tap.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mqtap::{OpenOptions, TapDevice};
use mqtap_driver::frames::{self, Addresses, Mac, Payload};
use mqtap_driver::{Driver, Received};
use mqtap_test_support::{PatientSocket, ip, patience};
use mqtap_vhost_user::{Server, StopHandle};
use mqtap_virtio::nic::{Carrier, Nic, NicOptions};

/// Addresses of the guest; the host has 10.0.0.1.
pub(crate) const GUEST_MAC: Mac = [2, 0, 0, 0, 0, 2];
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const HOST_MAC: Mac = [2, 0, 0, 0, 0, 1];

pub(crate) struct Backend {
    pub(crate) path: PathBuf,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Backend {
    pub(crate) fn start(queues: u16) -> Backend {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let options = OpenOptions {
            name: "tap0".parse().unwrap(),
            queues,
            start_detached: true,
            ..OpenOptions::default()
        };
        let device = Arc::new(TapDevice::open(&options).unwrap());
        // The kernel forgets what it is told to send while it takes note of a carrier that comes back.
        let options = NicOptions { carrier: Carrier::AlwaysOn, ..NicOptions::default() };
        let mut nic = Nic::new(device, options, Box::new(|_| {})).unwrap();
        let mut server = Server::bind(&path).unwrap();
        let stop = server.stop_handle();
        // Nothing on the tap but what tests send.
        std::fs::write("/proc/sys/net/ipv6/conf/tap0/disable_ipv6", "1").unwrap();
        ip("link set tap0 address 02:00:00:00:00:01 mtu 9000 up").unwrap();
        ip("addr add 10.0.0.1/24 dev tap0").unwrap();
        ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev tap0").unwrap();
        let thread = std::thread::spawn(move || server.run(&mut nic).unwrap());
        Backend { path, stop, thread: Some(thread), _directory: directory }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A socket of the host on this port. Made before the guest sends.
pub(crate) fn host_socket(port: u16) -> PatientSocket {
    PatientSocket::new(UdpSocket::bind((HOST, port)).unwrap()).unwrap()
}

pub(crate) fn to_host() -> frames::Path {
    frames::Path { source_mac: GUEST_MAC, destination_mac: HOST_MAC, addresses: Addresses::V4(GUEST, HOST) }
}

/// What the guest sends on `pair` arrives at the host.
pub(crate) fn guest_to_host(driver: &mut Driver, pair: u16, socket: &PatientSocket, data: &[u8]) {
    let port = socket.local_addr().unwrap().port();
    driver.transmit(pair, &frames::udp(to_host(), (1000, port), data)).unwrap();
    receive_at_host(socket, data);
}

pub(crate) fn receive_at_host(socket: &PatientSocket, data: &[u8]) {
    let mut bytes = vec![0; 65536];
    let (n, from) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(from, (GUEST, 1000).into());
    assert!(bytes[..n] == *data, "{n} other bytes instead of {}", data.len());
}

/// What the host sends arrives at the guest, on whichever pair.
pub(crate) fn host_to_guest(driver: &mut Driver, socket: &UdpSocket, data: &[u8]) -> (u16, Received) {
    socket.send_to(data, (GUEST, 2000)).unwrap();
    receive_at_guest(driver, data)
}

pub(crate) fn receive_at_guest(driver: &mut Driver, data: &[u8]) -> (u16, Received) {
    let deadline = std::time::Instant::now() + patience();
    while std::time::Instant::now() < deadline {
        for pair in 0..driver.pairs().len() as u16 {
            while let Some(received) = driver.receive_with_header(pair).unwrap() {
                let mut frame = received.frame.clone();
                let header = received.header;
                if header.flags & mqtap_driver::NEEDS_CSUM != 0 {
                    assert!(frames::complete(&mut frame, header.csum_start, header.csum_offset));
                }
                let parsed = frames::parse(&frame).unwrap();
                if let Payload::Udp(udp) = parsed.payload
                    && udp.destination_port == 2000
                {
                    assert!(parsed.checksums_good);
                    assert!(udp.payload == data, "{} other bytes", udp.payload.len());
                    return (pair, received);
                }
            }
        }
        driver.wait(0, Duration::from_millis(5)).unwrap();
    }
    panic!("nothing came to the guest");
}

/// Bytes that are unlike those of other lengths.
pub(crate) fn data(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + length) as u8).collect()
}

pub(crate) fn connect(path: &Path, options: mqtap_driver::DriverOptions) -> Driver {
    Driver::connect(path, options).unwrap()
}
