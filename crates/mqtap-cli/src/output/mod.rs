//! How things are printed for people.

mod columns;
mod paint;
mod wrap;

use std::io::{ErrorKind, Write};

pub(crate) use columns::{Align, Columns};
pub(crate) use paint::{Paint, Style};
pub(crate) use wrap::wrap;

/// Names and command lines come from others, and must not speak to the terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What came of printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printed {
    All,
    /// Whoever reads it has seen enough (`mqtap list | head -1`). That is no failure.
    Enough,
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> std::io::Result<Printed> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Printed::All),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::Enough),
        Err(error) => Err(error),
    }
}

/// How wide lines may be: the terminal's width, within reason, and 80 where there is none.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    size.map_or(80, |size| usize::from(size.ws_col)).clamp(40, 100)
}
