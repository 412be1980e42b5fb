//! What this release is, as `packaging/debian/changelog` says.

use std::process::Command;

use super::tool;
use crate::outcome::{Context as _, Result, fail, failure};
use crate::paths;

/// The topmost entry of the changelog.
pub(super) struct Release {
    /// Such as `0.1.0-1`.
    pub(super) version: String,
    pub(super) maintainer: String,
    /// As man pages have it: `2026-11-26`.
    pub(super) date: String,
    /// Seconds since 1970, for `SOURCE_DATE_EPOCH`: the same sources make the same package.
    pub(super) epoch: String,
}

impl Release {
    pub(super) fn read() -> Result<Self> {
        let path = paths::packaging().join("debian/changelog");
        let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
        let release =
            Self::parse(&text).ok_or_else(|| failure(format!("{} has no entry", path.display())))?;
        let (upstream, _) = release.version.rsplit_once('-').unwrap_or((&release.version, ""));
        if upstream != env!("CARGO_PKG_VERSION") {
            return fail(format!(
                "{} is about version {upstream}, and Cargo.toml about {}; add an entry",
                path.display(),
                env!("CARGO_PKG_VERSION")
            ));
        }
        let date = |format: &str| -> Result<String> {
            let mut date = Command::new("date");
            let text = tool(date.args(["--utc", "--date", &release.date, format]))?;
            Ok(text.trim().to_owned())
        };
        Ok(Self { epoch: date("+%s")?, date: date("+%Y-%m-%d")?, ..release })
    }

    /// The date as it stands there.
    fn parse(text: &str) -> Option<Self> {
        let version = text.lines().next()?.split_once('(')?.1.split_once(')')?.0.to_owned();
        let signature = text.lines().find_map(|line| line.strip_prefix(" -- "))?;
        let (maintainer, date) = signature.split_once("  ")?;
        Some(Self { version, maintainer: maintainer.to_owned(), date: date.to_owned(), epoch: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::Release;

    #[test]
    fn the_topmost_entry_counts() {
        let text = "mqtap (1.2-3) unstable; urgency=low\n\n  * A.\n\n -- B C <d@e>  Thu, 26 Nov 2026 00:00:00 +0000\n\n\
                    mqtap (1.1-1) unstable; urgency=low\n\n -- F <g@h>  Thu, 19 Nov 2026 00:00:00 +0000\n";
        let release = Release::parse(text).unwrap();
        assert_eq!(release.version, "1.2-3");
        assert_eq!(release.maintainer, "B C <d@e>");
        assert_eq!(release.date, "Thu, 26 Nov 2026 00:00:00 +0000");
    }
}
