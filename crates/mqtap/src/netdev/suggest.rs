//! "Did you mean": the closest of a few known words.

/// Longer words are not searched for a near miss: none of ours is that long, and the search takes time in the product of the lengths.
const LONGEST: usize = 32;

/// The candidate closest to `word`, if close enough to be a slip: letter case and `-` for `_` count for nothing, otherwise at most one edit
/// for every three letters, at least one for words of two letters and more. The first candidate wins a tie.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = normalise(word);
    if word.len() < 2 || word.len() > LONGEST {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &normalise(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normalise(word: &str) -> Vec<char> {
    word.chars()
        .take(LONGEST + 1)
        .map(|c| match c {
            '-' => '_',
            _ => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Edits from `from` to `to`: insert, delete, replace a letter, or swap two neighbours (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    // Three rows of the usual table: the one being filled, the one above, and the one above that for swaps.
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1; to.len() + 1];
        for (j, b) in to.iter().enumerate() {
            let replace = above[j] + usize::from(a != b);
            let mut best = replace.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        before = above;
        above = row;
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{closest, distance};

    fn edits(from: &str, to: &str) -> usize {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        distance(&letters(from), &letters(to))
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("queues", "queues"), 0);
        assert_eq!(edits("queue", "queues"), 1);
        assert_eq!(edits("qeuues", "queues"), 1, "a swap is one edit");
        assert_eq!(edits("", "fd"), 2);
        assert_eq!(edits("fd", ""), 2);
        assert_eq!(edits("script", "downscript"), 4);
    }

    #[test]
    fn finds_slips_and_nothing_wilder() {
        let known = ["queues", "vnet_hdr", "poll-us", "script", "fd", "fds"];
        assert_eq!(closest("queue", known), Some("queues"));
        assert_eq!(closest("Queues", known), Some("queues"));
        assert_eq!(closest("vnet-hdr", known), Some("vnet_hdr"));
        assert_eq!(closest("vnethdr", known), Some("vnet_hdr"));
        assert_eq!(closest("poll_us", known), Some("poll-us"));
        assert_eq!(closest("fdss", known), Some("fds"));
        assert_eq!(closest("netns", known), None);
        assert_eq!(closest("q", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"queues".repeat(1000), known), None);
    }
}
