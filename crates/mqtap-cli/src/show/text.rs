//! A tap, for people.

use std::fmt::Write;

use mqtap::inspect::{Hidden, Kind, NamespaceId, Tap};

use crate::list::{owner, state};
use crate::output::{Columns, harmless};
use crate::queues::{Daemon, holders, transmit_queues};

pub(super) fn render(tap: &Tap, daemons: &[Daemon]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}: {}, {}", harmless(tap.link.name.as_str()), tap.kind.as_str(), state(tap));
    for (title, value) in facts(tap) {
        let _ = writeln!(text, "  {title:<11}{}", harmless(&value));
    }
    counters(tap, &mut text);
    let holders = holders(tap);
    section("holders", &holders, &mut text);
    if tap.unseen_queues() > 0 {
        let title = if holders.is_empty() { "\nholders\n" } else { "" };
        let count = tap.unseen_queues();
        let _ = writeln!(text, "{title}  queues in processes that this user may not look into: {count}");
    }
    section("transmit queues of the kernel (qdisc mq)", &transmit_queues(tap), &mut text);
    for daemon in daemons {
        let _ = write!(text, "\n{}", daemon.render());
    }
    text
}

fn section(title: &str, columns: &Columns, text: &mut String) {
    if !columns.is_empty() {
        let _ = write!(text, "\n{title}\n{}", columns.render("  "));
    }
}

fn facts(tap: &Tap) -> Vec<(&'static str, String)> {
    let link = &tap.link;
    let mut facts = vec![("interface", interface(tap))];
    if let Some(tun) = link.tun {
        let flags = [
            (tun.multi_queue, "multi_queue"),
            (tun.vnet_header, "vnet_hdr"),
            (tun.persistent, "persist"),
            (tun.packet_information, "pi"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(is_on, _)| *is_on).map(|&(_, flag)| flag).collect();
        facts.push(("flags", if flags.is_empty() { "none".to_owned() } else { flags.join(" ") }));
        let owner = owner(tap);
        facts.push(("owner", if owner.is_empty() { "none: any user may open it".to_owned() } else { owner }));
        if tun.vnet_header {
            facts.push(("header", header(tap)));
        }
        if let Some(offloads) = tap.offloads {
            let names: Vec<&str> = offloads.names().collect();
            facts.push(("offloads", if names.is_empty() { "none".to_owned() } else { names.join(" ") }));
        }
    }
    facts.push(("queues", queues(tap)));
    if let Some(master) = &tap.master {
        let kind = master.kind.as_deref().unwrap_or("interface");
        facts.push(("master", format!("{} ({kind}, MTU {})", master.name, master.mtu)));
    }
    if let Some(parent) = &tap.parent {
        facts.push(("on top of", parent.name.to_string()));
    }
    if let Some(program) = link.xdp_program {
        facts.push(("XDP", format!("program {program}")));
    }
    if let Some(alias) = &link.alias {
        facts.push(("alias", alias.clone()));
    }
    if let Some(name) = tap.namespace.and_then(NamespaceId::name) {
        facts.push(("namespace", name));
    }
    facts
}

fn interface(tap: &Tap) -> String {
    let link = &tap.link;
    let mac = link.mac.map_or_else(String::new, |mac| format!(", MAC {mac}"));
    let qdisc = link.qdisc.as_deref().unwrap_or("none");
    format!(
        "index {}, MTU {}{mac}, txqueuelen {}, qdisc {qdisc}",
        link.index, link.mtu, link.transmit_queue_length
    )
}

fn header(tap: &Tap) -> String {
    if let Some(bytes) = tap.vnet_header_size() {
        return format!("{bytes} bytes");
    }
    let reason = match tap.holders.first().map(|holder| holder.queue) {
        None if tap.open_queues() == 0 => "nobody has it open",
        None | Some(Err(Hidden::NotAllowed)) => "this user may not look into who holds it",
        Some(_) => "its holder cannot be asked",
    };
    format!("unknown length: {reason}")
}

fn queues(tap: &Tap) -> String {
    match tap.link.tun {
        Some(tun) if tun.multi_queue => {
            format!("{} attached, {} detached", tun.attached_queues, tun.detached_queues)
        }
        Some(_) => format!("{} open, of one", tap.open_queues()),
        None if tap.kind == Kind::Macvtap || tap.kind == Kind::Ipvtap => {
            format!("{} open of /dev/tap{}", tap.open_queues(), tap.link.index)
        }
        None => tap.open_queues().to_string(),
    }
}

fn counters(tap: &Tap, text: &mut String) {
    use crate::output::Align::{Left, Right};
    let mut columns = Columns::new([
        ("", Left),
        ("FRAMES", Right),
        ("BYTES", Right),
        ("ERRORS", Right),
        ("DROPPED", Right),
    ]);
    let counters = &tap.link.counters;
    let from_guest = [
        counters.received_frames,
        counters.received_bytes,
        counters.receive_errors,
        counters.receive_dropped,
    ];
    let to_guest = [counters.sent_frames, counters.sent_bytes, counters.send_errors, counters.send_dropped];
    for (direction, [frames, bytes, errors, dropped]) in
        [("from the guest (rx)", from_guest), ("to the guest (tx)", to_guest)]
    {
        columns.row([
            direction.to_owned(),
            frames.to_string(),
            bytes.to_string(),
            errors.to_string(),
            dropped.to_string(),
        ]);
    }
    section("counters", &columns, text);
}
