//! A page for the program, and one for each of its commands.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::{Page, beginning, help};

/// Files of the Debian package that a command has to do with: page, file, what it is.
const FILES: &[(&str, &str, &str)] = &[
    (
        "mqtap-serve",
        "/etc/mqtap/NAME.conf",
        "What mqtap@NAME.service serves. See /usr/share/doc/mqtap/examples/vm0.conf.",
    ),
    ("mqtap-serve", "/run/mqtap/NAME/", "Where that service may put its sockets."),
];

/// The page of a command and those of its subcommands.
pub(crate) fn pages(command: Command, date: &str) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, date, &mut pages);
    pages
}

fn collect(command: &Command, date: &str, pages: &mut Vec<Page>) {
    pages.push(page(command, date));
    for subcommand in visible(command) {
        collect(subcommand, date, pages);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set())
}

fn page(command: &Command, date: &str) -> Page {
    let name = page_name(command);
    let mut roff = beginning(&name, '1', date);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff.control("SH", ["SYNOPSIS"]);
    synopsis(command, &mut roff);

    roff.control("SH", ["DESCRIPTION"]);
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<&str> = long.split("\n\n").collect();
    // The first one is the name's, unless it is all that there is.
    let new = if paragraphs.len() > 1 { &paragraphs[1..] } else { &paragraphs[..] };
    for (index, paragraph) in new.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }

    if visible(command).next().is_some() {
        roff.control("SH", ["COMMANDS"]);
        for subcommand in visible(command) {
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            roff.control("TP", []);
            roff.text([bold(page_name(subcommand)), roman("(1)")]);
            roff.text([roman(about)]);
        }
    }
    let mut text = roff.render();
    text.push_str(&options(command));
    let mut roff = Roff::new();
    let after = command.get_after_long_help().or(command.get_after_help());
    help::render(&after.map(ToString::to_string).unwrap_or_default(), &mut roff);
    files(&name, &mut roff);
    text.push_str(&roff.render());
    Page { name, section: '1', text }
}

/// Such as `mqtap-serve`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// How it is called, as its help says: in one way, or in one on each line.
fn synopsis(command: &Command, roff: &mut Roff) {
    let usage = command.clone().render_usage().to_string();
    let called = command.get_bin_name().unwrap_or_else(|| command.get_name());
    for (index, line) in usage.trim_start_matches("Usage:").lines().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        match line.trim().strip_prefix(called) {
            Some(rest) => roff.text([bold(called), roman(rest)]),
            None => roff.text([roman(line.trim())]),
        };
    }
}

/// As clap_mangen has them.
fn options(command: &Command) -> String {
    let mut text = Vec::new();
    // Writing to a vector cannot fail.
    let _ = Man::new(command.clone()).render_options_section(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn files(page: &str, roff: &mut Roff) {
    let mut files = FILES.iter().filter(|(name, _, _)| *name == page).peekable();
    if files.peek().is_some() {
        roff.control("SH", ["FILES"]);
    }
    for (_, file, what) in files {
        roff.control("TP", []);
        roff.text([bold(*file)]);
        roff.text([roman(*what)]);
    }
}
