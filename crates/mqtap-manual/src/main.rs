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

const OPTIONS: &str = include_str!("../../../docs/options.md");

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
    let mut roff = beginning("mqtap-netdev", '7', date);
    roff.control("SH", ["NAME"]);
    roff.text(["mqtap-netdev - options of a TAP device for a virtual machine".into()]);
    roff.control("SH", ["DESCRIPTION"]);
    markdown::render(OPTIONS, &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    let commands = command::with_netdev(&pages_of_commands());
    roff.text([commands.join(", ").into()]);
    pages.push(Page { name: "mqtap-netdev".to_owned(), section: '7', text: roff.render() });
    pages
}

fn pages_of_commands() -> clap::Command {
    let mut command = mqtap_cli::command();
    command.build();
    command
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
