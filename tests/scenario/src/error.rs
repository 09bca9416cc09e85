//! What is wrong with a scenario: file, line, what, and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A scenario that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Which file.
    pub file: PathBuf,
    /// Which line, counted from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
    /// The line itself, cut to a readable length.
    pub text: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)?;
        if !self.text.is_empty() {
            write!(f, "\n  | {}", self.text)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  = {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScenarioError {}

/// A file and its text, for errors that say where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Returns an error about a part of the text.
    pub(crate) fn error(
        &self,
        span: Range<usize>,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> ScenarioError {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count();
        let text = self.text.lines().nth(line).unwrap_or_default().trim();
        let cut: String = text.chars().take(100).collect();
        ScenarioError {
            file: self.file.to_owned(),
            line: Some(line + 1),
            text: cut,
            what: what.into(),
            hint,
        }
    }

    /// Returns an error about the whole.
    pub(crate) fn whole(&self, what: impl Into<String>, hint: Option<String>) -> ScenarioError {
        ScenarioError {
            file: self.file.to_owned(),
            line: None,
            text: String::new(),
            what: what.into(),
            hint,
        }
    }

    /// Returns what the reader of TOML says, in words of ours where it says little.
    pub(crate) fn toml(&self, error: &toml::de::Error) -> ScenarioError {
        let message = error.message();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (what, hint) = match (message, &quoted[..]) {
            (_, [found, known @ ..]) if message.starts_with("unknown field") => {
                unknown_key(found, known)
            }
            (_, [found, known @ ..]) if message.starts_with("unknown variant") => (
                format!("`{found}` is not known here"),
                Some(nearest(found, known).map_or_else(
                    || format!("one of these would be right: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`? Known are: {}", known.join(", ")),
                )),
            ),
            (_, [missing]) if message.starts_with("missing field") => {
                (format!("`{missing}` is missing"), None)
            }
            _ => (message.replace("expected f64", "expected a number"), None),
        };
        match error.span() {
            Some(span) => self.error(span, what, hint),
            None => self.whole(what, hint),
        }
    }
}

/// Units that keys end in.
const UNITS: [&str; 8] = ["s", "ms", "kbps", "bps", "bytes", "ratio", "km", "deg"];

fn unknown_key(found: &str, known: &[&str]) -> (String, Option<String>) {
    let has_unit = |key: &&&str| {
        let unit = key
            .strip_prefix(found)
            .and_then(|rest| rest.strip_prefix('_'));
        unit.is_some_and(|unit| UNITS.contains(&unit))
    };
    if let Some(right) = known.iter().find(has_unit) {
        return (
            format!("`{found}` lacks its unit"),
            Some(format!("write `{right}`")),
        );
    }
    // `rate_mbps` for `rate_kbps`: the same quantity in another unit.
    let stem = |key: &str| {
        key.rsplit_once('_')
            .map(|(stem, unit)| (stem.to_owned(), unit.to_owned()))
    };
    let same_quantity = known.iter().find(|key| {
        let (Some((one, unit)), Some((other, _))) = (stem(key), stem(found)) else {
            return false;
        };
        one == other && UNITS.contains(&unit.as_str())
    });
    if let Some(right) = same_quantity {
        return (
            format!("`{found}` is in another unit than is read here"),
            Some(format!("write `{right}`")),
        );
    }
    let hint = match nearest(found, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("these are known: {}", known.join(", ")),
    };
    (format!("unknown key `{found}`"), Some(hint))
}

/// Returns the name that was meant, if one is near enough.
pub(crate) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known
        .iter()
        .map(|name| (strsim::jaro_winkler(found, name), *name));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
