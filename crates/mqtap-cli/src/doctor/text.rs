//! Findings, for people.

use mqtap::InterfaceName;
use mqtap::doctor::{Explanation, Finding, Severity};

use crate::output::{Paint, Style, harmless, wrap};

pub(super) fn findings(
    findings: &[Finding],
    name: Option<InterfaceName>,
    paint: Paint,
    width: usize,
) -> String {
    if findings.is_empty() {
        return match name {
            Some(name) => format!("nothing is wrong with {name}\n"),
            None => "nothing is wrong\n".to_owned(),
        };
    }
    let texts: Vec<String> = findings.iter().map(|one| finding(one, paint, width)).collect();
    texts.join("\n")
}

fn finding(finding: &Finding, paint: Paint, width: usize) -> String {
    let style = match finding.severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Doubtful,
        Severity::Info => Style::Plain,
    };
    // Painted after it is wrapped, since the terminal does not count colours.
    let title = format!("{}: {} [{}]", finding.severity, finding.summary, finding.id);
    let mut text = wrap(&title, width, "", "  ").replacen(
        finding.severity.as_str(),
        &paint.word(style, finding.severity.as_str()),
        1,
    );
    text.push_str(&wrap(&finding.cause, width, "  ", "  "));
    if let Some(advice) = &finding.advice {
        text.push_str(&wrap(advice, width, "  do: ", "      "));
    }
    for (number, command) in finding.commands.iter().enumerate() {
        let mark = if number == 0 && finding.advice.is_none() { "do:" } else { "   " };
        // In one line, however long, so that it can be copied.
        text.push_str(&format!("  {mark} {}\n", harmless(command)));
    }
    text
}

pub(super) fn explanations(explanations: &[&Explanation], paint: Paint, width: usize) -> String {
    let texts: Vec<String> = explanations.iter().map(|one| explanation(one, paint, width)).collect();
    texts.join("\n")
}

fn explanation(explanation: &Explanation, paint: Paint, width: usize) -> String {
    let mut text = String::new();
    for line in wrap(explanation.meaning, width, "", "").lines() {
        text.push_str(&paint.word(Style::Plain, line));
        text.push('\n');
    }
    for cause in explanation.causes {
        text.push_str(&wrap(cause.cause, width, "  - ", "    "));
        text.push_str(&wrap(cause.remedy, width, "    do: ", "        "));
    }
    text
}
