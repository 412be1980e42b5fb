//! What can go wrong with guest memory.

use rustix::io::Errno;

use super::{GuestAddress, RegionLayout};

/// Why guest memory could not be mapped or reached.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A region of no bytes maps nothing.
    #[error("memory region {layout} is empty; the frontend must announce at least one page")]
    EmptyRegion {
        /// The region as announced.
        layout: RegionLayout,
    },
    /// Address plus size, or file offset plus size, is beyond 2^64 (or beyond what a file can hold).
    #[error("memory region {layout} wraps around the end of its address space")]
    RegionWraps {
        /// The region as announced.
        layout: RegionLayout,
    },
    /// Two regions claim the same guest address.
    #[error("memory regions {first} and {second} overlap in guest addresses")]
    RegionsOverlap {
        /// The region with the lower address.
        first: RegionLayout,
        /// The region that starts inside the first.
        second: RegionLayout,
    },
    /// The file is smaller than the region that is said to be in it.
    #[error("memory region {layout} ends beyond its file, which has {file_size:#x} bytes")]
    BeyondFile {
        /// The region as announced.
        layout: RegionLayout,
        /// Size of the file in bytes.
        file_size: u64,
    },
    /// The descriptor is neither a file nor a memory device.
    #[error(
        "memory region {layout}: the descriptor is not memory (file type {kind:#o}); share guest RAM as a memfd or a file"
    )]
    NotMemory {
        /// The region as announced.
        layout: RegionLayout,
        /// `st_mode & S_IFMT`.
        kind: u32,
    },
    /// A file whose pages may be long in coming: every access would hold up other guests.
    #[error(
        "memory region {layout} is in a file that is not taken for memory, for its pages may never come (FUSE, a network, overlayfs); share guest RAM as a memfd, or as a file on tmpfs, hugetlbfs, ext4, xfs or f2fs"
    )]
    FileSystem {
        /// The region as announced.
        layout: RegionLayout,
    },
    /// The frontend, or all together, would have too much mapped.
    #[error(
        "cannot map memory region {layout}: with it there would be more than {bytes:#x} bytes, or more than {mappings} mappings, which is the most a frontend may have here (or all of them together)"
    )]
    OverBudget {
        /// The region as announced.
        layout: RegionLayout,
        /// The most there may be, bytes.
        bytes: u64,
        /// The most mappings.
        mappings: usize,
    },
    /// `statx` or `fstatfs` on the descriptor failed.
    #[error("cannot inspect the file of memory region {layout}: {}", errno_name(*.errno))]
    Inspect {
        /// The region as announced.
        layout: RegionLayout,
        /// What the kernel said.
        errno: Errno,
    },
    /// `mmap` failed.
    #[error("cannot map memory region {layout}: {}; guest RAM must be shared and writable (QEMU: memory-backend-memfd,share=on)", errno_name(*.errno))]
    Map {
        /// The region as announced.
        layout: RegionLayout,
        /// What the kernel said.
        errno: Errno,
    },
    /// More regions are mapped in this process than the truncation guard can watch.
    #[error(
        "cannot map memory region {layout}: {limit} regions are mapped already, the most this process can guard"
    )]
    TooManyRegions {
        /// The region as announced.
        layout: RegionLayout,
        /// Regions a process can have.
        limit: usize,
    },
    /// The dirty log could not be mapped.
    #[error("cannot map the dirty log ({size:#x} bytes at offset {offset:#x}): {}", errno_name(*.errno))]
    MapLog {
        /// Offset of the log in its file, bytes.
        offset: u64,
        /// Size of the log, bytes.
        size: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The dirty log is empty, wraps, or is larger than its file.
    #[error(
        "the dirty log ({size:#x} bytes at offset {offset:#x}) does not fit its file, which has {file_size:#x} bytes"
    )]
    LogBeyondFile {
        /// Offset of the log in its file, bytes.
        offset: u64,
        /// Size of the log, bytes.
        size: u64,
        /// Size of the file, bytes.
        file_size: u64,
    },
    /// No region holds these guest addresses.
    #[error("guest addresses {at} + {len:#x} are not in guest memory")]
    OutOfRange {
        /// First guest address asked for.
        at: GuestAddress,
        /// How many bytes.
        len: u64,
    },
    /// An atomic access needs an address that is a multiple of its width.
    #[error("guest address {at} is not aligned to {width} bytes")]
    Misaligned {
        /// The guest address.
        at: GuestAddress,
        /// Width of the access, bytes.
        width: usize,
    },
    /// Memory of our own could not be made.
    #[error("cannot create {size:#x} bytes of shared memory: {}", errno_name(*.errno))]
    Create {
        /// Bytes asked for.
        size: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The SIGBUS handler could not be installed.
    #[error("cannot install the SIGBUS handler that guards against truncated guest memory: {}", errno_name(*.errno))]
    Guard {
        /// What the kernel said.
        errno: Errno,
    },
}

/// The errno by name where we know it is likely, else by number with the kernel's text.
pub(super) fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::ACCESS => "EACCES",
        Errno::AGAIN => "EAGAIN",
        Errno::BADF => "EBADF",
        Errno::INVAL => "EINVAL",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::NODEV => "ENODEV",
        Errno::NOMEM => "ENOMEM",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::PERM => "EPERM",
        other => return format!("errno {} ({other})", other.raw_os_error()),
    };
    format!("{name} ({errno})")
}
