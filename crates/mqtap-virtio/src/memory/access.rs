//! Copying to and from memory that somebody else writes at the same time.
//!
//! A plain `memcpy` from memory the guest changes meanwhile is a data race, which Rust leaves
//! undefined. Relaxed atomic accesses are not, and at eight bytes each they cost little.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Copies out of guest memory.
///
/// # Safety
/// `from` must point to `to.len()` mapped bytes of guest memory.
pub(crate) unsafe fn copy_from_guest(from: NonNull<u8>, to: &mut [u8]) {
    let (head, middle) = split(from, to.len());
    let byte = |at: usize| {
        // SAFETY: `at` is below `to.len()`, mapped by the caller's promise.
        unsafe { AtomicU8::from_ptr(from.add(at).as_ptr()) }.load(Ordering::Relaxed)
    };
    for (at, slot) in to.iter_mut().enumerate().take(head) {
        *slot = byte(at);
    }
    let mut words = to[head..head + middle].chunks_exact_mut(8);
    for (index, word) in words.by_ref().enumerate() {
        // SAFETY: in bounds as above, and `head` bytes from `from` is a multiple of eight.
        let cell = unsafe { AtomicU64::from_ptr(from.add(head + index * 8).cast().as_ptr()) };
        word.copy_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes());
    }
    for (at, slot) in to.iter_mut().enumerate().skip(head + middle) {
        *slot = byte(at);
    }
}

/// Copies into guest memory.
///
/// # Safety
/// `to` must point to `from.len()` mapped bytes of guest memory.
pub(super) unsafe fn copy_to_guest(to: NonNull<u8>, from: &[u8]) {
    let (head, middle) = split(to, from.len());
    let byte = |at: usize, value: u8| {
        // SAFETY: `at` is below `from.len()`, mapped by the caller's promise.
        unsafe { AtomicU8::from_ptr(to.add(at).as_ptr()) }.store(value, Ordering::Relaxed);
    };
    for (at, value) in from.iter().enumerate().take(head) {
        byte(at, *value);
    }
    for (index, word) in from[head..head + middle].chunks_exact(8).enumerate() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        // SAFETY: in bounds as above, and `head` bytes from `to` is a multiple of eight.
        let cell = unsafe { AtomicU64::from_ptr(to.add(head + index * 8).cast().as_ptr()) };
        cell.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    for (at, value) in from.iter().enumerate().skip(head + middle) {
        byte(at, *value);
    }
}

/// How many bytes come before the first multiple of eight, and how many whole words follow, in bytes.
fn split(ptr: NonNull<u8>, len: usize) -> (usize, usize) {
    let head = (ptr.addr().get().wrapping_neg() % 8).min(len);
    (head, (len - head) / 8 * 8)
}

/// Bytes that come into the cache at once.
pub(crate) const CACHE_LINE: usize = 64;

/// Has the processor begin to fetch the cache line at an address.
///
/// What a driver wrote is in the cache of another CPU. Waiting for each line in turn costs more than all the rest that is done
/// with a small frame; lines that were asked for together come together.
#[inline]
pub(crate) fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint about an address, harmless whatever that is; every x86-64 processor has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the instruction changes nothing.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// As [`prefetch`], for a cache line that will be written: no other CPU keeps it.
#[inline]
pub(crate) fn prefetch_for_writing(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // The compiler makes another hint of its own function for this where the processor need not have the instruction. Those
    // that do not have it do nothing.
    // SAFETY: a hint about an address, harmless whatever that is.
    unsafe {
        std::arch::asm!("prefetchw [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the instruction changes nothing.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
