//! Who takes part in which cell.

use std::process::Command;
use std::time::Duration;

use super::Arguments;
use super::contender::Contender;
use super::model::Skipped;
use super::{peers, report};
use crate::{process, serve};

const QUICK: Duration = Duration::from_secs(20);

/// Our netdev options that make a difference somewhere; without them it is as by default.
pub(super) const SYSCALL: &str = "engine=syscall";
pub(super) const COALESCE_ON: &str = "coalesce=on";
pub(super) const COALESCE_OFF: &str = "coalesce=off";
pub(super) const SEGMENT_OFF: &str = "segment=off";
/// Long enough that a worker is still awake when the next request comes.
const POLLING: &str = "poll-us=1000";

/// All that could take part.
#[derive(Default)]
pub(super) struct Field {
    /// Ours by default, and with what the command line asks for.
    ours: Vec<Contender>,
    /// Options of ours that the build at hand knows.
    known: Vec<&'static str>,
    peers: Vec<Contender>,
    /// Peers for transmit with one pair only.
    switches: Vec<Contender>,
}

impl Field {
    /// Looks for everybody. Who cannot be had is noted, and left out.
    pub(super) fn gather(arguments: &Arguments, skipped: &mut Vec<Skipped>) -> Self {
        let mut field = Self { ours: vec![Contender::ours("mqtap", "")], ..Self::default() };
        field.ours.extend(
            arguments.ours.iter().map(|named| Contender::ours(&format!("mqtap {}", named.name), &named.text)),
        );
        for option in [SYSCALL, COALESCE_ON, COALESCE_OFF, SEGMENT_OFF, POLLING] {
            if is_known(option) {
                field.known.push(option);
            } else {
                skipped.push(Skipped {
                    name: format!("mqtap {option}"),
                    why: "this build does not know it".into(),
                });
            }
        }
        field.peers = arguments.peer.iter().map(peers::named).collect();
        // A quick run is to be quick.
        if !arguments.quick {
            let mut skip = |name: &str, why: String| skipped.push(Skipped { name: name.to_owned(), why });
            match peers::dpdk() {
                Ok(dpdk) => field.peers.insert(0, dpdk),
                Err(error) => skip(report::DPDK, error.to_string()),
            }
            match peers::open_vswitch() {
                Ok(switch) => field.switches.push(switch),
                Err(error) => skip(report::OPEN_VSWITCH, error.to_string()),
            }
        }
        field
    }

    /// The floors, ours by default and with these options, and the peers.
    pub(super) fn everybody(&self, floors: &[Contender], options: &[&'static str]) -> Vec<Contender> {
        let mut all = self.ours(floors, options);
        all.extend(self.peers.iter().cloned());
        all
    }

    /// Everybody, and those that only take part where one pair transmits.
    pub(super) fn everybody_and_switches(
        &self,
        floors: &[Contender],
        options: &[&'static str],
    ) -> Vec<Contender> {
        let mut all = self.everybody(floors, options);
        all.extend(self.switches.iter().cloned());
        all
    }

    /// The floors, and ours by default and with these options.
    pub(super) fn ours(&self, floors: &[Contender], options: &[&'static str]) -> Vec<Contender> {
        let with = options
            .iter()
            .filter(|option| self.known.contains(option))
            .map(|option| Contender::ours(&format!("mqtap {option}"), option));
        floors.iter().chain(&self.ours).cloned().chain(with).collect()
    }

    /// The floors, and ours by default.
    pub(super) fn plain(&self, floors: &[Contender]) -> Vec<Contender> {
        floors.iter().chain(self.ours.first()).cloned().collect()
    }

    /// Ours by default, with what the command line asks for, and polling.
    pub(super) fn polling(&self) -> Vec<Contender> {
        let polling = self.known.contains(&POLLING).then(|| Contender::ours("mqtap polling", POLLING));
        self.ours.iter().cloned().chain(polling).collect()
    }
}

/// Whether `mqtap serve` as it was built takes a netdev option.
fn is_known(option: &str) -> bool {
    let Ok(program) = serve::mqtap_binary() else { return false };
    let mut command = Command::new(program);
    command.args(["serve", "--print-capabilities", "--netdev", &format!("tap,id=hn0,{option}")]);
    process::finish(&mut command, QUICK).is_ok_and(|done| done.status.success())
}
