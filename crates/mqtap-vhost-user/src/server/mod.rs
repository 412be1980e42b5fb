//! Serving frontends, one after the other.

mod error;
mod socket_file;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect};

pub use error::Error;
use socket_file::SocketFile;

use crate::Device;
use crate::connection::{self, Connection, Received};
use crate::quota::Quota;
use crate::session::Session;
use crate::stop::{StopHandle, Woken};

/// The first pause before connecting again, and the longest. A frontend that restarts is back within
/// a second; one that is not there costs a system call now and then.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where frontends come from.
#[derive(Debug)]
enum Source {
    Bound(SocketFile),
    /// An inherited socket that listens; its name, if it has one, is the business of who made it.
    Inherited(OwnedFd),
    Connect {
        path: PathBuf,
        address: SocketAddrUnix,
    },
    /// An inherited connection, until it was served.
    Once(Option<OwnedFd>),
}

impl Source {
    fn listener(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Source::Bound(socket) => Some(socket.as_fd()),
            Source::Inherited(socket) => Some(socket.as_fd()),
            Source::Connect { .. } | Source::Once(_) => None,
        }
    }
}

/// Serves one device to one frontend at a time, frontend after frontend.
///
/// While one is served, others that connect wait, so that a VMM that was killed and started again does not
/// have to be lucky: the new one may come before the end of the old one was seen. A waiting frontend
/// is mentioned in the log, which frontends cannot fill, however often they come.
///
/// ```no_run
/// # fn serve(mut nic: mqtap_virtio::nic::Nic) -> Result<(), mqtap_vhost_user::server::Error> {
/// let mut server = mqtap_vhost_user::Server::bind("/run/vm1/net0.sock")?;
/// let stop = server.stop_handle(); // stop.stop() from elsewhere ends run()
/// server.run(&mut nic)?;
/// # drop(stop);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    source: Source,
    stop: StopHandle,
    /// Lines about frontends that come and go.
    visits: Quota,
    /// Lines about requests that fail.
    complaints: Arc<Quota>,
}

impl Server {
    /// Listens at a path. A stale socket is replaced, one that somebody listens at is refused, and so is
    /// anything else with that name. The socket is removed when the server is dropped. Who may connect is
    /// decided by the directory and the umask.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Server, Error> {
        Self::new(Source::Bound(SocketFile::bind(path.as_ref())?))
    }

    /// Connects to a frontend that listens (QEMU's `server=on`), and again when it is gone; tries until it
    /// is there.
    ///
    /// # Errors
    /// If the path cannot be that of a socket.
    pub fn connect(path: impl AsRef<Path>) -> Result<Server, Error> {
        let path = path.as_ref();
        Self::new(Source::Connect { path: path.to_owned(), address: socket_file::address(path)? })
    }

    /// Uses an inherited socket: one that listens, or one that is connected, which is then the only frontend
    /// ever served.
    ///
    /// # Errors
    /// If it is neither.
    pub fn from_fd(fd: OwnedFd) -> Result<Server, Error> {
        let socket = |errno| match errno {
            Errno::NOTSOCK => Error::NotAUnixSocket,
            errno => Error::Inherited(errno),
        };
        let unix = socket_domain(&fd).map_err(socket)? == AddressFamily::UNIX;
        if !unix || socket_type(&fd).map_err(socket)? != SocketType::STREAM {
            return Err(Error::NotAUnixSocket);
        }
        if socket_acceptconn(&fd).map_err(socket)? {
            // Between a poll and the accept a frontend may give up; we would then wait for the next one,
            // deaf to the stop.
            let flags = fcntl_getfl(&fd).map_err(Error::Inherited)?;
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(Error::Inherited)?;
            return Self::new(Source::Inherited(fd));
        }
        if rustix::net::getpeername(&fd).is_err() {
            return Err(Error::NotAUnixSocket);
        }
        Self::new(Source::Once(Some(fd)))
    }

    fn new(source: Source) -> Result<Server, Error> {
        Ok(Server {
            source,
            stop: StopHandle::new().map_err(Error::Event)?,
            visits: Quota::default(),
            complaints: Arc::default(),
        })
    }

    /// What ends [`run`](Self::run).
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Serves session after session until stopped (or, with an inherited connection, until that is closed).
    /// The device is reset after each session.
    ///
    /// # Errors
    /// What concerns one frontend ends its session at most. This returns only what makes serving
    /// impossible: a socket that does not accept any more, a device that cannot be reset.
    pub fn run<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        if device.ring_count() > crate::MAX_RINGS {
            tracing::warn!(
                "vhost-user can address {} virtqueues; the other {} of this device stay unused",
                crate::MAX_RINGS,
                device.ring_count() - crate::MAX_RINGS
            );
        }
        while let Some(stream) = self.next_frontend()? {
            // Its end is told if its beginning was.
            let told = self.visits.admits();
            if told {
                tracing::info!("frontend connected");
            }
            let connection = Connection::new(stream, self.stop.clone());
            match self.serve(connection, device)? {
                Some(connection::Error::Stopped) => break,
                None if told => tracing::info!("frontend disconnected"),
                Some(error) if told => tracing::warn!("session ended: {error}"),
                end => tracing::debug!("a frontend came and went: {end:?}"),
            }
            // A peer that accepts and closes at once must not make this a busy loop.
            if matches!(self.source, Source::Connect { .. }) && self.stop.sleep(FIRST_PAUSE) {
                break;
            }
        }
        self.visits.settle();
        self.complaints.settle();
        Ok(())
    }

    /// One session; returns why it ended, `None` if the frontend closed the connection.
    fn serve<D: Device>(
        &self,
        mut connection: Connection,
        device: &mut D,
    ) -> Result<Option<connection::Error>, Error> {
        let mut session = match Session::with_complaints(device, Arc::clone(&self.complaints)) {
            Ok(session) => session,
            Err(error) => return Err(Error::Device(Box::new(error))),
        };
        let end = self.talk(&mut connection, &mut session);
        session.end().map_err(|error| Error::Device(Box::new(error)))?;
        Ok(end)
    }

    fn talk<D: Device>(
        &self,
        connection: &mut Connection,
        session: &mut Session<'_, D>,
    ) -> Option<connection::Error> {
        let mut listener = self.source.listener();
        loop {
            if let Err(error) = self.wait_for_message(connection, &mut listener) {
                return Some(error);
            }
            let message = match connection.receive() {
                Ok(Received::Message(message)) => message,
                Ok(Received::Closed) => return None,
                Err(error) => return Some(error),
            };
            if let Some(reply) = session.handle(message)
                && let Err(error) = connection.send(&reply)
            {
                return Some(error);
            }
        }
    }

    /// Waits for the frontend; mentions, once, another one that has to wait for it to go.
    fn wait_for_message(
        &self,
        connection: &Connection,
        listener: &mut Option<BorrowedFd<'_>>,
    ) -> Result<(), connection::Error> {
        loop {
            let both = [Some(connection.as_fd()), *listener].map(|fd| fd.map(|fd| (fd, PollFlags::IN)));
            let both: Vec<_> = both.into_iter().flatten().collect();
            match self.stop.wait_any(&both, None).map_err(connection::Error::Receive)? {
                Woken::Stopped => return Err(connection::Error::Stopped),
                Woken::Look { first_ready: Some(0) } => return Ok(()),
                Woken::Look { first_ready: Some(_) } => {
                    if self.visits.admits() {
                        tracing::warn!("another frontend connected; it waits until the present one is gone");
                    }
                    *listener = None;
                }
                Woken::Look { first_ready: None } => {}
            }
        }
    }

    /// The next connection, or `None` when stopped or when there is none to come.
    fn next_frontend(&mut self) -> Result<Option<OwnedFd>, Error> {
        let next = match &mut self.source {
            Source::Bound(socket) => accept(socket.as_fd(), &self.stop)?,
            Source::Inherited(socket) => accept(socket.as_fd(), &self.stop)?,
            Source::Connect { path, address } => connect_patiently(path, address, &self.stop),
            Source::Once(stream) => stream.take(),
        };
        Ok(next.filter(|_| !self.stop.is_stopped()))
    }
}

fn accept(listener: BorrowedFd<'_>, stop: &StopHandle) -> Result<Option<OwnedFd>, Error> {
    let mut complained = false;
    loop {
        match stop.wait_for(listener, PollFlags::IN).map_err(Error::Wait)? {
            Woken::Stopped => return Ok(None),
            Woken::Look { .. } => {}
        }
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(stream) => return Ok(Some(stream)),
            // It gave up while it waited, or a signal came.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // Others may close something. The frontend stays in the backlog, so poll would not wait.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!("cannot accept a frontend yet: {errno}");
                }
                if stop.sleep(LONGEST_PAUSE) {
                    return Ok(None);
                }
            }
            Err(errno) => return Err(Error::Accept(errno)),
        }
    }
}

fn connect_patiently(path: &Path, address: &SocketAddrUnix, stop: &StopHandle) -> Option<OwnedFd> {
    let mut pause = FIRST_PAUSE;
    let mut complaint = None;
    loop {
        let attempt = socket_file::new_socket().and_then(|socket| connect(&socket, address).map(|()| socket));
        let errno = match attempt {
            Ok(socket) => return Some(socket),
            Err(errno) => errno,
        };
        if complaint.replace(errno) != Some(errno) {
            tracing::info!("waiting for a frontend to listen on {path:?}: {errno}");
        }
        if stop.sleep(pause) {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
