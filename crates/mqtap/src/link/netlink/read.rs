//! What the kernel tells of an interface.

use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use super::super::{Link, TunLink};
use crate::mac::MacAddress;

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        name: "unknown".parse().ok()?,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: None,
        kind: None,
        parent: None,
        master: None,
        qdisc: None,
        transmit_queue_length: 0,
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
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(&bytes[..]).ok().map(MacAddress::new);
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Tun(attributes)) => link.tun = Some(tun(attributes)),
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
