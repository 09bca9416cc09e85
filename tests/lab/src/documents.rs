//! A report in the forms that others read: JSON, JUnit XML, a page.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
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
    /// Looks whether all that was asked for has a folder to be in: a run of an hour must not be lost to a typing error. What an
    /// earlier run wrote there is removed, lest it stand for one that comes to no end.
    pub(crate) fn make_room(&self) -> Result<()> {
        for path in [&self.json, &self.junit, &self.html].into_iter().flatten() {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            ensure!(
                folder.is_none_or(Path::is_dir),
                "{} cannot be written: give a file in a folder that is there",
                path.display()
            );
            if path.is_file() {
                std::fs::remove_file(path)
                    .with_context(|| format!("removing an earlier {}", path.display()))?;
            }
        }
        Ok(())
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
