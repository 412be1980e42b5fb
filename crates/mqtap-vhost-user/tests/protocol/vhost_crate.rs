//! An independent implementation of the other side: the frontend of rust-vmm's `vhost`.

use std::os::fd::{AsRawFd, RawFd};

use mqtap_virtio::memory::SharedMemory;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserDirtyLogRegion, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::frontend::{CONFIG, Guest, LOG_ALL, OFFERED, PROTOCOL_FEATURES, Serving, VERSION_1};

fn region(
    [guest_phys_addr, memory_size, userspace_addr, mmap_offset]: [u64; 4],
    fd: RawFd,
) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo { guest_phys_addr, memory_size, userspace_addr, mmap_offset, mmap_handle: fd }
}

fn ring(ring: usize, log: Option<u64>) -> VringConfigData {
    let [desc_table_addr, used_ring_addr, avail_ring_addr] = Guest::ring(ring as u32);
    VringConfigData {
        queue_max_size: 1024,
        queue_size: 256,
        flags: u32::from(log.is_some()),
        desc_table_addr,
        used_ring_addr,
        avail_ring_addr,
        log_addr: log,
    }
}

struct Events {
    kick: EventFd,
    call: EventFd,
    error: EventFd,
}

impl Events {
    fn new() -> Events {
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        Events { kick: event(), call: event(), error: event() }
    }
}

fn connect(serving: &Serving, acknowledged: bool) -> Frontend {
    let mut frontend = Frontend::connect(serving.path(), 1).unwrap();
    frontend.set_owner().unwrap();
    let features = frontend.get_features().unwrap();
    assert_eq!(features & PROTOCOL_FEATURES, PROTOCOL_FEATURES);
    let offered = frontend.get_protocol_features().unwrap();
    assert_eq!(offered.bits(), OFFERED | CONFIG);
    if acknowledged {
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    frontend.set_protocol_features(offered).unwrap();
    assert_eq!(frontend.get_queue_num().unwrap(), 8);
    frontend
}

fn session(acknowledged: bool) {
    let serving = Serving::start();
    let (guest, events) = (Guest::new(), [(); 4].map(|()| Events::new()));
    let mut frontend = connect(&serving, acknowledged);
    frontend.set_features(VERSION_1 | PROTOCOL_FEATURES).unwrap();
    // Whether or not an acknowledgement came with it, everything has taken effect after a question.
    frontend.get_features().unwrap();
    serving.calls();

    frontend.set_mem_table(&[region(Guest::region(), guest.ram.fd().as_raw_fd())]).unwrap();
    for (index, events) in events.iter().enumerate() {
        frontend.set_vring_num(index, 256).unwrap();
        frontend.set_vring_addr(index, &ring(index, None)).unwrap();
        frontend.set_vring_base(index, 9).unwrap();
        frontend.set_vring_call(index, &events.call).unwrap();
        frontend.set_vring_err(index, &events.error).unwrap();
        frontend.set_vring_kick(index, &events.kick).unwrap();
        frontend.set_vring_enable(index, true).unwrap();
    }
    frontend.get_features().unwrap();
    let start = |index, rest| format!("start {index} size=256 base=0x9 kick=fd call=fd error=fd{rest}");
    assert_eq!(
        serving.calls(),
        [
            "memory 1 regions".into(),
            start(0, " enabled"),
            start(1, " enabled"),
            start(2, ""),
            "enable 2".into(),
            start(3, ""),
            "enable 3".into(),
        ]
    );

    // The configuration space.
    let (_, config) =
        frontend.get_config(0, 12, VhostUserConfigFlags::WRITABLE, &[0; 12]).expect("a configuration");
    assert_eq!(config, (1..=12).collect::<Vec<u8>>());

    // Memory slots.
    let more = SharedMemory::create(0x10_0000).unwrap();
    let slot = region([0x1_0000_0000, 0x10_0000, 0x7e00_0000_0000, 0], more.fd().as_raw_fd());
    assert_eq!(frontend.get_max_mem_slots().unwrap(), 509);
    frontend.add_mem_region(&slot).unwrap();
    frontend.remove_mem_region(&slot).unwrap();

    // Migration.
    let log = SharedMemory::create(0x10_0000).unwrap();
    let log_region =
        VhostUserDirtyLogRegion { mmap_size: 0x10_0000, mmap_offset: 0, mmap_handle: log.fd().as_raw_fd() };
    frontend.set_log_base(0, Some(log_region)).unwrap();
    frontend.set_features(VERSION_1 | PROTOCOL_FEATURES | LOG_ALL).unwrap();
    frontend.set_vring_addr(0, &ring(0, Some(0x1000))).unwrap();
    frontend.set_log_fd(events[0].call.as_raw_fd()).unwrap();
    frontend.get_features().unwrap();
    let expected =
        ["memory 2 regions", "memory 1 regions", "memory 1 regions logged", "log 0 Some(GuestAddress(4096))"];
    assert_eq!(serving.calls(), expected);

    for index in 0..4 {
        frontend.set_vring_enable(index, false).unwrap();
        assert_eq!(frontend.get_vring_base(index).unwrap(), 14);
    }
    frontend.reset_device().unwrap();
    frontend.reset_owner().unwrap();
    frontend.get_features().unwrap();
    drop(frontend);
    serving.assert_serves();
}

#[test]
fn a_session_with_acknowledgements() {
    session(true);
}

#[test]
fn a_session_without_acknowledgements() {
    session(false);
}

#[test]
fn refusals_are_understood() {
    let serving = Serving::start();
    let frontend = connect(&serving, true);
    // 2^33, the IOMMU, was not offered.
    frontend.set_features(VERSION_1 | PROTOCOL_FEATURES | 1 << 33).unwrap_err();
    // `vhost` takes a refusal for the end of its session; ours goes on.
    let mut frontend = {
        drop(frontend);
        connect(&serving, true)
    };
    frontend.set_features(VERSION_1 | PROTOCOL_FEATURES).unwrap();
    frontend.set_protocol_features(VhostUserProtocolFeatures::from_bits_retain(OFFERED)).unwrap();
    serving.calls();
    drop(frontend);
    serving.assert_serves();
}
