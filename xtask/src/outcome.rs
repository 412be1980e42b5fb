//! The error type of the tasks, and the way they talk to the person at the terminal.

use std::error::Error;

/// Tasks end in front of a person: a boxed error with a good text is all they need.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An error made of text.
pub(crate) fn failure(text: impl Into<String>) -> Box<dyn Error> {
    text.into().into()
}

/// `Err` made of text, for the end of an expression.
pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(failure(text))
}

/// Adds what was being attempted to an error of somebody else.
pub(crate) trait Context<T> {
    /// Puts `what()` in front of the error text.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| failure(format!("{}: {error}", what())))
    }
}

/// True in continuous integration, where a test that cannot run is a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// One line of progress on the terminal.
pub(crate) fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}
