//! What `ethtool -k` asks: which features of an interface are on (net/ethtool/ioctl.c).

use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::name::InterfaceName;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`
const FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`
const NAME_BYTES: usize = 32;

/// The names of the features that are on, as `ethtool -k` prints them. Needs no privilege.
pub(crate) fn active_features(interface: InterfaceName) -> Result<Vec<String>, Errno> {
    // Any socket takes this ioctl, in the network namespace in which it was made.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let socket = socket.as_fd();
    let names = names(socket, interface)?;
    let active = active(socket, interface, names.len())?;
    Ok(names.into_iter().zip(active).filter(|(_, active)| *active).map(|(name, _)| name).collect())
}

/// What the running kernel calls its features.
fn names(socket: BorrowedFd<'_>, interface: InterfaceName) -> Result<Vec<String>, Errno> {
    // struct ethtool_sset_info: cmd, reserved, a mask of 64 bits, one number for each bit set in it.
    let mut info = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
    let mask = 1_u64 << FEATURES;
    [info[2], info[3]] = words(mask);
    // SAFETY: the kernel writes back the four words of the structure and one for the one bit of the mask.
    unsafe { ask(socket, interface, &mut info) }?;
    if info[2..4] != words(mask) {
        return Err(Errno::OPNOTSUPP);
    }
    let count = info[4] as usize;
    // struct ethtool_gstrings: cmd, string_set, len, the names. The kernel writes all of them, which are as many as it
    // said: their number is a constant of the kernel.
    let mut strings = vec![0; 3 + count * NAME_BYTES / 4];
    strings[..2].copy_from_slice(&[ETHTOOL_GSTRINGS, FEATURES]);
    // SAFETY: there is room for all names.
    unsafe { ask(socket, interface, &mut strings) }?;
    let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
    };
    Ok(bytes.chunks(NAME_BYTES).map(name).collect())
}

fn active(socket: BorrowedFd<'_>, interface: InterfaceName, count: usize) -> Result<Vec<bool>, Errno> {
    /// Words of `struct ethtool_get_features_block`: available, requested, active, never_changed.
    const BLOCK: usize = 4;
    const ACTIVE: usize = 2;
    let blocks = count.div_ceil(32);
    // struct ethtool_gfeatures: cmd, size, the blocks.
    let mut features = vec![0; 2 + blocks * BLOCK];
    // At most a few blocks.
    features[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
    // SAFETY: the kernel writes no more blocks than `size` says.
    unsafe { ask(socket, interface, &mut features) }?;
    let word = |block: usize| features.get(2 + block * BLOCK + ACTIVE).copied().unwrap_or(0);
    Ok((0..count).map(|feature| word(feature / 32) & (1 << (feature % 32)) != 0).collect())
}

/// A number of 64 bits as two words in the machine's order.
fn words(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// # Safety
/// The kernel must write no more to this structure than `structure` has room for.
unsafe fn ask(socket: BorrowedFd<'_>, interface: InterfaceName, structure: &mut [u32]) -> Result<(), Errno> {
    // SAFETY: all zeros are a valid `struct ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.to_kernel()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_data = structure.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads a `struct ifreq` and follows the pointer in it to a structure, which both live through the
    // call; that the structure is large enough is the caller's promise.
    let result: c_int = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}
