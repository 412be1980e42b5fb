//! Colours, where they are wanted: on a terminal, unless NO_COLOR says otherwise (no-color.org).

use std::io::IsTerminal;

/// Whether to paint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(bool);

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bad,
    Doubtful,
    Good,
    Plain,
}

impl Paint {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !refused)
    }

    /// The word, in its colour.
    pub(crate) fn word(self, style: Style, word: &str) -> String {
        // ECMA-48, "Select graphic rendition".
        let code = match style {
            Style::Bad => "1;31",
            Style::Doubtful => "1;33",
            Style::Good => "32",
            Style::Plain => "1",
        };
        if self.0 { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_painted_only_where_it_is_wanted() {
        assert_eq!(Paint(false).word(Style::Bad, "error"), "error");
        assert_eq!(Paint(true).word(Style::Bad, "error"), "\x1b[1;31merror\x1b[0m");
    }
}
