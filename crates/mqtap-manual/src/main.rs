//! Makes the man pages and the shell completions of mqtap: `mqtap-manual DIRECTORY`.
//!
//! Commands come from the definition of the command line, the options of netdevs from `docs/options.md`: neither can say
//! something else than the page does.
#![forbid(unsafe_code)]

mod command;
mod help;
mod markdown;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Parser;
use clap_complete::Shell;
use clap_mangen::roff::Roff;

/// Pages that are one of `docs/`: name, file, what it is about, the text.
const PAGES: &[(&str, &str, &str, &str)] = &[
    (
        "mqtap-netdev",
        "options.md",
        "options of a TAP device for a virtual machine",
        include_str!("../../../docs/options.md"),
    ),
    (
        "mqtap-findings",
        "doctor.md",
        "what mqtap doctor finds, and what to do about it",
        include_str!("../../../docs/doctor.md"),
    ),
    ("mqtap-json", "json.md", "what mqtap prints for programs", include_str!("../../../docs/json.md")),
];

/// Makes the man pages and shell completions of mqtap.
#[derive(Parser)]
struct Arguments {
    /// Where to write `man1`, `man7` and `completions`.
    directory: PathBuf,

    /// When this version is from, as pages say it.
    #[arg(long, default_value = "", value_name = "YYYY-MM-DD")]
    date: String,
}

/// A man page.
struct Page {
    /// Such as `mqtap-serve`.
    name: String,
    section: char,
    text: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    for page in pages(&arguments.date) {
        let directory = made(arguments.directory.join(format!("man{}", page.section)))?;
        fs::write(directory.join(format!("{}.{}", page.name, page.section)), page.text)?;
    }
    let directory = made(arguments.directory.join("completions"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut mqtap_cli::command(), "mqtap", &directory)?;
    }
    Ok(())
}

fn made(directory: PathBuf) -> std::io::Result<PathBuf> {
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// All of them.
fn pages(date: &str) -> Vec<Page> {
    let mut pages = command::pages(mqtap_cli::command(), date);
    for (name, _, about, text) in PAGES {
        let mut roff = beginning(name, '7', date);
        roff.control("SH", ["NAME"]);
        roff.text([format!("{name} - {about}").into()]);
        roff.control("SH", ["DESCRIPTION"]);
        markdown::render(text, &mut roff);
        pages.push(Page { name: (*name).to_owned(), section: '7', text: roff.render() });
    }
    for index in 0..pages.len() {
        pages[index].text = with_places(&pages[index].text);
        let see_also = see_also(index, &pages);
        pages[index].text.push_str(&see_also);
    }
    pages
}

/// Where a reader of a page finds a file of `docs/`.
fn place_of(file: &str) -> String {
    match PAGES.iter().find(|(_, of, _, _)| *of == file) {
        Some((page, _, _, _)) => format!("{page}(7)"),
        None => format!("/usr/share/doc/mqtap/{file}.gz"),
    }
}

/// The text of a page, in which commands call those files `docs/options.md`.
fn with_places(text: &str) -> String {
    let mut pieces = text.split("docs/");
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(".md") {
            Some((name, rest)) if name.chars().all(|c| c.is_ascii_lowercase()) => {
                replaced.push_str(&place_of(&format!("{name}.md")).replace('-', r"\-"));
                replaced.push_str(rest);
            }
            _ => {
                replaced.push_str("docs/");
                replaced.push_str(piece);
            }
        }
    }
    replaced
}

/// The program, and each other page that this one mentions or that mentions it; the program's page has them all.
fn see_also(index: usize, pages: &[Page]) -> String {
    let this = &pages[index];
    let mentions = |page: &Page, other: &Page| {
        let words = other.name.replace('-', " ");
        page.text.contains(&other.name.replace('-', r"\-"))
            || other.name != "mqtap" && page.text.contains(&words)
    };
    let also = pages.iter().enumerate().filter(|(other, page)| {
        *other != index
            && (page.name == "mqtap" || this.name == "mqtap" || mentions(this, page) || mentions(page, this))
    });
    let list: Vec<String> = also.map(|(_, page)| format!("{}({})", page.name, page.section)).collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([list.join(", ").into()]);
    roff.to_roff()
}

/// What every page begins with.
fn beginning(name: &str, section: char, date: &str) -> Roff {
    let mut roff = Roff::new();
    let version = format!("mqtap {}", env!("CARGO_PKG_VERSION"));
    roff.control(
        "TH",
        [&*name.to_uppercase(), &*section.to_string(), quoted(date), &version, "mqtap manual"],
    );
    // Options and commands are to be copied from here: they are not broken, nor is the space in them stretched. The register
    // keeps .EE from turning hyphenation on again.
    roff.control("nr", ["HY", "0"]);
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff
}

/// An empty argument must be seen.
fn quoted(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}

/// Text that is shown as it is, one line for each line.
fn verbatim<'a>(roff: &mut Roff, lines: impl IntoIterator<Item = &'a str>) {
    roff.control("EX", []);
    for line in lines {
        roff.text([line.into()]);
    }
    roff.control("EE", []);
}
