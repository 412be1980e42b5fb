//! Taps as JSON: what `ip -json -details -statistics link` says, by the same keys, and what it does not.

use mqtap::inspect::{Hidden, Holder, NamespaceId, QueueState, Tap};
use mqtap::link::{LinkCounters, QueueCounters};
use serde_json::{Map, Value, json};

/// All of a tap, but what its daemon says.
pub(crate) fn tap(tap: &Tap) -> Map<String, Value> {
    let mut object = super::link(&tap.link, tap.master.as_ref().map(|master| master.name));
    let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
    set("flags", json!(super::flags::names(&tap.link, tap.parent.as_ref())));
    set("num_rx_queues", tap.link.receive_queues.into());
    if !tap.link.alternative_names.is_empty() {
        set("altnames", json!(tap.link.alternative_names));
    }
    set("kind", tap.kind.as_str().into());
    set("up", tap.link.up.into());
    set("carrier", tap.link.carrier.into());
    set("num_tx_queues", tap.link.transmit_queues.into());
    set("stats64", stats(&tap.link.counters));
    set("xdp_prog_id", tap.link.xdp_program.into());
    set("link", json!(tap.parent.as_ref().map(|parent| parent.name)));
    set("netns", namespace(tap.namespace));
    set("offloads", tap.offloads.map_or(Value::Null, |offloads| json!(offloads.names().collect::<Vec<_>>())));
    set("vnet_hdr_size", tap.vnet_header_size().into());
    set("open_queues", tap.open_queues().into());
    set("unseen_queues", tap.unseen_queues().into());
    set("holders", tap.holders.iter().map(holder).collect());
    set("tx_queues", tap.queue_counters.iter().map(transmit_queue).collect());
    object
}

fn stats(counters: &LinkCounters) -> Value {
    json!({
        "rx": {
            "bytes": counters.received_bytes,
            "packets": counters.received_frames,
            "errors": counters.receive_errors,
            "dropped": counters.receive_dropped,
        },
        "tx": {
            "bytes": counters.sent_bytes,
            "packets": counters.sent_frames,
            "errors": counters.send_errors,
            "dropped": counters.send_dropped,
        },
    })
}

/// By the keys of `tc -json -statistics qdisc`.
fn transmit_queue(counters: &QueueCounters) -> Value {
    json!({
        "queue": counters.queue,
        "bytes": counters.bytes,
        "packets": counters.frames,
        "drops": counters.dropped,
        "qlen": counters.waiting,
    })
}

fn namespace(namespace: Option<NamespaceId>) -> Value {
    namespace.map_or(Value::Null, |namespace| json!({ "inode": namespace.inode(), "name": namespace.name() }))
}

fn holder(holder: &Holder) -> Value {
    let (queue, hidden) = match &holder.queue {
        Ok(state) => (queue(state), Value::Null),
        Err(why) => (Value::Null, hidden(*why).into()),
    };
    json!({
        "pid": holder.pid,
        "command": holder.command,
        "args": holder.arguments,
        "unit": holder.unit,
        "stopped": holder.stopped,
        "netns": namespace(holder.namespace),
        "fd": holder.fd,
        "blocking": holder.blocking,
        "io_uring": holder.io_uring,
        "vhost_net": holder.vhost_net,
        "same_as": holder.same_as.map(|(pid, fd)| json!({ "pid": pid, "fd": fd })),
        "queue": queue,
        "hidden": hidden,
    })
}

fn queue(state: &QueueState) -> Value {
    json!({
        "attached": state.attached,
        "has_frames": state.has_frames,
        "flags": state.flags,
        "flag_names": state.flag_names(),
        "vnet_hdr_size": state.vnet_header_size,
        "sndbuf": state.send_buffer.filter(|&bytes| bytes < i32::MAX),
        "classic_filter": state.classic_filter,
        "device_netns": namespace(state.device_namespace),
        "opened_in_netns": namespace(state.opened_in),
    })
}

fn hidden(why: Hidden) -> &'static str {
    match why {
        Hidden::NotAllowed => "not-allowed",
        _ => "unavailable",
    }
}
