//! What a driver can do wrong with a ring, and what a frontend can with its configuration.

use crate::memory::GuestAddress;

/// Why a ring cannot be set up, or was given up.
///
/// Except for the configuration errors and [`Error::CompletedTooMany`], every one of these is the
/// driver breaking the virtio specification. The ring that met one stays broken until it is set up anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A split ring has a power of two of entries, at most 32768; a packed ring 1 to 32768.
    #[error(
        "a {layout} ring cannot have {size} entries (split: a power of two up to 32768; packed: 1 to 32768)"
    )]
    Size {
        /// "split" or "packed".
        layout: &'static str,
        /// Entries asked for.
        size: u16,
    },
    /// A part of the ring is not where the specification's alignment allows.
    #[error("the {part} at {at} is not aligned to {alignment} bytes")]
    PartMisaligned {
        /// Which part of the ring.
        part: &'static str,
        /// Where it is said to be.
        at: GuestAddress,
        /// Alignment it needs, bytes.
        alignment: usize,
    },
    /// A part of the ring is not inside one region of guest memory.
    #[error("the {part} at {at} ({len} bytes) is not inside one region of guest memory")]
    PartOutOfRange {
        /// Which part of the ring.
        part: &'static str,
        /// Where it is said to be.
        at: GuestAddress,
        /// Its size in bytes.
        len: usize,
    },
    /// The position to start from is not one a ring of this layout and size can have.
    #[error("a {layout} ring of {size} entries cannot start from base {base:#x}")]
    Base {
        /// "split" or "packed".
        layout: &'static str,
        /// Entries of the ring.
        size: u16,
        /// The base as given.
        base: u32,
    },
    /// The available index is further ahead than the ring is long.
    #[error(
        "the available index jumped to {available}, with {completed} chains completed of a ring of {size}"
    )]
    IndexJump {
        /// The index the driver wrote.
        available: u16,
        /// The index up to which chains are completed.
        completed: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// An entry of the available ring names a descriptor that does not exist.
    #[error("available entry {position} names descriptor {head} of a table of {size}")]
    Head {
        /// Position in the available ring.
        position: u16,
        /// The descriptor it names.
        head: u16,
        /// Descriptors in the table.
        size: u16,
    },
    /// `next` of a descriptor is outside its table.
    #[error("descriptor {descriptor} continues at {next}, outside its table of {size}")]
    Next {
        /// Index of the descriptor in its table.
        descriptor: u16,
        /// Its `next` field.
        next: u16,
        /// Descriptors in the table.
        size: u16,
    },
    /// The chain has more descriptors than its table: it loops. Or more than we take in one chain.
    #[error("the chain at {head} has more than {limit} descriptors")]
    ChainTooLong {
        /// Index of the first descriptor of the chain.
        head: u16,
        /// Descriptors allowed.
        limit: usize,
    },
    /// A chain has more pieces than an empty batch can take.
    #[error("the chain at {head} needs more than the {limit} iovecs a batch has")]
    TooManyPieces {
        /// Index of the first descriptor of the chain.
        head: u16,
        /// Pieces allowed.
        limit: usize,
    },
    /// A packed ring holds more descriptors than it is long.
    #[error("the chain at {head} runs over descriptors that are still in use")]
    Overrun {
        /// Index of the first descriptor of the chain.
        head: u16,
    },
    /// A later descriptor of a packed chain was not made available in this lap.
    #[error("descriptor {descriptor} of the chain at {head} is not available (flags {flags:#06x})")]
    NotAvailable {
        /// Index of the first descriptor of the chain.
        head: u16,
        /// Index of the descriptor.
        descriptor: u16,
        /// Its flags.
        flags: u16,
    },
    /// A buffer is not (all) in guest memory, or wraps around the address space.
    #[error("descriptor {descriptor}: buffer {at} + {len:#x} is not guest memory")]
    Buffer {
        /// Index of the descriptor in its table.
        descriptor: u16,
        /// Address of the buffer.
        at: GuestAddress,
        /// Length of the buffer in bytes.
        len: u32,
    },
    /// A buffer to receive into has no bytes.
    #[error("descriptor {descriptor}: buffer {at} to receive into is empty")]
    EmptyBuffer {
        /// Index of the descriptor in its table.
        descriptor: u16,
        /// Address of the buffer.
        at: GuestAddress,
    },
    /// A device-writable buffer in a transmit ring, or a device-readable one in a receive ring.
    #[error("descriptor {descriptor} is device-{} in a {} ring", if *.writable { "writable" } else { "readable" }, if *.writable { "transmit" } else { "receive" })]
    Direction {
        /// Index of the descriptor in its table.
        descriptor: u16,
        /// Which of the two.
        writable: bool,
    },
    /// The buffers of a chain have 2^32 bytes or more.
    #[error("the chain at {head} has {bytes:#x} bytes, 2^32 or more")]
    TooManyBytes {
        /// Index of the first descriptor of the chain.
        head: u16,
        /// Their sum.
        bytes: u64,
    },
    /// An indirect descriptor although the feature was not negotiated.
    #[error("descriptor {descriptor} is indirect, which was not negotiated")]
    IndirectNotNegotiated {
        /// Index of the descriptor.
        descriptor: u16,
    },
    /// An indirect descriptor inside an indirect table.
    #[error("entry {entry} of the indirect table of descriptor {descriptor} is indirect itself")]
    NestedIndirect {
        /// Index of the descriptor that refers to the table.
        descriptor: u16,
        /// Index in the table.
        entry: u16,
    },
    /// An indirect descriptor that is not alone (packed), or not the last (split).
    #[error("descriptor {descriptor} is indirect in the middle of a chain")]
    ChainedIndirect {
        /// Index of the descriptor.
        descriptor: u16,
    },
    /// The length of an indirect table is not 1 to 32768 descriptors of 16 bytes.
    #[error("descriptor {descriptor}: an indirect table cannot have {len} bytes")]
    IndirectLength {
        /// Index of the descriptor that refers to the table.
        descriptor: u16,
        /// Its length in bytes.
        len: u32,
    },
    /// An indirect table is outside guest memory, across two regions, or not aligned to 8 bytes.
    #[error(
        "descriptor {descriptor}: the indirect table at {at} ({len} bytes) is misaligned or not inside one region of guest memory"
    )]
    IndirectTable {
        /// Index of the descriptor that refers to the table.
        descriptor: u16,
        /// Address of the table.
        at: GuestAddress,
        /// Its length in bytes.
        len: u32,
    },
    /// A frontend truncated the file behind guest memory.
    #[error("guest memory was truncated by the frontend; what the ring says is lost")]
    MemoryTruncated,
    /// More was completed than had been popped: a mistake of the caller, which changed nothing.
    #[error("{completed} chains completed, but only {outstanding} are outstanding")]
    CompletedTooMany {
        /// Completions given.
        completed: usize,
        /// Chains popped and not completed.
        outstanding: usize,
    },
}
