//! A virtio-net guest without a machine around it.

#![forbid(unsafe_code)]

mod guest;
mod loader;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mqtap_driver::DriverOptions;
use mqtap_driver::frames::Mac;
use mqtap_driver::protocol::{feature, protocol_feature};

/// Plays a virtio-net guest behind a vhost-user socket, for tests and demonstrations.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// A guest that answers ARP, neighbour solicitations, ping and UDP echo (port 7), and obeys lines on stdin
    #[command(after_help = guest::HELP)]
    Guest(GuestOptions),
    /// A guest that does nothing but transmit or receive numbered frames as fast as it can, and obeys lines on stdin
    #[command(after_help = loader::HELP)]
    Load(loader::LoadOptions),
    /// Guests that are connected and do nothing, until stdin ends
    Idle(loader::IdleOptions),
}

/// The device that the guest has.
#[derive(Debug, Args)]
struct DeviceOptions {
    /// Queue pairs to set up (each is two virtqueues)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    queue_pairs: u16,
    /// Queue pairs to enable at the start [default: all of them]
    #[arg(long)]
    active: Option<u16>,
    /// Descriptors of each ring
    #[arg(long, default_value_t = 256)]
    ring_size: u16,
    /// Packed rings
    #[arg(long)]
    packed: bool,
    /// Features to do without
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Feature>,
    /// Take IN_ORDER
    #[arg(long)]
    in_order: bool,
    /// Offloads to take
    #[arg(long, value_enum, default_value_t = Offloads::None)]
    offloads: Offloads,
    /// Longest packet to have receive buffers for, where they are not mergeable
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
}

#[derive(Debug, Args)]
struct GuestOptions {
    /// Socket the backend listens at
    #[arg(long)]
    socket: PathBuf,
    #[command(flatten)]
    device: DeviceOptions,
    /// Ethernet address of the guest
    #[arg(long, default_value = "52:54:00:12:34:56", value_parser = parse_mac)]
    mac: Mac,
    /// IPv4 address of the guest
    #[arg(long, default_value = "10.0.0.2")]
    ip: Ipv4Addr,
    /// IPv6 address of the guest
    #[arg(long)]
    ip6: Option<Ipv6Addr>,
    /// IPv4 address that `send` sends to; its Ethernet address is asked for by ARP
    #[arg(long, default_value = "10.0.0.1")]
    peer: Ipv4Addr,
    /// UDP port that `send` sends to
    #[arg(long, default_value_t = mqtap_driver::host::DISCARD_PORT)]
    port: u16,
}

/// Features that are taken unless asked not to.
#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Feature {
    /// EVENT_IDX
    EventIndex,
    /// INDIRECT_DESC
    Indirect,
    /// MRG_RXBUF
    Mergeable,
    /// REPLY_ACK of the vhost-user protocol: do not wait for an answer to each message
    ReplyAck,
}

/// Which offloads to take.
#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Offloads {
    /// None
    None,
    /// Checksums, both ways
    Checksum,
    /// All that the backend offers, but for UDP super-frames, as most guests do
    Tcp,
    /// All that the backend offers
    All,
}

impl DeviceOptions {
    fn driver_options(&self) -> DriverOptions {
        let without = |feature| self.without.contains(&feature);
        let default = DriverOptions::default();
        let not_protocol = if without(Feature::ReplyAck) { protocol_feature::REPLY_ACK } else { 0 };
        DriverOptions {
            protocol_features: default.protocol_features & !not_protocol,
            queue_pairs: self.queue_pairs,
            ring_size: self.ring_size,
            packed: self.packed,
            event_index: !without(Feature::EventIndex),
            indirect: !without(Feature::Indirect),
            mergeable: !without(Feature::Mergeable),
            in_order: self.in_order,
            mtu: self.mtu,
            offloads: match self.offloads {
                Offloads::None => 0,
                Offloads::Checksum => feature::CSUM | feature::GUEST_CSUM,
                Offloads::Tcp => feature::OFFLOADS & !feature::UDP_GSO,
                Offloads::All => feature::OFFLOADS,
            },
            ..default
        }
    }
}

fn parse_mac(text: &str) -> Result<Mac, String> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).map_err(|_| format!("{part:?} is not a byte")))
        .collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| "an Ethernet address has six bytes, as 52:54:00:12:34:56".to_owned())
}

fn main() -> ExitCode {
    let result = match Cli::parse().mode {
        Mode::Guest(options) => guest::run(&options),
        Mode::Load(options) => loader::run(&options),
        Mode::Idle(options) => loader::idle(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtap-driver: {error}");
            ExitCode::FAILURE
        }
    }
}
