//! Which files are scenarios.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nearcast_scenario::{Scenario, ScenarioError};

/// Reads all files, and all files of folders that end in `.toml`, in order; either all can be read, or what is wrong with each that cannot.
pub(super) fn scenarios(paths: &[PathBuf]) -> Result<Result<Vec<Scenario>, Vec<ScenarioError>>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                bail!(
                    "{} holds no scenario: files that end in .toml",
                    path.display()
                );
            }
        } else {
            files.push(path.clone());
        }
    }
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match Scenario::read(&file) {
            Ok(scenarios) => all.extend(scenarios),
            Err(error) => errors.push(error),
        }
    }
    Ok(if errors.is_empty() {
        Ok(all)
    } else {
        Err(errors)
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else if entry.extension().is_some_and(|end| end == "toml") {
            files.push(entry);
        }
    }
    Ok(())
}
