//! Arguments of all kinds: what is replaced is known beforehand, and nothing else changes.

use proptest::prelude::*;

use super::{Handover, Template, handover};

const IDS: [&str; 3] = ["a", "hn0", "c-x_y.z"];

fn netdevs(queues: [usize; 3], first: i32) -> Vec<Handover> {
    let mut next = first;
    let numbered = IDS.iter().zip(queues).map(|(id, queues)| {
        let netdev = handover(&format!("tap,id={id},ifname=if-{id},queues={queues}"), next, true);
        next += 2 * i32::try_from(queues).unwrap();
        netdev
    });
    numbered.collect()
}

/// What stands for a value of a netdev with so many queues and handles, from this number on.
fn value(id: &str, key: &str, queues: usize, first: i32) -> String {
    let count = i32::try_from(queues).unwrap();
    let list = |from: i32, separator: &str| {
        (from..from + count).map(|fd| fd.to_string()).collect::<Vec<_>>().join(separator)
    };
    match key {
        "" if queues == 1 => format!("tap,id={id},fd={first},vhostfd={}", first + 1),
        "" => format!("tap,id={id},fds={},vhostfds={}", list(first, ":"), list(first + count, ":")),
        "fds" => list(first, ":"),
        "fds.csv" => list(first, ","),
        "vhostfds" => list(first + count, ":"),
        "vhostfds.csv" => list(first + count, ","),
        "ifname" => format!("if-{id}"),
        "queues" => queues.to_string(),
        "virtqueues" => (2 * queues).to_string(),
        "vectors" => (2 * queues + 2).to_string(),
        "mac" => "52:54:00:12:34:56".to_owned(),
        other => panic!("a key without a test: {other}"),
    }
}

/// A part of an argument.
#[derive(Clone, Debug)]
enum Part {
    /// A value of a netdev, or without a key the netdev itself.
    Value { netdev: usize, key: Option<usize> },
    /// What stays as it is.
    Same(String),
    /// A name in two pairs of braces.
    Escaped(String),
}

fn part() -> impl Strategy<Value = Part> {
    let name = "[a-zA-Z][a-zA-Z0-9._-]{0,8}";
    let key = prop::option::of(0..Template::KEYS.len());
    prop_oneof![
        3 => (0..IDS.len(), key).prop_map(|(netdev, key)| Part::Value { netdev, key }),
        1 => "[^{$]{0,12}".prop_map(Part::Same),
        1 => name.prop_map(Part::Escaped),
        1 => name.prop_map(|name| Part::Same(format!("${{{name}}}"))),
        // Something that no name has, and the end of the argument, end a name.
        1 => "\\{[a-z0-9.]{0,4}[ ,:;=\"/\u{e9}][^{$]{0,6}\\}?".prop_map(Part::Same),
        1 => Just(Part::Same("{".to_owned())),
        1 => Just(Part::Same("{}".to_owned())),
        1 => "\\{[0-9_.-][a-z]{0,3}\\}".prop_map(Part::Same),
    ]
}

proptest! {
    #[test]
    fn names_are_replaced_and_nothing_else(
        parts in prop::collection::vec(part(), 0..12),
        queues in prop::array::uniform3(1_usize..5),
        first in 3..500_i32,
    ) {
        let netdevs = netdevs(queues, first);
        let template = Template::new(&netdevs).unwrap();
        let (mut text, mut expected) = (String::new(), String::new());
        for part in parts {
            match part {
                Part::Value { netdev, key } => {
                    let id = IDS[netdev];
                    let key = key.map_or("", |key| Template::KEYS[key]);
                    let dot = if key.is_empty() { "" } else { "." };
                    text.push_str(&format!("{{{id}{dot}{key}}}"));
                    let before: usize = queues[..netdev].iter().sum();
                    let fd = first + 2 * i32::try_from(before).unwrap();
                    expected.push_str(&value(id, key, queues[netdev], fd));
                }
                Part::Same(same) => {
                    text.push_str(&same);
                    expected.push_str(&same);
                }
                Part::Escaped(name) => {
                    text.push_str(&format!("{{{{{name}}}}}"));
                    expected.push_str(&format!("{{{name}}}"));
                }
            }
            // Braces that touch each other are something else; those are in the table of examples.
            text.push('\n');
            expected.push('\n');
        }
        prop_assert_eq!(template.fill(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap()), Ok(expected));
    }

    /// Arguments need not be UTF-8, and braces need not be balanced.
    #[test]
    fn any_bytes_are_an_argument(
        text in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'$'), Just(b'.'), Just(b'a'), any::<u8>()], 0..60)
    ) {
        let netdevs = netdevs([1, 2, 1], 3);
        let template = Template::new(&netdevs).unwrap();
        let filled = template.fill(&text);
        let has_name = |text: &[u8]| text.windows(2).any(|two| two[0] == b'{' && two[1].is_ascii_alphabetic());
        if !has_name(&text) {
            prop_assert_eq!(filled, Ok(text));
        }
    }
}
