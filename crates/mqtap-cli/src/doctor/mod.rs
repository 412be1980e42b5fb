//! `mqtap doctor`: what is wrong, why, and what to type.

mod text;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mqtap::doctor::{self, Finding, Host, Sample, Severity, Wanted};
use mqtap::{InterfaceName, Namespace, inspect};
use serde_json::{Value, json};

use crate::create::words;
use crate::output::Paint;
use crate::{Error, exit, json as objects, output, seconds};

/// Say what is wrong with a tap or this host, why, and what to type.
///
/// With a name: looks at that tap twice, half a second apart. Without: looks at the host, and at each tap of this network namespace. It
/// changes nothing of what it looks at. Each finding has a name, by which docs/doctor.md explains it.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "mqtap doctor [OPTIONS] [[dev] NAME]\n       mqtap doctor --explain TEXT...",
    after_long_help = NOTES
)]
pub(crate) struct Arguments {
    /// The tap [default: the host, and all taps].
    #[arg(value_name = "NAME", num_args = 1.., conflicts_with = "explain")]
    words: Vec<String>,

    /// How many queues a VMM is going to ask for.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    queues: Option<u16>,

    /// Whether a VMM is going to ask for a virtio-net header. Without this option it probably will, and what would come of that is
    /// good to know only.
    #[arg(long, value_name = "on|off", value_enum)]
    vnet_hdr: Option<Switch>,

    /// Time between two looks, in seconds; 0 looks once, and does not see what is dropped or not read.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds::or_none)]
    wait: Duration,

    /// In this network namespace: a name (see `ip netns`), a path, or the number of a process.
    #[arg(long, value_name = "NAME|PATH|PID")]
    netns: Option<Namespace>,

    /// Say what an error message means: an errno such as EINVAL or 22, or what QEMU, libvirt, iproute2 or mqtap printed.
    #[arg(long, value_name = "TEXT", num_args = 1.., conflicts_with_all = ["queues", "vnet_hdr", "netns"])]
    explain: Option<Vec<String>>,

    /// Print JSON (see docs/json.md).
    #[arg(long)]
    json: bool,
}

const NOTES: &str = "\
Exit status: 0 nothing serious, 1 something serious (a finding that is an
error) or the looking failed, 2 wrong usage. With --explain: 0 if the message
is known, 1 if not.

Examples:
  mqtap doctor
  mqtap doctor tap0 --queues 4
  mqtap doctor --explain EINVAL
  mqtap doctor --explain errno 22
  mqtap doctor --explain could not configure /dev/net/tun: Invalid argument";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    if let Some(words) = &arguments.explain {
        return explain(&words.join(" "), arguments.json);
    }
    let name = match arguments.words.as_slice() {
        [] => None,
        words => match words::name(words, "doctor") {
            Ok(name) => Some(name),
            Err(message) => return exit::usage("doctor", &message),
        },
    };
    let findings = match name {
        Some(name) => examine_one(name, arguments),
        None => examine_all(arguments),
    };
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => return exit::failure(&error),
    };
    let text = if arguments.json {
        let findings: Vec<Value> = findings.iter().map(objects::finding).collect();
        format!("{}\n", json!({ "findings": findings }))
    } else {
        text::findings(&findings, name, Paint::stdout(), output::width())
    };
    let is_serious = findings.iter().any(|finding| finding.severity == Severity::Error);
    match output::print(&text) {
        Ok(_) if is_serious => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => exit::unprinted(&error),
    }
}

impl Arguments {
    fn wanted(&self) -> Wanted {
        let vnet_header = self.vnet_hdr.map(|switch| matches!(switch, Switch::On));
        Wanted { queues: self.queues, vnet_header }
    }
}

fn examine_one(name: InterfaceName, arguments: &Arguments) -> Result<Vec<Finding>, Error> {
    let namespace = arguments.netns.as_ref();
    // What is no tap is a finding, too.
    let look = || match doctor::sample(name, namespace) {
        Ok(sample) => Ok(Ok(sample)),
        Err(inspect::Error::NotFound(_)) => Ok(Err(vec![doctor::missing(name, namespace)])),
        Err(inspect::Error::NotATap { kind, .. }) => {
            Ok(Err(vec![doctor::not_a_tap(name, kind.as_deref(), namespace)]))
        }
        Err(error) => Err(error),
    };
    let wanted = arguments.wanted();
    let first = match look()? {
        Ok(first) => first,
        Err(findings) => return Ok(findings),
    };
    if arguments.wait.is_zero() {
        return Ok(doctor::examine(None, &first, &wanted));
    }
    std::thread::sleep(arguments.wait);
    Ok(match look()? {
        Ok(second) => doctor::examine(Some(&first), &second, &wanted),
        Err(findings) => findings,
    })
}

fn examine_all(arguments: &Arguments) -> Result<Vec<Finding>, Error> {
    let namespace = arguments.netns.as_ref();
    let wanted = arguments.wanted();
    let mut findings = doctor::examine_host(&Host::look()?);
    let mut first: Vec<Sample> = Vec::new();
    if !arguments.wait.is_zero() {
        first = doctor::sample_all(namespace)?;
        if !first.is_empty() {
            std::thread::sleep(arguments.wait);
        }
    }
    for now in doctor::sample_all(namespace)? {
        let before = first.iter().find(|sample| sample.tap.link.index == now.tap.link.index);
        findings.extend(doctor::examine(before, &now, &wanted));
    }
    // Of one severity, those of the host stay before those of taps, and those of a tap together.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

fn explain(text: &str, as_json: bool) -> ExitCode {
    let explanations = doctor::explain(text);
    let printed = if as_json {
        let explanations: Vec<Value> = explanations.iter().map(|one| objects::explanation(one)).collect();
        format!("{}\n", json!({ "explanations": explanations }))
    } else if explanations.is_empty() {
        return exit::failure(&format!(
            "nothing is known of {text:?}; give an errno by name or number (EINVAL, 22), or the message as it was printed"
        ));
    } else {
        text::explanations(&explanations, Paint::stdout(), output::width())
    };
    match output::print(&printed) {
        Ok(_) if explanations.is_empty() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => exit::unprinted(&error),
    }
}
