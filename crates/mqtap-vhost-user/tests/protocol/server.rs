//! Where frontends come from, and when a server ends.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use mqtap_vhost_user::Server;
use mqtap_vhost_user::server::Error;

use crate::device::{FakeDevice, Record};
use crate::frontend::*;

#[test]
fn the_socket_is_removed_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.sock");
    drop(Server::bind(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.sock");
    // A listener that is dropped leaves its name behind. A program that another test starts is a copy of this process for a moment,
    // and would listen in its place.
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    drop(listener);
    assert!(path.exists());
    let serving = Serving::run(directory, Server::bind(&path).unwrap(), 8);
    serving.assert_serves();
}

#[test]
fn a_live_socket_is_refused_and_left_alone() {
    let serving = Serving::start();
    let refused = Server::bind(serving.path()).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    serving.assert_serves();
}

/// A connection attempt to a full backlog would wait.
#[test]
fn a_busy_socket_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert!(matches!(Server::bind(&path), Err(Error::InUse { .. })));
}

#[test]
fn what_is_not_a_listening_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(Server::bind(&file), Err(Error::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");

    let link = directory.path().join("link");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    assert!(matches!(Server::bind(&link), Err(Error::NotASocket { .. })));

    let datagram = directory.path().join("datagram");
    let _socket = UnixDatagram::bind(&datagram).unwrap();
    assert!(matches!(Server::bind(&datagram), Err(Error::InUse { .. })));
    assert!(datagram.exists());
}

#[test]
fn a_socket_somebody_else_put_there_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.sock");
    let server = Server::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    let theirs = std::fs::symlink_metadata(&path).unwrap().ino();
    drop(server);
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), theirs);
}

#[test]
fn paths_no_socket_can_have() {
    for path in ["", &format!("/tmp/{}", "x".repeat(200))] {
        assert!(matches!(Server::bind(path), Err(Error::Path { .. })), "{path}");
        assert!(matches!(Server::connect(path), Err(Error::Path { .. })), "{path}");
    }
    let nowhere = Server::bind("/nonexistent/net.sock").unwrap_err();
    assert!(nowhere.to_string().starts_with("cannot listen on \"/nonexistent/net.sock\""), "{nowhere}");
}

#[test]
fn another_frontend_waits_for_its_turn() {
    let serving = Serving::start();
    let first = serving.connect();
    first.negotiate(OFFERED);
    let second = serving.connect();
    second.tell(mqtap_vhost_user::message::Request::GetQueueNum, &[], &[]);
    first.barrier();
    assert_eq!(serving.calls(), ["enable 0", "enable 1", "features 0x100000000"]);
    drop(first);
    assert_eq!(second.reply().unwrap().1, longs(&[8]));
    assert_eq!(serving.calls(), ["reset", "enable 0", "enable 1"]);
}

#[test]
fn an_inherited_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = Serving::run(directory, Server::from_fd(OwnedFd::from(listener)).unwrap(), 8);
    serving.assert_serves();
    serving.assert_serves();
    // Whose it is, removes it.
    serving.stop.stop();
    while serving.stop.is_stopped() && UnixStream::connect(&path).is_ok() {}
    assert!(path.exists());
}

#[test]
fn an_inherited_connection_is_served_once() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = Server::from_fd(OwnedFd::from(theirs)).unwrap();
    let serving = Serving::run(tempfile::tempdir().unwrap(), server, 8);
    let frontend = Frontend::new(ours);
    frontend.negotiate(OFFERED);
    drop(frontend);
    serving.wait().unwrap();
}

#[test]
fn inherited_descriptors_of_another_kind() {
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    let datagram = OwnedFd::from(UnixDatagram::unbound().unwrap());
    let internet = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let unconnected =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    for fd in [file, datagram, internet, unconnected.unwrap()] {
        assert!(matches!(Server::from_fd(fd), Err(Error::NotAUnixSocket)));
    }
}

#[test]
fn connecting_until_the_frontend_is_there_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmm.sock");
    let serving = Serving::run(directory, Server::connect(&path).unwrap(), 8);
    for _ in 0..2 {
        // Not there, or there but nobody listens.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let frontend = Frontend::new(stream);
        frontend.negotiate(OFFERED);
    }
    serving.finish();
}

#[test]
fn stopping_at_any_time() {
    // Before it runs.
    let serving = {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(directory.path().join("net.sock")).unwrap();
        server.stop_handle().stop();
        Serving::run(directory, server, 8)
    };
    assert!(serving.stop.is_stopped());
    serving.wait().unwrap();
    // While it waits for a frontend.
    let serving = Serving::start();
    assert!(!serving.stop.is_stopped());
    serving.finish();
    // While it looks for one.
    let directory = tempfile::tempdir().unwrap();
    let server = Server::connect(directory.path().join("vmm.sock")).unwrap();
    Serving::run(directory, server, 8).finish();
    // While it serves one: the rings are stopped.
    let serving = Serving::start();
    let (frontend, guest) = (serving.connect(), Guest::new());
    frontend.negotiate(OFFERED);
    frontend.share(&guest);
    frontend.start_ring(0, 0);
    let record = serving.record.clone();
    serving.finish();
    assert_eq!(record.take().last().unwrap(), "reset");
    assert_eq!(frontend.reply(), None);
}

#[test]
fn a_device_that_cannot_be_reset_ends_the_server() {
    let serving = Serving::start();
    let frontend = serving.connect();
    frontend.negotiate(OFFERED);
    serving.record.fail("reset");
    drop(frontend);
    let ended = serving.wait();
    assert!(matches!(ended, Err(Error::Device(_))), "{ended:?}");

    let record = Record::default();
    record.fail("enable");
    let (_frontend, backend) = UnixStream::pair().unwrap();
    let mut server = Server::from_fd(backend.into()).unwrap();
    assert!(matches!(server.run(&mut FakeDevice::new(8, record)), Err(Error::Device(_))));
}
