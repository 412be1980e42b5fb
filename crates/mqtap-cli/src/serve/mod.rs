//! `mqtap serve`: netdevs served over vhost-user.
//!
//! Each NIC has a thread that speaks with its VMM and workers that move its frames. The main thread waits for signals.
//! A NIC whose tap is deleted ends alone; the others go on.

mod args;

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mqtap::netdev::{self, CarrierMode, Netdev, OpenMode, VhostMode};
use mqtap_vhost_user::{MAX_RINGS, Server, StopHandle};
use mqtap_virtio::nic::{Carrier, Engine, Nic, NicCounters, NicOptions};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

pub(crate) use args::{Arguments, endpoints_in_order};
use args::{Endpoint, NicRequest};

use crate::{Error, descriptors, exit, table};

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    if arguments.print_capabilities {
        println!("{}", serde_json::json!({ "type": "net", "features": [] }));
        return ExitCode::SUCCESS;
    }
    let requests = match arguments.nics() {
        Ok(requests) => requests,
        Err(message) => return exit::usage("serve", &message),
    };
    match run(&requests, arguments.client) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => exit::failure(&error),
    }
}

/// A NIC that is ready to be served.
struct Prepared {
    id: String,
    /// Where its VMM is met, in words.
    place: String,
    nic: Nic,
    /// Keeps the tap and undoes the netdev at the end.
    netdev: Netdev,
    /// Last, and dropped last: who sees the socket gone finds the tap gone, too.
    server: Server,
    failed: Arc<AtomicBool>,
}

/// What the main thread keeps of a NIC that is served.
struct Served {
    id: String,
    counters: NicCounters,
    stop: StopHandle,
    thread: JoinHandle<()>,
    failed: Arc<AtomicBool>,
}

/// Serves until a signal, or until no NIC is left. True if none of them failed.
fn run(requests: &[NicRequest], client: bool) -> Result<bool, Error> {
    mqtap_virtio::memory::guard_against_truncation()?;
    descriptors::raise_limit();
    // Before any thread, so that each signal is seen from here on.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    let mut prepared = Vec::with_capacity(requests.len());
    for request in requests {
        prepared.push(prepare(request, client)?);
    }
    let left = Arc::new(AtomicUsize::new(prepared.len()));
    let mut served = Vec::with_capacity(prepared.len());
    let mut failure = None;
    for nic in prepared {
        match serve(nic, Arc::clone(&left), signals.handle()) {
            Ok(nic) => served.push(nic),
            Err(error) => failure = Some(error),
        }
    }
    let signals = if failure.is_none() { Some(&mut signals) } else { None };
    for signal in signals.into_iter().flatten() {
        if signal == SIGUSR1 {
            print_counters(&served);
        } else {
            tracing::info!("{}: ending", if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
            break;
        }
    }
    for nic in &served {
        nic.stop.stop();
    }
    let mut good = true;
    for nic in served {
        // A panic of the thread was printed when it happened.
        good &= nic.thread.join().is_ok() && !nic.failed.load(Ordering::Acquire);
    }
    failure.map_or(Ok(good), Err)
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
    if !netdev.take_vhost().is_empty() {
        if request.netdev.vhost_mode() != VhostMode::Try {
            return Err(format!(
                "netdev {id}: `mqtap serve` cannot use vhost-net yet; write `vhost=off`: mqtap then moves the frames itself"
            )
            .into());
        }
        tracing::warn!("{id}: `mqtap serve` cannot use vhost-net yet; mqtap moves the frames itself");
    }
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
        mac: request.mac,
        max_ring_size: request.queue_size.unwrap_or(defaults.max_ring_size),
        workers: request.workers.unwrap_or(defaults.workers),
        cpus: request.cpus.clone(),
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
        poll: Duration::from_micros(request.netdev.poll_us.unwrap_or(0).into()),
    };
    let failed = Arc::new(AtomicBool::new(false));
    let on_failure = {
        let (id, failed, stop) = (id.clone(), Arc::clone(&failed), server.stop_handle());
        Box::new(move |error: &mqtap_virtio::nic::Error| {
            tracing::error!("{id}: {error}");
            failed.store(true, Ordering::Release);
            stop.stop();
        })
    };
    let nic = Nic::new(Arc::clone(device), options, on_failure)?;
    let place = match &request.endpoint {
        Endpoint::Socket(path) if client => format!("connecting to {}", path.display()),
        Endpoint::Socket(path) => format!("listening on {}", path.display()),
        Endpoint::Fd(number) => format!("on file descriptor {number}"),
    };
    Ok(Prepared { id, place, server, nic, failed, netdev })
}

fn serve(prepared: Prepared, left: Arc<AtomicUsize>, signals: Handle) -> Result<Served, Error> {
    let Prepared { id, place, mut server, mut nic, failed, netdev } = prepared;
    let pairs = nic.ring_count() / 2;
    tracing::info!(
        "{id}: {} with {pairs} queue pairs ({} virtqueues), {place}",
        nic.device().name(),
        nic.ring_count()
    );
    let (counters, stop) = (nic.counters(), server.stop_handle());
    let thread = {
        let (id, failed) = (id.clone(), Arc::clone(&failed));
        std::thread::Builder::new().name(format!("serve-{id}")).spawn(move || {
            let _last_words = LastWords { failed: Arc::clone(&failed), left, signals };
            if let Err(error) = server.run(&mut nic) {
                tracing::error!("{id}: {error}");
                failed.store(true, Ordering::Release);
            }
            // The NIC before its tap, the socket last: who sees the socket gone finds the tap gone, too.
            drop(nic);
            drop(netdev);
            drop(server);
        })?
    };
    Ok(Served { id, counters, stop, thread, failed })
}

/// Says at the end of a NIC's thread, however it ends, that there is one less.
struct LastWords {
    failed: Arc<AtomicBool>,
    left: Arc<AtomicUsize>,
    signals: Handle,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Release);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.signals.close();
        }
    }
}

fn print_counters(served: &[Served]) {
    let mut text = String::new();
    for nic in served.iter().filter(|nic| !nic.thread.is_finished()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", table::render(&nic.id, &nic.counters.snapshot()));
    }
    eprint!("{text}");
}
