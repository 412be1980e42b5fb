//! Tests of the options that need nothing but this process.

mod manual;
mod parse;
mod round_trip;
mod serde;
mod validate;
mod value;

use super::{Options, OptionsError};

/// Parses what must parse.
#[track_caller]
fn parsed(text: &str) -> Options {
    text.parse().unwrap_or_else(|error| panic!("{text} does not parse: {error}"))
}

/// The error of what must not parse.
#[track_caller]
fn refused(text: &str) -> OptionsError {
    match text.parse::<Options>() {
        Ok(options) => panic!("{text} parses, as {options:?}"),
        Err(error) => error,
    }
}

/// The error of what parses but makes no sense.
#[track_caller]
fn senseless(text: &str) -> OptionsError {
    match parsed(text).validate() {
        Ok(()) => panic!("{text} is valid"),
        Err(error) => error,
    }
}

/// Checks that an error text has all of these pieces: what was typed, why not, what instead.
#[track_caller]
fn says(error: &OptionsError, pieces: &[&str]) {
    let text = error.to_string();
    for piece in pieces {
        assert!(text.contains(piece), "`{piece}` is missing in: {text}");
    }
}
