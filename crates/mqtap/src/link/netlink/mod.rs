//! rtnetlink, one request and its answer at a time.

mod read;
mod watch;

use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use super::{Error, Link, QueueCounters};
use crate::mac::MacAddress;

pub(super) use watch::Watch;

/// Which interface is meant.
#[derive(Clone, Copy, Debug)]
enum Which<'a> {
    Name(&'a str),
    Index(u32),
    All,
}

impl Which<'_> {
    fn label(self) -> String {
        match self {
            Self::Name(name) => name.to_owned(),
            Self::Index(index) => format!("#{index}"),
            Self::All => "this network namespace".to_owned(),
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
        // The list changed while it was told, and may lack something.
        let mut interrupted = false;
        loop {
            let datagram = match self.socket.recv_from_full() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result?.0,
            };
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let header = NetlinkBuffer::new_checked(rest).map_err(|error| nonsense(&error))?;
                let length = header.length() as usize;
                let (number, is_part) = (header.sequence_number(), header.flags() & NLM_F_MULTIPART != 0);
                interrupted |= header.flags() & NLM_F_DUMP_INTR != 0;
                let (answer, after) = rest.split_at(length);
                rest = &after[(length.next_multiple_of(4) - length).min(after.len())..];
                if number != self.sequence {
                    // A late answer to a request that failed midway.
                    continue;
                }
                let answer = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer) {
                    Ok(answer) => answer,
                    // One interface of a list, of a kind that netlink-packet-route does not understand, is no tap of ours.
                    Err(error) if is_part => {
                        tracing::debug!("part of an answer over rtnetlink cannot be understood: {error}");
                        continue;
                    }
                    Err(error) => return Err(nonsense(&error)),
                };
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) => {
                        return Ok(match error.code {
                            None => Ok(answers),
                            Some(code) => Err(Errno::from_raw_os_error(-code.get())),
                        });
                    }
                    NetlinkPayload::Done(_) if interrupted => return Ok(Err(Errno::INTR)),
                    NetlinkPayload::Done(_) => return Ok(Ok(answers)),
                    _ => {}
                }
            }
        }
    }
}

fn nonsense(error: &DecodeError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())
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
            Err(errno) => Err(Error::Refused { what, interface: name_of(&mut exchange, which), errno }),
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
            Which::All => {}
        }
        let answers = self.ask("read the state", which, RouteNetlinkMessage::GetLink(message), 0)?;
        let link = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => read::link(&message),
            _ => None,
        });
        link.ok_or_else(|| Error::Answer(which.label()))
    }

    pub(super) fn list(&self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = self.dump("list the interfaces", Which::All, &request)?.into_iter();
        Ok(links
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => read::link(&message),
                _ => None,
            })
            .collect())
    }

    /// The kernel tells of all interfaces, whichever is asked for.
    pub(super) fn queue_counters(&self, index: u32) -> Result<Vec<QueueCounters>, Error> {
        let mut message = TcMessage::default();
        // An interface's index fits the header's signed field.
        message.header.index = index as i32;
        let request = RouteNetlinkMessage::GetQueueDiscipline(message);
        let qdiscs = self.dump("read the qdiscs", Which::Index(index), &request)?.into_iter();
        let mut counters: Vec<QueueCounters> = qdiscs
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewQueueDiscipline(message) if message.header.index == index as i32 => {
                    read::queue_counters(&message)
                }
                _ => None,
            })
            .collect();
        counters.sort_by_key(|counters| counters.queue);
        Ok(counters)
    }

    fn dump(
        &self,
        what: &'static str,
        which: Which<'_>,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        /// How often the list may change while it is told.
        const ATTEMPTS: u32 = 10;
        let mut attempt = 1;
        loop {
            match self.ask(what, which, request.clone(), NLM_F_DUMP) {
                Err(Error::Refused { errno: Errno::INTR, .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
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

    pub(super) fn set_master(&self, index: u32, master: Option<u32>) -> Result<(), Error> {
        let mut message = about(index);
        message.attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
        self.set("set the bridge", message)
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

/// What people call an interface, if it still is there to be asked.
fn name_of(exchange: &mut Exchange, which: Which<'_>) -> String {
    let Which::Index(index) = which else { return which.label() };
    let answers = match exchange.ask(RouteNetlinkMessage::GetLink(about(index)), 0) {
        Ok(Ok(answers)) => answers,
        _ => Vec::new(),
    };
    let name = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(message) => read::link(&message),
        _ => None,
    });
    name.map_or_else(|| which.label(), |link| link.name.to_string())
}

fn about(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}
