//! The option string: `tap,name=value,…`, as QEMU's `-netdev` takes it.

use std::str::FromStr;

use super::builder;
use super::document::Document;
use super::error::OptionsError;
use super::name::OptionName;
use super::options::Options;

impl FromStr for Options {
    type Err = OptionsError;

    /// Reads the text form, or, if it starts with `{`, the JSON form. Says what is wrong with single values; for what is wrong with their
    /// combination, and with numbers out of range, ask [`Options::validate`].
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        if text.starts_with('{') {
            return Document::from_json(text)?.build();
        }
        builder::build(pairs(text)?)
    }
}

/// Splits the text into names and values; switches without a value get theirs.
fn pairs(text: &str) -> Result<Vec<(String, String)>, OptionsError> {
    if text.is_empty() {
        return Err(OptionsError::Empty);
    }
    let mut pairs = Vec::new();
    let mut rest = text;
    // One comma at the end is allowed, as in QEMU.
    while !rest.is_empty() {
        let name_end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (name, after_name) = rest.split_at(name_end);
        if let Some(value) = after_name.strip_prefix('=') {
            let (value, after) = take_value(value);
            if name.is_empty() {
                return Err(OptionsError::MissingName { value });
            }
            pairs.push((name.to_owned(), value));
            rest = after;
        } else if pairs.is_empty() {
            // The first word without a name is the type.
            let (value, after) = take_value(rest);
            pairs.push((OptionName::Type.as_str().to_owned(), value));
            rest = after;
        } else {
            if let Some((option, value)) = pairs.last().and_then(|last| torn_list(last, name)) {
                return Err(OptionsError::CommaInList { option, value });
            }
            pairs.push(switch(name)?);
            rest = after_name.strip_prefix(',').unwrap_or(after_name);
        }
    }
    check_type_given(text, &pairs)?;
    check_commas(&pairs)?;
    Ok(pairs)
}

/// The value at the start of `text`, up to a single comma, doubled commas made single; and what follows that comma.
fn take_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let Some(comma) = rest.find(',') else {
            value.push_str(rest);
            return (value, "");
        };
        value.push_str(&rest[..comma]);
        rest = &rest[comma + 1..];
        match rest.strip_prefix(',') {
            Some(after_doubled) => {
                value.push(',');
                rest = after_doubled;
            }
            None => return (value, rest),
        }
    }
}

/// A word without a value: `vhost` is `vhost=on`, `novhost` is `vhost=off`. QEMU does this with every option, so that `ifname` alone makes
/// an interface called `on`; here only options that are on or off have it.
fn switch(word: &str) -> Result<(String, String), OptionsError> {
    if word.is_empty() {
        return Err(OptionsError::EmptyOption);
    }
    let (option, value) = match (OptionName::find(word), word.strip_prefix("no")) {
        (Some(option), _) => (option, "on"),
        (None, Some(name)) => match OptionName::find(name) {
            Some(option) => (option, "off"),
            None => return Err(builder::unknown(word.to_owned())),
        },
        (None, None) => return Err(builder::unknown(word.to_owned())),
    };
    if !option.is_switch() {
        return Err(OptionsError::MissingValue { word: word.to_owned(), option });
    }
    Ok((option.as_str().to_owned(), value.to_owned()))
}

/// A list that was written with commas: what was taken for its whole value, and is the start of it, and the next number.
fn torn_list((name, value): &(String, String), word: &str) -> Option<(OptionName, String)> {
    let option = OptionName::find(name)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (option.is_list() && value.split(':').all(is_number) && is_number(word))
        .then(|| (option, format!("{value}:{word}")))
}

fn check_type_given(text: &str, pairs: &[(String, String)]) -> Result<(), OptionsError> {
    if pairs.iter().any(|(name, _)| name == OptionName::Type.as_str()) {
        return Ok(());
    }
    let start = text.split(',').next().unwrap_or(text).to_owned();
    Err(OptionsError::MissingType { start })
}

/// Finds a comma that got into a value by accident, before the value is judged and a less helpful error given.
fn check_commas(pairs: &[(String, String)]) -> Result<(), OptionsError> {
    for (name, value) in pairs {
        let Some(option) = OptionName::find(name) else {
            continue;
        };
        if value.contains(',') && !option.may_contain_comma() {
            return Err(OptionsError::CommaInValue { option, value: value.clone() });
        }
    }
    Ok(())
}
