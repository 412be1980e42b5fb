//! In what a tap differs from what was asked for.

use std::fmt;

use super::CreateOptions;
use crate::account::{describe_group, describe_user};
use crate::link::Link;
use crate::mac::MacAddress;
use crate::name::InterfaceName;
use crate::netdev::Qdisc;

/// One property that is not as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The property, by its option's name.
    pub property: &'static str,
    /// What it is.
    pub found: String,
    /// What was asked for.
    pub wanted: String,
}

/// All properties that are not as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.0.iter()
    }

    /// A tap that another is making just now is not persistent yet.
    pub(super) fn not_persistent(&self) -> bool {
        self.0.iter().any(|difference| difference.property == "persist" && difference.found == "off")
    }

    fn check<T: PartialEq>(
        &mut self,
        property: &'static str,
        (found, wanted): (T, Option<T>),
        describe: impl Fn(T) -> String,
    ) {
        if let Some(wanted) = wanted
            && found != wanted
        {
            self.0.push(Difference { property, found: describe(found), wanted: describe(wanted) });
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Difference { property, found, wanted }) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{property} is {found}, not {wanted}")?;
        }
        Ok(())
    }
}

/// What a tap is to be. `None` is content with anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) persist: Option<bool>,
    pub(crate) multi_queue: Option<bool>,
    pub(crate) vnet_header: Option<bool>,
    pub(crate) packet_information: Option<bool>,
    /// `Some(None)`: nobody's.
    pub(crate) owner: Option<Option<u32>>,
    pub(crate) group: Option<Option<u32>>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu: Option<u32>,
    pub(crate) up: Option<bool>,
    pub(crate) bridge: Option<InterfaceName>,
    pub(crate) qdisc: Option<Qdisc>,
}

impl Expected {
    /// What would be there if it was made now.
    pub(super) fn of(options: &CreateOptions) -> Self {
        Self {
            persist: Some(true),
            multi_queue: Some(options.multi_queue),
            // One that was not asked for may be there because a VMM had it so: who opens an idle tap decides.
            vnet_header: options.vnet_header.then_some(true),
            packet_information: Some(false),
            owner: Some(options.owner),
            group: Some(options.group),
            mac: options.mac,
            mtu: options.mtu,
            up: options.up.then_some(true),
            bridge: options.bridge,
            qdisc: options.qdisc,
        }
    }

    /// In what an interface differs, which is a port of `bridge`.
    pub(crate) fn differences(&self, link: &Link, bridge: Option<InterfaceName>) -> Differences {
        let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
        let state = |up: bool| if up { "up" } else { "down" }.to_owned();
        let anybody = || "anybody".to_owned();
        let tun = link.tun.unwrap_or_default();
        let mut all = Differences::default();
        all.check("persist", (tun.persistent, self.persist), switch);
        all.check("multi_queue", (tun.multi_queue, self.multi_queue), switch);
        all.check("vnet_hdr", (tun.vnet_header, self.vnet_header), switch);
        all.check("pi", (tun.packet_information, self.packet_information), switch);
        all.check("owner", (tun.owner, self.owner), |uid| uid.map_or_else(anybody, describe_user));
        all.check("group", (tun.group, self.group), |gid| gid.map_or_else(anybody, describe_group));
        all.check("mac", (link.mac, self.mac.map(Some)), |mac| {
            mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string())
        });
        all.check("mtu", (link.mtu, self.mtu), |mtu| mtu.to_string());
        all.check("state", (link.up, self.up), state);
        all.check("bridge", (bridge, self.bridge.map(Some)), |bridge| {
            bridge.map_or_else(|| "none".to_owned(), |bridge| bridge.to_string())
        });
        if let Some(wanted) = self.qdisc {
            let found = link.qdisc.as_deref().unwrap_or("none");
            // What it will be once it is up.
            let agrees = found == wanted.as_str() || wanted == Qdisc::Mq && found == "noop";
            if !agrees {
                let (found, wanted) = (found.to_owned(), wanted.as_str().to_owned());
                all.0.push(Difference { property: "qdisc", found, wanted });
            }
        }
        all
    }
}
