//! A copy of the workspace's sources, which may be broken.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// A copy of the workspace's sources.
#[derive(Debug)]
pub(super) struct Copy {
    of: PathBuf,
    tree: PathBuf,
}

impl Copy {
    pub(super) const fn new(of: PathBuf, tree: PathBuf) -> Self {
        Self { of, tree }
    }

    /// Where it lies.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Makes the copy what the workspace is. Only what differs is written: cargo builds anew what is younger than what it built, and must
    /// see each file that a mutation changed, and each that is what it was again, but no other.
    pub(super) fn bring(&self) -> Result<()> {
        let mut there = BTreeSet::new();
        for file in self.sources()? {
            let (from, to) = (self.of.join(&file), self.tree.join(&file));
            if from.starts_with(&self.tree) {
                continue;
            }
            let bytes = match fs::read(&from) {
                Ok(bytes) => bytes,
                // Still known to git, but removed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(format!("reading {}", from.display())),
            };
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                let folder = to.parent().unwrap_or(&self.tree);
                fs::create_dir_all(folder)
                    .and_then(|()| fs::write(&to, bytes))
                    .with_context(|| format!("writing {}", to.display()))?;
            }
            there.insert(file);
        }
        for file in walk(&self.tree)? {
            if !there.contains(&file) {
                let file = self.tree.join(file);
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// What git knows, or would take; where there is no git, all but what is built.
    fn sources(&self) -> Result<Vec<PathBuf>> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others"])
            .arg("--exclude-standard")
            .current_dir(&self.of)
            .output();
        match listed {
            Ok(listed) if listed.status.success() => {
                let names = String::from_utf8(listed.stdout)
                    .context("git lists a file whose name is no text")?;
                let names = names.split('\0').filter(|name| !name.is_empty());
                Ok(names.map(PathBuf::from).collect())
            }
            Ok(_) | Err(_) => walk(&self.of),
        }
    }
}

/// Returns all files of a folder, by their path in it, but those of git and those that are built.
fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(root.join(&folder));
        let entries =
            entries.with_context(|| format!("reading {}", root.join(&folder).display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let kind = entry.file_type();
            let kind = kind.with_context(|| format!("reading {}", path.display()))?;
            if !kind.is_dir() {
                files.push(path);
            } else if name != "target" && name != ".git" {
                open.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// No git knows of the folder: files that git ignores lie in one.
    fn copy(room: &Path) -> Copy {
        let of = room.join("of");
        fs::create_dir_all(of.join("sdk/target")).unwrap();
        fs::write(of.join("a.rs"), "a").unwrap();
        fs::write(of.join("sdk/b.rs"), "b").unwrap();
        fs::write(of.join("sdk/target/built"), "c").unwrap();
        Copy::new(of, room.join("tree"))
    }

    fn read(copy: &Copy, file: &str) -> Option<String> {
        fs::read_to_string(copy.tree().join(file)).ok()
    }

    #[test]
    fn a_copy_is_what_it_was_again_and_cargo_sees_which_files_changed() {
        let room = tempfile::tempdir().unwrap();
        let copy = copy(room.path());
        copy.bring().unwrap();
        assert_eq!(read(&copy, "sdk/b.rs").as_deref(), Some("b"));
        assert_eq!(read(&copy, "sdk/target/built"), None);

        let long_ago = SystemTime::UNIX_EPOCH;
        let tree = copy.tree();
        fs::write(tree.join("sdk/b.rs"), "broken").unwrap();
        fs::write(tree.join("sdk/new.rs"), "new").unwrap();
        for name in ["a.rs", "sdk/b.rs"] {
            let file = fs::File::options().write(true).open(tree.join(name));
            file.unwrap().set_modified(long_ago).unwrap();
        }
        copy.bring().unwrap();
        assert_eq!(read(&copy, "sdk/b.rs").as_deref(), Some("b"));
        assert_eq!(read(&copy, "sdk/new.rs"), None);
        let modified = |name: &str| fs::metadata(tree.join(name)).unwrap().modified().unwrap();
        assert_eq!(modified("a.rs"), long_ago);
        assert!(modified("sdk/b.rs") > long_ago);
    }

    #[test]
    fn what_is_gone_from_the_workspace_goes_from_the_copy() {
        let room = tempfile::tempdir().unwrap();
        let copy = copy(room.path());
        copy.bring().unwrap();
        fs::remove_file(copy.of.join("a.rs")).unwrap();
        copy.bring().unwrap();
        assert_eq!(read(&copy, "a.rs"), None);
    }
}
