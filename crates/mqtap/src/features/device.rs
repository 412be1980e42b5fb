//! What a tap can do, tried on one.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::device::visit;
use crate::name::IFNAMSIZ;
use crate::offload::Offloads;
use crate::sys::{self, Interface, flag};

/// What a tap of this kernel can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFeatures {
    /// What may be left undone on frames that are read (`TUNSETOFFLOAD`), each tried with what it needs.
    pub offloads: Offloads,
    /// Lengths of the virtio-net header, in bytes, that are accepted and mean something.
    pub header_sizes: Vec<u8>,
    /// The carrier can be given and taken (`TUNSETCARRIER`, Linux 5.0).
    pub carrier: bool,
    /// An eBPF program can choose queues (`TUNSETSTEERINGEBPF`, Linux 4.16).
    pub steering: bool,
    /// The virtio-net header can be little-endian on any machine (`TUNSETVNETLE`).
    pub little_endian: bool,
    /// The virtio-net header can be big-endian (`TUNSETVNETBE`).
    pub big_endian: bool,
    /// The kernel tells in which namespace a tap is (`TUNGETDEVNETNS`, Linux 5.2).
    pub device_namespace: bool,
    /// Several queues were open on one tap, and one of them detached and attached again.
    pub queues: bool,
}

/// Each offload with what it cannot be without (drivers/net/tun.c: `set_offload`).
const OFFLOADS: [(Offloads, u32); 8] = {
    const CSUM: u32 = Offloads::CSUM.bits();
    const TSO4: u32 = CSUM | Offloads::TSO4.bits();
    const TUNNEL: u32 = TSO4 | Offloads::UDP_TUNNEL_GSO.bits();
    [
        (Offloads::CSUM, CSUM),
        (Offloads::TSO4, TSO4),
        (Offloads::TSO6, CSUM | Offloads::TSO6.bits()),
        (Offloads::TSO_ECN, TSO4 | Offloads::TSO_ECN.bits()),
        (Offloads::UFO, CSUM | Offloads::UFO.bits()),
        // Only together with the other, so that there is one answer for both.
        (Offloads::USO4, CSUM | Offloads::USO4.bits() | Offloads::USO6.bits()),
        (Offloads::UDP_TUNNEL_GSO, TUNNEL),
        (Offloads::UDP_TUNNEL_GSO_CSUM, TUNNEL | Offloads::UDP_TUNNEL_GSO_CSUM.bits()),
    ]
};

const HEADER_SIZES: [u8; 4] = [10, 12, 20, 24];

/// One number for each question: 0 or an errno.
type Answers = [i32; COUNT];

const MADE: usize = 0;
const CARRIER: usize = 1;
const STEERING: usize = 2;
const LITTLE_ENDIAN: usize = 3;
const BIG_ENDIAN: usize = 4;
const NAMESPACE: usize = 5;
const QUEUES: usize = 6;
const FIRST_OFFLOAD: usize = 7;
const FIRST_SIZE: usize = FIRST_OFFLOAD + OFFLOADS.len();
const COUNT: usize = FIRST_SIZE + HEADER_SIZES.len();

/// Tries all of it on a tap that nobody else can see.
pub(super) fn probe() -> Result<DeviceFeatures, Errno> {
    let answers = match visit(sys::enter_new_namespace, || Ok(ask()), |errno| errno) {
        Err(Errno::PERM | Errno::ACCESS) => sys::in_private_child(ask)?,
        result => result?,
    };
    read(&answers)
}

/// Runs in a copy of the process too, which must not allocate (see [`sys::in_private_child`]).
fn ask() -> Answers {
    let mut answers = [Errno::NODEV.raw_os_error(); COUNT];
    let flags = flag::TAP | flag::NO_PI | flag::VNET_HDR | flag::MULTI_QUEUE;
    let open = |name| {
        let fd = sys::open()?;
        let made = sys::set_interface(fd.as_fd(), Interface { name, flags })?;
        Ok::<_, Errno>((fd, made.name))
    };
    let (first, name) = match open([0; IFNAMSIZ]) {
        Ok(first) => first,
        Err(errno) => {
            answers[MADE] = errno.raw_os_error();
            return answers;
        }
    };
    answers[MADE] = 0;
    let fd = first.as_fd();
    answers[CARRIER] = number(sys::set_carrier(fd, false).and_then(|()| sys::set_carrier(fd, true)));
    answers[STEERING] = number(sys::clear_steering(fd));
    answers[LITTLE_ENDIAN] = number(sys::set_little_endian_header(fd));
    answers[BIG_ENDIAN] = number(sys::set_big_endian_header(fd));
    answers[NAMESPACE] = number(sys::device_namespace(fd).map(drop));
    answers[QUEUES] = number(open(name).and_then(|(second, _)| detach_and_attach(second.as_fd())));
    for (i, &(_, bits)) in OFFLOADS.iter().enumerate() {
        answers[FIRST_OFFLOAD + i] = number(sys::set_offload(fd, bits));
    }
    for (i, &size) in HEADER_SIZES.iter().enumerate() {
        answers[FIRST_SIZE + i] = number(sys::set_vnet_header_size(fd, size.into()));
    }
    answers
}

fn detach_and_attach(queue: BorrowedFd<'_>) -> Result<(), Errno> {
    sys::set_queue(queue, flag::DETACH_QUEUE)?;
    sys::set_queue(queue, flag::ATTACH_QUEUE)
}

fn number(result: Result<(), Errno>) -> i32 {
    result.map_or_else(Errno::raw_os_error, |()| 0)
}

fn read(answers: &Answers) -> Result<DeviceFeatures, Errno> {
    if answers[MADE] != 0 {
        return Err(Errno::from_raw_os_error(answers[MADE]));
    }
    let yes = |i: usize| answers[i] == 0;
    let accepted = OFFLOADS.iter().enumerate().filter(|(i, _)| yes(FIRST_OFFLOAD + i));
    let mut offloads = accepted.map(|(_, (bit, _))| *bit).fold(Offloads::NONE, |all, one| all | one);
    if offloads.contains(Offloads::USO4) {
        offloads = offloads | Offloads::USO6;
    }
    // The kernel takes any number; 24 bytes mean something only where it knows of tunnels.
    let has_meaning = |size: u8| size < 24 || offloads.intersects(Offloads::TUNNEL);
    let sizes =
        HEADER_SIZES.iter().enumerate().filter(|&(i, &size)| yes(FIRST_SIZE + i) && has_meaning(size));
    Ok(DeviceFeatures {
        header_sizes: sizes.map(|(_, &size)| size).collect(),
        offloads,
        carrier: yes(CARRIER),
        steering: yes(STEERING),
        little_endian: yes(LITTLE_ENDIAN),
        big_endian: yes(BIG_ENDIAN),
        device_namespace: yes(NAMESPACE),
        queues: yes(QUEUES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offload_is_tried_with_what_it_needs() {
        for (offload, bits) in OFFLOADS {
            assert_eq!(offload.bits() & bits, offload.bits());
            let all = Offloads::ALL.bits();
            assert_eq!(bits & !all, 0);
        }
    }

    #[test]
    fn an_old_kernel_is_understood() {
        let mut answers = [0; COUNT];
        let refused = Errno::INVAL.raw_os_error();
        answers[FIRST_OFFLOAD + 5..FIRST_SIZE].fill(refused);
        answers[CARRIER] = refused;
        let features = read(&answers).unwrap();
        let expected = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::TSO_ECN | Offloads::UFO;
        assert_eq!((features.offloads, features.carrier), (expected, false));
        assert_eq!(features.header_sizes, [10, 12, 20], "without tunnels, 24 means nothing");
    }

    #[test]
    fn a_tap_that_could_not_be_made_tells_why() {
        let mut answers = [0; COUNT];
        answers[MADE] = Errno::PERM.raw_os_error();
        assert_eq!(read(&answers), Err(Errno::PERM));
    }
}
