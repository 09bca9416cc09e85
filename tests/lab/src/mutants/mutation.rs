//! A mutation: what is broken, in words, and the patch that breaks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// A mutation that is kept.
#[derive(Debug)]
pub(super) struct Mutation {
    /// As its file is called.
    pub(super) name: String,
    /// What is broken: the text before the patch.
    pub(super) about: String,
    file: PathBuf,
}

impl Mutation {
    /// Reads all of a folder, by name.
    pub(super) fn read_all(folder: &Path, only: Option<&str>) -> Result<Vec<Self>> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .with_context(|| format!("reading {}", folder.display()))?;
        files.retain(|file| file.extension().is_some_and(|end| end == "patch"));
        files.sort();
        let mut all = files
            .into_iter()
            .map(Self::read)
            .collect::<Result<Vec<_>>>()?;
        all.retain(|one| only.is_none_or(|text| one.name.contains(text)));
        ensure!(
            !all.is_empty(),
            "{} holds no such mutation: files that end in .patch; leave --only out to take all",
            folder.display()
        );
        Ok(all)
    }

    fn read(file: PathBuf) -> Result<Self> {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let about = text
            .lines()
            .take_while(|line| !line.starts_with("--- ") && !line.starts_with("diff "));
        let about: Vec<&str> = about
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        ensure!(
            !about.is_empty(),
            "{} does not say what it breaks: write a line before the patch",
            file.display()
        );
        let name = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self {
            name: name.unwrap_or_default(),
            about: about.join(" "),
            // It is read from other folders.
            file: std::path::absolute(&file).with_context(|| file.display().to_string())?,
        })
    }

    /// Breaks the sources in a folder.
    pub(super) fn apply(&self, tree: &Path) -> Result<()> {
        self.git_apply(tree, &[])
    }

    /// Whether the sources in a folder could be broken.
    ///
    /// # Errors
    /// Says which patch does not fit, and where.
    pub(super) fn check(&self, tree: &Path) -> Result<()> {
        self.git_apply(tree, &["--check"])
    }

    fn git_apply(&self, tree: &Path, options: &[&str]) -> Result<()> {
        let mut command = Command::new("git");
        command.arg("apply").args(options).arg(&self.file);
        command.current_dir(tree);
        // A repository around it would leave out, without a word, what does not lie in its folder.
        if let Some(parent) = tree.parent() {
            command.env("GIT_CEILING_DIRECTORIES", parent);
        }
        let output = command
            .output()
            .context("starting git, which applies patches: install it")?;
        if !output.status.success() {
            bail!(
                "{} does not fit the sources in {} any more: make it anew.\n{}",
                self.file.display(),
                tree.display(),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "The answer\nis wrong.\n\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,2 +1,2 @@\n one\n-42\n+43\n";

    fn mutation(room: &Path, text: &str) -> Result<Mutation> {
        fs::create_dir_all(room.join("tree/src")).unwrap();
        fs::write(room.join("tree/src/a.rs"), "one\n42\n").unwrap();
        fs::write(room.join("wrong.patch"), text).unwrap();
        fs::write(room.join("other.txt"), "no patch").unwrap();
        let mut all = Mutation::read_all(room, None)?;
        assert_eq!(all.len(), 1);
        Ok(all.remove(0))
    }

    #[test]
    fn a_mutation_says_what_it_breaks_and_breaks_it() {
        let room = tempfile::tempdir().unwrap();
        let mutation = mutation(room.path(), PATCH).unwrap();
        assert_eq!(
            (mutation.name.as_str(), mutation.about.as_str()),
            ("wrong", "The answer is wrong.")
        );
        let tree = room.path().join("tree");
        mutation.check(&tree).unwrap();
        assert_eq!(
            fs::read_to_string(tree.join("src/a.rs")).unwrap(),
            "one\n42\n"
        );
        mutation.apply(&tree).unwrap();
        assert_eq!(
            fs::read_to_string(tree.join("src/a.rs")).unwrap(),
            "one\n43\n"
        );
    }

    /// A repository around the copy knows nothing of it.
    #[test]
    fn a_repository_around_it_does_not_matter() {
        let room = tempfile::tempdir().unwrap();
        let mutation = mutation(room.path(), PATCH).unwrap();
        let mut init = Command::new("git");
        init.args(["init", "--quiet"]).current_dir(room.path());
        assert!(init.status().unwrap().success());
        let tree = room.path().join("tree");
        mutation.apply(&tree).unwrap();
        assert_eq!(
            fs::read_to_string(tree.join("src/a.rs")).unwrap(),
            "one\n43\n"
        );
    }

    #[test]
    fn one_that_does_not_fit_any_more_is_told_by_its_name() {
        let room = tempfile::tempdir().unwrap();
        let mutation = mutation(room.path(), &PATCH.replace("-42", "-41")).unwrap();
        let tree = room.path().join("tree");
        for said in [mutation.check(&tree), mutation.apply(&tree)] {
            let said = said.unwrap_err().to_string();
            assert!(
                said.contains("wrong.patch does not fit") && said.contains("src/a.rs"),
                "{said}"
            );
        }
    }

    #[test]
    fn one_that_does_not_say_what_it_breaks_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let patch = &PATCH[PATCH.find("---").unwrap()..];
        let said = mutation(room.path(), patch).unwrap_err().to_string();
        assert!(said.contains("does not say what it breaks"), "{said}");
        let said = Mutation::read_all(room.path(), Some("else")).unwrap_err();
        assert!(said.to_string().contains("does not say"), "{said}");
    }
}
