//! A page of `docs/` as the body of a man page.
//!
//! Understands what those pages use: headings, paragraphs, lists, tables, code. A table becomes a list of its rows, which a terminal
//! of 80 columns has room for: the first cell is the term, the others are told below it.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::{place_of, verbatim};

/// Writes the page without its title.
pub(crate) fn render(page: &str, roff: &mut Roff) {
    let mut writer = Writer::new(roff);
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        writer.event(event);
    }
}

struct Writer<'r> {
    roff: &'r mut Roff,
    /// Text of the paragraph, heading or cell that is being read.
    line: Vec<Inline>,
    emphasis: Emphasis,
    in_title: bool,
    /// Text of the code block that is being read.
    code: Option<String>,
    /// The next paragraph is the first one of its section or list item, and needs no space before it.
    is_first: bool,
    in_list: bool,
    /// Inside a link to another page, whose place is named instead of the text.
    in_reference: bool,
    head: Vec<Vec<Inline>>,
    row: Vec<Vec<Inline>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Emphasis {
    None,
    Strong,
    Weak,
}

impl<'r> Writer<'r> {
    fn new(roff: &'r mut Roff) -> Self {
        Self {
            roff,
            line: Vec::new(),
            emphasis: Emphasis::None,
            in_title: false,
            code: None,
            is_first: true,
            in_list: false,
            in_reference: false,
            head: Vec::new(),
            row: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Text(_) | Event::Code(_) if self.in_reference => {}
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match (&mut self.code, self.emphasis) {
                (Some(code), _) => code.push_str(&text),
                (None, Emphasis::None) => self.line.push(roman(&*text)),
                (None, Emphasis::Strong) => self.line.push(bold(&*text)),
                (None, Emphasis::Weak) => self.line.push(italic(&*text)),
            },
            Event::Code(text) => self.line.push(bold(&*text)),
            Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
            // Not used in these pages.
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => self.in_title = *level == HeadingLevel::H1,
            Tag::CodeBlock(_) => self.code = Some(String::new()),
            Tag::Strong => self.emphasis = Emphasis::Strong,
            Tag::Emphasis => self.emphasis = Emphasis::Weak,
            Tag::Link { dest_url, .. } => {
                let file = dest_url.split('#').next().unwrap_or_default();
                if file.ends_with(".md") {
                    self.line.push(bold(place_of(file)));
                    self.in_reference = true;
                }
            }
            Tag::List(_) => self.in_list = true,
            Tag::Item => {
                self.roff.control("IP", [r"\(bu", "2"]);
                self.is_first = true;
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.in_title) {
                    let macro_name = if level == HeadingLevel::H2 { "SH" } else { "SS" };
                    let text = plain(&line);
                    let text = if level == HeadingLevel::H2 { text.to_uppercase() } else { text };
                    self.roff.control(macro_name, [text.as_str()]);
                    self.is_first = true;
                }
            }
            TagEnd::Paragraph => {
                self.separate();
                self.flush();
            }
            TagEnd::Item => {
                if !self.line.is_empty() {
                    self.flush();
                }
                self.is_first = false;
            }
            TagEnd::Link => self.in_reference = false,
            TagEnd::List(_) => self.in_list = false,
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                self.separate();
                self.roff.control("RS", ["4"]);
                verbatim(self.roff, code.lines());
                self.roff.control("RE", []);
            }
            TagEnd::Strong | TagEnd::Emphasis => self.emphasis = Emphasis::None,
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.line)),
            TagEnd::TableHead => self.head = std::mem::take(&mut self.row),
            TagEnd::TableRow => self.end_row(),
            TagEnd::Table => self.is_first = false,
            _ => {}
        }
    }

    /// Space before a paragraph that is not the first one.
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.roff.control(if self.in_list { "IP" } else { "PP" }, []);
        }
    }

    fn flush(&mut self) {
        self.roff.text(std::mem::take(&mut self.line));
    }

    /// The first cell is the term. Of the others, the last one, which says the most, comes first.
    fn end_row(&mut self) {
        let mut cells = std::mem::take(&mut self.row).into_iter();
        self.roff.control("TP", []);
        let term = cells.next().unwrap_or_default();
        self.roff.text(term);
        let titles = self.head.iter().skip(1).map(|title| plain(title));
        let mut told: Vec<(String, Vec<Inline>)> =
            titles.zip(cells).filter(|(_, cell)| !cell.is_empty()).collect();
        if told.last().is_some_and(|(title, _)| title == "meaning") {
            let meaning = told.pop().map(|(_, cell)| cell).unwrap_or_default();
            self.roff.text(meaning);
            self.roff.control("br", []);
        } else if let [(_, cell)] = &mut told[..] {
            self.roff.text(std::mem::take(cell));
            return;
        }
        for (index, (title, cell)) in told.into_iter().enumerate() {
            if index > 0 {
                self.roff.control("br", []);
            }
            let mut line = vec![roman(format!("{title}: "))];
            line.extend(cell);
            self.roff.text(line);
        }
    }
}

fn plain(line: &[Inline]) -> String {
    line.iter()
        .map(|inline| match inline {
            Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text.as_str(),
            Inline::LineBreak => " ",
        })
        .collect()
}
