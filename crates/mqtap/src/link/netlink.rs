//! rtnetlink, one request and its answer at a time.

use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use super::{Error, Link, TunLink};
use crate::mac::MacAddress;

/// Which interface is meant.
#[derive(Clone, Copy, Debug)]
enum Which<'a> {
    Name(&'a str),
    Index(u32),
}

impl Which<'_> {
    fn label(self) -> String {
        match self {
            Self::Name(name) => name.to_owned(),
            Self::Index(index) => format!("#{index}"),
        }
    }
}

/// An rtnetlink socket. It belongs to the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Socket {
    socket: Mutex<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    socket: netlink_sys::Socket,
    sequence: u32,
}

impl Exchange {
    /// Sends a request and returns the answers before the acknowledgement, or the error.
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::io::Result<Result<Vec<RouteNetlinkMessage>, Errno>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let datagram = match self.socket.recv_from_full() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result?.0,
            };
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|error| {
                    std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())
                })?;
                let length = (answer.header.length as usize).next_multiple_of(4).min(rest.len());
                if length == 0 {
                    return Err(std::io::ErrorKind::InvalidData.into());
                }
                rest = &rest[length..];
                if answer.header.sequence_number != self.sequence {
                    // A late answer to a request that failed midway.
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) => {
                        return Ok(match error.code {
                            None => Ok(answers),
                            Some(code) => Err(Errno::from_raw_os_error(-code.get())),
                        });
                    }
                    NetlinkPayload::Done(_) => return Ok(Ok(answers)),
                    _ => {}
                }
            }
        }
    }
}

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(Error::Socket)?;
        socket.bind_auto().map_err(Error::Socket)?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0)).map_err(Error::Socket)?;
        Ok(Self { socket: Mutex::new(Exchange { socket, sequence: 0 }) })
    }

    fn ask(
        &self,
        what: &'static str,
        which: Which<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut exchange = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match exchange.ask(message, flags).map_err(Error::Socket)? {
            Ok(answers) => Ok(answers),
            Err(Errno::NODEV) => Err(Error::NotFound(which.label())),
            Err(errno) => Err(Error::Refused { what, interface: which.label(), errno }),
        }
    }

    pub(super) fn get_by_name(&self, name: &str) -> Result<Link, Error> {
        self.get(Which::Name(name))
    }

    pub(super) fn get_by_index(&self, index: u32) -> Result<Link, Error> {
        self.get(Which::Index(index))
    }

    fn get(&self, which: Which<'_>) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        match which {
            Which::Name(name) => message.attributes.push(LinkAttribute::IfName(name.to_owned())),
            Which::Index(index) => message.header.index = index,
        }
        let answers = self.ask("read the state", which, RouteNetlinkMessage::GetLink(message), 0)?;
        let link = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => read_link(&message),
            _ => None,
        });
        link.ok_or_else(|| Error::Answer(which.label()))
    }

    fn set(&self, what: &'static str, message: LinkMessage) -> Result<(), Error> {
        let which = Which::Index(message.header.index);
        self.ask(what, which, RouteNetlinkMessage::SetLink(message), 0).map(drop)
    }

    pub(super) fn set_up(&self, index: u32, up: bool) -> Result<(), Error> {
        let mut message = about(index);
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        self.set("change the state (up or down)", message)
    }

    pub(super) fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.set("set the MTU", message)
    }

    pub(super) fn set_mac(&self, index: u32, mac: MacAddress) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Address(mac.octets().to_vec()));
        self.set("set the MAC address", message)
    }

    pub(super) fn delete(&self, index: u32) -> Result<(), Error> {
        self.ask("delete the device", Which::Index(index), RouteNetlinkMessage::DelLink(about(index)), 0)
            .map(drop)
    }

    pub(super) fn set_noqueue(&self, index: u32) -> Result<(), Error> {
        let mut message = TcMessage::default();
        // An interface's index fits the header's signed field.
        message.header.index = index as i32;
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind("noqueue".to_owned()));
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.ask("set the qdisc", Which::Index(index), request, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }
}

fn about(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        name: "unknown".parse().ok()?,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mac: None,
        master: None,
        tun: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Carrier(carrier) => link.carrier = *carrier != 0,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(&bytes[..]).ok().map(MacAddress::new);
            }
            LinkAttribute::LinkInfo(infos) => {
                link.tun = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Tun(attributes)) => Some(read_tun(attributes)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link.name = name?;
    Some(link)
}

/// `IFLA_TUN_*` (include/uapi/linux/if_link.h), which the netlink crate leaves as bytes.
fn read_tun(attributes: &[InfoTun]) -> TunLink {
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
