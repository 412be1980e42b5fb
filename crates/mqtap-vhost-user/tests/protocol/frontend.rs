//! A frontend made of single messages, and a server for it to talk to.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use mqtap_vhost_user::message::Request;
use mqtap_vhost_user::server::Error;
use mqtap_vhost_user::{Server, StopHandle};
use mqtap_virtio::memory::SharedMemory;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::device::{FEATURES, FakeDevice, Record};

pub(crate) const PROTOCOL_FEATURES: u64 = 1 << 30;
pub(crate) const LOG_ALL: u64 = 1 << 26;
pub(crate) const REPLY_ACK: u64 = 1 << 3;
pub(crate) const VERSION_1: u64 = 1 << 32;
/// MQ, LOG_SHMFD, RARP, REPLY_ACK, NET_MTU, RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS.
pub(crate) const OFFERED: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 13 | 1 << 15 | 1 << 16;
pub(crate) const CONFIG: u64 = 1 << 9;

/// What nothing here comes near, so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server in a thread of its own.
pub(crate) struct Serving {
    directory: tempfile::TempDir,
    pub(crate) record: Record,
    pub(crate) stop: StopHandle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Serving {
    /// Four queue pairs.
    pub(crate) fn start() -> Serving {
        Self::with_rings(8)
    }

    pub(crate) fn with_rings(rings: u16) -> Serving {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(directory.path().join("net.sock")).unwrap();
        Self::run(directory, server, rings)
    }

    pub(crate) fn run(directory: tempfile::TempDir, mut server: Server, rings: u16) -> Serving {
        let record = Record::default();
        let mut device = FakeDevice::new(rings, record.clone());
        let stop = server.stop_handle();
        let thread = std::thread::spawn(move || server.run(&mut device));
        Serving { directory, record, stop, thread: Some(thread) }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory().join("net.sock")
    }

    pub(crate) fn connect(&self) -> Frontend {
        Frontend::new(UnixStream::connect(self.path()).unwrap())
    }

    /// Waits for the server's thread to end by itself.
    pub(crate) fn wait(mut self) -> Result<(), Error> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn finish(self) {
        self.stop.stop();
        self.wait().unwrap();
    }

    /// Calls of the device since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.record.take()
    }

    /// Whatever happened before: a frontend can start and stop a ring.
    pub(crate) fn assert_serves(&self) {
        let guest = Guest::new();
        let frontend = self.connect();
        // The answer to this comes when the session before is over, so its calls can be forgotten.
        frontend.negotiate(OFFERED);
        self.calls();
        frontend.share(&guest);
        frontend.start_ring(0, 0);
        assert_eq!(frontend.get_base(0), 5);
        drop(frontend);
        assert_eq!(
            self.calls()[..3],
            ["memory 1 regions", "start 0 size=256 base=0x0 kick=fd call=fd error=none enabled", "stop 0"]
        );
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Guest memory of one region, with room for the rings of four pairs.
pub(crate) struct Guest {
    pub(crate) ram: SharedMemory,
}

impl Guest {
    pub(crate) const ADDRESS: u64 = 0x4000_0000;
    pub(crate) const USER: u64 = 0x7f00_0000_0000;
    pub(crate) const SIZE: u64 = 0x40_0000;

    pub(crate) fn new() -> Guest {
        Guest { ram: SharedMemory::create(Self::SIZE).unwrap() }
    }

    /// The region, as four numbers on the wire.
    pub(crate) fn region() -> [u64; 4] {
        [Self::ADDRESS, Self::SIZE, Self::USER, 0]
    }

    /// Descriptors, used, available of a ring, in the frontend's addresses.
    pub(crate) fn ring(ring: u32) -> [u64; 3] {
        let at = Self::USER + u64::from(ring) * 0x1_0000;
        [at, at + 0x8000, at + 0x4000]
    }
}

pub(crate) struct Frontend {
    pub(crate) stream: UnixStream,
}

pub(crate) fn event() -> OwnedFd {
    // Blocking: the server has to make it otherwise.
    eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

pub(crate) fn header(code: u32, flags: u32, size: usize) -> Vec<u8> {
    words(&[code, flags, size as u32])
}

/// A reply: request code and body.
pub(crate) type Reply = (u32, Vec<u8>);

impl Frontend {
    pub(crate) fn new(stream: UnixStream) -> Frontend {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Frontend { stream }
    }

    /// Sends bytes with descriptors.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        assert_eq!(sent, bytes.len());
        Ok(())
    }

    pub(crate) fn message(&self, code: u32, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut bytes = header(code, flags, body.len());
        bytes.extend_from_slice(body);
        self.send(&bytes, fds).unwrap();
    }

    /// A request that nothing answers.
    pub(crate) fn tell(&self, request: Request, body: &[u8], fds: &[BorrowedFd<'_>]) {
        self.message(request.code(), 1, body, fds);
    }

    /// A request with NEED_REPLY; what the acknowledgement says.
    pub(crate) fn ack(&self, request: Request, body: &[u8], fds: &[BorrowedFd<'_>]) -> u64 {
        self.message(request.code(), 9, body, fds);
        let (code, body) = self.reply().expect("an acknowledgement");
        assert_eq!(code, request.code(), "an acknowledgement of something else");
        u64::from_ne_bytes(body.try_into().unwrap())
    }

    /// A request that always has a reply.
    pub(crate) fn ask(&self, request: Request, body: &[u8], fds: &[BorrowedFd<'_>]) -> Vec<u8> {
        self.tell(request, body, fds);
        let (code, body) = self.reply().expect("a reply");
        assert_eq!(code, request.code(), "a reply to something else");
        body
    }

    pub(crate) fn ask_number(&self, request: Request) -> u64 {
        u64::from_ne_bytes(self.ask(request, &[], &[]).try_into().unwrap())
    }

    /// The next reply; `None` when the server closed the connection.
    pub(crate) fn reply(&self) -> Option<Reply> {
        let mut head = [0; 12];
        let mut stream = &self.stream;
        match stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) => {
                use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
                assert!(matches!(error.kind(), UnexpectedEof | ConnectionReset), "{error}");
                return None;
            }
        }
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(word(4), 5, "flags of a reply");
        let mut body = vec![0; word(8) as usize];
        stream.read_exact(&mut body).unwrap();
        Some((word(0), body))
    }

    /// Everything sent before was handled, and had no reply.
    pub(crate) fn barrier(&self) {
        self.ask_number(Request::GetFeatures);
    }

    /// Features and protocol features, the short way.
    pub(crate) fn negotiate(&self, protocol: u64) {
        let features = self.ask_number(Request::GetFeatures);
        assert_eq!(features, FEATURES | LOG_ALL | PROTOCOL_FEATURES);
        self.ask_number(Request::GetProtocolFeatures);
        self.tell(Request::SetProtocolFeatures, &longs(&[protocol]), &[]);
        self.tell(Request::SetOwner, &[], &[]);
        self.tell(Request::SetFeatures, &longs(&[VERSION_1 | PROTOCOL_FEATURES]), &[]);
        self.barrier();
    }

    /// The memory table of one region.
    pub(crate) fn share(&self, guest: &Guest) {
        let mut body = words(&[1, 0]);
        body.extend(longs(&Guest::region()));
        self.tell(Request::SetMemTable, &body, &[guest.ram.fd()]);
    }

    pub(crate) fn add_region(&self, region: [u64; 4], fd: BorrowedFd<'_>) -> u64 {
        let mut body = longs(&[0]);
        body.extend(longs(&region));
        self.ack(Request::AddMemReg, &body, &[fd])
    }

    pub(crate) fn remove_region(&self, region: [u64; 4]) -> u64 {
        let mut body = longs(&[0]);
        body.extend(longs(&region));
        self.ack(Request::RemMemReg, &body, &[])
    }

    pub(crate) fn addresses(ring: u32, log: Option<u64>) -> Vec<u8> {
        let mut body = words(&[ring, u32::from(log.is_some())]);
        body.extend(longs(&Guest::ring(ring)));
        body.extend(longs(&[log.unwrap_or(0)]));
        body
    }

    /// A ring of 256 descriptors, all the messages.
    pub(crate) fn start_ring(&self, ring: u32, base: u32) {
        let number = longs(&[ring.into()]);
        self.tell(Request::SetVringNum, &words(&[ring, 256]), &[]);
        self.tell(Request::SetVringBase, &words(&[ring, base]), &[]);
        self.tell(Request::SetVringAddr, &Self::addresses(ring, None), &[]);
        self.tell(Request::SetVringCall, &number, &[event().as_fd()]);
        self.tell(Request::SetVringKick, &number, &[event().as_fd()]);
        self.barrier();
    }

    pub(crate) fn get_base(&self, ring: u32) -> u32 {
        let body = self.ask(Request::GetVringBase, &words(&[ring, 0]), &[]);
        assert_eq!(body[..4], ring.to_ne_bytes());
        u32::from_ne_bytes(body[4..].try_into().unwrap())
    }
}
