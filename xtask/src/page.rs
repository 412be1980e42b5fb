//! What the pages in docs/ tell people to type and to write, for those who do it.

use crate::outcome::{Context as _, Result, fail};
use crate::paths;

/// A page of docs/.
pub(crate) struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    pub(crate) fn read(name: &'static str) -> Result<Self> {
        let path = paths::root().join("docs").join(name);
        let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name, text })
    }

    /// What is fenced with that info string, such as `sh start`: the only such block.
    pub(crate) fn block(&self, info: &str) -> Result<&str> {
        let fence = format!("\n```{info}\n");
        let mut found =
            self.text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap_or(rest));
        match (found.next(), found.next()) {
            (Some(block), None) => Ok(block),
            (None, _) => fail(format!("docs/{} has no block `{info}`", self.name)),
            _ => fail(format!("docs/{} has several blocks `{info}`", self.name)),
        }
    }

    /// An error if the page does not quote this.
    pub(crate) fn must_quote(&self, text: &str) -> Result<()> {
        if self.text.contains(&format!("*{text}*")) {
            return Ok(());
        }
        fail(format!("docs/{} does not quote `{text}`", self.name))
    }
}

/// The text with one thing in the place of another, which must be there.
pub(crate) fn replaced(text: &str, what: &str, by: &str) -> Result<String> {
    if text.contains(what) {
        Ok(text.replace(what, by))
    } else {
        fail(format!("there is no `{what}` in:\n{text}"))
    }
}
