//! The eBPF programs that are loaded (bpf(2)).

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const BPF_PROG_GET_NEXT_ID: c_int = 11;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// A loaded eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) id: u32,
    /// Of the type that steers and filters taps, and filters sockets.
    pub(crate) is_socket_filter: bool,
    /// At most 15 bytes.
    pub(crate) name: String,
}

/// The variant of `union bpf_attr` (include/uapi/linux/bpf.h) for looking up by id.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The variant for asking about an object.
#[repr(C)]
struct Ask {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`: the kernel fills as much of it as there is room for.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

/// All programs, for whoever has CAP_SYS_ADMIN in the first user namespace (EPERM else). None is changed or held.
pub(crate) fn programs() -> Result<Vec<Program>, Errno> {
    let mut programs = Vec::new();
    let mut id = 0;
    loop {
        let mut attributes = ById { id, next_id: 0, open_flags: 0 };
        // SAFETY: BPF_PROG_GET_NEXT_ID reads and writes these attributes.
        match unsafe { bpf(BPF_PROG_GET_NEXT_ID, &mut attributes) } {
            Ok(_) => id = attributes.next_id,
            Err(Errno::NOENT) => return Ok(programs),
            Err(errno) => return Err(errno),
        }
        let mut attributes = ById { id, next_id: 0, open_flags: 0 };
        // SAFETY: BPF_PROG_GET_FD_BY_ID reads these attributes.
        let Ok(fd) = (unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes) }) else {
            // Unloaded between two calls.
            continue;
        };
        // SAFETY: the call made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if let Ok(program) = describe(fd.as_fd()) {
            programs.push(program);
        }
    }
}

fn describe(fd: BorrowedFd<'_>) -> Result<Program, Errno> {
    let mut info = Info::default();
    let mut attributes = Ask {
        fd: fd.as_raw_fd() as u32,
        length: size_of::<Info>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD writes at most `length` bytes to `info`, which lives through the call; the lengths in it
    // are 0, so that it follows no pointer there.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(info.name.len());
    Ok(Program {
        id: info.id,
        is_socket_filter: info.kind == BPF_PROG_TYPE_SOCKET_FILTER,
        name: String::from_utf8_lossy(&info.name[..end]).into_owned(),
    })
}

/// # Safety
/// `attributes` must be what the command takes, with pointers in it that are good for what it does with them.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> Result<c_int, Errno> {
    // SAFETY: the kernel reads and writes no more than the size that it is given; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS));
    }
    // A descriptor, or 0.
    Ok(result as c_int)
}
