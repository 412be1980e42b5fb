//! The kernel's interface without the crate in between: what other programs do to a tap.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};

pub(crate) const TUN: u16 = 0x0001;
pub(crate) const TAP: u16 = 0x0002;
pub(crate) const MULTI_QUEUE: u16 = 0x0100;
pub(crate) const NO_PI: u16 = 0x1000;
pub(crate) const VNET_HDR: u16 = 0x4000;

#[repr(C)]
struct IfReq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Opens a queue with `TUNSETIFF`.
pub(crate) fn open(name: &[u8], flags: u16) -> Result<OwnedFd, Errno> {
    const TUNSETIFF: u32 = opcode::write::<c_int>(b'T', 202);
    let fd =
        rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let mut request = IfReq { name: [0; 16], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: TUNSETIFF takes a `struct ifreq`, which it may write to as well; the setter owns it.
    unsafe { ioctl(&fd, Setter::<TUNSETIFF, IfReq>::new(request)) }?;
    Ok(fd)
}

/// `TUNGETSNDBUF`.
pub(crate) fn send_buffer(fd: impl AsFd) -> i32 {
    const TUNGETSNDBUF: u32 = opcode::read::<c_int>(b'T', 211);
    // SAFETY: TUNGETSNDBUF writes one `int`.
    unsafe { ioctl(fd, Getter::<TUNGETSNDBUF, c_int>::new()) }.unwrap()
}

/// `TUNSETVNETHDRSZ`.
pub(crate) fn set_vnet_header_size(fd: impl AsFd, bytes: c_int) {
    const TUNSETVNETHDRSZ: u32 = opcode::write::<c_int>(b'T', 216);
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    unsafe { ioctl(fd, Setter::<TUNSETVNETHDRSZ, c_int>::new(bytes)) }.unwrap();
}

/// `TUNATTACHFILTER` with a filter that lets everything through.
pub(crate) fn attach_classic_filter(fd: impl AsFd) {
    const TUNATTACHFILTER: u32 = opcode::write::<libc::sock_fprog>(b'T', 213);
    let mut accept = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: u32::MAX };
    let program = libc::sock_fprog { len: 1, filter: &raw mut accept };
    // SAFETY: TUNATTACHFILTER reads a `struct sock_fprog` and the instruction it points to, which live through the call.
    unsafe { ioctl(fd, Setter::<TUNATTACHFILTER, libc::sock_fprog>::new(program)) }.unwrap();
}

/// Whether this user may list the programs of eBPF (BPF_PROG_GET_NEXT_ID). EPERM is that he may not; ENOENT that there are none.
pub(crate) fn may_list_programs() -> bool {
    const BPF_PROG_GET_NEXT_ID: c_int = 11;
    // Start, next, flags: the beginning of that variant of `union bpf_attr` (include/uapi/linux/bpf.h).
    let mut attributes = [0_u32; 3];
    // SAFETY: bpf(2) reads and writes these attributes, which live through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_GET_NEXT_ID, attributes.as_mut_ptr(), size_of_val(&attributes))
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EPERM)
}

/// `TUNSETSTEERINGEBPF` with a program that chooses queue 1 for every frame. EPERM where this user may load no program.
pub(crate) fn steer_to_queue_1(fd: impl AsFd) -> Result<(), Errno> {
    const TUNSETSTEERINGEBPF: u32 = opcode::read::<c_int>(b'T', 224);
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
    /// The beginning of the variant of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    // r0 = 1; exit. An instruction is 64 bits in the machine's byte order: code, registers, offset, immediate value.
    let instruction = |code: u8, immediate: i32| -> [u8; 8] {
        let [a, b, c, d] = immediate.to_ne_bytes();
        [code, 0, 0, 0, a, b, c, d]
    };
    let program = [instruction(0xb7, 1), instruction(0x95, 0)];
    let load = Load {
        prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
        insn_cnt: 2,
        insns: program.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: bpf(2) reads the attributes, and the program and the text they point to, which live through the call.
    let program = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    if program < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap());
    }
    // SAFETY: the call made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(program as c_int) };
    // SAFETY: TUNSETSTEERINGEBPF reads one `int`, the descriptor of a program.
    unsafe { ioctl(fd, Setter::<TUNSETSTEERINGEBPF, c_int>::new(program.as_raw_fd())) }
}
