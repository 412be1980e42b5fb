//! `mqtap features`: what this kernel and this host can do for taps.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use mqtap::Capabilities;
use mqtap::features::{Access, DeviceFeatures, Features, IoUring};
use mqtap::link::describe;

use crate::output::{Paint, Style};
use crate::{exit, json};

/// Show what this kernel and this host can do for taps.
///
/// What the kernel has no list of is tried on a tap made for this in a network namespace of its own, which is gone at once: no live
/// interface is touched, and no kernel module loaded. That needs no privilege where user namespaces are allowed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Print JSON (see docs/json.md).
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    match Features::probe() {
        Ok(features) if arguments.json => exit::print(&format!("{}\n", json::features(&features))),
        Ok(features) => exit::print(&render(&features, Paint::stdout())),
        Err(error) => exit::failure(&error),
    }
}

/// A line for each: what, whether, and what it is or what it is good for.
type Line = (&'static str, Option<bool>, String);

fn render(features: &Features, paint: Paint) -> String {
    let mut text = format!("Linux {}\n", features.kernel);
    let mut section = |title: &str, lines: Vec<Line>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{title}");
        for (name, is_there, note) in lines {
            let (style, word) = match is_there {
                Some(true) => (Style::Good, "yes"),
                Some(false) => (Style::Doubtful, "no"),
                None => (Style::Doubtful, "?"),
            };
            let padding = " ".repeat(3 - word.len());
            let line = format!("  {name:<22} {}{padding}  {note}", paint.word(style, word));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    };
    section("this host", host(features));
    section("the tun driver", driver(features));
    match &features.device {
        Ok(device) => section("a tap, tried on one", tap(device)),
        Err(errno) => {
            let _ = writeln!(text, "\nno tap could be tried where nobody sees it: {}", describe(*errno));
        }
    }
    text
}

fn host(features: &Features) -> Vec<Line> {
    let access = |access: Access| match access {
        Access::Yes => (Some(true), String::new()),
        Access::Missing => (Some(false), "it is not there".to_owned()),
        Access::Refused => (Some(false), "this user may not open it".to_owned()),
        _ => (None, "it cannot be looked at".to_owned()),
    };
    let (tun, tun_note) = access(features.tun);
    let (vhost, vhost_note) = access(features.vhost_net);
    let ring = match features.io_uring {
        IoUring::Yes => String::new(),
        IoUring::Disabled(level) => format!("switched off: kernel.io_uring_disabled={level}"),
        IoUring::Refused(errno) => describe(errno),
        _ => "the kernel has none".to_owned(),
    };
    let may = "CAP_NET_ADMIN in this network namespace";
    // Loading a module is not tried.
    let driver = |is_there: bool| match is_there {
        true => (Some(true), String::new()),
        false => (None, "its driver is not loaded; the kernel may have it".to_owned()),
    };
    let (macvtap, macvtap_note) = driver(features.macvtap);
    let (ipvtap, ipvtap_note) = driver(features.ipvtap);
    vec![
        ("/dev/net/tun", tun, tun_note),
        ("may make taps", Some(features.may_create), may.to_owned()),
        ("/dev/vhost-net", vhost, vhost_note),
        ("io_uring", Some(features.io_uring == IoUring::Yes), ring),
        ("macvtap", macvtap, macvtap_note),
        ("ipvtap", ipvtap, ipvtap_note),
    ]
}

fn driver(features: &Features) -> Vec<Line> {
    let flag = |has: fn(Capabilities) -> bool| features.capabilities.map(has);
    [
        ("multi_queue", flag(Capabilities::multi_queue), "several queues (IFF_MULTI_QUEUE)"),
        ("vnet_hdr", flag(Capabilities::vnet_header), "virtio-net header (IFF_VNET_HDR)"),
        ("no_carrier", flag(Capabilities::no_carrier), "made without carrier (IFF_NO_CARRIER, 6.0)"),
        ("napi", flag(Capabilities::napi), "written frames pass NAPI (IFF_NAPI, 4.15)"),
        ("backpressure", flag(Capabilities::backpressure), "full rings hold back (IFF_BACKPRESSURE, 7.3)"),
    ]
    .map(|(name, is_there, note)| (name, is_there, note.to_owned()))
    .into()
}

fn tap(device: &DeviceFeatures) -> Vec<Line> {
    let sizes: Vec<String> = device.header_sizes.iter().map(ToString::to_string).collect();
    let mut lines: Vec<Line> = [
        ("attach and detach", device.queues, "TUNSETQUEUE"),
        ("carrier", device.carrier, "TUNSETCARRIER, 5.0"),
        ("steering program", device.steering, "TUNSETSTEERINGEBPF, 4.16"),
        ("tells its namespace", device.device_namespace, "TUNGETDEVNETNS, 5.2"),
        ("little-endian header", device.little_endian, "TUNSETVNETLE"),
        ("big-endian header", device.big_endian, "TUNSETVNETBE, where the kernel is made with it"),
    ]
    .map(|(name, is_there, note)| (name, Some(is_there), note.to_owned()))
    .into();
    lines.push(("header sizes", Some(!sizes.is_empty()), format!("{} bytes", sizes.join(", "))));
    for offload in mqtap::Offloads::ALL.names() {
        lines.push((offload, Some(device.offloads.names().any(|name| name == offload)), String::new()));
    }
    lines
}
