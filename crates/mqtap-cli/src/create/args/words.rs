//! The words of `ip tuntap add` and `ip tuntap del`.

use mqtap::InterfaceName;
use mqtap::name::InvalidName;

/// The interface that they name, for a subcommand that wants to know nothing else.
pub(crate) fn name(words: &[String], subcommand: &str) -> Result<InterfaceName, String> {
    Words::read(words, subcommand)?.name.parse().map_err(|error: InvalidName| error.to_string())
}

/// The interfaces that they name, for a subcommand that takes several: `tap0 tap1`, `dev tap0 mode tap`.
pub(crate) fn names(words: &[String], subcommand: &str) -> Result<Vec<InterfaceName>, String> {
    let is_bare = |word: &String| !matches!(word.as_str(), "dev" | "name" | "mode");
    if words.iter().all(is_bare) {
        return words
            .iter()
            .map(|word| word.parse().map_err(|error: InvalidName| error.to_string()))
            .collect();
    }
    name(words, subcommand).map(|name| vec![name])
}

/// What they say. Only the name is needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words<'a> {
    pub(crate) name: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) group: Option<&'a str>,
    pub(crate) multi_queue: bool,
    pub(crate) vnet_hdr: bool,
}

impl<'a> Words<'a> {
    /// Reads them, for a subcommand.
    pub(crate) fn read(words: &'a [String], subcommand: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let mut name = None;
        let mut mode = None;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value =
                || words.next().ok_or_else(|| format!("after `{word}` there is something missing"));
            let (place, given) = match word {
                "dev" | "name" => (&mut name, value()?),
                "mode" => (&mut mode, value()?),
                "user" => (&mut read.user, value()?),
                "group" => (&mut read.group, value()?),
                "multi_queue" => {
                    read.multi_queue = true;
                    continue;
                }
                "vnet_hdr" => {
                    read.vnet_hdr = true;
                    continue;
                }
                "one_queue" => {
                    tracing::warn!("one_queue has no effect in Linux; leave it out");
                    continue;
                }
                "pi" => {
                    return Err(
                        "`pi` puts four bytes in front of each frame, which no virtual NIC expects; leave it out"
                            .to_owned(),
                    );
                }
                given if name.is_none() => (&mut name, given),
                other => {
                    return Err(format!(
                        "`{other}` is neither an option of mqtap {subcommand} nor a word of `ip tuntap`: dev, mode, user, group, multi_queue, vnet_hdr"
                    ));
                }
            };
            if let Some(first) = place.replace(given) {
                return Err(format!("there are two words where one is wanted: `{first}` and `{given}`"));
            }
        }
        match mode {
            None | Some("tap") => {}
            Some("tun") => {
                return Err(format!(
                    "`mode tun` is for a tun, which carries IP packets and no Ethernet frames, and not for a virtual NIC; mqtap {subcommand} is for taps, `ip tuntap` for both"
                ));
            }
            Some(other) => return Err(format!("`mode {other}`: the modes are tap and, not here, tun")),
        }
        read.name = name.ok_or("there is no name; write for example `dev tap0`")?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_words_of_ip_tuntap_are_read_in_any_order() {
        let all = Words {
            name: "tap0",
            user: Some("alice"),
            group: Some("kvm"),
            multi_queue: true,
            vnet_hdr: true,
        };
        for text in [
            "dev tap0 mode tap multi_queue vnet_hdr user alice group kvm",
            "tap0 user alice group kvm vnet_hdr multi_queue mode tap",
            "mode tap name tap0 group kvm multi_queue one_queue user alice vnet_hdr",
        ] {
            assert_eq!(Words::read(&words(text), "create").as_ref(), Ok(&all), "{text}");
        }
        let named = Words { name: "user", ..Words::default() };
        assert_eq!(Words::read(&words("dev user"), "create"), Ok(named), "a word can be a name");
    }

    #[test]
    fn several_names_are_words_of_no_other_meaning() {
        let named = |text: &str| {
            let names = names(&words(text), "list")?;
            Ok::<_, String>(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("tap0", "tap0"),
            ("tap0 tap1", "tap0 tap1"),
            ("dev tap0", "tap0"),
            ("dev tap0 mode tap", "tap0"),
            ("user", "user"),
            ("dev dev", "dev"),
        ] {
            assert_eq!(named(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, piece) in [
            ("mode tap", "there is no name"),
            ("dev tap0 tap1", "`tap1` is neither an option of mqtap list nor a word"),
            ("dev tun0 mode tun", "`mode tun` is for a tun"),
            ("tap0 tap%d", "is a pattern"),
        ] {
            assert!(named(text).is_err_and(|error| error.contains(piece)), "{text}: {:?}", named(text));
        }
    }

    #[test]
    fn other_words_are_refused_with_the_reason() {
        for (text, piece) in [
            ("mode tap", "there is no name"),
            ("tap0 tap1", "`tap1` is neither an option of mqtap create nor a word"),
            ("tap0 dev tap1", "two words where one is wanted: `tap0` and `tap1`"),
            ("dev tap0 mode tap mode tap", "two words where one is wanted"),
            ("dev", "after `dev` there is something missing"),
            ("tap0 user", "after `user` there is something missing"),
            ("tap0 mode tun", "`mode tun` is for a tun"),
            ("tap0 mode tip", "the modes are tap"),
            ("tap0 pi", "no virtual NIC expects"),
        ] {
            let error = Words::read(&words(text), "create").unwrap_err();
            assert!(error.contains(piece), "{text}: `{piece}` is missing in: {error}");
        }
    }
}
