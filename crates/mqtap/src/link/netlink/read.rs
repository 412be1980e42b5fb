//! What the kernel tells of an interface.

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_route::link::{
    InfoData, InfoIpVtap, InfoMacVtap, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
    Prop, State, Stats64,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

use super::super::{Link, LinkCounters, QueueCounters, TunLink};
use crate::mac::MacAddress;

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        name: "unknown".parse().ok()?,
        alternative_names: Vec::new(),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        flags: flags.bits(),
        mtu: 0,
        mac: None,
        kind: None,
        mode: None,
        parent: None,
        master: None,
        qdisc: None,
        transmit_queue_length: 0,
        transmit_queues: 0,
        receive_queues: 0,
        operational_state: "UNKNOWN",
        alias: None,
        xdp_program: None,
        counters: LinkCounters::default(),
        tun: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Carrier(carrier) => link.carrier = *carrier != 0,
            LinkAttribute::Link(index) => link.parent = Some(*index),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Qdisc(name) => link.qdisc = Some(name.clone()),
            LinkAttribute::TxQueueLen(frames) => link.transmit_queue_length = *frames,
            LinkAttribute::NumTxQueues(count) => link.transmit_queues = *count,
            LinkAttribute::NumRxQueues(count) => link.receive_queues = *count,
            LinkAttribute::PropList(properties) => {
                link.alternative_names = properties
                    .iter()
                    .filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name.clone()),
                        _ => None,
                    })
                    .collect();
            }
            LinkAttribute::OperState(state) => link.operational_state = word(*state),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Xdp(attributes) => link.xdp_program = xdp_program(attributes),
            LinkAttribute::Stats64(stats) => link.counters = counters(stats),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(&bytes[..]).ok().map(MacAddress::new);
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Tun(attributes)) => link.tun = Some(tun(attributes)),
                        LinkInfo::Data(data) => link.mode = mode(data),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.name = name?;
    Some(link)
}

/// iproute2's words, which the library has as well.
fn mode(data: &InfoData) -> Option<String> {
    match data {
        InfoData::MacVtap(attributes) => attributes.iter().find_map(|attribute| match attribute {
            InfoMacVtap::Mode(mode) => Some(mode.to_string()),
            _ => None,
        }),
        InfoData::IpVtap(attributes) => attributes.iter().find_map(|attribute| match attribute {
            InfoIpVtap::Mode(mode) => Some(mode.to_string()),
            _ => None,
        }),
        _ => None,
    }
}

/// iproute2's words (ip/ipaddress.c: `oper_states`).
fn word(state: State) -> &'static str {
    match state {
        State::NotPresent => "NOTPRESENT",
        State::Down => "DOWN",
        State::LowerLayerDown => "LOWERLAYERDOWN",
        State::Testing => "TESTING",
        State::Dormant => "DORMANT",
        State::Up => "UP",
        _ => "UNKNOWN",
    }
}

fn xdp_program(attributes: &[LinkXdp]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    })
}

fn counters(stats: &Stats64) -> LinkCounters {
    LinkCounters {
        received_frames: stats.rx_packets,
        received_bytes: stats.rx_bytes,
        receive_errors: stats.rx_errors,
        receive_dropped: stats.rx_dropped,
        sent_frames: stats.tx_packets,
        sent_bytes: stats.tx_bytes,
        send_errors: stats.tx_errors,
        send_dropped: stats.tx_dropped,
    }
}

/// The counters of one transmit queue, if this qdisc is a child of `mq`: queue i is its class i+1 (net/sched/sch_mq.c).
pub(super) fn queue_counters(message: &TcMessage) -> Option<QueueCounters> {
    let parent = message.header.parent;
    if parent == TcHandle::ROOT || parent == TcHandle::UNSPEC {
        return None;
    }
    let mut counters = QueueCounters { queue: parent.minor.checked_sub(1)?, ..QueueCounters::default() };
    for attribute in &message.attributes {
        let TcAttribute::Stats2(stats) = attribute else { continue };
        for stat in stats {
            match stat {
                TcStats2::Basic(basic) => {
                    counters.frames = basic.packets.into();
                    counters.bytes = basic.bytes;
                }
                // TCA_STATS_PKT64, which comes after the former once its 32 bits are not enough.
                TcStats2::Other(attribute) if attribute.kind() == 8 => {
                    let mut bytes = vec![0; attribute.value_len()];
                    attribute.emit_value(&mut bytes);
                    if let Ok(bytes) = bytes.try_into() {
                        counters.frames = u64::from_ne_bytes(bytes);
                    }
                }
                TcStats2::Queue(queue) => {
                    counters.dropped = queue.drops.into();
                    counters.waiting = queue.qlen;
                }
                _ => {}
            }
        }
    }
    Some(counters)
}

/// `IFLA_TUN_*` (include/uapi/linux/if_link.h), which the netlink crate leaves as bytes.
fn tun(attributes: &[InfoTun]) -> TunLink {
    let mut tun = TunLink::default();
    for attribute in attributes {
        let InfoTun::Other(attribute) = attribute else { continue };
        let value = number(attribute);
        let flag = value != 0;
        match attribute.kind() {
            1 => tun.owner = Some(value),
            2 => tun.group = Some(value),
            // IFF_TAP
            3 => tun.tap = value == 2,
            4 => tun.packet_information = flag,
            5 => tun.vnet_header = flag,
            6 => tun.persistent = flag,
            7 => tun.multi_queue = flag,
            8 => tun.attached_queues = value,
            9 => tun.detached_queues = value,
            _ => {}
        }
    }
    tun
}

/// A value of one or four bytes.
fn number(attribute: &DefaultNla) -> u32 {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    match bytes[..] {
        [byte] => byte.into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}
