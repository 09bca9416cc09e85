//! A report in the forms that others read: JSON, JUnit XML, a page.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nearcast_scenario::{LabReport, ScenarioError};

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
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        ensure!(
            folder.is_none_or(Path::is_dir),
            "{shown} cannot be written: give a file in a folder that is there"
        );
        // What is neither missing nor a file, as a pipe, keeps nothing that could be lost.
        if path.exists() && !path.is_file() {
            continue;
        }
        let place = place_of(path);
        if read.iter().any(|input| is_read_from(&place, input)) {
            bail!(
                "{shown} is what this is made from, and would be lost: give another file to write to"
            );
        }
        if taken.contains(&place) {
            bail!("{shown} is asked for twice: give each document a file of its own");
        }
        taken.push(place);
    }
    Ok(())
}

/// Removes what an earlier run wrote there, lest it stand for one that comes to no end. Links, and what is no file, are written through.
pub(crate) fn clear(outputs: &[&Path]) -> Result<()> {
    for path in outputs {
        let is_file = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        if is_file {
            std::fs::remove_file(path)
                .with_context(|| format!("removing an earlier {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether a file is read where this is given: a file itself, or those of a folder that are meant by it.
fn is_read_from(place: &Path, input: &Path) -> bool {
    let ends = |end: &str| {
        place
            .as_os_str()
            .as_encoded_bytes()
            .ends_with(end.as_bytes())
    };
    let is_meant = || ends(SCENARIO) || ends(RECORDED);
    place == input || input.is_dir() && place.exists() && place.starts_with(input) && is_meant()
}

/// How the names of scenarios end in a folder of them.
pub(crate) const SCENARIO: &str = ".toml";
/// How the names of sessions' reports end in a folder of `run --record`.
pub(crate) const RECORDED: &str = ".report.json";

/// Where a file is or would be, whatever way it is named.
fn place_of(path: &Path) -> PathBuf {
    let real = path.canonicalize().ok();
    let beside = || {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(path.file_name().unwrap_or(OsStr::new(""))))
    };
    real.or_else(beside).unwrap_or_else(|| path.to_owned())
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
