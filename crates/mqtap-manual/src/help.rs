//! What a command's help says after its options, as sections of a page.
//!
//! A line that begins at the margin with a title and a colon begins a section: `Examples:`, or `Exit status: 0 done, …`. In it, a block
//! (what is between empty lines) that begins with a capital letter and is indented evenly is prose, and filled anew; any other block is
//! shown as it is.

use clap_mangen::roff::{Roff, roman};

use crate::verbatim;

pub(crate) fn render(help: &str, roff: &mut Roff) {
    let mut block = Block::default();
    let mut is_first = true;
    for line in help.lines().chain([""]) {
        let title = title(line);
        if title.is_some() || line.trim().is_empty() {
            is_first &= !std::mem::take(&mut block).write(is_first, roff);
        }
        match title {
            Some((title, rest)) => {
                roff.control("SH", [title.to_uppercase().as_str()]);
                is_first = true;
                if !rest.is_empty() {
                    block = Block { lines: vec![rest], is_prose: true };
                }
            }
            None if line.trim().is_empty() => {}
            None => block.lines.push(line),
        }
    }
}

/// Lines without an empty one between them.
#[derive(Default)]
struct Block<'h> {
    lines: Vec<&'h str>,
    /// Whatever it looks like.
    is_prose: bool,
}

impl Block<'_> {
    /// True if there was something to write.
    fn write(self, is_first: bool, roff: &mut Roff) -> bool {
        let Some(first) = self.lines.first() else { return false };
        let margin = indent(first);
        if !is_first {
            roff.control("PP", []);
        }
        let is_even = self.lines.iter().all(|line| indent(line) == margin);
        let is_prose =
            self.is_prose || is_even && first.trim_start().starts_with(|c: char| c.is_ascii_uppercase());
        if is_prose {
            roff.text([roman(self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n"))]);
        } else {
            let margin = self.lines.iter().map(|line| indent(line)).min().unwrap_or_default();
            verbatim(roff, self.lines.iter().map(|line| &line[margin..]));
        }
        true
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A title of a few words, and what follows on its line.
fn title(line: &str) -> Option<(&str, &str)> {
    let (title, rest) = line.split_once(':')?;
    let is_title = title.starts_with(|c: char| c.is_ascii_uppercase())
        && title.len() <= 40
        && title.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, ' ' | '\''))
        && (rest.is_empty() || rest.starts_with(' '));
    is_title.then(|| (title, rest.trim()))
}
