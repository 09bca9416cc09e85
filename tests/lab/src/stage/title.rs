//! The made title, as long as a scenario wants it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nearcast_backend_server::{CATALOGUE_FILE, Catalogue, read_catalogue};
use nearcast_sim::SimTitle;
use tempfile::TempDir;

/// The name of the folder that a title is in, within an edge's root.
pub(super) const FOLDER: &str = "title";

const MANIFEST: &str = "stream.mpd";

/// The made title in all lengths that were asked for.
#[derive(Debug)]
pub(crate) struct Titles {
    made: PathBuf,
    length: Duration,
    cut: BTreeMap<Duration, TempDir>,
}

impl Titles {
    /// Looks at the title that was made in a folder.
    pub(crate) fn open(made: &Path) -> Result<Self> {
        let advice = || {
            format!(
                "{} holds no title: make one by `nearcast-title --dir {}`, or name another folder with --title",
                made.display(),
                made.display()
            )
        };
        let catalogue = read_catalogue(&made.join(CATALOGUE_FILE)).with_context(advice)?;
        let title = catalogue.titles.first().with_context(advice)?;
        Ok(Self {
            made: made.to_owned(),
            length: Duration::from_millis(title.duration_ms),
            cut: BTreeMap::new(),
        })
    }

    /// Returns a folder that holds the title, cut to a length, in a folder of its own.
    pub(crate) fn of_length(&mut self, wanted: Duration) -> Result<PathBuf> {
        ensure!(
            wanted <= self.length,
            "the title in {} is {} s long, {} s are wanted: make one that is longer by `nearcast-title --dir DIR \
             --duration {}`, and name it with --title DIR",
            self.made.display(),
            self.length.as_secs(),
            wanted.as_secs(),
            wanted.as_secs()
        );
        if let Some(folder) = self.cut.get(&wanted) {
            return Ok(folder.path().to_owned());
        }
        let folder = cut(&self.made, self.length, wanted)
            .with_context(|| format!("cutting the title in {}", self.made.display()))?;
        let path = folder.path().to_owned();
        self.cut.insert(wanted, folder);
        Ok(path)
    }

    /// Returns the same for the simulator.
    pub(crate) fn simulated(&mut self, wanted: Duration) -> Result<Arc<SimTitle>> {
        let folder = self.of_length(wanted)?.join(FOLDER);
        let title = SimTitle::read(&folder)
            .with_context(|| format!("reading the title in {}", folder.display()))?;
        Ok(Arc::new(title))
    }
}

/// Makes a folder with the same files but a shorter manifest. It lies beside the title, so that files need not be copied.
fn cut(made: &Path, length: Duration, wanted: Duration) -> Result<TempDir> {
    let beside = made
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let root = tempfile::Builder::new()
        .prefix(".lab-")
        .tempdir_in(beside.unwrap_or(Path::new(".")))?;
    let folder = root.path().join(FOLDER);
    link_all(made, &folder)?;
    let manifest = folder.join(MANIFEST);
    let text = fs::read_to_string(&manifest)?;
    let said =
        |length: Duration| format!("mediaPresentationDuration=\"PT{}S\"", length.as_secs_f64());
    ensure!(
        text.contains(&said(length)),
        "{MANIFEST} does not say that it is {} s long",
        length.as_secs_f64()
    );
    // Not the file that both folders have.
    fs::remove_file(&manifest)?;
    fs::write(&manifest, text.replace(&said(length), &said(wanted)))?;
    Ok(root)
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_all(&from, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            // Some file systems have no links.
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// The title in the backend's catalogue.
pub(super) const NAME: &str = "demo";

/// Returns the catalogue for a title that was cut.
pub(super) fn catalogue(duration: Duration) -> Catalogue {
    let mut catalogue = Catalogue::demo(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    for title in &mut catalogue.titles {
        title.files = format!("{FOLDER}/");
        title.dash = Some(format!("{FOLDER}/{MANIFEST}"));
        // It is as long as it was made.
        title.hls = None;
    }
    catalogue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_cut_to_a_length_and_stays_as_it_was() {
        let beside = tempfile::tempdir().unwrap();
        let made = beside.path().join("made");
        fs::create_dir_all(made.join("v1")).unwrap();
        let text = "<MPD mediaPresentationDuration=\"PT126S\"/>";
        fs::write(made.join(MANIFEST), text).unwrap();
        fs::write(made.join("v1/00001.m4s"), "x").unwrap();
        let catalogue = "[[title]]\nid = \"demo\"\nname = \"x\"\nduration_ms = 126000\nfiles = \"title/\"\ndash = \"title/stream.mpd\"\ncodecs = [\"avc1\"]\n";
        fs::write(made.join(CATALOGUE_FILE), catalogue).unwrap();
        let mut titles = Titles::open(&made).unwrap();
        let cut = titles.of_length(Duration::from_secs(60)).unwrap();
        let read = |file: &Path| fs::read_to_string(file).unwrap();
        let shorter = text.replace("126", "60");
        assert_eq!(read(&cut.join(FOLDER).join(MANIFEST)), shorter);
        assert_eq!(read(&cut.join(FOLDER).join("v1/00001.m4s")), "x");
        assert_eq!(read(&made.join(MANIFEST)), text);
        assert_eq!(titles.of_length(Duration::from_secs(60)).unwrap(), cut);
        let long = titles.of_length(Duration::from_secs(200)).unwrap_err();
        assert!(long.to_string().contains("--duration 200"), "{long}");
        let nothing = Titles::open(beside.path()).unwrap_err();
        assert!(nothing.to_string().contains("holds no title"), "{nothing}");
        drop(titles);
        assert!(!cut.exists());
    }
}
