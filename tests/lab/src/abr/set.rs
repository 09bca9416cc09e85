//! Recorded networks and movies in files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nearcast_sim::trace::{Movie, Network};

/// A folder of recorded networks, in name order.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) traces: Vec<Trace>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) network: Network,
}

/// Names the folder of recorded sets.
pub(crate) const TRACES: &str = "NEARCAST_TRACES";
/// A larger file is no recording of one network.
const BYTES_MAX: u64 = 64 << 20;

impl Set {
    /// Reads a folder, or so many of its traces, evenly spaced.
    pub(crate) fn read(folder: &Path, limit: Option<u32>) -> Result<Self> {
        let folder = found(folder, &[""], Path::is_dir, "the set of traces")?;
        let mut files = Vec::new();
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if let Some(name) = trace_name(&path) {
                files.push((name, path));
            }
        }
        files.sort();
        ensure!(
            !files.is_empty(),
            "{}: there are no traces in it, files of lines duration_ms,kbps,latency_ms",
            folder.display()
        );
        let taken = limit.map_or(files.len(), |limit| files.len().min(limit as usize));
        let spaced = (0..taken).map(|place| &files[place * files.len() / taken]);
        let traces: Result<Vec<Trace>> = spaced
            .map(|(name, path)| {
                let network = Network::read(&text(path)?)
                    .map_err(|error| anyhow!("{}: {error}", path.display()))?;
                Ok(Trace {
                    name: name.clone(),
                    network,
                })
            })
            .collect();
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            traces: traces?,
        })
    }
}

/// Reads a movie.
pub(crate) fn movie(path: &Path) -> Result<Movie> {
    let path = found(path, &["", "movies"], Path::is_file, "the movie")?;
    Movie::read(&text(&path)?).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Returns the trace's name if this file is one: hidden files and notes beside them are not.
fn trace_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let beside = name.starts_with('.') || matches!(extension, Some("md" | "json"));
    (path.is_file() && !beside).then(|| name.strip_suffix(".csv").unwrap_or(name).to_owned())
}

/// Returns the folder of recorded sets, if one is named.
pub(crate) fn root() -> Option<PathBuf> {
    let root = std::env::var_os(TRACES).filter(|root| !root.is_empty());
    root.map(PathBuf::from)
}

/// Looks for a path here and in the folder of recorded sets.
fn found(path: &Path, folders: &[&str], fits: fn(&Path) -> bool, what: &str) -> Result<PathBuf> {
    if fits(path) {
        return Ok(path.to_owned());
    }
    let here = path.display();
    ensure!(!path.is_absolute(), "{what} is not there: {here}");
    let Some(root) = root() else {
        bail!("{what} is not there: {here}; {TRACES} does not name a folder to look in either");
    };
    let mut places = folders.iter().map(|folder| root.join(folder).join(path));
    places.find(|place| fits(place)).ok_or_else(|| {
        let root = root.display();
        anyhow!("{what} is not there: {here}, neither here nor in {root} ({TRACES})")
    })
}

fn text(path: &Path) -> Result<String> {
    let place = || path.display().to_string();
    let bytes = fs::metadata(path).with_context(place)?.len();
    ensure!(
        bytes <= BYTES_MAX,
        "{}: {bytes} bytes, more than a recording has",
        place()
    );
    fs::read_to_string(path).with_context(place)
}
