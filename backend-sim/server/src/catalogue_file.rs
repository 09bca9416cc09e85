//! Reads a catalogue from a file.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nearcast_backend_model::{
    Account, Backend, Catalogue, CatalogueError, CatalogueItem, CatalogueProblem, ModelConfig,
    Network, Plan, Title,
};
use serde::Deserialize;
use toml::Spanned;

/// The name of a catalogue in a folder.
pub const CATALOGUE_FILE: &str = "catalogue.toml";

/// A catalogue file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFileError {
    /// It cannot be read.
    #[error("cannot read the catalogue {path}: {source}; {WANTED}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large to be a catalogue.
    #[error("the catalogue {path} is larger than {size_bytes_max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most it may have.
        size_bytes_max: u64,
    },
    /// It is not what a catalogue looks like.
    #[error("{path}:{line}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It contradicts itself.
    #[error("{path}:{line}: {problem}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The line where the part begins that is wrong, from 1.
        line: usize,
        /// What is wrong.
        problem: CatalogueProblem,
    },
}

impl CatalogueFileError {
    /// Returns a code that stays the same for the same kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "catalogue.unreadable",
            Self::TooLarge { .. } => "catalogue.too_large",
            Self::Syntax { .. } => "catalogue.syntax",
            Self::Contradiction { .. } => "catalogue.contradiction",
        }
    }
}

/// What can be given for a catalogue.
const WANTED: &str =
    "give a catalogue file, or the folder of one called catalogue.toml, as target/media/title";

/// Reads and checks a catalogue: a file, or `catalogue.toml` in a folder.
///
/// # Errors
/// When it cannot be read, or does not make sense; with file and line.
pub fn read_catalogue(path: &Path) -> Result<Catalogue, CatalogueFileError> {
    let path = if path.is_dir() {
        path.join(CATALOGUE_FILE)
    } else {
        path.to_owned()
    };
    let mut text = String::new();
    let read =
        File::open(&path).and_then(|file| file.take(SIZE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(CatalogueFileError::Read { path, source });
    }
    if text.len() as u64 > SIZE_BYTES_MAX {
        return Err(CatalogueFileError::TooLarge {
            path,
            size_bytes_max: SIZE_BYTES_MAX,
        });
    }
    parse(&path, &text)
}

/// Thousands of titles fit.
const SIZE_BYTES_MAX: u64 = 4 << 20;

/// The catalogue with the place of each part, so that a contradiction can be pointed at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    #[serde(default)]
    title: Vec<Spanned<Title>>,
    #[serde(default)]
    account: Vec<Spanned<Account>>,
    #[serde(default)]
    plan: Vec<Spanned<Plan>>,
    #[serde(default)]
    network: Vec<Spanned<Network>>,
}

fn parse(path: &Path, text: &str) -> Result<Catalogue, CatalogueFileError> {
    let parts: Parts = toml::from_str(text).map_err(|error| CatalogueFileError::Syntax {
        path: path.to_owned(),
        line: line(text, error.span().map_or(0, |span| span.start)),
        what: what(path, error.message()),
    })?;
    let catalogue = Catalogue {
        titles: bare(&parts.title),
        accounts: bare(&parts.account),
        plans: bare(&parts.plan),
        networks: bare(&parts.network),
    };
    match Backend::new(catalogue.clone(), ModelConfig::default()) {
        Ok(_) => Ok(catalogue),
        Err(CatalogueError { item, problem }) => {
            let start = match item {
                CatalogueItem::Title(place) => start(&parts.title, place),
                CatalogueItem::Account(place) => start(&parts.account, place),
                CatalogueItem::Plan(place) => start(&parts.plan, place),
                CatalogueItem::Network(place) => start(&parts.network, place),
            };
            Err(CatalogueFileError::Contradiction {
                path: path.to_owned(),
                line: line(text, start),
                problem,
            })
        }
    }
}

/// Whoever names another kind of file does not want to mend its third line.
fn what(path: &Path, message: &str) -> String {
    let message = message.replace('\n', "; ");
    if path.extension().is_some_and(|kind| kind == "toml") {
        message
    } else {
        format!("{message}; {WANTED}")
    }
}

fn bare<T: Clone>(parts: &[Spanned<T>]) -> Vec<T> {
    parts.iter().map(|part| part.as_ref().clone()).collect()
}

fn start<T>(parts: &[Spanned<T>], place: usize) -> usize {
    parts.get(place).map_or(0, |part| part.span().start)
}

fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[plan]]
id = "basic"
streams_max = 1

[[account]]
id = "kid"
plan = "basic"
country = "DE"
maturity = 12

[[network]]
prefix = "127.0.0.0/8"
country = "DE"
position_deg = [52.5, 13.4]

[[title]]
id = "demo"
name = "Demo"
duration_ms = 120000
files = "demo/"
dash = "demo/stream.mpd"
maturity = 6
"#;

    fn error(text: &str) -> String {
        parse(Path::new("c.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_catalogue_is_read() {
        let catalogue = parse(Path::new("c.toml"), GOOD).unwrap();
        assert_eq!(catalogue.titles[0].maturity, 6);
        assert_eq!(catalogue.accounts[0].maturity, 12);
        assert_eq!(catalogue.networks[0].position_deg, Some((52.5, 13.4)));
    }

    #[test]
    fn the_example_is_good() {
        let text = include_str!("../../catalogue.example.toml");
        let catalogue = parse(Path::new("catalogue.example.toml"), text).unwrap();
        assert_eq!(catalogue.titles.len(), 2);
    }

    #[test]
    fn a_mistake_is_named_with_file_and_line() {
        insta::assert_snapshot!(
            [
                error(&GOOD.replace("streams_max = 1", "streams_max = -1")),
                error(&GOOD.replace("maturity = 6", "maturty = 6")),
                error(&GOOD.replace("plan = \"basic\"", "plan = \"gold\"")),
                error(&GOOD.replace("demo/stream.mpd", "other/stream.mpd")),
                error(&GOOD.replace("127.0.0.0/8", "127/8")),
                error(&GOOD.replace("[[title]]", "[[title]")),
                error(&GOOD.replace("name = \"Demo\"\n", "")),
            ]
            .join("\n")
        );
    }

    #[test]
    fn a_folder_holds_its_catalogue_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_catalogue(folder.path()).unwrap_err().to_string();
        for part in ["catalogue.toml", "as target/media/title"] {
            assert!(missing.contains(part), "{missing}");
        }
        std::fs::write(folder.path().join(CATALOGUE_FILE), GOOD).unwrap();
        assert_eq!(read_catalogue(folder.path()).unwrap().titles.len(), 1);
        let readme = folder.path().join("README.md");
        std::fs::write(&readme, "# Nearcast\n\nA player.\n").unwrap();
        let foreign = read_catalogue(&readme).unwrap_err().to_string();
        assert!(foreign.contains("give a catalogue file"), "{foreign}");
    }
}
