//! A frontend that says anything, to a session whose device insists on the rules of its trait.
//!
//! The input is a script. Its first byte chooses between handing messages to the session directly and sending
//! them over a socket, cut into pieces anywhere. A message is either free (a request code, a byte of choices, a
//! body made of literal bytes and of values that mean something to this guest) or one that a good frontend
//! might send, with a choice or two; without the latter hardly a ring would ever start.
//!
//! Looked for: panics (also of the device, when the session breaks a rule), waits, descriptors that are left
//! over.
#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use mqtap_vhost_user::connection::{Connection, Received};
use mqtap_vhost_user::message::Message;
use mqtap_vhost_user::{Session, StopHandle};
use mqtap_virtio::memory::SharedMemory;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

#[path = "../../crates/mqtap-vhost-user/tests/protocol/device.rs"]
mod device;

use device::{FEATURES, FakeDevice, Record};

const ADDRESS: u64 = 0x4000_0000;
const USER: u64 = 0x7f00_0000_0000;
const SIZE: u64 = 0x10_0000;

/// Enough to do anything, and few enough for the socket's buffer.
const MAX_MESSAGES: usize = 64;

/// Values a body may have in eight bytes.
const LONGS: [u64; 24] = [
    0,
    1,
    2,
    1 << 8,
    1 << 8 | 1,
    FEATURES | 1 << 30,
    1 << 32 | 1 << 30,
    1 << 32 | 1 << 30 | 1 << 26,
    1 << 34 | 1 << 32 | 1 << 30,
    0x1_a01f,
    ADDRESS,
    ADDRESS + SIZE,
    ADDRESS + 0x8000,
    SIZE,
    SIZE / 2,
    USER,
    USER + 0x1000,
    USER + 0x4000,
    USER + 0x8000,
    USER + SIZE,
    ADDRESS / 4096 / 8 + 64,
    u64::MAX,
    0x1000,
    1500,
];

/// Values a body may have in four bytes.
const WORDS: [u32; 12] = [0, 1, 2, 3, 16, 100, 256, 1024, 0x8000, 0x8000_8000, 0xffff, u32::MAX];

struct Descriptors {
    memory: SharedMemory,
    log: SharedMemory,
    event: OwnedFd,
    file: OwnedFd,
    pipe: (OwnedFd, OwnedFd),
    stop: StopHandle,
}

static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(|| Descriptors {
    memory: SharedMemory::create(SIZE).unwrap(),
    log: SharedMemory::create(0x1_0000).unwrap(),
    event: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
    file: std::fs::File::open("/dev/null").unwrap().into(),
    pipe: std::io::pipe().map(|(read, write)| (read.into(), write.into())).unwrap(),
    stop: StopHandle::new().unwrap(),
});

impl Descriptors {
    fn choose(&self, choice: u8) -> BorrowedFd<'_> {
        match choice % 8 {
            0..3 => self.memory.fd(),
            3..5 => self.event.as_fd(),
            5 => self.log.fd(),
            6 if choice < 128 => self.pipe.0.as_fd(),
            6 => self.pipe.1.as_fd(),
            _ => self.file.as_fd(),
        }
    }
}

struct Script<'a>(&'a [u8]);

struct Line {
    code: u32,
    need_reply: bool,
    body: Vec<u8>,
    fds: Vec<BorrowedFd<'static>>,
    lost: bool,
    /// Where to cut the message on the wire.
    cut: usize,
}

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn line(&mut self) -> Option<Line> {
        match self.byte()? {
            255 => self.free(u32::MAX),
            code @ 0..64 => self.free(code.into()),
            template => self.good(template),
        }
    }

    fn free(&mut self, code: u32) -> Option<Line> {
        let choices = self.byte()?;
        let count = match choices >> 1 & 7 {
            count @ 0..6 => usize::from(count),
            6 => 33,
            _ => 1,
        };
        let first = self.byte()?;
        let fds = (0..count).map(|fd| DESCRIPTORS.choose(first.wrapping_add(fd as u8))).collect();
        let mut body = Vec::new();
        for _ in 0..usize::from(self.byte()? % 48) {
            match self.byte()? {
                byte @ 0..64 => body.push(byte),
                word @ 64..128 => {
                    body.extend(WORDS[usize::from(word) % WORDS.len()].to_ne_bytes());
                }
                long => body.extend(LONGS[usize::from(long) % LONGS.len()].to_ne_bytes()),
            }
        }
        let cut = usize::from(choices >> 4);
        Some(Line { code, need_reply: choices & 1 != 0, body, fds, lost: choices & 0x30 == 0x30, cut })
    }

    /// What a good frontend says; about ring `choice % 4` where it is about one.
    fn good(&mut self, template: u8) -> Option<Line> {
        let choice = self.byte()?;
        let ring = u32::from(choice % 4);
        let (long, odd) = (u64::from(ring), choice & 4 != 0);
        let longs = |longs: &[u64]| longs.iter().flat_map(|long| long.to_ne_bytes()).collect::<Vec<u8>>();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let (memory, event) = (DESCRIPTORS.memory.fd(), DESCRIPTORS.event.as_fd());
        let upper = SIZE / 2;
        let slots = [[ADDRESS, SIZE, USER, 0], [2 * ADDRESS, upper, 2 * USER, upper], [0, upper, 0, 0]];
        let slot = slots[usize::from(choice) % slots.len()];
        let features = 1 << 32 | 1 << 30 | u64::from(choice & 1) << 26 | u64::from(odd) << 34;
        let at = USER + long * 0x1_0000 + if odd { 0x4_0000 } else { 0 };
        let (code, body, fds) = match template % 17 {
            0 => (2, longs(&[features]), vec![]),
            1 => (16, longs(&[0x1_a01f]), vec![]),
            2 => (5, [words(&[1, 0]), longs(&slot)].concat(), vec![memory]),
            3 => (37, [longs(&[0]), longs(&slot)].concat(), vec![memory]),
            4 => (38, [longs(&[0]), longs(&slot)].concat(), vec![]),
            5 => (6, longs(&[0x1_0000, 0]), vec![DESCRIPTORS.log.fd()]),
            6 => (8, words(&[ring, WORDS[usize::from(choice) % WORDS.len()]]), vec![]),
            7 => (8, words(&[ring, 256]), vec![]),
            8 => (
                9,
                [words(&[ring, u32::from(choice >> 3 & 1)]), longs(&[at, at + 0x2000, at + 0x1000, ADDRESS])]
                    .concat(),
                vec![],
            ),
            9 => (10, words(&[ring, WORDS[usize::from(choice) % WORDS.len()]]), vec![]),
            10 => (11, words(&[ring, 0]), vec![]),
            11 if odd => (12, longs(&[long | 1 << 8]), vec![]),
            11 => (12, longs(&[long]), vec![event]),
            12 => (13 + u32::from(odd), longs(&[long]), vec![event]),
            13 => (18, words(&[ring, u32::from(odd)]), vec![]),
            14 => (39, longs(&[u64::from(choice & 0x0f)]), vec![]),
            15 => (34, vec![], vec![]),
            _ => (24, words(&[ring, 0, 0]), vec![]),
        };
        Some(Line {
            code,
            need_reply: choice & 0x80 != 0,
            body,
            fds,
            lost: false,
            cut: usize::from(choice % 12),
        })
    }
}

fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(33))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    // A full buffer loses a piece, which is a script like any other.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags);
}

fn over_a_socket(session: &mut Session<'_, FakeDevice>, script: &mut Script<'_>) {
    let (frontend, backend) = UnixStream::pair().unwrap();
    for _ in 0..MAX_MESSAGES {
        let Some(line) = script.line() else { break };
        let mut bytes = Vec::new();
        bytes.extend(line.code.to_ne_bytes());
        // Flags and size are right most of the time.
        let flags: u32 = if line.cut == 15 { 0 } else { 1 | u32::from(line.need_reply) << 3 };
        bytes.extend(flags.to_ne_bytes());
        bytes.extend((line.body.len() as u32 + u32::from(line.cut == 14)).to_ne_bytes());
        bytes.extend(&line.body);
        let (first, second) = bytes.split_at(line.cut.clamp(1, 11));
        send(&frontend, first, &line.fds);
        send(&frontend, second, &[]);
    }
    frontend.shutdown(std::net::Shutdown::Write).unwrap();
    let mut connection = Connection::new(backend.into(), DESCRIPTORS.stop.clone());
    while let Ok(Received::Message(message)) = connection.receive() {
        if let Some(reply) = session.handle(message)
            && connection.send(&reply).is_err()
        {
            break;
        }
    }
}

fn directly(session: &mut Session<'_, FakeDevice>, script: &mut Script<'_>) {
    for _ in 0..MAX_MESSAGES {
        let Some(line) = script.line() else { break };
        let fds = line.fds.iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let mut message = Message::new(line.code, line.need_reply, line.body, fds);
        message.fds_lost = line.lost;
        session.handle(message);
    }
}

/// Every now and then, as it is slow: the descriptors are those of the first time. Pipes do not count, as
/// libFuzzer starts its symbolizer at some time and talks to it over two.
fn count_descriptors() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    if RUNS.fetch_add(1, Ordering::Relaxed) % 512 != 0 {
        return;
    }
    let is_pipe = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"))
    };
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = entries.filter(|entry| !is_pipe(entry)).count();
    let before = OPEN.swap(open, Ordering::Relaxed);
    assert!(before == 0 || open <= before, "{before} open descriptors became {open}");
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let Some(mode) = script.byte() else { return };
    LazyLock::force(&DESCRIPTORS);
    let record = Record::default();
    if mode & 2 != 0 {
        ["start", "memory", "stop", "enable"].into_iter().for_each(|call| record.fail(call));
    }
    let mut device = FakeDevice::new(4, record.clone());
    if let Ok(mut session) = Session::new(&mut device) {
        if mode & 1 == 0 {
            directly(&mut session, &mut script);
        } else {
            over_a_socket(&mut session, &mut script);
        }
        session.end().unwrap();
        assert_eq!(record.take().last().unwrap(), "reset");
    }
    count_descriptors();
});
