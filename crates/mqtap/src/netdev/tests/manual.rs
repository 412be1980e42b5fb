//! The manual and the parser know the same options.

use super::parsed;
use crate::netdev::OptionName;

const MANUAL: &str = include_str!("../../../../../docs/options.md");

#[test]
fn every_option_has_its_row() {
    for option in OptionName::ALL {
        let row = format!("| `{option}` |");
        assert!(MANUAL.lines().any(|line| line.starts_with(&row)), "docs/options.md has no row `{row}`");
    }
}

#[test]
fn every_row_has_its_option() {
    let table = MANUAL
        .lines()
        .skip_while(|line| !line.starts_with("| option |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut rows = 0;
    for row in table {
        let name = row.split('`').nth(1).unwrap();
        assert!(OptionName::find(name).is_some(), "docs/options.md has a row for `{name}`");
        rows += 1;
    }
    assert_eq!(rows, OptionName::ALL.len());
}

/// Each line of a code block that starts like a netdev is one.
#[test]
fn every_example_is_valid() {
    let examples: Vec<&str> =
        MANUAL.lines().filter(|line| line.starts_with("tap,") || line.starts_with("{\"type\"")).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        assert_eq!(parsed(example).validate(), Ok(()), "{example}");
    }
}
