//! Options from pairs of name and text, wherever the pairs come from: the option string, JSON, or a configuration file.

use std::str::FromStr;

use super::error::OptionsError;
use super::fds;
use super::name::OptionName;
use super::options::{CarrierMode, Coalesce, Engine, Id, Options, Qdisc, Script, VhostMode};
use super::{suggest, value};
use crate::account::Account;
use crate::name::InvalidName;

/// Reads options from pairs of name and value, both as text.
pub(super) fn build(pairs: Vec<(String, String)>) -> Result<Options, OptionsError> {
    // The type goes first, whatever its place: with another type, the other options are not ours to judge.
    let type_name = OptionName::Type.as_str();
    if let Some((_, found)) = pairs.iter().find(|(name, _)| name == type_name) {
        check_type(found)?;
    }
    let given = known_once(pairs)?;
    let mut options = Options::new(id(&given)?);
    for (option, value) in given {
        set(&mut options, option, value)?;
    }
    Ok(options)
}

/// Turns names into options, of which each may come once.
fn known_once(pairs: Vec<(String, String)>) -> Result<Vec<(OptionName, String)>, OptionsError> {
    let mut given: Vec<(OptionName, String)> = Vec::new();
    for (name, value) in pairs {
        let option = OptionName::find(&name).ok_or_else(|| unknown(name))?;
        // There are few options, and a duplicate ends the search, so the list stays short.
        if let Some((_, first)) = given.iter().find(|(other, _)| *other == option) {
            return Err(OptionsError::Duplicate { option, first: first.clone(), second: value });
        }
        given.push((option, value));
    }
    Ok(given)
}

fn id(given: &[(OptionName, String)]) -> Result<Id, OptionsError> {
    let id = given.iter().find(|(option, _)| *option == OptionName::Id);
    match id {
        None => Err(OptionsError::MissingId),
        Some((option, id)) if id.is_empty() => Err(OptionsError::EmptyValue { option: *option }),
        Some((_, id)) => Id::new(id.as_str()),
    }
}

/// The error for a name that is none of ours.
pub(super) fn unknown(name: String) -> OptionsError {
    OptionsError::UnknownOption { suggestion: OptionName::closest(&name), option: name }
}

fn check_type(found: &str) -> Result<(), OptionsError> {
    match found {
        "tap" => Ok(()),
        "" => Err(OptionsError::EmptyValue { option: OptionName::Type }),
        _ => Err(OptionsError::UnsupportedType { found: found.to_owned() }),
    }
}

fn set(options: &mut Options, option: OptionName, text: String) -> Result<(), OptionsError> {
    use OptionName as Name;

    // QEMU takes an empty path for "no script".
    let may_be_empty = matches!(option, Name::Script | Name::Downscript);
    if text.is_empty() && !may_be_empty {
        return Err(OptionsError::EmptyValue { option });
    }
    match option {
        // Read before the others.
        Name::Type | Name::Id => {}
        Name::Ifname => options.ifname = interface(option, &text)?,
        Name::Br if text.contains('%') => return Err(OptionsError::BridgePattern { name: text }),
        Name::Br => options.br = Some(interface(option, &text)?),
        Name::Fd => options.fd = Some(fds::one(option, &text)?),
        Name::Fds => options.fds = Some(fds::list(option, &text)?),
        Name::Vhostfd => options.vhostfd = Some(fds::one(option, &text)?),
        Name::Vhostfds => options.vhostfds = Some(fds::list(option, &text)?),
        Name::Queues => options.queues = Some(number(option, text)?),
        Name::PollUs => options.poll_us = Some(number(option, text)?),
        Name::Sndbuf => options.sndbuf = Some(size(option, text)?),
        Name::VnetHdr => options.vnet_hdr = Some(switch(option, text)?),
        Name::Vhost => options.vhost = Some(vhost(option, text)?),
        Name::Vhostforce => options.vhostforce = Some(switch(option, text)?),
        Name::Exclusive => options.exclusive = switch(option, text)?,
        Name::Script => options.script = Some(script(text)),
        Name::Downscript => options.downscript = Some(script(text)),
        Name::Helper => options.helper = Some(text),
        Name::Carrier => {
            let choices = [CarrierMode::Guest, CarrierMode::On, CarrierMode::Off];
            options.carrier = choice(option, text, choices, CarrierMode::as_str, CarrierMode::CHOICES)?;
        }
        Name::Qdisc => {
            let choices = [Qdisc::Noqueue, Qdisc::Mq];
            options.qdisc = choice(option, text, choices, Qdisc::as_str, Qdisc::CHOICES)?;
        }
        Name::Netns => {
            options.netns = Some(text.parse().map_err(|source| OptionsError::InvalidNamespace { source })?);
        }
        Name::Persist => options.persist = Some(switch(option, text)?),
        Name::User => options.user = Some(account(option, &text)?),
        Name::Group => options.group = Some(account(option, &text)?),
        Name::Mac => {
            options.mac = Some(text.parse().map_err(|_| OptionsError::InvalidMac { value: text })?);
        }
        Name::Mtu => options.mtu = Some(number(option, text)?),
        Name::Engine => {
            let choices = [Engine::Auto, Engine::Syscall, Engine::IoUring];
            options.engine = choice(option, text, choices, Engine::as_str, Engine::CHOICES)?;
        }
        Name::Segment => options.segment = switch(option, text)?,
        Name::Coalesce => {
            let choices = [Coalesce::Auto, Coalesce::On, Coalesce::Off];
            options.coalesce = choice(option, text, choices, Coalesce::as_str, Coalesce::CHOICES)?;
        }
    }
    Ok(())
}

fn interface<T: FromStr<Err = InvalidName>>(option: OptionName, text: &str) -> Result<T, OptionsError> {
    text.parse().map_err(|source| OptionsError::InvalidInterfaceName { option, source })
}

fn account(option: OptionName, text: &str) -> Result<Account, OptionsError> {
    text.parse().map_err(|source| OptionsError::InvalidAccount { option, source })
}

fn number(option: OptionName, value: String) -> Result<u32, OptionsError> {
    value::number(&value).map_err(|reason| OptionsError::InvalidNumber { option, value, reason })
}

fn size(option: OptionName, value: String) -> Result<u64, OptionsError> {
    value::size(&value).map_err(|reason| OptionsError::InvalidSize { option, value, reason })
}

fn switch(option: OptionName, value: String) -> Result<bool, OptionsError> {
    value::switch(&value).ok_or(OptionsError::InvalidSwitch { option, value })
}

/// A switch with a third position.
fn vhost(option: OptionName, value: String) -> Result<VhostMode, OptionsError> {
    match value::switch(&value) {
        Some(true) => Ok(VhostMode::On),
        Some(false) => Ok(VhostMode::Off),
        None => choice(option, value, [VhostMode::Try], |_| "try", VhostMode::CHOICES),
    }
}

fn script(value: String) -> Script {
    match value.as_str() {
        "" | "no" => Script::None,
        _ => Script::Program(value.into()),
    }
}

fn choice<T: Copy, const N: usize>(
    option: OptionName,
    value: String,
    all: [T; N],
    as_str: impl Fn(T) -> &'static str,
    choices: &'static [&'static str],
) -> Result<T, OptionsError> {
    all.into_iter().find(|candidate| as_str(*candidate) == value).ok_or_else(|| OptionsError::InvalidChoice {
        option,
        suggestion: suggest::closest(&value, choices.iter().copied()),
        value,
        choices,
    })
}
