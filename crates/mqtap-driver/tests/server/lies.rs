//! Every lie, told to the real backend.

use std::time::Duration;

use mqtap_driver::lies::{self, Expectation};
use mqtap_driver::{Driver, DriverOptions};
use mqtap_test_support::{TestResult, eventually, patience};

use crate::backend::*;

/// Each lie breaks its ring, or its frame, and nothing else: the other pair goes on, and the broken ring works again
/// when it is started anew.
pub(crate) fn lies_break_one_ring_and_nothing_else() -> TestResult {
    let backend = Backend::start(2);
    let socket = host_socket(9000);
    for bits in 0..4 {
        let options = DriverOptions {
            packed: bits & 1 != 0,
            indirect: bits & 2 != 0,
            queue_pairs: 2,
            ring_size: 64,
            fill_receive: false,
            ..DriverOptions::default()
        };
        let mut driver = connect(&backend.path, options);
        // Pair 1 transmits all the time; pair 0 hears the lies, and alone can receive.
        driver.set_active_pairs(2)?;
        for ring in [0, 1] {
            for lie in lies::all() {
                let raw = driver.raw_ring(ring)?;
                if !lie.applies(&raw, driver.features()) {
                    continue;
                }
                eprintln!("{} on ring {ring} of driver {bits}", lie.name);
                let expectation = lie.tell(&raw)?;
                if ring == 0 && expectation != Expectation::Survives {
                    // The tap has to have a frame before the device looks for a place for it.
                    tempt(&driver, ring)?;
                }
                match expectation {
                    Expectation::RingBroken => {
                        assert!(
                            driver.events(ring).wait_for_error(patience())?,
                            "{} went unnoticed",
                            lie.name
                        );
                    }
                    Expectation::FrameDropped => {
                        eventually("the chain to come back", || raw.has_used().unwrap_or(false))?;
                        assert_eq!(driver.events(ring).take_errors()?, 0, "{}", lie.name);
                    }
                    // Give it the time to do something wrong.
                    Expectation::Survives => std::thread::sleep(Duration::from_millis(2)),
                }
                guest_to_host(&mut driver, 1, &socket, lie.name.as_bytes());
                driver.restart_ring(ring)?;
            }
        }
        // After all that, pair 0 is as good as new.
        for pair in [0, 1] {
            driver.pair(pair).receiver.post(usize::MAX)?;
        }
        guest_to_host(&mut driver, 0, &socket, &data(1000));
        drain_guest(&mut driver)?;
        host_to_guest(&mut driver, &socket, &data(1000));
    }
    Ok(())
}

/// Sends the guest frames of many flows until ring `ring` has reported an error or it has had its chance.
fn tempt(driver: &Driver, ring: u16) -> TestResult {
    for _ in 0..64 {
        let from = std::net::UdpSocket::bind((HOST, 0))?;
        from.send_to(b"bait", (GUEST, 3000))?;
        if driver.events(ring).wait_for_error(Duration::ZERO)? {
            break;
        }
    }
    Ok(())
}

fn drain_guest(driver: &mut Driver) -> TestResult {
    for pair in [0, 1] {
        while driver.pair(pair).receive_waiting(Duration::from_millis(50))?.is_some() {}
    }
    Ok(())
}
