//! The kinds of value QEMU's option syntax has: on/off, whole numbers, sizes, programs.
//!
//! Read as QEMU 7.2 and later read them, except where QEMU takes what nobody means (a leading blank or `+`, octal, a unit after a
//! hexadecimal number): that is refused, with the reason.

use thiserror::Error;

/// Why a text is not a program to run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// A name alone, which looks as if `PATH` were searched.
    #[error("it has no `/`, and PATH is not searched; write the whole path, or `./` before it for the current directory{}", if *.script { "; for no script write `no`" } else { "" })]
    NotAPath {
        /// Whether it is the value of `script` or `downscript`.
        script: bool,
    },
    /// A path that ends in a slash.
    #[error("it ends in `/`, so it is a directory and not a program")]
    Directory,
    /// A NUL byte inside.
    #[error("it contains a NUL byte, which no path can have")]
    Nul,
    /// A path from code that cannot be written as text.
    #[error("it is not UTF-8, so it cannot be printed back")]
    NotUtf8,
    /// Nothing but blanks.
    #[error("there is no program in it")]
    Blank,
}

/// Why a text is not the whole number an option wants.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NumberError {
    /// Something other than digits.
    #[error("it is not a whole number (decimal, or hexadecimal after `0x`)")]
    NotANumber,
    /// A minus sign.
    #[error("it is negative")]
    Negative,
    /// A decimal number that begins with 0.
    #[error(
        "a number that begins with 0 is octal for QEMU and decimal for everybody else; leave out the leading zero"
    )]
    LeadingZero,
    /// Larger than the option can hold.
    #[error("it is too large")]
    TooLarge,
}

/// Why a text is not a size.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not of the form `number`, `number` unit, or `0x` number.
    #[error(
        "it is not a size: write bytes, or a number and one of the units k, M, G, T, P, E (1024 to the power of 1 to 6), for example 512k or 1.5M"
    )]
    NotASize,
    /// A minus sign, which some programs take for no limit.
    #[error("it is negative; for no limit write 0")]
    Negative,
    /// A fraction of a byte.
    #[error("it has a fraction but no unit; a fraction needs one, as in 1.5M")]
    FractionOfByte,
    /// `0x10k`, which QEMU deprecates.
    #[error("a hexadecimal size takes no unit and no fraction")]
    HexadecimalWithUnit,
    /// More than 2^64 - 1 bytes.
    #[error("it is too large; sizes are below 16E (2^64 bytes)")]
    TooLarge,
}

/// On or off, in the words QEMU takes (`on`, `yes`, `true`, `y`; `off`, `no`, `false`, `n`), lower case only.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// A whole number of 32 bits, decimal or after `0x` hexadecimal.
pub(super) fn number(text: &str) -> Result<u32, NumberError> {
    if text.strip_prefix('-').is_some_and(|rest| all_digits(rest, 10)) {
        return Err(NumberError::Negative);
    }
    let (digits, radix) = radix_of(text);
    if !all_digits(digits, radix) {
        return Err(NumberError::NotANumber);
    }
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
        return Err(NumberError::LeadingZero);
    }
    // Only digits are left, so the one thing that can go wrong is the range.
    u32::from_str_radix(digits, radix).map_err(|_| NumberError::TooLarge)
}

/// A size in bytes. Fractions are cut to whole bytes, as QEMU does.
pub(super) fn size(text: &str) -> Result<u64, SizeError> {
    if text.starts_with('-') {
        return Err(SizeError::Negative);
    }
    if let (digits, 16) = radix_of(text) {
        if all_digits(digits, 16) {
            return u64::from_str_radix(digits, 16).map_err(|_| SizeError::TooLarge);
        }
        let rest = digits.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        let looks_meant = rest.len() < digits.len() && (rest.starts_with('.') || is_unit(rest));
        return Err(if looks_meant { SizeError::HexadecimalWithUnit } else { SizeError::NotASize });
    }

    let (whole, rest) = split_digits(text);
    if whole.is_empty() {
        return Err(SizeError::NotASize);
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after_point) => split_digits(after_point),
        None => ("", rest),
    };
    let shift = unit_shift(rest).ok_or(SizeError::NotASize)?;
    let fraction = fraction.trim_end_matches('0');
    if shift == 0 && !fraction.is_empty() {
        return Err(SizeError::FractionOfByte);
    }
    let whole: u64 = whole.parse().map_err(|_| SizeError::TooLarge)?;
    // 64 + 60 bits fit into 128, so the shift loses nothing.
    let bytes = (u128::from(whole) << shift) + fraction_of(fraction, shift);
    u64::try_from(bytes).map_err(|_| SizeError::TooLarge)
}

/// `0.fraction` of `2^shift`, cut to a whole number. Looks at 19 digits, which is exact for every fraction up to that length and finer than a
/// byte of the largest unit.
fn fraction_of(fraction: &str, shift: u32) -> u128 {
    let mut numerator = 0_u128;
    let mut denominator = 1_u128;
    for digit in fraction.bytes().take(19) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    // 10^19 is below 2^64, so 64 + 60 bits here too.
    (numerator << shift) / denominator
}

fn is_unit(text: &str) -> bool {
    !text.is_empty() && unit_shift(text).is_some()
}

/// The power of two a unit stands for; nothing at all is bytes.
fn unit_shift(unit: &str) -> Option<u32> {
    Some(match unit {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    })
}

/// The digits of a number, and 16 if they come after `0x`, else 10.
fn radix_of(text: &str) -> (&str, u32) {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).map_or((text, 10), |digits| (digits, 16))
}

/// Whether there is something and all of it is digits; `from_str_radix` alone would take a leading `+`.
fn all_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(radix))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
