//! Nothing is missing, and nothing is too wide for a terminal.

use crate::pages;

#[test]
fn every_command_has_a_page_and_is_listed() {
    let pages = pages("2026-11-26");
    let main = pages.iter().find(|page| page.name == "mqtap").unwrap();
    for command in mqtap_cli::command().get_subcommands() {
        let name = format!("mqtap-{}", command.get_name());
        let page = pages.iter().find(|page| page.name == name).unwrap();
        assert!(main.text.contains(&name.replace('-', r"\-")), "{name}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"] {
            assert!(
                page.text.contains(&format!(".SH {section}"))
                    || page.text.contains(&format!(".SH \"{section}\"")),
                "{name}: {section}"
            );
        }
        for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(page.text.contains(&argument.replace('-', r"\-")), "{name}: --{argument}");
        }
    }
}

/// What is shown as it is has 73 columns: a terminal of 80 less the margin of a page. (In `--help`, with its two columns of margin,
/// that is 75.)
#[test]
fn examples_fit_into_80_columns() {
    for page in pages("").into_iter().filter(|page| page.section == '1') {
        let mut inside = false;
        for line in page.text.lines() {
            match line {
                ".EX" => inside = true,
                ".EE" => inside = false,
                line if inside => {
                    let shown = line
                        .replace(r"\*(Aq", "'")
                        .replace(r"\-", "-")
                        .replace(r"\&", "")
                        .replace(r"\\", r"\");
                    assert!(shown.chars().count() <= 73, "{}: {shown}", page.name);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_option_of_a_netdev_is_on_its_page() {
    let pages = pages("");
    let page = pages.iter().find(|page| page.name == "mqtap-netdev").unwrap();
    let terms: Vec<&str> = page.text.split(".TP\n").skip(1).filter_map(|item| item.lines().next()).collect();
    for option in mqtap::netdev::OptionName::ALL {
        let term = format!(r"\fB{}\fR", option.as_str().replace('-', r"\-"));
        assert!(terms.contains(&term.as_str()), "{option}");
    }
}

#[test]
fn markdown_becomes_roff() {
    let mut roff = clap_mangen::roff::Roff::new();
    let page = "# Title\n\nOne `two`\nthree **four**.\n\nFive.\n\n## Part\n\n* a\n* b\n  c\n\nd\n\n```text\n.e  f\n```\n\n\
        | x | meaning |\n| --- | --- |\n| `g` | h |\n\n| | k | l |\n| --- | --- | --- |\n| i | m | n |\n";
    crate::markdown::render(page, &mut roff);
    let expected = "One \\fBtwo\\fR three \\fBfour\\fR.\n.PP\nFive.\n.SH PART\n.IP \\(bu 2\na\n.IP \\(bu 2\nb c\n.PP\nd\n\
        .PP\n.RS 4\n.EX\n\\&.e  f\n.EE\n.RE\n.TP\n\\fBg\\fR\nh\n.br\n.TP\ni\nk: m\n.br\nl: n\n";
    assert_eq!(roff.to_roff(), expected);
}

#[test]
fn help_becomes_sections() {
    let mut roff = clap_mangen::roff::Roff::new();
    let help = "Examples:\n  mqtap a \\\n    b\n\n  Then prose,\n  filled.\n\nExit status: 0 or\n1.";
    crate::help::render(help, &mut roff);
    let expected = ".SH EXAMPLES\n.EX\nmqtap a \\\\\n  b\n.EE\n.PP\nThen prose,\nfilled.\n.SH \"EXIT STATUS\"\n0 or\n1.\n";
    assert_eq!(roff.to_roff(), expected);
}

#[test]
fn files_of_docs_are_found() {
    assert_eq!(
        crate::with_places("see docs/json.md, docs/taps.md; docs/"),
        r"see mqtap\-json(7), /usr/share/doc/mqtap/taps.md.gz; docs/"
    );
    let mut roff = clap_mangen::roff::Roff::new();
    crate::markdown::render("[a](options.md#x) [b](taps.md) [c](#d)\n", &mut roff);
    assert_eq!(roff.to_roff(), "\\fBmqtap\\-netdev(7)\\fR \\fB/usr/share/doc/mqtap/taps.md.gz\\fR c\n");
}
