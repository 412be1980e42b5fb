//! Prints options so that they parse to the same again: as text, and for serde.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fds;
use super::name::OptionName as Name;
use super::options::{CarrierMode, Coalesce, Engine, Options, Qdisc, Script, VhostMode};
use crate::NameRequest;

/// A value in the form that QEMU's JSON has it in.
enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
}

impl Options {
    /// What was given, in the order of [`Name::ALL`]. Our own options appear only if they are not the default, so that the result means
    /// something to QEMU where it can.
    fn given(&self) -> impl Iterator<Item = (Name, Value)> + '_ {
        Name::ALL.iter().filter_map(|name| Some((*name, self.value_of(*name)?)))
    }

    fn value_of(&self, name: Name) -> Option<Value> {
        let text = |value: &dyn fmt::Display| Value::Text(value.to_string());
        let list = |fds: &Vec<i32>| Value::Text(fds::print(fds));
        Some(match name {
            Name::Type => text(&"tap"),
            Name::Id => text(&self.id),
            Name::Ifname if self.ifname == NameRequest::KernelChoice => return None,
            Name::Ifname => text(&self.ifname),
            Name::Fd => text(&self.fd?),
            Name::Fds => list(self.fds.as_ref()?),
            Name::Queues => Value::Number(self.queues?.into()),
            Name::Script => text(self.script.as_ref()?),
            Name::Downscript => text(self.downscript.as_ref()?),
            Name::Br => text(self.br.as_ref()?),
            Name::Helper => text(self.helper.as_ref()?),
            Name::Sndbuf => Value::Number(self.sndbuf?),
            Name::VnetHdr => Value::Switch(self.vnet_hdr?),
            Name::Vhost => match self.vhost? {
                VhostMode::On => Value::Switch(true),
                VhostMode::Off => Value::Switch(false),
                VhostMode::Try => text(&"try"),
            },
            Name::Vhostfd => text(&self.vhostfd?),
            Name::Vhostfds => list(self.vhostfds.as_ref()?),
            Name::Vhostforce => Value::Switch(self.vhostforce?),
            Name::PollUs => Value::Number(self.poll_us?.into()),
            Name::Carrier if self.carrier == CarrierMode::default() => return None,
            Name::Carrier => text(&self.carrier.as_str()),
            Name::Exclusive if !self.exclusive => return None,
            Name::Exclusive => Value::Switch(true),
            Name::Qdisc if self.qdisc == Qdisc::default() => return None,
            Name::Qdisc => text(&self.qdisc.as_str()),
            Name::Netns => text(self.netns.as_ref()?),
            Name::Persist => Value::Switch(self.persist?),
            Name::User => text(self.user.as_ref()?),
            Name::Group => text(self.group.as_ref()?),
            Name::Mac => text(&self.mac?),
            Name::Mtu => Value::Number(self.mtu?.into()),
            Name::Engine if self.engine == Engine::default() => return None,
            Name::Engine => text(&self.engine.as_str()),
            Name::Segment if self.segment => return None,
            Name::Segment => Value::Switch(false),
            Name::Coalesce if self.coalesce == Coalesce::default() => return None,
            Name::Coalesce => text(&self.coalesce.as_str()),
        })
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tap")?;
        for (name, value) in self.given().filter(|(name, _)| *name != Name::Type) {
            write!(f, ",{name}=")?;
            match value {
                Value::Text(text) => f.write_str(&text.replace(',', ",,"))?,
                Value::Number(number) => write!(f, "{number}")?,
                Value::Switch(on) => f.write_str(if on { "on" } else { "off" })?,
            }
        }
        Ok(())
    }
}

impl Serialize for Options {
    /// As a map with QEMU's names: numbers and switches as such, file descriptors as text (`"fds": "3:4"`).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.given() {
            let name = name.as_str();
            match value {
                Value::Text(text) => map.serialize_entry(name, &text)?,
                Value::Number(number) => map.serialize_entry(name, &number)?,
                Value::Switch(on) => map.serialize_entry(name, &on)?,
            }
        }
        map.end()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no"),
            Self::Program(path) => write!(f, "{}", path.display()),
        }
    }
}
