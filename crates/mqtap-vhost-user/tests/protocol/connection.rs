//! A connection without a session.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use mqtap_vhost_user::StopHandle;
use mqtap_vhost_user::connection::{Connection, Error, Received};
use mqtap_vhost_user::message::{MAX_FDS, Message, Request::*};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::alone::is_alone;
use crate::frontend::*;

fn pair() -> (Frontend, Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Frontend::new(ours), Connection::new(theirs.into(), StopHandle::new().unwrap()))
}

fn receive(connection: &mut Connection) -> Message {
    match connection.receive().unwrap() {
        Received::Message(message) => message,
        Received::Closed => panic!("closed"),
    }
}

#[test]
fn descriptors_are_never_inherited() {
    let (frontend, mut connection) = pair();
    let event = event();
    frontend.message(SetVringKick.code(), 1, &[0; 8], &[event.as_fd(); MAX_FDS]);
    let message = receive(&mut connection);
    assert_eq!(message.fds.len(), MAX_FDS);
    assert!(!message.fds_lost);
    for fd in &message.fds {
        assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
    }
    frontend.message(SetVringKick.code(), 1, &[0; 8], &[event.as_fd(); MAX_FDS + 1]);
    assert!(receive(&mut connection).fds_lost);
}

/// The kernel then leaves out what does not fit, and says so.
#[test]
fn descriptors_beyond_the_limit_of_open_files_are_missed() {
    if !is_alone("connection::descriptors_beyond_the_limit_of_open_files_are_missed") {
        return;
    }
    let (frontend, mut connection) = pair();
    let event = event();
    let full = getrlimit(Resource::Nofile);
    // No number is free below that of the last.
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let last = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(0);
    let mut filling = Vec::new();
    while filling.last().is_none_or(|fd: &OwnedFd| fd.as_raw_fd() < last) {
        filling.push(event.try_clone().unwrap());
    }
    let open = filling.last().map_or(0, |fd| fd.as_raw_fd() as u64 + 1);
    frontend.message(AddMemReg.code(), 1, &[0; 40], &[event.as_fd(); 8]);
    // Three are left.
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 3), ..full }).unwrap();
    let message = receive(&mut connection);
    assert!(message.fds.len() < 8 && message.fds_lost, "{message:?}");
    drop(message);
    // The next one is none the worse for it.
    frontend.message(AddMemReg.code(), 1, &[0; 40], &[event.as_fd()]);
    let message = receive(&mut connection);
    assert!(message.fds.len() == 1 && !message.fds_lost, "{message:?}");
    setrlimit(Resource::Nofile, full).unwrap();
}

#[test]
fn the_end_between_two_messages_and_inside_of_one() {
    let (frontend, mut connection) = pair();
    frontend.message(SetOwner.code(), 1, &[], &[]);
    receive(&mut connection);
    drop(frontend);
    assert!(matches!(connection.receive(), Ok(Received::Closed)));

    for (bytes, received, expected) in [
        (&header(2, 1, 8)[..5], 5, 12),
        (&header(2, 1, 8)[..], 0, 8),
        (&[header(2, 1, 8), vec![0; 3]].concat(), 3, 8),
    ] {
        let (frontend, mut connection) = pair();
        frontend.send(bytes, &[]).unwrap();
        drop(frontend);
        assert_eq!(connection.receive().unwrap_err(), Error::Truncated { received, expected });
    }
}
