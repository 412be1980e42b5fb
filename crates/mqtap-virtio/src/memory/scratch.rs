//! Memory of our own, in pages that the system provides when they are first used.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What may consist of zeros.
///
/// # Safety
/// A value of all zero bytes must be valid, and there must be nothing to drop.
pub(crate) unsafe trait Zero: Copy {}

// SAFETY: a number.
unsafe impl Zero for u8 {}

/// So many values, zeros at first, that take no more memory than the part of them that was touched.
///
/// The allocator makes no such promise: what it hands out again it has to fill with zeros, and that touches all of it. It is
/// asked only where the kernel gives no mapping: a process has so many.
#[derive(Debug)]
pub(crate) struct Scratch<T: Zero> {
    base: NonNull<T>,
    count: usize,
    source: Source,
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Kernel,
    Allocator,
}

impl<T: Zero> Scratch<T> {
    /// Room for `count` values. Without the memory for it, the process ends, as after any allocation that fails.
    pub(crate) fn new(count: usize) -> Scratch<T> {
        let Ok(layout) = Layout::array::<T>(count) else { handle_alloc_error(Layout::new::<T>()) };
        if layout.size() == 0 {
            return Scratch { base: NonNull::dangling(), count: 0, source: Source::Allocator };
        }
        // SAFETY: a new mapping at an address the kernel chooses touches no memory of ours.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                layout.size(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        // Pages are aligned for whatever may be in them.
        match base.ok().and_then(|base| NonNull::new(base.cast())) {
            Some(base) => Scratch { base, count, source: Source::Kernel },
            None => Self::allocated(count, layout),
        }
    }

    /// The same from the allocator.
    fn allocated(count: usize, layout: Layout) -> Scratch<T> {
        // SAFETY: the layout has a size.
        let base = unsafe { alloc_zeroed(layout) };
        match NonNull::new(base.cast()) {
            Some(base) => Scratch { base, count, source: Source::Allocator },
            None => handle_alloc_error(layout),
        }
    }
}

impl<T: Zero> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `count` values are at `base`, zeroed to begin with and so valid, and only this owner reaches them.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl<T: Zero> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.count) }
    }
}

impl<T: Zero> Drop for Scratch<T> {
    fn drop(&mut self) {
        let size = size_of::<T>() * self.count;
        match (self.source, Layout::array::<T>(self.count)) {
            _ if size == 0 => {}
            (Source::Kernel, _) => {
                // SAFETY: our own mapping, to which no reference is left. It cannot fail: base and length are those of the
                // mapping.
                let _ = unsafe { munmap(self.base.as_ptr().cast(), size) };
            }
            // SAFETY: allocated with this layout, and no reference is left.
            (Source::Allocator, Ok(layout)) => unsafe { dealloc(self.base.as_ptr().cast(), layout) },
            // It had a layout when it was made.
            (Source::Allocator, Err(_)) => {}
        }
    }
}

// SAFETY: the memory belongs to the process, not to a thread, and to this owner alone.
unsafe impl<T: Zero + Send> Send for Scratch<T> {}
// SAFETY: a shared `Scratch` gives shared values and nothing else.
unsafe impl<T: Zero + Sync> Sync for Scratch<T> {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::{Layout, Scratch};

    #[test]
    fn it_is_zero_and_keeps_what_is_written() {
        let mut scratch = Scratch::<u8>::new(100_000);
        assert!(scratch.iter().all(|&byte| byte == 0));
        scratch[99_999] = 7;
        assert_eq!((scratch.len(), scratch[99_999]), (100_000, 7));
        assert!(Scratch::<u8>::new(0).is_empty());
        let mut scratch = Scratch::<u8>::allocated(1000, Layout::array::<u8>(1000).unwrap());
        assert!(scratch.iter().all(|&byte| byte == 0));
        scratch.fill(7);
        assert_eq!(scratch[999], 7);
    }

    /// Pages that the system has provided (Documentation/admin-guide/mm/pagemap.rst).
    fn pages(scratch: &Scratch<u8>) -> usize {
        let page = rustix::param::page_size();
        let mut entries = vec![0; scratch.len().div_ceil(page) * 8];
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        pagemap.read_exact_at(&mut entries, (scratch.as_ptr().addr() / page * 8) as u64).unwrap();
        entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }

    /// Also where one was before that was used and given back.
    #[test]
    fn it_takes_the_memory_that_is_used() {
        for _ in 0..3 {
            let mut scratch = Scratch::<u8>::new(100_000);
            assert_eq!(pages(&scratch), 0);
            scratch[50_000] = 1;
            assert_eq!(pages(&scratch), 1);
            scratch.fill(1);
            assert_eq!(pages(&scratch), 100_000_usize.div_ceil(rustix::param::page_size()));
        }
    }
}
