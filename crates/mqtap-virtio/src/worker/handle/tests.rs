//! Workers that something holds up.

use super::*;

fn worker(given_up: &GivenUp) -> WorkerHandle {
    WorkerHandle::start("test".to_owned(), &[], Arc::new(|_, _| {}), Arc::clone(given_up)).unwrap()
}

fn blocking(count: u64) -> OwnedFd {
    let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    if count > 0 {
        rustix::io::write(&fd, &count.to_ne_bytes()).unwrap();
    }
    fd
}

/// The count of an eventfd; `None` if it is empty.
fn count(fd: &OwnedFd) -> Option<u64> {
    fcntl_setfl(fd, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count).ok().map(|_| u64::from_ne_bytes(count))
}

/// One that is given up soon.
fn hopeless(given_up: &GivenUp) -> WorkerHandle {
    let mut worker = worker(given_up);
    worker.attempts = 20;
    worker
}

#[test]
fn a_worker_that_never_answers_is_given_up() {
    let given_up = GivenUp::default();
    let (stuck, other) = (hopeless(&given_up), worker(&given_up));
    let (release, released) = mpsc::channel::<()>();
    let answer = stuck.call(move |_| released.recv());
    assert!(matches!(answer, Err(Error::Stuck(_))), "{answer:?}");
    // Its device is of no more use.
    assert!(matches!(other.call(|_| ()), Err(Error::Stuck(_))));
    drop(other);
    drop(stuck);
    drop(release);
}

#[test]
fn a_worker_that_never_ends_holds_nobody_up() {
    let given_up = GivenUp::default();
    let stuck = hopeless(&given_up);
    let (release, released) = mpsc::channel::<()>();
    stuck.commands.as_ref().unwrap().send(Box::new(move |_| assert!(released.recv().is_err()))).unwrap();
    drop(stuck);
    assert!(given_up.load(Ordering::Relaxed));
    drop(release);
}

#[test]
fn a_worker_is_freed_from_a_full_eventfd_only() {
    let worker = worker(&GivenUp::default());
    let empty = worker.share(Some(blocking(0))).unwrap();
    let pending = worker.share(Some(blocking(7))).unwrap();
    let full = worker.share(Some(blocking(u64::MAX - 1))).unwrap();
    let call = Arc::clone(&full);
    worker.call(move |_| signal(&call)).unwrap();
    assert_eq!(count(&full), Some(1), "the worker's own");
    assert_eq!(count(&pending), Some(7), "a notification that its reader has not seen is still there");
    assert_eq!(count(&empty), None);
}

#[test]
fn reading_waits_for_nobody_whatever_the_frontend_does_to_the_flags() {
    let empty = Arc::new(blocking(0));
    let over = Arc::new(AtomicBool::new(false));
    let frontend = std::thread::spawn({
        let (empty, over) = (Arc::clone(&empty), Arc::clone(&over));
        move || {
            while !over.load(Ordering::Relaxed) {
                let _ = fcntl_setfl(&*empty, OFlags::RDWR);
            }
        }
    });
    let (done, is_done) = mpsc::channel();
    let reader = Arc::clone(&empty);
    // Not joined: it may sleep for ever.
    std::thread::spawn(move || {
        (0..50_000).for_each(|_| take_at_once(&reader));
        let _ = done.send(());
    });
    let result = is_done.recv_timeout(mqtap_test_support::patience());
    over.store(true, Ordering::Relaxed);
    frontend.join().unwrap();
    assert_eq!(result, Ok(()), "it sleeps in a read");
}
