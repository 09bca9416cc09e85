//! A report in the forms that others read: JSON, JUnit XML, a page.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nearcast_scenario::{LabReport, ScenarioError};

use crate::mistake::Mistake;
use crate::page::{self, Side};
use crate::run::junit::{self, Took};

/// Where to write what.
#[derive(Debug, Args)]
pub(crate) struct Documents {
    /// Writes everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes a page with timelines, which needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl Documents {
    /// Returns where what was asked for is to be.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.json, &self.junit, &self.html].into_iter().flatten();
        all.map(PathBuf::as_path)
    }

    /// Writes all that was asked for; how long runs took is known where they were run just now.
    pub(crate) fn write(&self, report: &LabReport, took: Option<&Took>) -> Result<()> {
        if let Some(path) = &self.json {
            let mut out = create(path)?;
            serde_json::to_writer(&mut out, report)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .and_then(|()| out.flush())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = &self.junit {
            let text = junit::text(report, took)?;
            std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = &self.html {
            let mut out = create(path)?;
            let side = Side { label: "", report };
            page::write(&mut out, &[side], &[])
                .and_then(|()| out.flush())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes that nothing was run where JUnit XML was asked for.
    pub(crate) fn write_errors(&self, errors: &[ScenarioError]) -> Result<()> {
        let Some(path) = &self.junit else {
            return Ok(());
        };
        let text = junit::errors(errors)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
}

/// Looks whether all that is to be written has a folder to be in and a file of its own, which nothing is read from: a run of an hour
/// must not be lost to a typing error, nor what it was made from.
pub(crate) fn check(outputs: &[&Path], inputs: &[&Path]) -> Result<()> {
    let read: Vec<PathBuf> = inputs.iter().map(|path| place_of(path)).collect();
    let mut taken = Vec::new();
    for path in outputs {
        let shown = path.display();
        let no = |what: &str| bail!(Mistake(format!("{shown} {what}")));
        let is_file = !path.is_dir() && path.file_name().is_some();
        if !is_file || !folder_of(path).is_dir() {
            return no("cannot be written: give a file in a folder that is there");
        }
        // What is neither missing nor a file, as a pipe, keeps nothing that could be lost.
        if path.exists() && !path.is_file() {
            continue;
        }
        let place = place_of(path);
        if read.iter().any(|input| is_read_from(&place, input)) {
            return no(
                "is what this is made from, and would be lost: give another file to write to",
            );
        }
        if taken.contains(&place) {
            return no("is asked for twice: give each document a file of its own");
        }
        taken.push(place);
    }
    Ok(())
}

/// Removes what an earlier run wrote there, lest it stand for one that comes to no end; of links, what they lead to is emptied.
pub(crate) fn clear(outputs: &[&Path]) -> Result<()> {
    for path in outputs {
        let cleared = match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => std::fs::remove_file(path),
            Ok(found) if found.is_symlink() && path.is_file() => File::create(path).map(drop),
            _ => Ok(()),
        };
        cleared.with_context(|| format!("removing an earlier {}", path.display()))?;
    }
    Ok(())
}

/// Whether a file is read where this is given: a file itself, or those of a folder that are meant by it.
fn is_read_from(place: &Path, input: &Path) -> bool {
    let is_recorded = || place.to_string_lossy().ends_with(RECORDED);
    let is_meant = || place.extension().is_some_and(|end| end == SCENARIO) || is_recorded();
    place == input || input.is_dir() && place.exists() && place.starts_with(input) && is_meant()
}

/// The extension of scenarios in a folder of them.
pub(crate) const SCENARIO: &str = "toml";
/// How the names of sessions' reports end in a folder of `run --record`.
pub(crate) const RECORDED: &str = ".report.json";

/// Where a file is or would be, whatever way it is named.
fn place_of(path: &Path) -> PathBuf {
    // A link may lead to what is not there yet.
    let led = std::fs::read_link(path).map(|to| folder_of(path).join(to));
    let path = led.as_deref().unwrap_or(path);
    let beside = || Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?));
    let real = path.canonicalize().ok();
    real.or_else(beside).unwrap_or_else(|| path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes a file, or says where one could be made.
pub(crate) fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path);
    let file = file.with_context(|| {
        format!(
            "writing {}: give a file in a folder that is there",
            path.display()
        )
    })?;
    Ok(BufWriter::new(file))
}
