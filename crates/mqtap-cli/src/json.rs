//! Interfaces as JSON, with the keys of `ip -json -details link` for what that tells as well.

mod features;
mod findings;
mod flags;
mod tap;

pub(crate) use features::features;
pub(crate) use findings::{explanation, finding};
use mqtap::link::TunLink;
use mqtap::{InterfaceName, Link, account};
use serde_json::{Map, Value, json};
pub(crate) use tap::tap;

/// An interface, which is a port of `master`.
pub(crate) fn link(link: &Link, master: Option<InterfaceName>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            object.insert(key.to_owned(), value);
        }
    };
    set("ifindex", link.index.into());
    set("ifname", json!(link.name));
    set("mtu", link.mtu.into());
    set("qdisc", json!(link.qdisc));
    set("master", json!(master));
    set("operstate", link.operational_state.into());
    set("txqlen", link.transmit_queue_length.into());
    set("address", json!(link.mac));
    set("ifalias", json!(link.alias));
    if let Some(kind) = &link.kind {
        let mut info = json!({ "info_kind": kind });
        if let Some(tun) = link.tun {
            info["info_data"] = self::tun(&tun);
        } else if let Some(mode) = &link.mode {
            info["info_data"] = json!({ "mode": mode });
        }
        set("linkinfo", info);
    }
    object
}

fn tun(tun: &TunLink) -> Value {
    let mut data = json!({
        "type": if tun.tap { "tap" } else { "tun" },
        "pi": tun.packet_information,
        "vnet_hdr": tun.vnet_header,
        "multi_queue": tun.multi_queue,
        "persist": tun.persistent,
    });
    if tun.multi_queue {
        data["numqueues"] = tun.attached_queues.into();
        data["numdisabled"] = tun.detached_queues.into();
    }
    // A name, or the number of who has none.
    let account = |id: u32, name: Option<String>| name.map_or_else(|| id.into(), Value::from);
    if let Some(uid) = tun.owner {
        data["user"] = account(uid, account::user_name(uid));
    }
    if let Some(gid) = tun.group {
        data["group"] = account(gid, account::group_name(gid));
    }
    data
}
