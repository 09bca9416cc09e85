//! Whether the root looks like one: a wrong one shows only when somebody wants to play.

use std::fs;
use std::path::{Path, PathBuf};

/// Says what is odd about a root: no manifest below it, or, where a backend sends the viewers, none in a folder, as a
/// backend's titles have them. `None` where all is well, or it is too much to look through.
pub(crate) fn doubt(root: &Path, has_backend: bool) -> Option<String> {
    let found = Found::below(root)?;
    let place = root.display();
    // First: the playlists of a title's rungs lie in its folders.
    if let Some(manifest) = found.at_top {
        return has_backend.then(|| {
            format!(
                "the root {place} holds a title itself ({manifest}), where a backend's titles are folders; \
                 give the folder above it as --root"
            )
        });
    }
    if found.in_folder {
        return None;
    }
    let holds = if found.names.is_empty() {
        "it is empty".to_owned()
    } else {
        format!("it holds {}", found.names.join(", "))
    };
    Some(format!(
        "no manifest (*.mpd, *.m3u8) lies below the root {place}; {holds}; nothing can be played from here"
    ))
}

/// What lies below a root.
#[derive(Default)]
struct Found {
    /// A manifest in the root itself.
    at_top: Option<String>,
    /// Whether a folder holds one.
    in_folder: bool,
    /// Some names in the root.
    names: Vec<String>,
}

impl Found {
    /// Looks until a folder with a manifest is found; `None` where it takes too long.
    fn below(root: &Path) -> Option<Self> {
        let mut found = Self::default();
        let mut folders = vec![(root.to_owned(), 0)];
        let mut looked_at = 0;
        while let Some((folder, depth)) = folders.pop() {
            let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .take(ENTRIES_MAX)
                .collect();
            entries.sort_unstable();
            for path in entries {
                looked_at += 1;
                if looked_at > ENTRIES_MAX {
                    return None;
                }
                let is_folder = path.is_dir();
                let mut name = path.file_name()?.to_string_lossy().into_owned();
                if is_manifest(&path) && depth > 0 {
                    found.in_folder = true;
                    return Some(found);
                } else if is_manifest(&path) {
                    found.at_top.get_or_insert(name.clone());
                }
                if is_folder && depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                }
                if depth == 0 && found.names.len() < NAMES_MAX {
                    name.push_str(if is_folder { "/" } else { "" });
                    found.names.push(name);
                }
            }
        }
        Some(found)
    }
}

/// Some tens of milliseconds on a disk.
const ENTRIES_MAX: usize = 10_000;
/// Titles lie at the top or in folders of folders; a link may lead round in circles.
const DEPTH_MAX: usize = 4;
const NAMES_MAX: usize = 5;

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| matches!(extension, "mpd" | "m3u8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_can_serve_nobody_is_told_with_what_is_there() {
        // What lies there, whether there is a backend, what is said.
        for (files, has_backend, says) in [
            (&["title/stream.mpd", "title/v1/1.m4s"][..], true, None),
            (&["a/b/master.m3u8"], true, None),
            (&["stream.mpd", "v1/1.m4s"], false, None),
            (
                &["stream.mpd", "v1/1.m4s"],
                true,
                Some("holds a title itself (stream.mpd)"),
            ),
            (
                &["master.m3u8", "v1/index.m3u8"],
                true,
                Some("holds a title itself (master.m3u8)"),
            ),
            (&["v1/1.m4s", "x.txt"], true, Some("it holds v1/, x.txt;")),
            (&["v1/1.m4s"], false, Some("no manifest (*.mpd, *.m3u8)")),
            (&[], false, Some("it is empty")),
        ] {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let file = root.path().join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
            let told = doubt(root.path(), has_backend);
            assert_eq!(told.is_some(), says.is_some(), "{told:?}");
            let told = told.unwrap_or_default();
            assert!(told.contains(says.unwrap_or_default()), "{told}");
        }
    }
}
