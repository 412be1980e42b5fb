//! What is of the kernel's data path alone. Runs where there is a vhost-net: in the lab guest of `cargo xtask test`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use mqtap_driver::protocol::feature;
use mqtap_driver::{Driver, DriverOptions, MemoryRegion, frames};
use mqtap_test_support::{TestResult, eventually, gone, ip, patience};
use mqtap_virtio::memory::SharedMemory;
use nix::sys::signal::Signal;

use super::daemon::{Daemon, Result, address, queues};
use super::datapath::{exercise, host_socket, path, received};
use super::usage::with_inherited;

fn vhost_net() -> Result<File> {
    Ok(File::options().read(true).write(true).open("/dev/vhost-net")?)
}

fn serves(netdev: &str, directory: &tempfile::TempDir) -> String {
    format!("serve --netdev {netdev} --socket {}", directory.path().join("0").display())
}

pub(crate) fn a_packed_ring_is_not_offered() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    let driver = daemon.connect(DriverOptions::default())?;
    let offered = driver.offered_features();
    assert_eq!(offered & feature::RING_PACKED, 0);
    let of_the_kernel = feature::VERSION_1 | feature::MRG_RXBUF | feature::EVENT_IDX | feature::INDIRECT_DESC;
    assert_eq!(offered & of_the_kernel, of_the_kernel);
    drop(driver);
    assert!(daemon.connect(DriverOptions { packed: true, ..DriverOptions::default() }).is_err());
    Ok(())
}

pub(crate) fn a_ring_without_a_kick_is_refused() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    assert!(
        Driver::connect(&daemon.socket(0), DriverOptions { polling: true, ..DriverOptions::default() })
            .is_err()
    );
    eventually("it is said", || daemon.log_has("has no kick eventfd"))?;
    daemon.connect(DriverOptions::default())?;
    Ok(())
}

/// Each time the second pair is disabled our worker takes its rings over from the kernel, and each time it is enabled gives them back.
pub(crate) fn rings_change_hands_under_traffic() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let path = path("tap0", 1)?;
    let mut buffer = [0; 64];
    for event_index in [true, false] {
        let options =
            DriverOptions { queue_pairs: 2, ring_size: 32, event_index, ..DriverOptions::default() };
        let mut driver = daemon.connect(options)?;
        let before = daemon.counters("hn0")?[1].transmit_dropped;
        for round in 0..40_u64 {
            driver.set_active_pairs(2)?;
            assert_eq!(queues("tap0")?, (2, 0));
            for part in 0..3_u8 {
                let payload = [round as u8, part];
                driver.transmit(1, &frames::udp(path, (5001, 9000), &payload))?;
                let (length, _) = socket.recv_from(&mut buffer).map_err(|e| format!("round {round}: {e}"))?;
                assert_eq!(&buffer[..length], payload, "round {round}");
            }
            // The flow has just come from there, so that is where the kernel sends what is for it.
            socket.send_to(&[round as u8], (Ipv4Addr::new(10, 9, 1, 2), 5001))?;
            let mut got = Vec::new();
            eventually("the frame arrives", || {
                got.extend(received(&mut driver, 2).unwrap());
                !got.is_empty()
            })
            .map_err(|error| format!("round {round}: {error}"))?;
            assert_eq!(got, [(1, vec![round as u8])]);
            driver.set_active_pairs(1)?;
            assert_eq!(queues("tap0")?, (1, 1));
            // Dropped, and not sent later.
            for _ in 0..2 {
                driver.transmit(1, &frames::udp(path, (5001, 9000), b"disabled"))?;
            }
            eventually("the frames are dropped and counted", || {
                daemon.counters("hn0").unwrap()[1].transmit_dropped == before + 2 * (round + 1)
            })
            .map_err(|error| format!("round {round}: {error}"))?;
        }
    }
    Ok(())
}

pub(crate) fn what_the_kernel_moves_is_counted_for_the_interface() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2,vhost=try", &[])?;
    assert!(daemon.log_has("frames moved by the kernel"), "{}", daemon.log());
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    let before = daemon.all_counters("hn0")?;
    driver.transmit(0, &frames::udp(path("tap0", 1)?, (5000, 9000), b"up"))?;
    let mut buffer = [0; 64];
    socket.recv_from(&mut buffer)?;
    socket.send_to(b"down", (Ipv4Addr::new(10, 9, 1, 2), 5000))?;
    eventually("the frame arrives", || !received(&mut driver, 2).unwrap().is_empty())?;
    let after = daemon.all_counters("hn0")?;
    // The host may have sent a word of its own.
    assert!(after.transmitted > before.transmitted && after.received > before.received, "{after:?}");
    let log = daemon.log();
    let table = log.rsplit("hn0 on tap0").next().unwrap_or_default();
    assert!(table.contains("0 kernel") && table.contains("1 detached"), "{table}");
    Ok(())
}

pub(crate) fn memory_comes_and_goes_under_traffic() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let options = DriverOptions { queue_pairs: 2, memory_slots: true, ..DriverOptions::default() };
    let mut driver = daemon.connect(options)?;
    driver.set_active_pairs(2)?;
    assert_eq!(driver.frontend().get_max_memory_slots()?, 64, "what the vhost module takes");
    for round in 0..4 {
        // A region that comes and goes, and the whole table anew: the rings go on elsewhere in the daemon's memory.
        let (region, extra) = far(round, 1 << 20)?;
        driver.frontend().add_memory_region(region, extra.fd())?;
        exercise(&mut driver, &socket, 2, 1)?;
        driver.frontend().remove_memory_region(region)?;
        exercise(&mut driver, &socket, 2, 1)?;
        let files: Vec<_> = driver
            .ram()
            .regions()
            .map(|(region, fd)| Ok((region, fd.try_clone_to_owned()?)))
            .collect::<Result<_>>()?;
        let table: Vec<_> = files.iter().map(|(region, fd)| (*region, fd.as_fd())).collect();
        driver.frontend().set_memory_table(&table)?;
        exercise(&mut driver, &socket, 2, 1)?;
    }
    Ok(())
}

fn far(number: u64, size: u64) -> Result<(MemoryRegion, SharedMemory)> {
    Ok((super::hostile::far(number, size), SharedMemory::create(size)?))
}

pub(crate) fn more_regions_than_the_kernel_takes_are_refused() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { memory_slots: true, ..DriverOptions::default() })?;
    for number in 1..64 {
        let (region, memory) = far(number, 4096)?;
        driver.frontend().add_memory_region(region, memory.fd())?;
    }
    let (region, memory) = far(64, 4096)?;
    assert!(driver.frontend().add_memory_region(region, memory.fd()).is_err());
    eventually("it is said how to have more", || daemon.log_has("max_mem_regions"))?;
    // With those that were there before.
    exercise(&mut driver, &socket, 1, 1)
}

/// The kernel would mark pages in whatever of the daemon's is behind the log.
pub(crate) fn memory_that_the_log_does_not_cover_is_refused() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { memory_slots: true, ..DriverOptions::default() })?;
    driver.start_dirty_log()?;
    let (region, memory) = far(1, 1 << 20)?;
    assert!(driver.frontend().add_memory_region(region, memory.fd()).is_err());
    eventually("it is said", || daemon.log_has("does not cover the guest's memory"))?;
    exercise(&mut driver, &socket, 1, 1)?;
    driver.stop_dirty_log()?;
    driver.frontend().add_memory_region(region, memory.fd())?;
    exercise(&mut driver, &socket, 1, 1)
}

pub(crate) fn handles_that_are_passed_are_used() -> TestResult {
    let directory = tempfile::tempdir()?;
    let binary = env!("CARGO_BIN_EXE_mqtap");
    let arguments = serves("tap,id=hn0,ifname=tap0,queues=2,vhostfds=7:8", &directory);
    let mut command = Command::new("bash");
    let open = "exec 7<>/dev/vhost-net 8<>/dev/vhost-net";
    // Nobody could open the device again.
    let close = "unshare --mount bash -c 'mount --bind /dev/null /dev/vhost-net";
    command.arg("-c").arg(format!("{open}; {close}; exec {binary} {arguments}'"));
    let daemon = Daemon::spawn(command, directory)?;
    eventually("the NIC is served", || daemon.log_has("frames moved by the kernel"))?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    exercise(&mut driver, &socket, 2, 1)
}

/// `mqtap exec` opens queues and handles; the daemon that has the kernel move frames between them has no capability.
pub(crate) fn handles_of_exec_are_served_without_privilege() -> TestResult {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("0");
    let binary = env!("CARGO_BIN_EXE_mqtap");
    let mut command = Command::new(binary);
    command.args(["exec", "--drop-caps", "--netdev", "tap,id=hn0,ifname=tap0,queues=4,vhost=on", "--"]);
    let netdev = "tap,id=hn0,fds={hn0.fds},vhostfds={hn0.vhostfds}";
    command.args([binary, "serve", "--netdev", netdev, "--socket"]).arg(&socket);
    let mut daemon = Daemon::spawn(command, directory)?;
    eventually("the NIC is served", || daemon.log_has("frames moved by the kernel"))?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    address("tap0", 1)?;
    let host = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(4)?;
    exercise(&mut driver, &host, 4, 1)?;
    daemon.signal(Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.code(), Some(0), "{}", daemon.log());
    gone("tap0")
}

pub(crate) fn a_handle_has_one_owner() -> TestResult {
    let handle = vhost_net()?;
    let directory = tempfile::tempdir()?;
    let mut first = with_inherited(&handle, 7, &serves("tap,id=a,ifname=tap0,vhostfd=7", &directory))?;
    eventually("the NIC is served", || first.log_has("frames moved by the kernel"))?;
    let other = tempfile::tempdir()?;
    let mut second = with_inherited(&handle, 7, &serves("tap,id=b,ifname=tap1,vhostfd=7", &other))?;
    assert_eq!(second.wait()?.code(), Some(1));
    assert!(second.log_has("has an owner already"), "{}", second.log());
    assert!(ip("link show tap1").is_err());
    assert_eq!(first.has_ended(), None);
    Ok(())
}

pub(crate) fn a_handle_twice_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let binary = env!("CARGO_BIN_EXE_mqtap");
    let arguments = serves("tap,id=hn0,ifname=tap0,queues=2,vhostfds=7:8", &directory);
    let script = format!("exec 7<>/dev/vhost-net 8<&7; exec {binary} {arguments}");
    let output = Command::new("bash").arg("-c").arg(script).output()?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains("7 and 8 are the same vhost-net handle"), "{text}");
    assert!(ip("link show tap0").is_err());
    Ok(())
}

/// The daemon asks the kernel what it made of the number, and does not start if it is another.
pub(crate) fn the_busy_loop_is_set() -> TestResult {
    let daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=2,poll-us=50", &[])?;
    address("tap0", 1)?;
    let socket = host_socket()?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 2, ..DriverOptions::default() })?;
    driver.set_active_pairs(2)?;
    exercise(&mut driver, &socket, 2, 1)
}

pub(crate) fn killing_the_daemon_leaves_nothing() -> TestResult {
    let mut daemon = Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?;
    address("tap0", 1)?;
    let mut driver = daemon.connect(DriverOptions { queue_pairs: 4, ..DriverOptions::default() })?;
    driver.set_active_pairs(4)?;
    let path = path("tap0", 1)?;
    let flood: Vec<Vec<u8>> = (0..64).map(|port| frames::udp(path, (6000 + port, 19), &[0; 18])).collect();
    for pair in 0..4 {
        driver.transmit_batch(pair, &flood)?;
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))?.flatten();
    // After the thread that became the owner; threads of the kernel's own before Linux 6.4, and of the daemon since.
    let wanted: Vec<String> =
        threads.map(|thread| format!("vhost-{}", thread.file_name().to_string_lossy())).collect();
    let workers = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let threads = processes.filter_map(|process| std::fs::read_dir(process.path().join("task")).ok());
        let names = threads
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|comm| wanted.iter().any(|name| comm.trim() == name)).count()
    };
    assert_eq!(workers(), 4);
    daemon.signal(Signal::SIGKILL)?;
    daemon.wait()?;
    eventually("the kernel's threads are gone", || workers() == 0)?;
    gone("tap0")?;
    assert!(driver.frontend().wait_for_close(patience())?);
    Daemon::start("tap,id=hn0,ifname=tap0,queues=4", &[])?.connect(DriverOptions::default())?;
    Ok(())
}
