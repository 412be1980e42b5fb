//! `mqtap serve`: netdevs served over vhost-user.
//!
//! Each NIC has a thread that opens it and speaks with its VMM, and workers that move its frames. The main thread waits for signals.
//! A NIC whose tap is deleted ends alone; the others go on.

mod args;
mod board;
mod data_path;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mqtap::netdev::{self, CarrierMode, Netdev, OpenMode};
use mqtap_vhost_user::{MAX_RINGS, Server};
use mqtap_virtio::nic::{Carrier, Coalesce, Engine, NicOptions, OnFailure};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

pub(crate) use args::{Arguments, endpoints_in_order};
use args::{Endpoint, NicRequest};
use board::{Board, Served};
use data_path::AnyNic;

use crate::{Error, descriptors, exit, guest_mac, status};

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    if arguments.print_capabilities {
        return exit::print(&format!("{}\n", serde_json::json!({ "type": "net", "features": [] })));
    }
    let requests = match arguments.nics() {
        Ok(requests) => requests,
        Err(message) => return exit::usage("serve", &message),
    };
    let status = match status::Server::open(&arguments.status_dir.clone().unwrap_or_default()) {
        Ok(status) => status,
        Err(error) => return exit::failure(&error),
    };
    match run(&requests, arguments.client, status.as_ref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => exit::failure(&error),
    }
}

/// A NIC that is ready to be served.
struct Prepared {
    /// Where its VMM is met, in words.
    place: String,
    nic: AnyNic,
    /// Keeps the tap and undoes the netdev at the end.
    netdev: Netdev,
    /// Last, and dropped last: who sees the socket gone finds the tap gone, too.
    server: Server,
    failed: Arc<AtomicBool>,
    /// What is logged while it is served says by this which NIC it is of.
    span: tracing::Span,
}

/// Serves until a signal, or until no NIC is left. True if none of them failed.
fn run(requests: &[NicRequest], client: bool, status: Option<&status::Server>) -> Result<bool, Error> {
    mqtap_virtio::memory::guard_against_truncation()?;
    descriptors::raise_limit();
    // Before any thread, so that each signal is seen from here on.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    let ids = requests.iter().map(|request| request.netdev.id.to_string());
    let board = Board::new(ids, signals.handle());
    std::thread::scope(|scope| {
        if let Some(status) = status {
            let answer = || status.run(|| board.report());
            if let Err(error) =
                std::thread::Builder::new().name("status".to_owned()).spawn_scoped(scope, answer)
            {
                tracing::warn!("nobody answers at the status socket: {error}");
            }
        }
        let mut threads = Vec::with_capacity(requests.len());
        for (number, request) in requests.iter().enumerate() {
            let (opened, is_opened) = mpsc::channel();
            let name = format!("serve-{}", request.netdev.id);
            let board = &board;
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || live(number, request, client, board, opened));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => board.could_not_open(error.into()),
            }
            if !request.netdev.runs_programs() {
                // One after the other, so that names the kernel chooses are given out in order; but nobody waits for
                // the programs of others.
                let _ = is_opened.recv();
            }
            if board.has_failure() {
                break;
            }
        }
        // Is over at once if one of them could not be opened.
        for signal in &mut signals {
            if signal == SIGUSR1 {
                board.print_counters();
            } else {
                tracing::info!("{}: ending", if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
                break;
            }
        }
        board.end();
        // A panic of one was printed when it happened, and the board knows.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        if let Some(status) = status {
            status.stop();
        }
    });
    board.verdict()
}

/// Opens everything a NIC needs; what it opened is undone if it fails.
fn prepare(request: &NicRequest, client: bool) -> Result<Prepared, Error> {
    let id = request.netdev.id.to_string();
    let server = match &request.endpoint {
        Endpoint::Socket(path) if client => Server::connect(path)?,
        Endpoint::Socket(path) => Server::bind(path)?,
        Endpoint::Fd(number) => Server::from_fd(mqtap::fd::inherit(*number)?)?,
    };
    let mut netdev = Netdev::open_with(&request.netdev, OpenMode::Detached)?;
    let device = netdev.device();
    let pairs = device.queue_count();
    if pairs > MAX_RINGS / 2 {
        return Err(format!(
            "netdev {id}: vhost-user can tell {MAX_RINGS} virtqueues apart, so {} queue pairs at most, not {pairs}",
            MAX_RINGS / 2
        )
        .into());
    }
    if let Some(mtu) = request.mtu {
        device.set_mtu(mtu)?;
    }
    let defaults = NicOptions::default();
    let options = NicOptions {
        mac: guest_mac::of(device, request.mac)?,
        max_ring_size: request.queue_size.unwrap_or(defaults.max_ring_size),
        workers: request.workers.unwrap_or(defaults.workers),
        cpus: request.cpus.clone(),
        segment: request.netdev.segment,
        carrier: match request.netdev.carrier {
            CarrierMode::Guest => Carrier::FollowsGuest,
            CarrierMode::On => Carrier::AlwaysOn,
            CarrierMode::Off => Carrier::AlwaysOff,
        },
        engine: match request.netdev.engine {
            netdev::Engine::Syscall => Engine::Syscall,
            netdev::Engine::IoUring => Engine::IoUring,
            _ => Engine::Auto,
        },
        coalesce: match request.netdev.coalesce {
            netdev::Coalesce::On => Coalesce::On,
            netdev::Coalesce::Off => Coalesce::Off,
            _ => Coalesce::Auto,
        },
        poll: Duration::from_micros(request.netdev.poll_us.unwrap_or(0).into()),
    };
    let failed = Arc::new(AtomicBool::new(false));
    let on_failure = {
        let (failed, stop) = (Arc::clone(&failed), server.stop_handle());
        move || -> OnFailure {
            let (failed, stop) = (Arc::clone(&failed), stop.clone());
            Box::new(move |error| {
                tracing::error!("{error}");
                failed.store(true, Ordering::Release);
                stop.stop();
            })
        }
    };
    // As an error, so that no filter of levels takes it from the warnings in it.
    let span = tracing::error_span!("netdev", %id);
    let nic = span.in_scope(|| AnyNic::new(&mut netdev, options, on_failure))?;
    let place = match &request.endpoint {
        Endpoint::Socket(path) if client => format!("connecting to {}", path.display()),
        Endpoint::Socket(path) => format!("listening on {}", path.display()),
        Endpoint::Fd(number) => format!("on file descriptor {number}"),
    };
    Ok(Prepared { place, server, nic, failed, netdev, span })
}

/// The life of a NIC. `opened` is dropped when it is open, or cannot be.
fn live(number: usize, request: &NicRequest, client: bool, board: &Board, opened: mpsc::Sender<()>) {
    let mut last_words = LastWords { board, number, failed: false };
    let Prepared { place, mut server, mut nic, failed, netdev, span } = match prepare(request, client) {
        Ok(prepared) => prepared,
        Err(error) => {
            return board.could_not_open(exit::there(request.netdev.netns.as_ref(), &error).into());
        }
    };
    let id = netdev.id().to_string();
    let pairs = nic.ring_count() / 2;
    tracing::info!(
        "{id}: {} with {pairs} queue pairs ({} virtqueues), {place}{}",
        netdev.device().name(),
        nic.ring_count(),
        nic.manner()
    );
    let served = Served {
        id: id.clone(),
        ifindex: netdev.device().interface_index(),
        counters: nic.counters(),
        stop: server.stop_handle(),
    };
    if board.is_served(number, served) {
        drop(opened);
        let _within = span.enter();
        if let Err(error) = nic.serve(&mut server) {
            tracing::error!("{error}");
            failed.store(true, Ordering::Release);
        }
    }
    last_words.failed = failed.load(Ordering::Acquire);
    // The NIC before its tap, the socket last: who sees the socket gone finds the tap gone, too.
    drop(nic);
    drop(netdev);
    drop(server);
}

/// Says at the end of a NIC's thread, however it ends, that there is one less.
struct LastWords<'a> {
    board: &'a Board,
    number: usize,
    failed: bool,
}

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        // A panic of the thread was printed when it happened.
        self.board.has_ended(self.number, self.failed || std::thread::panicking());
    }
}
