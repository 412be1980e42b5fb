//! Guest memory: what is mapped, what is refused, what is marked, and what happens when it goes away.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::fs::ftruncate;

use super::*;

const MIB: u64 = 1 << 20;

fn fd(memory: &SharedMemory) -> OwnedFd {
    memory.fd().try_clone_to_owned().unwrap()
}

fn layout(guest_address: u64, size: u64, user_address: u64, mmap_offset: u64) -> RegionLayout {
    RegionLayout { guest_address, size, user_address, mmap_offset }
}

/// Two regions that meet, and one far away.
fn memory() -> GuestMemory {
    let regions = [(0x20_0000, MIB), (0, MIB), (MIB, 0x1000)];
    let map = |(at, size)| {
        let ram = SharedMemory::create(size).unwrap();
        Arc::new(ram.region(at, 0x7f00_0000_0000 + at).unwrap())
    };
    GuestMemory::new(regions.into_iter().map(map).collect()).unwrap()
}

#[test]
fn two_mappings_of_one_file_are_the_same_memory() {
    let ram = SharedMemory::create(MIB).unwrap();
    assert_eq!(ram.size(), MIB);
    let ours = GuestMemory::new(vec![Arc::new(ram.region(0x1000, 0).unwrap())]).unwrap();
    // The frontend sees the second half only, elsewhere.
    let half = Region::map(fd(&ram), layout(0, MIB / 2, 0, MIB / 2), &Budget::new()).unwrap();
    assert_eq!(half.layout(), layout(0, MIB / 2, 0, MIB / 2));
    let theirs = GuestMemory::new(vec![Arc::new(half)]).unwrap();
    ours.write(GuestAddress(0x1000 + MIB / 2 + 5), b"hello").unwrap();
    let mut buffer = [0; 7];
    theirs.read(GuestAddress(4), &mut buffer).unwrap();
    assert_eq!(&buffer, b"\0hello\0");
}

#[test]
fn regions_that_cannot_be() {
    let ram = SharedMemory::create(MIB).unwrap();
    let map = |layout| Region::map(fd(&ram), layout, &Budget::new()).unwrap_err();
    assert!(matches!(map(layout(0, 0, 0, 0)), Error::EmptyRegion { .. }));
    for wraps in [
        layout(u64::MAX, 2, 0, 0),
        layout(0, 2, u64::MAX, 0),
        layout(0, 2, 0, u64::MAX),
        layout(2, u64::MAX, 0, 0),
    ] {
        assert!(matches!(map(wraps), Error::RegionWraps { .. }), "{wraps}");
    }
    for beyond in [
        layout(0, MIB + 1, 0, 0),
        layout(0, MIB, 0, 1),
        layout(0, 1, 0, MIB),
        layout(0, u64::MAX, 0, 0),
        layout(0, 1, 0, u64::MAX),
        layout(0, 1 << 62, 0, 1 << 62),
    ] {
        let error = map(beyond);
        assert!(matches!(error, Error::BeyondFile { file_size: MIB, .. }), "{error}");
    }
}

#[test]
fn descriptors_that_are_not_memory() {
    let (pipe, _end) = rustix::pipe::pipe().unwrap();
    let map = |fd| Region::map(fd, layout(0, 4096, 0, 0), &Budget::new()).unwrap_err();
    let error = map(pipe);
    assert!(matches!(error, Error::NotMemory { .. }), "{error}");
    let error = map(std::fs::File::open("/dev/null").unwrap().into());
    assert!(matches!(error, Error::NotMemory { .. }), "{error}");
    let ram = SharedMemory::create(MIB).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ram.fd()));
    let error = map(std::fs::File::open(path).unwrap().into());
    assert!(error.to_string().contains("EACCES"), "read-only: {error}");
    assert!(error.to_string().contains("share=on"), "{error}");
    // Of a file system whose pages may never come.
    let error = map(std::fs::File::open("/proc/self/status").unwrap().into());
    assert!(matches!(error, Error::FileSystem { .. }), "{error}");
    assert!(error.to_string().contains("memfd"), "{error}");
}

#[test]
fn a_frontend_cannot_have_all_of_the_address_space() {
    let ram = SharedMemory::create(1 << 46).unwrap();
    let budget = Budget::new();
    let map = |at: u64, size| Region::map(fd(&ram), layout(at, size, 0, 0), &budget);
    let mut regions = Vec::new();
    let mut size = 1 << 46;
    while size >= MIB {
        match map(0, size) {
            Ok(region) => regions.push(region),
            Err(Error::OverBudget { .. }) => size /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    let mapped: u64 = regions.iter().map(|region| region.layout().size).sum();
    assert!((1 << 40..1 << 45).contains(&mapped), "{mapped:#x}");
    // Somebody else has what he needs.
    assert!(Region::map(fd(&ram), layout(0, 1 << 40, 0, 0), &Budget::new()).is_ok());
    let error = map(0, 2 * MIB).unwrap_err();
    assert!(error.to_string().contains("the most a frontend may have"), "{error}");
    regions.clear();
    assert!(map(0, 1 << 40).is_ok(), "given back");
}

#[test]
fn a_frontend_cannot_have_all_of_the_guarded_mappings() {
    let ram = SharedMemory::create(4096).unwrap();
    let budget = Budget::of(MIB, 3);
    let map = || Region::map(fd(&ram), layout(0, 4096, 0, 0), &budget);
    let _regions = [map().unwrap(), map().unwrap()];
    let _log = DirtyLog::map(fd(&ram), 0, 4096, &budget).unwrap();
    assert!(matches!(map(), Err(Error::OverBudget { mappings: 3, .. })));
    assert!(DirtyLog::map(fd(&ram), 0, 4096, &budget).unwrap_err().to_string().contains("ENOMEM"));
}

#[test]
fn odd_offsets_and_large_pages() {
    let ram = SharedMemory::create(4 * MIB).unwrap();
    let all = GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap())]).unwrap();
    for offset in [0, 1, 0x1000, 0x1001, 2 * MIB - 1, 2 * MIB, 3 * MIB + 7] {
        all.write(GuestAddress(offset), b"here").unwrap();
        for page in [4096, 2 * MIB, 4 * MIB] {
            // Where the kernel happens not to align it as huge pages are, there is none.
            let Ok(mapping) = region::Mapping::new(ram.fd(), page, offset, 4, &Budget::new()) else {
                assert_ne!(page, 4096);
                continue;
            };
            let mut found = [0; 4];
            // SAFETY: four bytes were mapped.
            unsafe { copy_from_guest(mapping.host(), &mut found) };
            assert_eq!(&found, b"here");
        }
    }
}

#[test]
fn regions_are_sorted_and_must_not_overlap() {
    let addresses: Vec<_> = memory().regions().iter().map(|region| region.layout().guest_address).collect();
    assert_eq!(addresses, [0, MIB, 0x20_0000]);
    let ram = SharedMemory::create(MIB).unwrap();
    let region = |at| Arc::new(ram.region(at, 0).unwrap());
    for (first, second, good) in [(0, MIB, true), (0, MIB - 1, false), (5, 5, false), (MIB, 0, true)] {
        let result = GuestMemory::new(vec![region(first), region(second)]);
        assert_eq!(result.is_ok(), good);
        if let Err(error) = result {
            assert!(matches!(error, Error::RegionsOverlap { .. }));
        }
    }
    // The last bytes of the address space can be memory.
    let last = GuestMemory::new(vec![region(u64::MAX - MIB + 1), region(0)]).unwrap();
    assert!(last.host_slice(GuestAddress(u64::MAX), 1).is_some());
    assert!(last.host_slice(GuestAddress(u64::MAX), 2).is_none());
    assert!(last.write(GuestAddress(u64::MAX), &[1, 2]).is_err());
}

#[test]
fn addresses_of_the_frontend() {
    let memory = memory();
    let user = |user| memory.user_to_guest(user).map(|at| at.0);
    assert_eq!(user(0x7f00_0000_0000), Some(0));
    assert_eq!(user(0x7f00_0010_0fff), Some(0x10_0fff));
    assert_eq!(user(0x7f00_0010_1000), None);
    assert_eq!(user(0x7f00_002f_ffff), Some(0x2f_ffff));
    assert_eq!(user(0x7f00_0030_0000), None);
    assert_eq!(user(0), None);
    assert_eq!(user(u64::MAX), None);
}

#[test]
fn slices_stay_in_one_region() {
    let memory = memory();
    let len = |at, len| memory.host_slice(GuestAddress(at), len).map(|slice| slice.len());
    assert_eq!(len(0, MIB as usize), Some(MIB as usize));
    assert_eq!(len(0, MIB as usize + 1), None);
    assert_eq!(len(MIB - 1, 1), Some(1));
    assert_eq!(len(MIB - 1, 2), None);
    assert_eq!(len(0x10_1000, 1), None);
    assert_eq!(len(0x1f_ffff, 1), None);
    assert_eq!(len(0, usize::MAX), None);
    assert!(memory.host_slice(GuestAddress(0), 0).unwrap().is_empty());
    let (a, b) =
        (memory.host_slice(GuestAddress(0), 1).unwrap(), memory.host_slice(GuestAddress(100), 1).unwrap());
    assert_eq!(b.as_ptr().addr().get() - a.as_ptr().addr().get(), 100);
}

#[test]
fn copies_of_any_length_at_any_place() {
    let memory = memory();
    let bytes: Vec<u8> = (0..64u8).collect();
    // Around the place where two regions meet, at every alignment.
    for start in MIB - 40..MIB + 8 {
        for len in 0..bytes.len() {
            memory.write(GuestAddress(start), &[0xff; 64]).unwrap();
            memory.write(GuestAddress(start), &bytes[..len]).unwrap();
            let mut back = [0; 64];
            memory.read(GuestAddress(start), &mut back).unwrap();
            assert_eq!(back[..len], bytes[..len]);
            assert!(back[len..].iter().all(|byte| *byte == 0xff));
            let mut part = vec![0; len];
            memory.read(GuestAddress(start), &mut part).unwrap();
            assert_eq!(part, bytes[..len]);
        }
    }
}

#[test]
fn copies_that_leave_memory_change_nothing() {
    let memory = memory();
    let at = GuestAddress(0x10_0ff0);
    assert!(matches!(memory.write(at, &[1; 17]), Err(Error::OutOfRange { len: 17, .. })));
    let mut buffer = [9; 17];
    assert!(memory.read(at, &mut buffer).is_err());
    assert_eq!(buffer, [9; 17]);
    memory.read(at, &mut buffer[..16]).unwrap();
    assert_eq!(buffer[..16], [0; 16]);
    assert!(memory.read(GuestAddress(u64::MAX - 1), &mut buffer).is_err());
    memory.read(GuestAddress(u64::MAX), &mut []).unwrap();
}

#[test]
fn atomic_accesses_are_little_endian_and_aligned() {
    let memory = memory();
    let at = |offset: u64| GuestAddress(0x20_0000 + offset);
    for ordering in
        [Ordering::Relaxed, Ordering::Acquire, Ordering::Release, Ordering::AcqRel, Ordering::SeqCst]
    {
        memory.store_u64(at(0), 0x0807_0605_0403_0201, ordering).unwrap();
        assert_eq!(memory.load_u64(at(0), ordering).unwrap(), 0x0807_0605_0403_0201);
    }
    assert_eq!(memory.load_u32(at(4), Ordering::Relaxed).unwrap(), 0x0807_0605);
    assert_eq!(memory.load_u16(at(2), Ordering::Relaxed).unwrap(), 0x0403);
    memory.store_u32(at(8), 0x0d0c_0b0a, Ordering::Relaxed).unwrap();
    memory.store_u16(at(12), 0x0f0e, Ordering::Relaxed).unwrap();
    let mut bytes = [0; 6];
    memory.read(at(8), &mut bytes).unwrap();
    assert_eq!(bytes, [10, 11, 12, 13, 14, 15]);
    assert!(matches!(memory.load_u16(at(1), Ordering::Relaxed), Err(Error::Misaligned { width: 2, .. })));
    assert!(matches!(memory.load_u32(at(2), Ordering::Relaxed), Err(Error::Misaligned { width: 4, .. })));
    assert!(matches!(memory.store_u64(at(4), 0, Ordering::Relaxed), Err(Error::Misaligned { width: 8, .. })));
    assert!(matches!(
        memory.load_u64(GuestAddress(0x10_0ff8 + 8), Ordering::Relaxed),
        Err(Error::OutOfRange { .. })
    ));
}

#[test]
fn memory_outlives_whoever_mapped_it() {
    let memory = memory();
    let copy = memory.clone();
    let region = Arc::clone(&memory.regions()[0]);
    drop(memory);
    copy.write(GuestAddress(0), b"x").unwrap();
    drop(copy);
    assert_eq!(Arc::strong_count(&region), 1);
}

/// A log of `size` bytes, and the pages marked in it.
fn log(size: u64, offset: u64) -> (DirtyLog, impl Fn() -> Vec<u64>) {
    let shared = SharedMemory::create(offset + size + 8).unwrap();
    let log = DirtyLog::map(fd(&shared), offset, size, &Budget::new()).unwrap();
    let view = GuestMemory::new(vec![Arc::new(shared.region(0, 0).unwrap())]).unwrap();
    let pages = move || {
        let mut bytes = vec![0; (offset + size + 8) as usize];
        view.read(GuestAddress(0), &mut bytes).unwrap();
        let outside = |byte: &u8| *byte == 0;
        assert!(bytes[..offset as usize].iter().all(outside));
        assert!(bytes[(offset + size) as usize..].iter().all(outside));
        let bit = |page: u64| bytes[(offset + page / 8) as usize] >> (page % 8) & 1 == 1;
        (0..size * 8).filter(|page| bit(*page)).collect()
    };
    (log, pages)
}

#[test]
fn the_log_has_one_bit_per_page() {
    for (at, len, marked) in [
        (0, 0, vec![]),
        (0, 1, vec![0]),
        (0xfff, 1, vec![0]),
        (0xfff, 2, vec![0, 1]),
        (0x1000, 0x1000, vec![1]),
        (0x7800, 0x1000, vec![7, 8]),
        (0x6000, 0x3001, vec![6, 7, 8, 9]),
        // 16 bytes are 128 pages.
        (0x7_f000, 0x1000, vec![127]),
        (0x7_f000, u64::MAX, vec![127]),
        (0x8_0000, 1, vec![]),
        (u64::MAX, u64::MAX, vec![]),
    ] {
        for offset in [0, 0x1008] {
            let (log, pages) = log(16, offset);
            log.mark(at, len);
            assert_eq!(pages(), marked, "{at:#x} + {len:#x}");
        }
    }
}

#[test]
fn logs_that_do_not_fit_their_file() {
    let shared = SharedMemory::create(4096).unwrap();
    for (offset, size) in [(0, 0), (0, 4097), (4096, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let error = DirtyLog::map(fd(&shared), offset, size, &Budget::new()).unwrap_err();
        assert!(matches!(error, Error::LogBeyondFile { .. }), "{error}");
    }
    assert!(DirtyLog::map(fd(&shared), 1, 4095, &Budget::new()).is_ok());
}

#[test]
fn writes_are_marked_only_when_the_log_is_on() {
    let (log, pages) = log(1024, 0);
    let memory = memory();
    assert!(!memory.is_logging());
    let logging = memory.with_log(Some(Arc::new(log)));
    assert!(logging.is_logging() && !logging.with_log(None).is_logging());
    memory.write(GuestAddress(0x3000), &[1]).unwrap();
    memory.mark_dirty(GuestAddress(0x3000), 1);
    assert!(pages().is_empty());
    logging.write(GuestAddress(MIB - 1), &[1, 2]).unwrap();
    logging.store_u16(GuestAddress(0x3000), 1, Ordering::Relaxed).unwrap();
    logging.mark_dirty(GuestAddress(0x5000), 0x1001);
    logging.read(GuestAddress(0x9000), &mut [0]).unwrap();
    assert_eq!(pages(), [3, 5, 6, 255, 256]);
    // Memory known by its address here.
    let slice = logging.host_slice(GuestAddress(0x20_1fff), 2).unwrap();
    logging.mark_dirty_host(slice.as_ptr().as_ptr(), slice.len());
    let stranger = 0u8;
    logging.mark_dirty_host(&stranger, 1);
    logging.mark_dirty_host(std::ptr::null(), 1);
    assert_eq!(pages(), [3, 5, 6, 255, 256, 0x201, 0x202]);
    // No further than the region.
    logging.mark_dirty_host(slice.as_ptr().as_ptr(), usize::MAX);
    assert_eq!(pages().len(), 5 + 255);
}

#[test]
fn a_truncated_region_reads_as_zeroes_and_is_poisoned() {
    guard_against_truncation().unwrap();
    guard_against_truncation().unwrap();
    let ram = SharedMemory::create(4 * 4096).unwrap();
    let other = SharedMemory::create(4096).unwrap();
    let memory =
        GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap()), Arc::new(other.region(MIB, 0).unwrap())])
            .unwrap();
    memory.write(GuestAddress(0), &[7; 4 * 4096]).unwrap();
    ftruncate(ram.fd(), 4096).unwrap();
    let before = truncations();
    assert!(!memory.is_poisoned());
    let mut bytes = [1; 2];
    memory.read(GuestAddress(4095), &mut bytes).unwrap();
    assert_eq!(bytes, [7, 0]);
    assert!(memory.is_poisoned() && truncations() != before);
    assert!(memory.regions()[0].is_poisoned() && !memory.regions()[1].is_poisoned());
    // Writing to another lost page is survived as well.
    memory.store_u64(GuestAddress(3 * 4096), 5, Ordering::Relaxed).unwrap();
    // A new region in the same slot of the table starts clean.
    drop(memory);
    assert!(!SharedMemory::create(4096).unwrap().region(0, 0).unwrap().is_poisoned());
}

#[test]
fn a_ring_in_truncated_memory_stops_and_others_go_on() {
    use crate::ring::{Batch, Direction, Error, Ring, RingAddresses, RingBase, RingConfig, RingFeatures};
    guard_against_truncation().unwrap();
    let config = RingConfig {
        size: 8,
        addresses: RingAddresses {
            descriptors: GuestAddress(0),
            driver: GuestAddress(0x1000),
            device: GuestAddress(0x2000),
            log: None,
        },
        features: RingFeatures::default(),
        direction: Direction::Transmit,
        base: RingBase(0),
    };
    let make = || {
        let ram = SharedMemory::create(0x4000).unwrap();
        let memory = GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap())]).unwrap();
        (Ring::new(&config, &memory).unwrap(), ram, memory)
    };
    let (mut hit, ram, memory) = make();
    let (mut spared, _ram, _memory) = make();
    let mut batch = Batch::with_capacity(1, 1);
    ftruncate(ram.fd(), 0).unwrap();
    // The access that meets the hole finds nothing; the next call knows why.
    assert_eq!(hit.pop_batch(&mut batch, 1), Ok(0));
    assert_eq!(hit.pop_batch(&mut batch, 1), Err(Error::MemoryTruncated));
    assert_eq!(hit.arm_kicks(), Err(Error::MemoryTruncated));
    assert_eq!(Ring::new(&config, &memory).unwrap_err(), Error::MemoryTruncated);
    assert_eq!(spared.update_memory(&memory), Err(Error::MemoryTruncated));
    let (mut spared, _ram, _memory) = make();
    assert_eq!(spared.pop_batch(&mut batch, 1), Ok(0));
    assert_eq!(spared.arm_kicks(), Ok(false));
}

/// Runs one of the tests below in a process of its own, where it does what ends a process.
fn in_child(test: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("memory::tests::{test}"), "--test-threads=1"])
        .env("MQTAP_TEST_CHILD", "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os("MQTAP_TEST_CHILD").is_some()
}

/// Touches a page beyond the end of a file that is not guest memory.
fn stray_sigbus() {
    let ram = SharedMemory::create(4096).unwrap();
    // SAFETY: a new mapping, which nobody unmaps.
    let page = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4096,
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::SHARED,
            ram.fd().as_fd(),
            0,
        )
    }
    .unwrap();
    ftruncate(ram.fd(), 0).unwrap();
    // SAFETY: mapped; the signal is the point.
    unsafe { page.cast::<u8>().read_volatile() };
}

#[test]
fn other_bus_errors_still_end_the_process() {
    if is_child() {
        guard_against_truncation().unwrap();
        stray_sigbus();
        return;
    }
    let status = in_child("other_bus_errors_still_end_the_process");
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status:?}");
}

#[test]
fn other_bus_errors_go_to_the_handler_before_us() {
    extern "C" fn before(_: libc::c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(42) };
    }
    if is_child() {
        let handler: extern "C" fn(libc::c_int) = before;
        // SAFETY: the handler only ends the process.
        unsafe { libc::signal(libc::SIGBUS, handler as *const () as libc::sighandler_t) };
        guard_against_truncation().unwrap();
        // Ours first: this one is survived.
        let ram = SharedMemory::create(4096).unwrap();
        let memory = GuestMemory::new(vec![Arc::new(ram.region(0, 0).unwrap())]).unwrap();
        ftruncate(ram.fd(), 0).unwrap();
        memory.read(GuestAddress(0), &mut [0]).unwrap();
        stray_sigbus();
        return;
    }
    let status = in_child("other_bus_errors_go_to_the_handler_before_us");
    assert_eq!(status.code(), Some(42), "{status:?}");
}

#[test]
fn errors_say_what_and_why() {
    let error =
        Error::Map { layout: layout(0x1000, 0x2000, 0x7f00_0000_0000, 0), errno: rustix::io::Errno::NOMEM };
    let text = error.to_string();
    assert!(text.contains("0x1000+0x2000") && text.contains("ENOMEM"), "{text}");
}
