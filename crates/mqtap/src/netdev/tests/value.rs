//! Values, as QEMU 7.2 reads them. What it was observed to do is noted where we differ.

use crate::netdev::value::{number, size, switch};
use crate::netdev::{NumberError, SizeError};

#[test]
fn switches_take_the_words_of_qemu() {
    for word in ["on", "yes", "true", "y"] {
        assert_eq!(switch(word), Some(true), "{word}");
    }
    for word in ["off", "no", "false", "n"] {
        assert_eq!(switch(word), Some(false), "{word}");
    }
    for word in ["", "ON", "On", "1", "0", "enable", "on ", "guest"] {
        assert_eq!(switch(word), None, "{word}");
    }
}

#[test]
fn numbers_are_decimal_or_hexadecimal() {
    assert_eq!(number("0"), Ok(0));
    assert_eq!(number("4"), Ok(4));
    assert_eq!(number("0x10"), Ok(16));
    assert_eq!(number("0XfF"), Ok(255));
    assert_eq!(number("4294967295"), Ok(u32::MAX));
    assert_eq!(number("0x0000000001"), Ok(1));
}

#[test]
fn numbers_that_are_none_say_why() {
    for text in ["", " 2", "2 ", "+2", "x", "0x", "0xg", "1.5", "1k", "-", "-x", "0x-1", "0x+1", "1_000", "٣"]
    {
        assert_eq!(number(text), Err(NumberError::NotANumber), "{text:?}");
    }
    assert_eq!(number("-1"), Err(NumberError::Negative));
    assert_eq!(number("4294967296"), Err(NumberError::TooLarge));
    assert_eq!(number(&"9".repeat(99)), Err(NumberError::TooLarge));
    // Eight for QEMU.
    assert_eq!(number("010"), Err(NumberError::LeadingZero));
    assert_eq!(number("00"), Err(NumberError::LeadingZero));
}

#[test]
fn sizes_take_units() {
    for (text, bytes) in [
        ("0", 0),
        ("1500", 1500),
        ("7b", 7),
        ("7B", 7),
        ("1k", 1 << 10),
        ("1K", 1 << 10),
        ("5m", 5 << 20),
        ("1M", 1 << 20),
        ("1g", 1 << 30),
        ("3T", 3 << 40),
        ("1p", 1 << 50),
        ("15E", 15 << 60),
        ("18446744073709551615", u64::MAX),
        // Decimal for sizes, although octal for whole numbers.
        ("010", 10),
        ("0x10", 16),
        ("0X1f", 31),
        // B and E are digits here, not units.
        ("0x1b", 27),
        ("0x1E", 30),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn sizes_take_fractions_of_a_unit() {
    for (text, bytes) in [
        ("1.5M", 3 << 19),
        ("0.5k", 512),
        ("1.k", 1024),
        ("1.", 1),
        ("1.0", 1),
        ("1.000B", 1),
        ("1.0009765625k", 1025),
        // Cut, not rounded.
        ("1.9999k", 2047),
        ("0.000001k", 0),
        ("0.5E", 1 << 59),
        ("15.999999999999999999E", u64::MAX - 1),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    // Digits beyond what can matter cost nothing and overflow nothing.
    assert_eq!(size(&format!("1.5{}M", "0".repeat(1000))), Ok(3 << 19));
    assert_eq!(size(&format!("1.{}k", "9".repeat(1000))), Ok(2047));
}

#[test]
fn sizes_that_are_none_say_why() {
    for text in [
        "", "k", "x", ".5k", "1kb", "1KiB", "1e3", "1.5.5M", " 5", "5 ", "+5", "0x", "0xk", "0x1z", "1 k",
        "٣k",
    ] {
        assert_eq!(size(text), Err(SizeError::NotASize), "{text:?}");
    }
    assert_eq!(size("-1"), Err(SizeError::Negative));
    assert_eq!(size("1.5"), Err(SizeError::FractionOfByte));
    assert_eq!(size("1.5b"), Err(SizeError::FractionOfByte));
    // A deprecation warning in QEMU.
    assert_eq!(size("0x10k"), Err(SizeError::HexadecimalWithUnit));
    assert_eq!(size("0x1.8k"), Err(SizeError::HexadecimalWithUnit));
    assert_eq!(size("16E"), Err(SizeError::TooLarge));
    assert_eq!(size("18446744073709551616"), Err(SizeError::TooLarge));
    assert_eq!(size("0x10000000000000000"), Err(SizeError::TooLarge));
}
