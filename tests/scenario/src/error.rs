//! What is wrong with a scenario: file, line, what, and what would be right.

use std::fmt;
use std::fs;
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

    /// Returns where a key is written, of all keys in the table that begins at a place: an inline one, or one below its header
    /// with those that belong to it. Where it is not found, the place itself.
    pub(crate) fn key(&self, table: &Range<usize>, key: &str) -> Range<usize> {
        let rest = self.text.get(table.start..).unwrap_or_default();
        let header = rest.trim_start_matches('[').split(']').next();
        let length = match header {
            Some(name) if rest.starts_with('[') => {
                let is_next = |(at, _): &(usize, &str)| {
                    let line = rest.get(at + 1..).unwrap_or_default();
                    !line.starts_with(&format!("[{name}."))
                };
                let next = rest.match_indices("\n[").find(is_next);
                next.map_or(rest.len(), |(at, _)| at)
            }
            _ => table.len(),
        };
        let region = rest.get(..length).unwrap_or_default();
        let found = key_in(region, key).map(|at| table.start + at);
        found.map_or_else(|| table.clone(), |at| at..at + key.len())
    }

    /// Returns where a key is written that the whole file has once.
    pub(crate) fn only(&self, key: &str) -> Range<usize> {
        let at = key_in(self.text, key).unwrap_or_default();
        at..at
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

    /// Returns the text of a table, of which the reader of TOML may tell the headline only.
    fn table_from(&self, span: Option<Range<usize>>) -> &str {
        let Some(span) = span else { return "" };
        let rest = self.text.get(span.start..).unwrap_or_default();
        let end = if rest.starts_with('[') {
            rest.find("\n[").unwrap_or(rest.len())
        } else {
            span.len()
        };
        rest.get(..end).unwrap_or_default()
    }

    /// Returns what the reader of TOML says, in words of the format.
    pub(crate) fn toml(&self, error: &toml::de::Error) -> ScenarioError {
        let message = error.message();
        let text = error.span().and_then(|span| self.text.get(span));
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
                let hint = example(missing, self.table_from(error.span()));
                let hint = hint.map(|example| format!("write `{missing} = {example}`, say"));
                (format!("`{missing}` is missing"), hint)
            }
            ("duplicate key", _) => (
                format!("`{}` is there twice", text.unwrap_or("a key")),
                Some("keep one of them".to_owned()),
            ),
            // Of names that are known only texts can be one.
            ("wanted string or table", _) => is_wrong(text.unwrap_or("this"), TEXT),
            _ if message.starts_with("wanted exactly 1 element") => (
                "a table is wrong here".to_owned(),
                Some(format!(
                    "{TEXT} would be right, and what belongs to it beside it"
                )),
            ),
            _ => wrong_type(message).unwrap_or_else(|| (message.to_owned(), None)),
        };
        match error.span() {
            Some(span) => self.error(span, what, hint),
            None => self.whole(what, hint),
        }
    }
}

/// Reads a file that is text.
pub(crate) fn read(file: &Path) -> Result<String, ScenarioError> {
    let bytes = fs::read(file).map_err(|error| {
        let what = format!("cannot be read: {error}");
        Source { file, text: "" }.whole(what, None)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = &String::from_utf8_lossy(error.as_bytes());
        let hint = Some("save it as UTF-8".to_owned());
        Source { file, text }.error(at..at, "this is no UTF-8", hint)
    })
}

/// Returns what a key may hold that is missing in this part of a file.
fn example(missing: &str, text: &str) -> Option<&'static str> {
    // Names and certificates have different problems.
    if missing == "problem" && text.contains("\"dns\"") {
        return Some("\"fails\"");
    }
    let mut examples = EXAMPLES.iter();
    let (_, example) = examples.find(|(key, _)| *key == missing)?;
    Some(example)
}

/// What keys hold that cannot be left out.
const EXAMPLES: [(&str, &str); 20] = [
    ("version", "1"),
    ("edges", "[{ name = \"near\" }]"),
    ("name", "\"near\""),
    ("edge", "\"in_use\""),
    ("fault", "{ kind = \"kill\" }"),
    ("kind", "\"kill\""),
    ("at_s", "30"),
    ("do", "\"pause\""),
    ("on", "{ object = \"media\" }"),
    (
        "objects",
        "[{ name = \"picture\", on = { object = \"media\" } }]",
    ),
    ("shapes", "[{ fault = { kind = \"hang\" } }]"),
    ("status", "503"),
    ("problem", "\"expired\""),
    ("rate_bps", "500000"),
    ("delay_ms", "500"),
    ("lasts_s", "10"),
    ("rate_kbps", "4000"),
    ("enter_ratio", "0.001"),
    ("leave_ratio", "0.2"),
    ("loss_ratio", "0.5"),
];

/// What serde says of a value that is none of the kind, in words of the format.
fn wrong_type(message: &str) -> Option<(String, Option<String>)> {
    let rest = message.strip_prefix("invalid type: ");
    let rest = rest.or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.replace('`', ""),
        Some(("floating", value)) => value.replace("point ", "").replace('`', ""),
        _ => words(found).to_owned(),
    };
    Some(is_wrong(&found, words(expected)))
}

fn is_wrong(found: &str, right: &str) -> (String, Option<String>) {
    (
        format!("{found} is wrong here"),
        Some(format!("{right} would be right")),
    )
}

const TEXT: &str = "a text (`\"…\"`)";

/// Types as people know them who write files.
fn words(kind: &str) -> &str {
    match kind {
        "f64" => "a number",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "i64" | "usize" => "a whole number from 0 on",
        "sequence" | "a sequence" => "a list (`[ … ]`)",
        "map" | "a map" => "a table (`{ … }`)",
        "a string" | "variant identifier" => TEXT,
        "a boolean" => "`true` or `false`",
        _ if kind.starts_with("struct ") => "a table (`{ … }`)",
        _ if kind.starts_with("internally tagged enum") => "a table (`{ kind = \"…\" }`)",
        _ => kind,
    }
}

/// Returns the place of `key =` in a text.
fn key_in(text: &str, key: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut places = text.match_indices(key);
    let is_key = |at: usize| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + key.len()..).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        !before.ends_with(is_part) && after.trim_start().starts_with('=') && !line.contains('#')
    };
    places.find(|(at, _)| is_key(*at)).map(|(at, _)| at)
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
        None if known.is_empty() => "leave it out: nothing more belongs here".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_own_table() {
        const TEXT: &str = r#"limit_s = 5
faults = [{ edge = "a", fault = { kind = "count" }, on = { count = 0 } }]
[[actions]]
# count = 7
at_s = 3
[[faults]]
edge = "a" # count
[faults.on]
count = 4
[[faults]]
count = 9
"#;
        let source = Source {
            file: "x.toml".as_ref(),
            text: TEXT,
        };
        let line = |table: &str, nth: usize, key: &str| {
            let (start, _) = TEXT.match_indices(table).nth(nth).unwrap();
            let span = start..start + TEXT[start..].find('\n').unwrap();
            let error = source.error(source.key(&span, key), "", None);
            (error.line.unwrap(), error.text)
        };
        assert_eq!(line("{ edge", 0, "count").0, 2);
        assert_eq!(
            line("[[faults]]", 0, "count"),
            (9, "count = 4".to_owned()),
            "a table of its own belongs to it"
        );
        assert_eq!(line("[[faults]]", 1, "count").0, 11);
        assert_eq!(
            line("[[actions]]", 0, "count"),
            (3, "[[actions]]".to_owned()),
            "what is not there"
        );
        assert_eq!(source.error(source.only("limit_s"), "", None).line, Some(1));
    }
}
