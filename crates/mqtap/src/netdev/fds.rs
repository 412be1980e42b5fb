//! File descriptor numbers in option values.

use super::error::OptionsError;
use super::name::OptionName;

/// The value of `fd` or `vhostfd`.
pub(super) fn one(option: OptionName, value: &str) -> Result<i32, OptionsError> {
    if value.contains(':') {
        return Err(OptionsError::FdList { option, value: value.to_owned() });
    }
    number(option, value, value)
}

/// The value of `fds` or `vhostfds`: numbers with colons between them.
pub(super) fn list(option: OptionName, value: &str) -> Result<Vec<i32>, OptionsError> {
    value
        .split(':')
        .enumerate()
        .map(|(position, element)| {
            if element.is_empty() {
                return Err(OptionsError::EmptyFdInList { option, value: value.to_owned(), position });
            }
            number(option, value, element)
        })
        .collect()
}

/// One number, which is part (or all) of `value`. Whether the number makes sense is for validation to say; only what an `i32` cannot hold
/// is refused here.
fn number(option: OptionName, value: &str, text: &str) -> Result<i32, OptionsError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() < text.len() {
            return Err(OptionsError::NegativeFd { option, number: text.to_owned() });
        }
        return text.parse().map_err(|_| OptionsError::FdTooLarge { option, number: text.to_owned() });
    }
    // QEMU decides by the first character, and so do we: a name in its monitor cannot begin with a digit.
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+') || c.is_whitespace()) {
        Err(OptionsError::MalformedFd { option, value: value.to_owned(), number: text.to_owned() })
    } else {
        Err(OptionsError::NamedFd { option, value: value.to_owned(), name: text.to_owned() })
    }
}

/// Prints a list as it is parsed.
pub(super) fn print(fds: &[i32]) -> String {
    let numbers: Vec<String> = fds.iter().map(i32::to_string).collect();
    numbers.join(":")
}
