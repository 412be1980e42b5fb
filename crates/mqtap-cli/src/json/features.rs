//! What a kernel and a host can do, as JSON.

use mqtap::Capabilities;
use mqtap::features::{DeviceFeatures, Features, IoUring};
use mqtap::link::describe;
use serde_json::{Map, Value, json};

pub(crate) fn features(features: &Features) -> Value {
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
    set("kernel", features.kernel.clone().into());
    set("dev_net_tun", features.tun.as_str().into());
    set("dev_vhost_net", features.vhost_net.as_str().into());
    set("may_create", features.may_create.into());
    set("macvtap", features.macvtap.into());
    set("ipvtap", features.ipvtap.into());
    set("io_uring", io_uring(features.io_uring).into());
    let flags = features.capabilities;
    set("multi_queue", flags.map(Capabilities::multi_queue).into());
    set("vnet_hdr", flags.map(Capabilities::vnet_header).into());
    set("no_carrier", flags.map(Capabilities::no_carrier).into());
    set("napi", flags.map(Capabilities::napi).into());
    set("backpressure", flags.map(Capabilities::backpressure).into());
    set("device", features.device.as_ref().map_or(Value::Null, device));
    let error = features.device.as_ref().err().map(|&errno| describe(errno));
    set("device_error", error.into());
    object.into()
}

fn device(device: &DeviceFeatures) -> Value {
    json!({
        "queues": device.queues,
        "offloads": device.offloads.names().collect::<Vec<_>>(),
        "vnet_hdr_sizes": device.header_sizes,
        "carrier": device.carrier,
        "steering": device.steering,
        "vnet_le": device.little_endian,
        "vnet_be": device.big_endian,
        "device_netns": device.device_namespace,
    })
}

pub(crate) fn io_uring(io_uring: IoUring) -> &'static str {
    match io_uring {
        IoUring::Yes => "yes",
        IoUring::Missing => "missing",
        IoUring::Disabled(_) => "disabled",
        _ => "refused",
    }
}
