//! Paragraphs.

use super::harmless;

/// Breaks a paragraph into lines of at most `width` characters, each behind `indent`, the first behind `first`. Longer words have a line
/// of their own.
pub(crate) fn wrap(text: &str, width: usize, first: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut is_fresh = true;
    for word in harmless(text).split_whitespace() {
        if !is_fresh && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = indent.to_owned();
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_wider_than_asked_for() {
        let text = "a queue belongs to the namespace it was opened in";
        assert_eq!(
            wrap(text, 22, "do: ", "    "),
            "do: a queue belongs to\n    the namespace it\n    was opened in\n"
        );
        assert_eq!(wrap("a-word-that-is-too-long here", 10, "", " "), "a-word-that-is-too-long\n here\n");
        assert_eq!(wrap("", 10, "x", ""), "x\n");
    }
}
