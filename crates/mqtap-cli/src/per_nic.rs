//! Options that are given once for each NIC, or once for all.

use std::str::FromStr;

use mqtap::netdev::Options;

/// An option for the NIC with this id, or for all.
#[derive(Clone, Debug)]
pub(crate) struct PerNic<T> {
    id: Option<String>,
    value: T,
}

impl<T: FromStr> FromStr for PerNic<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        split(text, str::parse)
    }
}

pub(crate) fn split<T, E>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<PerNic<T>, E> {
    match text.split_once('=') {
        Some((id, value)) => Ok(PerNic { id: Some(id.to_owned()), value: parse(value)? }),
        None => Ok(PerNic { id: None, value: parse(text)? }),
    }
}

/// The ids of the netdevs, once each of them makes sense and they differ.
pub(crate) fn ids(netdevs: &[Options]) -> Result<Vec<&str>, String> {
    for netdev in netdevs {
        netdev.validate().map_err(|error| format!("netdev {}: {error}", netdev.id))?;
    }
    let ids: Vec<&str> = netdevs.iter().map(|netdev| netdev.id.as_str()).collect();
    match ids.iter().enumerate().find(|(i, id)| ids[..*i].contains(id)) {
        Some((_, id)) => Err(format!("netdev id {id:?} is given twice")),
        None => Ok(ids),
    }
}

/// Addresses are of one NIC each.
pub(crate) fn not_shared<T>(macs: &[PerNic<T>], ids: &[&str]) -> Result<(), String> {
    match ids {
        [first, _, ..] if macs.iter().any(|mac| mac.id.is_none()) => Err(format!(
            "several NICs cannot share one --mac; say which has it, such as --mac {first}=52:54:00:12:34:56"
        )),
        _ => Ok(()),
    }
}

/// What an option of the command says of the MTU agrees with what the netdev says.
pub(crate) fn agree(netdev: &Options, mtu: Option<u32>) -> Result<(), String> {
    match (netdev.mtu, mtu) {
        (Some(created), Some(wanted)) if created != wanted => Err(format!(
            "netdev {}: mtu={created} and --mtu {wanted} contradict each other; leave out one of the two (--mtu changes an interface that exists as well)",
            netdev.id
        )),
        _ => Ok(()),
    }
}

/// Every id that an option names is one of a netdev.
pub(crate) fn known<T>(option: &str, values: &[PerNic<T>], ids: &[&str]) -> Result<(), String> {
    match values.iter().filter_map(|value| value.id.as_deref()).find(|id| !ids.contains(id)) {
        Some(id) => {
            Err(format!("{option} {id}=…: there is no netdev with id={id}; there is {}", ids.join(", ")))
        }
        None => Ok(()),
    }
}

/// The value for this NIC: its own, else the one for all.
pub(crate) fn pick<T: Clone>(option: &str, values: &[PerNic<T>], id: &str) -> Result<Option<T>, String> {
    for wanted in [Some(id), None] {
        let mut found = values.iter().filter(|value| value.id.as_deref() == wanted);
        if let Some(first) = found.next() {
            if found.next().is_some() {
                return Err(format!("{option} is given twice for netdev {id}"));
            }
            return Ok(Some(first.value.clone()));
        }
    }
    Ok(None)
}
