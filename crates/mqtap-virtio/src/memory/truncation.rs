//! Guest memory that shrinks under us.
//!
//! The frontend owns the file behind guest memory and may truncate it at any moment, by mistake or in
//! malice. Touching a page beyond the new end raises SIGBUS, which would end the daemon and with it
//! every other guest's network. The handler here puts an anonymous page where the hole is, marks the
//! region, and lets the access go on; the ring notices and stops.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use rustix::io::Errno;

use super::Error;

/// Regions and logs a process can have mapped at once: half of what the kernel allows a process by default
/// (`vm.max_map_count`), and 32 times what it takes one hostile frontend.
pub(super) const SLOTS: usize = 32_768;

/// A mapping as the signal handler sees it: only atomics, as a handler may take no lock.
#[derive(Debug)]
pub(super) struct Slot {
    claimed: AtomicBool,
    /// Address of the mapping; 0 while the slot is free or being filled.
    start: AtomicUsize,
    len: AtomicUsize,
    page: AtomicUsize,
    poisoned: AtomicBool,
}

impl Slot {
    const fn free() -> Slot {
        Slot {
            claimed: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            page: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }
}

static TABLE: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];

/// How often a hole was met in this process. Rings compare it with what they saw last: one load of a
/// line nobody writes.
static TRUNCATIONS: AtomicU32 = AtomicU32::new(0);

/// See [`TRUNCATIONS`].
#[inline]
pub(crate) fn truncations() -> u32 {
    TRUNCATIONS.load(Ordering::Relaxed)
}

/// Enters a mapping; `None` if the table is full.
pub(super) fn register(start: usize, len: usize, page: usize) -> Option<&'static Slot> {
    let slot = TABLE.iter().find(|slot| {
        !slot.claimed.load(Ordering::Relaxed)
            && slot.claimed.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    })?;
    slot.poisoned.store(false, Ordering::Relaxed);
    // Each after the start of whoever had it before was taken out, also for a handler that sees one of these only.
    slot.len.store(len, Ordering::Release);
    slot.page.store(page, Ordering::Release);
    // Last: a handler that sees the start sees the rest.
    slot.start.store(start, Ordering::Release);
    Some(slot)
}

/// Takes a mapping out, before it is unmapped.
pub(super) fn unregister(slot: &Slot) {
    slot.start.store(0, Ordering::Relaxed);
    slot.claimed.store(false, Ordering::Release);
}

static PREVIOUS: OnceLock<Result<libc::sigaction, Errno>> = OnceLock::new();

/// Installs the SIGBUS handler, once for the process; later calls do nothing. A handler that was
/// there before still gets every SIGBUS that is not about guest memory.
///
/// # Errors
/// [`Error::Guard`] if the kernel refuses, which it has no reason to.
pub fn guard_against_truncation() -> Result<(), Error> {
    // Two steps, so that the handler never runs without knowing its predecessor.
    let previous = PREVIOUS.get_or_init(|| exchange(None));
    if let Err(errno) = previous {
        return Err(Error::Guard { errno: *errno });
    }
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: all zeroes is a valid sigaction (SIG_DFL, no flags, empty mask).
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // On the alternative stack where a thread has one, as Rust's own handlers do; system calls
        // need no restart, the signal being synchronous.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        exchange(Some(&action)).map(drop)
    });
    (*installed).map_err(|errno| Error::Guard { errno })
}

/// Sets the SIGBUS action, if one is given, and returns the one before.
fn exchange(action: Option<&libc::sigaction>) -> Result<libc::sigaction, Errno> {
    let mut before = MaybeUninit::zeroed();
    let new = action.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are null or valid for the call; a handler, if given, is `on_sigbus`,
    // which does only what a handler may.
    let result = unsafe { libc::sigaction(libc::SIGBUS, new, before.as_mut_ptr()) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    // SAFETY: zeroed is valid, and the kernel filled it.
    Ok(unsafe { before.assume_init() })
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's own; the interrupted code must find it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes a valid siginfo, and SIGBUS fills si_addr.
    let address = unsafe { (*info).si_addr() }.addr();
    if !patch(address) {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts an anonymous page over the hole at `address`, if that is guest memory. Async-signal-safe.
fn patch(address: usize) -> bool {
    let hit = TABLE.iter().find_map(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        if start == 0 || address.wrapping_sub(start) >= slot.len.load(Ordering::Acquire) {
            return None;
        }
        let page = slot.page.load(Ordering::Acquire);
        // Another thread may give the slot to another mapping meanwhile; then it was not that of this address.
        (slot.start.load(Ordering::Relaxed) == start).then_some((slot, page))
    });
    let Some((slot, page)) = hit else {
        return false;
    };
    // SAFETY: the page lies inside our own mapping, of which start and length are multiples of `page` (`Mapping::new` makes sure)
    // and which is registered only while mapped; the faulting thread's owner of the mapping keeps it so. What is
    // replaced is a page that does not exist any more.
    let patched = unsafe {
        libc::mmap(
            std::ptr::with_exposed_provenance_mut(address & !(page - 1)),
            page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if patched == libc::MAP_FAILED {
        return false;
    }
    slot.poisoned.store(true, Ordering::Relaxed);
    TRUNCATIONS.fetch_add(1, Ordering::Release);
    true
}

/// Hands a SIGBUS that is not ours to whoever had it before us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get().and_then(|result| result.as_ref().ok());
    match previous {
        Some(action) if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN => {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: the address was installed as a handler of this signature (SA_SIGINFO).
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    unsafe { std::mem::transmute(action.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: the address was installed as a handler of this signature.
                let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(action.sa_sigaction) };
                handler(signal);
            }
        }
        _ => {
            // The default action: end the process, with the core dump pointing at the access, which
            // is repeated as soon as we return.
            // SAFETY: signal(2) is async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}
