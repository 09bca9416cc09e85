//! The made title, and folders with parts of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::interval;

use crate::room::{Room, workspace};

/// What the picture's bar codes count in.
pub(crate) const FRAMES_PER_SECOND: f64 = 24.0;

/// Returns the folder of the made title.
pub(crate) fn title() -> PathBuf {
    let folder = workspace().join("target/media/title");
    assert!(
        folder.join("title.json").is_file(),
        "{} is missing: run `make title` first (`make test` does)",
        folder.display()
    );
    folder
}

/// The title in the system's memory: a server that waits for the disk would be taken for a slow one.
#[derive(Debug)]
pub(crate) struct InMemory(JoinHandle<()>);

/// Systems may put away within half a minute what nobody reads.
const READ_AGAIN: Duration = Duration::from_secs(5);

impl InMemory {
    /// Reads all of it, and again and again until this is dropped.
    pub(crate) async fn keep() -> Self {
        let read = || async { spawn_blocking(|| read_all(&title())).await.unwrap() };
        read().await;
        Self(tokio::spawn(async move {
            let mut soon = interval(READ_AGAIN);
            loop {
                soon.tick().await;
                read().await;
            }
        }))
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn read_all(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path);
        } else {
            fs::read(&path).unwrap();
        }
    }
}

/// Makes a folder of links to the title's files, so that a test can replace some of them.
pub(crate) fn linked_title(room: &Room, name: &str) -> PathBuf {
    let folder = room.folder(name);
    link_all(&title(), &folder);
    folder
}

fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let link = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&link).unwrap();
            link_all(&entry.path(), &link);
        } else {
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
}

/// Replaces a link by a file with these bytes.
pub(crate) fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Returns the names of the video representations, lowest first.
pub(crate) fn rungs() -> [&'static str; 6] {
    ["v1", "v2", "v3", "v4", "v5", "v6"]
}
