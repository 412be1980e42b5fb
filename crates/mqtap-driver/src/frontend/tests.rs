//! The frontend against a backend that is only a socket.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use super::*;

/// A frontend, and the bytes that its peer got, which answers with `reply`, reads `expected` bytes and closes.
fn against(reply: Vec<u8>, expected: usize) -> (Frontend, JoinHandle<Vec<u8>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let peer = std::thread::spawn(move || {
        // What it will answer is known, so it need not wait for the questions.
        theirs.write_all(&reply).unwrap();
        let mut got = vec![0; expected];
        theirs.read_exact(&mut got).unwrap();
        got
    });
    (Frontend::from_stream(ours).unwrap(), peer)
}

fn reply(request: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    Body::new().u32(request).u32(flags).u32(body.len() as u32).bytes(body).as_slice().to_vec()
}

fn number_reply(request: u32, value: u64) -> Vec<u8> {
    reply(request, VERSION | FLAG_REPLY, &value.to_ne_bytes())
}

#[test]
fn messages_have_the_bytes_of_the_specification() {
    let (mut frontend, peer) = against(number_reply(request::GET_FEATURES, 0x1_4000_0000), 12);
    assert_eq!(frontend.get_features().unwrap(), 0x1_4000_0000);
    assert_eq!(peer.join().unwrap(), [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);

    let (mut frontend, peer) = against(Vec::new(), 12 + 40);
    let at = VringAddresses { flags: 1, descriptors: 2, used: 3, available: 4, log: 5 };
    frontend.set_vring_addresses(7, at).unwrap();
    let got = peer.join().unwrap();
    assert_eq!(got[..12], [9, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0]);
    let words: Vec<u8> = got[12..].iter().copied().filter(|byte| *byte != 0).collect();
    assert_eq!(words, [7, 1, 2, 3, 4, 5], "index, flags, descriptor, used, available, log");

    let (mut frontend, peer) = against(Vec::new(), 12 + 8);
    frontend.send_rarp([2, 3, 4, 5, 6, 7]).unwrap();
    assert_eq!(peer.join().unwrap()[12..], [2, 3, 4, 5, 6, 7, 0, 0]);

    let (mut frontend, peer) = against(Vec::new(), 12 + 8);
    frontend.set_vring_kick(3, None).unwrap();
    assert_eq!(peer.join().unwrap()[12..], [3, 1, 0, 0, 0, 0, 0, 0], "bit 8: no descriptor");
}

#[test]
fn acknowledgements_are_asked_for_once_negotiated() {
    let mut answers = number_reply(request::SET_VRING_ENABLE, 0);
    answers.extend(number_reply(request::SET_VRING_NUM, 22));
    let (mut frontend, peer) = against(answers, 4 * 20 + 20);
    frontend.set_vring_enable(0, true).unwrap();
    frontend.set_protocol_features(protocol_feature::REPLY_ACK).unwrap();
    frontend.set_wants_acks(false);
    frontend.set_vring_enable(0, true).unwrap();
    frontend.set_wants_acks(true);
    frontend.set_vring_enable(1, true).unwrap();
    match frontend.set_vring_num(1, 3) {
        Err(Error::Refused { request: "SET_VRING_NUM", answer: 22 }) => {}
        other => panic!("{other:?}"),
    }
    let flags: Vec<u8> = peer.join().unwrap().chunks(20).map(|message| message[4]).collect();
    assert_eq!(flags, [1, 1, 1, 9, 9]);
}

#[test]
fn a_silent_or_dead_backend_is_told_from_a_wrong_one() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut frontend = Frontend::from_stream(ours).unwrap();
    frontend.set_timeout(Duration::from_millis(10)).unwrap();
    assert!(matches!(frontend.get_features(), Err(Error::TimedOut { waiting_for: "GET_FEATURES" })));
    assert!(!frontend.wait_for_close(Duration::from_millis(1)).unwrap());
    drop(theirs);
    assert!(matches!(frontend.get_features(), Err(Error::Disconnected { .. })));
    assert!(frontend.wait_for_close(Duration::from_secs(10)).unwrap());

    for wrong in [
        number_reply(request::GET_QUEUE_NUM, 1),
        reply(request::GET_FEATURES, VERSION, &[0; 8]),
        reply(request::GET_FEATURES, 2 | FLAG_REPLY, &[0; 8]),
        reply(request::GET_FEATURES, VERSION | FLAG_REPLY, &[0; 4]),
        Body::new().u32(1).u32(5).u32(1 << 30).as_slice().to_vec(),
    ] {
        let (mut frontend, peer) = against(wrong, 12);
        assert!(matches!(frontend.get_features(), Err(Error::BadReply { .. })));
        peer.join().unwrap();
    }
}

#[test]
fn descriptors_come_back_with_replies() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut frontend = Frontend::from_stream(ours).unwrap();
    let bytes = reply(request::GET_INFLIGHT_FD, VERSION | FLAG_REPLY, &[0; 20]);
    let fds = [theirs.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let slices = [std::io::IoSlice::new(&bytes)];
    rustix::net::sendmsg(&theirs, &slices, &mut control, SendFlags::empty()).unwrap();
    let (body, fd) = frontend.get_inflight_fd(8, 256).unwrap();
    assert_eq!(body.len(), 20);
    assert!(fd.is_some());
}
