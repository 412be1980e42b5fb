//! The program `mqtap-driver guest`, scripted as the demonstration does it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mqtap_driver::load::{CheckCounters, Checker, Generator};
use mqtap_test_support::TestResult;
use serde_json::Value;

use crate::backend::*;

struct Guest {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Guest {
    fn start(backend: &Backend, arguments: &[&str]) -> Guest {
        Guest::run(backend, "guest", &[&["--mac", "02:00:00:00:00:02"], arguments].concat())
    }

    fn run(backend: &Backend, mode: &str, arguments: &[&str]) -> Guest {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mqtap-driver"))
            .args([mode, "--socket"])
            .arg(&backend.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Guest { child, stdin, stdout }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn tell(&mut self, line: &str) -> Value {
        writeln!(self.stdin, "{line}").unwrap();
        self.line()
    }
}

/// It says what it negotiated, counts by pair, answers ping meanwhile, and says what is wrong with a command.
pub(crate) fn the_guest_obeys_and_answers() -> TestResult {
    let backend = Backend::start(4);
    let sink = host_socket(9);
    for arguments in [&["--queue-pairs", "4"][..], &["--queue-pairs", "4", "--packed", "--offloads", "all"]] {
        let mut guest = Guest::start(&backend, arguments);
        let start = guest.line();
        assert_eq!((&start["active"], &start["packed"]), (&4.into(), &(arguments.len() > 2).into()));
        // So that it knows the way: it asks for that until there is an answer, which would count below.
        assert_eq!(guest.tell("send 0 1 100 1")["sent"], 1);
        assert_eq!(sink.recv(&mut [0; 2000])?, 100 - 42);
        for (active, per_pair) in [(4, [50, 50, 50, 50]), (2, [100, 100, 0, 0]), (3, [100, 50, 50, 0])] {
            assert_eq!(guest.tell(&format!("pairs {active}"))["active"], active);
            let before = guest.tell("stats");
            assert_eq!(guest.tell("send all 200 300 4")["sent"], 200);
            let after = guest.tell("stats");
            for (pair, expected) in per_pair.into_iter().enumerate() {
                let frames = |stats: &Value| stats["pairs"][pair]["tx_frames"].as_u64().unwrap();
                // ARP, and answers to it, may add a few.
                let sent = frames(&after) - frames(&before);
                assert!((expected..expected + 10).contains(&sent), "pair {pair} of {active} sent {sent}");
            }
            let mut seen = [0; 2000];
            for _ in 0..200 {
                assert_eq!(sink.recv(&mut seen)?, 300 - 42);
            }
        }
        let ping = Command::new("ping").args(["-c", "2", "-i", "0.1", "-W", "20", "10.0.0.2"]).output()?;
        assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
        for wrong in ["pairs 5", "pairs 0", "pairs x", "send 4 1 1 1", "send all", "dance"] {
            let answer = guest.tell(wrong);
            assert_eq!(answer["ok"], false, "{wrong}");
            assert!(answer["error"].is_string());
        }
        assert_eq!(guest.tell("restart")["ok"], true);
        assert_eq!(guest.tell("send 1 10 100 1")["sent"], 10);
        for _ in 0..10 {
            sink.recv(&mut [0; 2000])?;
        }
        assert_eq!(guest.tell("quit")["ok"], true);
        assert!(guest.child.wait()?.success());
    }
    Ok(())
}

/// The guest of the benchmark counts what it sends and receives, and all of it is as it was.
pub(crate) fn the_load_arrives_and_is_counted() -> TestResult {
    const FRAMES: &str = "udp,size=100,flows=4,mac=02:00:00:00:00:01,from=10.0.0.2:10000,to=10.0.0.1:9";
    let backend = Backend::start(2);
    let sink = host_socket(9);
    for arguments in [
        &["--without", "indirect"][..],
        &["--packed", "--pieces", "1"],
        &["--queue-pairs", "2", "--ring-size", "64", "--in-order"],
        &["--sleep", "--without", "mergeable,event-index"],
    ] {
        let mut guest = Guest::run(&backend, "load", &[&["--frames", FRAMES], arguments].concat());
        assert_eq!(
            (&guest.line()["payloads"], guest.tell("dance")["ok"].as_bool()),
            (&1.into(), Some(false))
        );
        let mut bytes = [0; 2000];
        // The frame that times the start has no number.
        assert_eq!(sink.recv(&mut bytes)?, 60 - 42);
        // Fewer than a socket holds.
        let sent = guest.tell("send 200 10");
        assert_eq!((&sent["tx_completed"], &sent["tx_bytes"]), (&200.into(), &20_000.into()), "{sent}");
        let mut checker = Checker::default();
        for _ in 0..200 {
            let length = sink.recv(&mut bytes)?;
            checker.payload(&bytes[..length]);
        }
        assert_eq!(checker.counters(), CheckCounters { payloads: 200, ..CheckCounters::default() });

        let mut generator = Generator::new(FRAMES.parse()?);
        for verb in ["collect", "verify"] {
            for _ in 0..300 {
                generator.stamp();
                sink.send_to(&generator.frame()[54..], (GUEST, 10_000))?;
            }
            let got = guest.tell(&format!("{verb} 300 30000"));
            let expected = (&300.into(), &0.into(), &0.into(), &0.into());
            assert_eq!(
                (&got["payloads"], &got["missing"], &got["corrupt"], &got["others"]),
                expected,
                "{got}"
            );
        }
        let more = guest.tell("transmit 200");
        assert!(more["tx_frames"].as_u64() > Some(0) && more["tx_frames"] == more["tx_completed"], "{more}");
        assert_eq!(guest.tell("quit")["ok"], true);
        assert!(guest.child.wait()?.success());
        // What did not fit the socket is lost; what did is not the next guest's.
        sink.set_nonblocking(true)?;
        while sink.recv(&mut bytes).is_ok() {}
        sink.set_nonblocking(false)?;
    }
    Ok(())
}

/// A guest whose backend dies does not hang.
pub(crate) fn the_guest_ends_when_the_backend_does() -> TestResult {
    let backend = Backend::start(1);
    let mut guest = Guest::start(&backend, &[]);
    guest.line();
    drop(backend);
    assert_eq!(guest.child.wait()?.code(), Some(1));
    Ok(())
}
