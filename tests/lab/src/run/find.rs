//! Which files are scenarios.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nearcast_scenario::{Scenario, ScenarioError};

use crate::documents::SCENARIO;

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
    // A file may be in a folder that is named, too.
    let mut known = BTreeSet::new();
    files.retain(|file| known.insert(file.clone()));
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

/// Keeps one cell of each shape of a matrix, its objects and places in turn, and all that is in no matrix.
pub(super) fn one_of_each_shape(scenarios: &mut Vec<Scenario>) {
    let mut shapes: Vec<((&Path, &str), Vec<usize>)> = Vec::new();
    for (place, scenario) in scenarios.iter().enumerate() {
        let Some(cell) = &scenario.cell else {
            continue;
        };
        let shape = (&*scenario.file, &*cell.shape);
        match shapes.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, cells)) => cells.push(place),
            None => shapes.push((shape, vec![place])),
        }
    }
    let in_turn = shapes.iter().enumerate();
    let kept: BTreeSet<usize> = in_turn
        .map(|(turn, (_, cells))| cells[turn % cells.len()])
        .collect();
    let mut place = 0..;
    scenarios.retain(|scenario| {
        let is_kept = place.next().is_some_and(|place| kept.contains(&place));
        is_kept || scenario.cell.is_none()
    });
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
        } else if entry.extension().is_some_and(|end| end == SCENARIO) {
            files.push(entry);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cell_of_each_shape_is_kept_with_objects_in_turn() {
        let text = r#"
            version = 1
            edges = [{ name = "a" }]
            [matrix]
            edge = "a"
            objects = [
                { name = "picture", on = { object = "media", track = "video" } },
                { name = "sound", on = { object = "media", track = "audio" } },
            ]
            shapes = [
                { fault = { kind = "hang" }, after = [0, 0.5] },
                { fault = { kind = "corrupt" } },
                { fault = { kind = "reset" } },
            ]
        "#;
        let mut scenarios = Scenario::parse("m.toml".as_ref(), text).unwrap();
        let alone = Scenario::parse("a.toml".as_ref(), "version = 1\nedges = [{ name = \"a\" }]");
        scenarios.extend(alone.unwrap());
        assert_eq!(scenarios.len(), 9);
        one_of_each_shape(&mut scenarios);
        let cells = scenarios.iter().filter_map(|one| one.cell.as_ref());
        let kept: Vec<_> = cells.map(|cell| (&*cell.shape, &*cell.object)).collect();
        let expected = [
            ("hang", "picture"),
            ("corrupt", "sound"),
            ("reset", "picture"),
        ];
        assert_eq!(kept, expected);
        assert_eq!(scenarios.len(), 4);
    }
}
