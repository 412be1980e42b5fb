//! What people are told to type.

/// A line to be typed into a shell. Names come from others, and may have anything in them.
pub(crate) fn line<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| quoted(word.as_ref())).collect();
    words.join(" ")
}

/// A word as a shell reads it back (POSIX.1-2024, "Shell Command Language", 2.2.2).
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_each_word_as_it_was() {
        for words in [
            &["ip", "link", "set", "dev", "tap0", "up"][..],
            &["mqtap", "delete", "$(touch x)"],
            &["a;b", "it's", "", "*", "a\\x2db", "back`tick`", "\"double\""],
        ] {
            let script = format!("printf '%s\\n' {}", line(words));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\n")).collect();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
        assert_eq!(line(["ip", "link", "del", "vm-1.0"]), "ip link del vm-1.0");
    }
}
