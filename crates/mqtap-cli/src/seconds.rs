//! Times that are given as seconds.

use std::time::Duration;

/// The longest that anybody may wait for.
const LONGEST: f64 = 3600.0;

/// From a tenth of a second to an hour.
pub(crate) fn some(text: &str) -> Result<Duration, String> {
    parse(text, 0.1)
}

/// From none at all to an hour.
pub(crate) fn or_none(text: &str) -> Result<Duration, String> {
    parse(text, 0.0)
}

fn parse(text: &str, least: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (least..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, from {least} to {LONGEST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_least_and_a_most() {
        assert_eq!(some("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(or_none("0"), Ok(Duration::ZERO));
        for text in ["0", "-1", "nan", "inf", "3601", "x", ""] {
            assert!(some(text).is_err(), "{text}");
        }
    }
}
