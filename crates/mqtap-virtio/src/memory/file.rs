//! Which files are taken for memory.
//!
//! Frontends pass descriptors of whatever they like. A file system that a process serves (FUSE), or a machine elsewhere, answers when
//! it likes, or not at all: not only reads of its files may take for ever, but what is asked about them. So nothing is asked
//! that such a file system would have to answer.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, fcntl_get_seals, fstatfs, statx};
use rustix::io::Errno;

/// What a descriptor is, as far as the kernel knows without asking its file system.
fn look(fd: impl AsFd) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)
}

/// Which file a descriptor is of: the device's major and minor number, and the inode. Two descriptors of one file agree.
///
/// # Errors
/// What `statx(2)` says.
pub fn file_id(fd: impl AsFd) -> Result<(u32, u32, u64), Errno> {
    let file = look(fd)?;
    Ok((file.stx_dev_major, file.stx_dev_minor, file.stx_ino))
}

/// A file that can be memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryFile {
    /// Bytes that are mapped at once: a power of two, larger than the machine's page on hugetlbfs.
    pub(super) page: u64,
    /// Bytes that there are; a DAX device does not tell.
    pub(super) size: Option<u64>,
}

/// Why a descriptor is not taken for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotMemory {
    /// It is of another type (`st_mode & S_IFMT`).
    Type(u32),
    /// Its pages may be long in coming, or not come.
    FileSystem,
    /// It cannot be looked at.
    Unknown(Errno),
}

impl MemoryFile {
    /// An access to the memory must end: whoever touches it holds up others meanwhile. So it is the kernel's own memory, a DAX
    /// device, or a file on a disk of this machine.
    pub(super) fn of(fd: impl AsFd) -> Result<Self, NotMemory> {
        let file = look(&fd).map_err(NotMemory::Unknown)?;
        let page = rustix::param::page_size() as u64;
        match FileType::from_raw_mode(file.stx_mode.into()) {
            FileType::RegularFile => {
                let page = if has_pages_of_its_own(&fd, &file)? { huge_page(&fd, page)? } else { page };
                Ok(Self { page, size: Some(file.stx_size) })
            }
            FileType::CharacterDevice if is_dax(&file) => Ok(Self { page, size: None }),
            kind => Err(NotMemory::Type(kind.as_raw_mode())),
        }
    }
}

/// Whether a file is memory and nothing else. If not, it is on a disk.
fn has_pages_of_its_own(fd: impl AsFd, file: &Statx) -> Result<bool, NotMemory> {
    // fs/ext4/ext4.h, fs/xfs/xfs_super.h, include/uapi/linux/magic.h.
    const ON_DISK: [u64; 3] = [0xef53, 0x5846_5342, 0xf2f5_2010];
    // Seals are for tmpfs and hugetlbfs (mm/memfd.c), and only the kernel is asked.
    if fcntl_get_seals(&fd).is_ok() {
        return Ok(true);
    }
    // FUSE, networks and overlayfs have no device (include/linux/kdev_t.h: unnamed devices have major 0).
    if file.stx_dev_major == 0 || !ON_DISK.contains(&magic(&fd)?.0) {
        return Err(NotMemory::FileSystem);
    }
    Ok(false)
}

/// The page of a file on hugetlbfs, and else the machine's. (The block size of other file systems is no page.)
fn huge_page(fd: impl AsFd, page: u64) -> Result<u64, NotMemory> {
    const HUGETLBFS: u64 = 0x9584_58f6;
    match magic(fd)? {
        (HUGETLBFS, block) if block.is_power_of_two() && block >= page => Ok(block),
        (HUGETLBFS, _) => Err(NotMemory::FileSystem),
        _ => Ok(page),
    }
}

/// The type and the block size of a file system.
fn magic(fd: impl AsFd) -> Result<(u64, u64), NotMemory> {
    let system = fstatfs(fd).map_err(NotMemory::Unknown)?;
    // Types have 32 bits, in a word that has more, and a sign, on some machines.
    Ok((system.f_type as u64 & 0xffff_ffff, u64::try_from(system.f_bsize).unwrap_or(0)))
}

/// Documentation/ABI/testing/sysfs-bus-dax.
fn is_dax(file: &Statx) -> bool {
    let (major, minor) = (file.stx_rdev_major, file.stx_rdev_minor);
    std::fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem"))
        .is_ok_and(|subsystem| subsystem.file_name().is_some_and(|name| name == "dax"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn memory_is_memory() {
        let memory = memfd_create(c"mqtap-test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 12_345).unwrap();
        let page = rustix::param::page_size() as u64;
        assert_eq!(MemoryFile::of(&memory), Ok(MemoryFile { page, size: Some(12_345) }));
        let huge =
            memfd_create(c"mqtap-test", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB);
        if let Ok(huge) = huge {
            ftruncate(&huge, 4 << 20).unwrap();
            assert_eq!(MemoryFile::of(&huge), Ok(MemoryFile { page: 2 << 20, size: Some(4 << 20) }));
        }
    }

    #[test]
    fn what_is_not_memory_is_not() {
        for (path, expected) in [
            ("/proc/self/status", NotMemory::FileSystem),
            ("/sys/kernel/mm/transparent_hugepage/enabled", NotMemory::FileSystem),
            ("/dev/null", NotMemory::Type(FileType::CharacterDevice.as_raw_mode())),
            ("/", NotMemory::Type(FileType::Directory.as_raw_mode())),
        ] {
            if let Ok(file) = File::open(path) {
                assert_eq!(MemoryFile::of(&file), Err(expected), "{path}");
            }
        }
    }

    #[test]
    fn a_file_is_itself() {
        let make = || memfd_create(c"mqtap-test", MemfdFlags::CLOEXEC).unwrap();
        let (one, other) = (make(), make());
        assert_eq!(file_id(&one).unwrap(), file_id(one.try_clone().unwrap()).unwrap());
        assert_ne!(file_id(&one).unwrap(), file_id(&other).unwrap());
    }
}
