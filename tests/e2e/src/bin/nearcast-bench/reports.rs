//! Session reports, kept for whoever wants to look into a figure.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nearcast_player::SessionReport;

/// Where session reports go, if anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Reports(Option<PathBuf>);

impl Reports {
    /// Makes the folder if it is not there.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self> {
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(Self(folder))
    }

    /// Writes `NAME.json`.
    pub(crate) fn keep(&self, name: &str, report: &SessionReport) -> Result<()> {
        let Some(folder) = &self.0 else {
            return Ok(());
        };
        let file = folder.join(format!("{}.json", name.replace(' ', "-")));
        std::fs::write(&file, serde_json::to_vec_pretty(report)?)
            .with_context(|| format!("writing {}", file.display()))
    }
}
