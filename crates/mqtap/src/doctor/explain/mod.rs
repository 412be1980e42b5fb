//! What error messages about taps mean: those of VMMs, of libvirt, of iproute2, of the kernel, of mqtap, and bare errnos.

mod messages;
mod numbers;
mod ours;
#[cfg(test)]
mod ours_tests;
#[cfg(test)]
mod tests;
mod vmm;

/// A kind of error, and what can be behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// A name that stays the same from version to version.
    pub id: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What can be behind it, the likeliest first.
    pub causes: &'static [Cause],
    /// Any of these, in small letters, tells it.
    patterns: &'static [&'static str],
}

/// One thing that can be behind an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is the case.
    pub cause: &'static str,
    /// What to do; what to type stands in backticks.
    pub remedy: &'static str,
}

/// Shorter to write in tables.
const fn cause(cause: &'static str, remedy: &'static str) -> Cause {
    Cause { cause, remedy }
}

/// All errors that are known.
pub fn explanations() -> impl Iterator<Item = &'static Explanation> {
    messages::ALL.iter().chain(vmm::ALL).chain(ours::ALL).chain(numbers::ALL)
}

/// What an error message means, as it was printed or in part: what is said of the whole message first, then what is said of
/// an errno in it. An errno is known by its name, what strerror(3) says of it, and its number: alone, or as in `errno 22`. Empty if
/// nothing in it is known.
#[must_use]
pub fn explain(text: &str) -> Vec<&'static Explanation> {
    let mut text = normalize(text);
    if let Some(number) = errno_number(&text) {
        text = format!("{text} (os error {number})");
    }
    explanations().filter(|one| one.patterns.iter().any(|pattern| holds(&text, pattern))).collect()
}

/// Small letters, and one kind of quotation marks and spaces.
fn normalize(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '‘' | '’' | '`' | '"' | '“' | '”' => '\'',
        c => c,
    });
    let plain: String = plain.collect::<String>().to_lowercase();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number of an errno: of which the text consists, or which stands after the word.
fn errno_number(text: &str) -> Option<u32> {
    if let Ok(number) = text.trim_start_matches('-').parse() {
        return Some(number);
    }
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.find(|word| *word == "errno")?;
    words.next()?.parse().ok()
}

/// Whether the pattern is in the text, and is no part of a longer word there. A `*` stands for anything.
fn holds(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| match find(rest, part) {
        Some(end) => {
            rest = &rest[end..];
            true
        }
        None => false,
    })
}

/// Where the first place ends at which `part` is no part of a longer word.
fn find(text: &str, part: &str) -> Option<usize> {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let places = text.match_indices(part).map(|(start, found)| (start, start + found.len()));
    let mut whole = places.filter(|&(start, end)| {
        let cut_before = is_word(text[..start].chars().next_back()) && is_word(part.chars().next());
        let cut_after = is_word(text[end..].chars().next()) && is_word(part.chars().next_back());
        !cut_before && !cut_after
    });
    whole.next().map(|(_, end)| end)
}
